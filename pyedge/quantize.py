"""Making a model file smaller: every matrix into the type that a mix gives it.

The source is read through a mapping, tensors are converted in pieces of some rows, and the pieces go straight
to the new file: the memory taken does not depend on the size of the model.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import _core, mixes
from .errors import Error, ModelFileError, UnsupportedError
from .gguf_file import Bytes, GgufFile, Tensor, Value, open_whole, row_bytes, type_name, write
from .imatrix import Floats, Imatrix
from .imatrix import load as load_imatrix
from .progress import Progress

_PIECE = 1 << 22  # weights converted at a time
_FLOATS = ("F32", "F16", "BF16", "F64")


@dataclass
class TensorReport:
    """What became of one tensor."""

    name: str
    dims: tuple[int, ...]  # the contiguous one first
    source: str  # type names
    target: str
    size: int  # bytes now
    source_size: int
    n: int  # weights
    weighted: bool = False  # an importance matrix was used
    squared_error: float = 0.0
    squared_sum: float = 0.0

    @property
    def rmse(self) -> float:
        """Root of the mean squared error of a weight."""
        return float((self.squared_error / self.n) ** 0.5) if self.n else 0.0

    @property
    def relative(self) -> float:
        """The same as a part of the root mean square of the weights."""
        return float((self.squared_error / self.squared_sum) ** 0.5) if self.squared_sum > 0 else 0.0


@dataclass(frozen=True)
class _Plan:
    source: Tensor
    target: Tensor
    importance: Floats | None  # [matrices, columns]


def parse_override(text: str) -> tuple[str, str]:
    """`PATTERN=TYPE`, as the command line has it."""
    pattern, equals, name = text.rpartition("=")
    if not equals or not pattern:
        raise ValueError(f"{text!r} is no override: write PATTERN=TYPE, such as ffn_down=Q6_K")
    return pattern, name


def _numbers() -> dict[str, int]:
    """The types that can be made, by name."""
    return {known[0]: number for number, known in _core.types().items() if _core.can_quantize(number)}


def _makeable(name: str) -> int:
    numbers = _numbers()
    if name not in numbers:
        raise UnsupportedError(f"this build cannot make {name}; it makes {', '.join(sorted(numbers))}")
    return numbers[name]


class _Chooser:
    """The type of each tensor: overrides first, then the mix, then what fits its rows."""

    def __init__(
        self, file: GgufFile, mix: mixes.Mix, overrides: Sequence[tuple[str, str]], every: bool
    ) -> None:
        self._file, self._mix, self._every = file, mix, every
        self._blocks = {name: elements for name, elements, _ in _core.types().values()}
        self._overrides: list[tuple[re.Pattern[str], str]] = []
        for pattern, name in overrides:
            _makeable(name.upper())
            try:
                self._overrides.append((re.compile(pattern), name.upper()))
            except re.error as error:
                raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from None
        for regex, _ in self._overrides:
            if not any(self._takes(tensor) and regex.search(name) for name, tensor in file.tensors.items()):
                raise ValueError(f"the pattern {regex.pattern!r} matches no tensor that can be quantised")

    @staticmethod
    def _takes(tensor: Tensor) -> bool:
        return mixes.is_weight(tensor.name, len(tensor.dims))

    def type_of(self, tensor: Tensor) -> int:
        if not self._takes(tensor):
            return tensor.type
        for regex, name in reversed(self._overrides):
            if not regex.search(tensor.name):
                continue
            if tensor.n_per_row % self._blocks[name]:
                raise ValueError(
                    f"{tensor.name} cannot be {name}: its rows of {tensor.n_per_row} weights are no multiple "
                    f"of {self._blocks[name]}"
                )
            return _makeable(name)
        wanted = self._mix.main if self._every else self._mix.choose(tensor.name, len(tensor.dims))
        _makeable(wanted)
        return _makeable(mixes.fitting(wanted, tensor.n_per_row, self._blocks))


def _shape(file: GgufFile, imatrix: bool) -> mixes.Shape:
    arch = str(file.get("general.architecture", ""))

    def count(key: str, default: int) -> int:
        value = file.get(f"{arch}.{key}", default)
        if isinstance(value, list):  # one number a layer
            value = max(value, default=default)
        return value if isinstance(value, int) else default

    heads = count("attention.head_count", 1)
    return mixes.Shape(
        arch=arch,
        n_gqa=heads // max(count("attention.head_count_kv", heads), 1),
        n_expert=count("expert_count", 0),
        tied="output.weight" not in file.tensors,
        imatrix=imatrix,
    )


def _plans(file: GgufFile, chooser: _Chooser, matrix: Imatrix | None) -> list[_Plan]:
    plans = []
    for tensor in file.tensors.values():
        number = chooser.type_of(tensor)
        n_rows = tensor.n // tensor.n_per_row if tensor.n_per_row else 0
        size = row_bytes(number, tensor.n_per_row) * n_rows
        target = Tensor(tensor.name, tensor.dims, number, size=size)
        importance = None
        if matrix is not None and number != tensor.type:
            n_matrices = tensor.dims[2] if len(tensor.dims) > 2 else 1
            importance = matrix.importance(tensor.name, tensor.n_per_row, n_matrices)
        plans.append(_Plan(tensor, target, importance))
    for plan in plans:
        name = plan.target.name
        if (
            plan.target.type_name in mixes.NEED_IMATRIX
            and plan.importance is None
            and name.startswith("blk.")
        ):
            have = "none is given" if matrix is None else "the one given has nothing on this tensor"
            raise ValueError(
                f"{name} as {plan.target.type_name} needs an importance matrix, and {have}: make one with "
                "`pyedge imatrix MODEL TEXT -o FILE` and pass it as --imatrix FILE (imatrix= in Python)"
            )
    return plans


def _warn_twice(plans: Sequence[_Plan]) -> None:
    again = sorted({p.source.type_name for p in plans if p.source.type != p.target.type} - set(_FLOATS))
    if again:
        warnings.warn(
            f"the source is quantised already ({', '.join(again)}): rounding a second time adds to the first "
            "error; the original in F16, BF16 or F32 would give a better file",
            UserWarning,
            stacklevel=3,
        )


def _spans(plan: _Plan) -> Iterator[tuple[int, int, Floats | None]]:
    """First row, number of rows, importance: runs that lie in one matrix and are not too long."""
    tensor = plan.source
    n_rows = tensor.n // tensor.n_per_row if tensor.n_per_row else 0
    matrices = plan.importance.shape[0] if plan.importance is not None else 1
    rows = n_rows // matrices
    step = max(_PIECE // max(tensor.n_per_row, 1), 1)
    for matrix in range(matrices):
        for first in range(0, rows, step):
            weights = None if plan.importance is None else plan.importance[matrix]
            yield matrix * rows + first, min(step, rows - first), weights


class _Work:
    """Converts one tensor after the other and keeps the account."""

    def __init__(self, file: GgufFile, plans: Sequence[_Plan], threads: int, progress: Progress) -> None:
        self._file, self._threads, self._progress = file, threads, progress
        self._plans = {plan.source.name: plan for plan in plans}
        self.reports: list[TensorReport] = []

    def pieces(self, target: Tensor) -> Iterator[Bytes]:
        plan = self._plans[target.name]
        source, data = plan.source, self._file.data(plan.source)
        report = TensorReport(
            name=source.name,
            dims=source.dims,
            source=source.type_name,
            target=type_name(target.type),
            size=target.size,
            source_size=source.size,
            n=source.n,
            weighted=plan.importance is not None,
        )
        if source.type == target.type:
            for at in range(0, source.size, 4 * _PIECE):
                yield data[at : at + 4 * _PIECE]
        else:
            n, stride = source.n_per_row, row_bytes(source.type, source.n_per_row)
            for first, count, importance in _spans(plan):
                rows = data[first * stride : (first + count) * stride]
                out = np.empty(count * row_bytes(target.type, n), np.uint8)
                try:
                    squared_error, squared_sum = _core.quantize_rows(
                        out, target.type, rows, source.type, count, n, importance, self._threads
                    )
                except (Error, ValueError) as error:
                    raise ModelFileError(
                        f"{self._file.path}: tensor {source.name}, rows from {first} on: {error}"
                    ) from error
                report.squared_error += squared_error
                report.squared_sum += squared_sum
                self._progress.running((first + count) * stride)
                yield out
        self._progress.finished(source.size)
        self.reports.append(report)


def _keys(file: GgufFile, mix: mixes.Mix, matrix: Imatrix | None, matrix_name: str) -> dict[str, Value]:
    keys = {key: value for key, value in file.keys.items() if not key.startswith("pyedge.sha256.")}
    keys["general.quantization_version"] = Value.uint32(2)
    keys["general.file_type"] = Value.uint32(mixes.MIXES[mix.name][1])
    if matrix is not None:
        keys["quantize.imatrix.file"] = Value.string(matrix_name)
        keys["quantize.imatrix.dataset"] = Value.string(", ".join(matrix.datasets))
        keys["quantize.imatrix.entries_count"] = Value.uint32(len(matrix.sums))
        keys["quantize.imatrix.chunks_count"] = Value.uint32(matrix.chunk_count)
    return keys


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    type: str,
    *,
    tensor_types: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    imatrix: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    pure: bool = False,
    quiet: bool = True,
) -> list[TensorReport]:
    """Write the model file `source` to `target` with its matrices in the types of a mix.

    type          the mix: "Q4_K_M", "Q8_0", ...; see `pyedge.mixes.MIXES`
    tensor_types  what goes before the mix: pairs of a regular expression, searched for in the names of
                  tensors, and a type; the last one that matches counts
    imatrix       an importance matrix: errors in columns that matter more weigh more
    pure          every matrix in the mix's main type, without the better ones for sensitive tensors
    quiet         show no progress on standard error

    `target` appears when it is whole. A source that is quantised already is taken, with a warning.
    """
    file = open_whole(source)
    path = Path(target)
    if path.exists() and path.samefile(file.path):
        raise ValueError(f"{path} is the source: give the new file another name")
    if threads is not None and not 1 <= threads <= 512:
        raise ValueError(f"threads must be from 1 to 512, not {threads}")
    matrix = load_imatrix(imatrix) if imatrix is not None else None
    mix = mixes.Mix(type, _shape(file, matrix is not None), file.tensors)
    overrides = list(tensor_types.items()) if isinstance(tensor_types, Mapping) else list(tensor_types)
    plans = _plans(file, _Chooser(file, mix, overrides, pure), matrix)
    _warn_twice(plans)
    keys = _keys(file, mix, matrix, Path(imatrix).name if imatrix is not None else "")
    total = sum(plan.source.size for plan in plans)
    with Progress(f"{path.name} ({mix.name})", max(total, 1), quiet=quiet) as progress:
        work = _Work(file, plans, threads or 0, progress)
        write(path, keys, [plan.target for plan in plans], work.pieces, alignment=file.alignment)
    return work.reports
