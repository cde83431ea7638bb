"""From the tensors of a folder to those of a GGUF file: what becomes of each, and the bytes, piece by piece.

A step changes the layout of a tensor on the way. Most need some rows at a time; a step that mixes all rows
takes the whole tensor, and at most makes a second one of the same size.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import Error, ModelFileError, UnsupportedError
from ..gguf_file import Bytes, Tensor, row_bytes
from ..progress import Progress
from .config import Config
from .folder import Folder, Source
from .rules import Arch, Rule, extents

_PIECE = 4 << 20  # bytes read at a time
NUMBERS = {name: number for number, (name, _, _) in _core.types().items()}
_SIZES = {name: size for name, elements, size in _core.types().values() if elements == 1}
_F32 = NUMBERS["F32"]
# Matrices that engines expect in F32: routers, positions, convolutions.
_KEEP = re.compile(r"_norm\.weight$|ffn_gate_inp\.weight$|position_embd\.weight$|shortconv\.conv\.weight$")

Shape = tuple[int, ...]
Elements = NDArray[np.generic]  # some rows, [rows, columns], of any element


def _permuted(x: Elements, head: int) -> Elements:
    """Rotation partners i and i + head/2 become neighbours."""
    pairs: Elements = x.reshape(-1, 2, head // 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)
    return pairs


def _grouped(x: Elements, head: int, n_head_kv: int) -> Elements:
    """Groups of queries with their key and value become all queries, all keys, all values."""
    groups = x.reshape(n_head_kv, -1, head, x.shape[1])
    out = np.empty_like(x)
    n = n_head_kv * head
    out[: -2 * n].reshape(n_head_kv, -1, head, x.shape[1])[:] = groups[:, :-2]
    out[-2 * n : -n].reshape(n_head_kv, head, x.shape[1])[:] = groups[:, -2]
    out[-n:].reshape(n_head_kv, head, x.shape[1])[:] = groups[:, -1]
    return out


@dataclass(frozen=True)
class Plan:
    """A tensor of the new file and the source tensors that it is made of, one after the other."""

    target: Tensor
    sources: Sequence[Source] = ()
    step: str = "copy"
    values: NDArray[np.float32] | None = None  # computed, not read
    unit: int = 1  # rows that belong together; 0: all


@dataclass
class Planner:
    """Finds the tensors of an architecture in a folder."""

    folder: Folder
    arch: Arch
    config: Config
    type: str | None  # of matrices; None: as the source has it
    plans: list[Plan] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._tags = self.arch.tags(self.config)
        self._extents = extents(self.config)
        self._by_name: dict[str, Source] = {}
        self._headless = "embed_tokens.weight" in self.folder.tensors  # a model for embeddings alone
        for name, source in self.folder.tensors.items():
            name = f"model.{name}" if self._headless else name
            for old, new in self.arch.prefixes:
                if name.startswith(old):
                    name = new + name[len(old) :]
                    break
            if name in self._by_name:
                raise ModelFileError(f"{self.folder.path}: two tensors would be {name!r}")
            self._by_name[name] = source

    def plan(self) -> list[Plan]:
        for name, values in self.arch.vectors(self.config).items():
            data = np.array(values, np.float32)
            self.plans.append(Plan(Tensor(name, data.shape, _F32, size=data.nbytes), values=data))
        for rule in self.arch.rules:
            layers = range(self.config.n_layer) if "{i}" in rule.target else (0,)
            for i in layers:
                if not rule.only or rule.only in self._tags[i].split():
                    self._place(rule, i)
        self._refuse_strays()
        return self.plans

    def _sources(self, rule: Rule, i: int, suffix: str) -> list[Source]:
        """The tensors of a rule; none where it may be absent."""
        count = 1
        if "{e}" in rule.source:
            count = self._extents["experts"]
        elif "{h}" in rule.source:
            count = self.config.n_head if "q_norm" in rule.target else self.config.n_head_kv
        parts = [part if rule.whole else f"{part}.{suffix}" for part in rule.source.split("|")]
        names = [part.format(i=i, e=n, h=n) for part in parts for n in range(count)]
        missing = [name for name in names if name not in self._by_name]
        if len(missing) == len(names) and (rule.optional or (suffix == "bias" and rule.bias == "may")):
            return []
        if missing:
            raise ModelFileError(
                f"{self.folder.path}: tensor {missing[0]!r} is missing; {self.arch.name} needs it"
                + (f" (and {len(missing) - 1} more)" if len(missing) > 1 else "")
            )
        self._used.update(names)
        return [self._by_name[name] for name in names]

    def _place(self, rule: Rule, i: int) -> None:
        if rule.target == "output" and self._tied(f"{rule.source}.weight"):
            return
        first = [self._extents[name] for name in rule.shape[0].split("|")]
        rest = tuple(self._extents[name] for name in rule.shape[1:])
        name = rule.target.format(i=i)
        name_of = name if rule.whole else f"{name}.weight"
        self._make(name_of, self._sources(rule, i, "weight"), [(n, *rest) for n in first], rule)
        if rule.bias != "no":
            step = rule.step if rule.step in ("permute", "groups") else "copy"
            bias = Rule(rule.target, rule.source, (), step=step)
            widths: list[Shape] = [rest[-1:]] if rule.step == "transpose" else [(n,) for n in first]
            self._make(f"{name}.bias", self._sources(rule, i, "bias"), widths, bias)

    def _tied(self, name: str) -> bool:
        tied = self.config.get("tie_word_embeddings")
        if name in self._by_name:
            if tied:
                self._used.add(name)
            return bool(tied)
        return tied is not False or self._headless

    def _make(self, name: str, sources: list[Source], shapes: list[Shape], rule: Rule) -> None:
        """Add a plan. shapes: of the sources; one for all where they are stacked."""
        if not sources:
            return
        each = "{e}" in rule.source or "{h}" in rule.source
        for source, shape in zip(sources, shapes * len(sources) if each else shapes, strict=True):
            if source.shape != shape:
                raise ModelFileError(
                    f"{source.path}: tensor {source.name!r} has the shape {list(source.shape)}; by "
                    f"config.json it would be {list(shape)}"
                )
            source.require_weights()
        made = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        if rule.part:
            sources, made = self._cut(sources[0], rule.part)
        if rule.step == "squeeze":  # [channels, 1, taps]
            made = (made[0], made[-1])
        made = made[::-1] if rule.step == "transpose" else made
        dims = made[::-1] + ((len(sources),) if each else ())
        number = self._type(name, dims, sources[0].dtype)
        size = row_bytes(number, dims[0])
        for n in dims[1:]:
            size *= n
        unit = {"permute": self.config.head_dim, "groups": 0, "transpose": 0}.get(rule.step, 1)
        self.plans.append(Plan(Tensor(name, dims, number, size=size), sources, rule.step, unit=unit))

    def _cut(self, source: Source, part: str) -> tuple[list[Source], Shape]:
        """The rows of a part, and the shape that they make."""
        *outer, n_rows, n_in = source.shape
        if part in ("first", "second"):  # of [experts, 2 * rows, n_in]
            blocks, take, offset = outer[0], n_rows // 2, 0 if part == "first" else n_rows // 2
            made: Shape = (blocks, take, n_in)
        else:  # of [key heads: queries, key, value; n_in]
            head, blocks = self.config.head_dim, self.config.n_head_kv
            n_rows //= blocks
            take = n_rows - 2 * head if part == "q" else head
            offset = {"q": 0, "k": n_rows - 2 * head, "v": n_rows - head}[part]
            made = (blocks * take, n_in)
        row = source.size // math.prod(source.shape[:-1])
        at = [source.offset + (n_rows * block + offset) * row for block in range(blocks)]
        return [replace(source, shape=(take, n_in), offset=n, size=take * row) for n in at], made

    def _type(self, name: str, dims: Shape, source: str) -> int:
        if len(dims) == 1 or _KEEP.search(name):
            return _F32
        wanted = self.type or ("F32" if source == "F64" else source)
        if wanted == "Q8_0" and dims[0] % 32:  # rows are no whole blocks
            wanted = "F16"
        return NUMBERS[wanted]

    def _refuse_strays(self) -> None:
        ignored = re.compile(self.arch.ignore)
        strays = sorted(name for name in self._by_name if name not in self._used and not ignored.search(name))
        if strays:
            more = f" (and {len(strays) - 1} more)" if len(strays) > 1 else ""
            raise UnsupportedError(
                f"{self.folder.path}: tensor {strays[0][:128]!r}{more} has no place in architecture "
                f"{self.arch.name} with {self.config.n_layer} layers"
            )


Steps = Mapping[str, Callable[[Elements], Elements]]


def steps(config: Config) -> Steps:
    return {
        "permute": lambda x: _permuted(x, config.head_dim),
        "groups": lambda x: _grouped(x, config.head_dim, config.n_head_kv),
        "transpose": lambda x: x.T,
    }


class Converter:
    """Makes the bytes of planned tensors."""

    def __init__(self, plans: Sequence[Plan], steps: Steps, threads: int, progress: Progress) -> None:
        self._plans: Mapping[str, Plan] = {plan.target.name: plan for plan in plans}
        self._threads, self._progress, self._steps = threads, progress, steps

    def pieces(self, target: Tensor) -> Iterator[Bytes]:
        plan = self._plans[target.name]
        if plan.values is not None:
            yield plan.values.view(np.uint8)
        for source in plan.sources:
            done = 0
            for raw in self._read(plan, source):
                done += raw.nbytes
                if plan.step == "copy" and NUMBERS[source.dtype] == target.type:
                    yield raw.reshape(-1)
                else:
                    yield from self._encoded(plan, source, self._stepped(plan, source, raw))
                self._progress.running(done)
            self._progress.finished(source.size)

    def _read(self, plan: Plan, source: Source) -> Iterator[Bytes]:
        """Bytes of rows that belong together, not many at a time."""
        if plan.unit == 0 or len(source.shape) == 1:
            yield source.read()
            return
        row = max(source.size // source.n_rows, 1)
        step = max(_PIECE // (row * plan.unit), 1) * plan.unit
        for first in range(0, source.n_rows, step):
            yield source.read(first, min(step, source.n_rows - first))

    def _stepped(self, plan: Plan, source: Source, raw: Bytes) -> Elements:
        """Rows as the target has them, [rows, columns]; elements are whole, of the source's type."""
        element = {8: np.float64, 4: np.float32, 2: np.uint16}[_SIZES[source.dtype]]
        x: Elements = raw.view(element)
        if len(source.shape) == 1:
            x = x.reshape(-1, 1)
        if plan.step in self._steps:
            x = self._steps[plan.step](x)
        return x.reshape(1, -1) if len(source.shape) == 1 else x.reshape(-1, plan.target.n_per_row)

    def _encoded(self, plan: Plan, source: Source, x: Elements) -> Iterator[Bytes]:
        """In the target's type, some rows at a time: the whole of a tensor is not held in both types."""
        step = max(_PIECE // max(x[:1].nbytes, 1), 1)
        for first in range(0, len(x), step):
            rows = np.ascontiguousarray(x[first : first + step])
            kind = source.dtype
            if plan.step == "plus_one":
                rows, kind = self._as(rows, kind, _F32, source).view(np.float32) + np.float32(1), "F32"
            yield self._as(rows, kind, plan.target.type, source)

    def _as(self, rows: Elements, kind: str, number: int, source: Source) -> Bytes:
        """The bytes of rows of one type in another."""
        data = rows.view(np.uint8).reshape(-1)
        if NUMBERS[kind] == number:
            return data
        n = rows.size // len(rows)
        out = np.empty(row_bytes(number, n) * len(rows), np.uint8)
        try:
            _core.quantize_rows(out, number, data, NUMBERS[kind], len(rows), n, None, self._threads)
        except (Error, ValueError) as error:
            raise ModelFileError(f"{source.path}: tensor {source.name!r}: {error}") from error
        return out
