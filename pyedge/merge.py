"""Model files with LoRA adapters in their weights: for running with an adapter that is never taken off again.

Each matrix that an adapter changes is dequantised, added to, and quantised again; everything else is copied
as it lies. What rounding a second time costs, a session with the adapter attached does not pay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import _core
from .errors import AdapterError, Error, UnsupportedError
from .gguf_file import Bytes, GgufFile, Tensor, open_whole, row_bytes, type_name, write
from .progress import Progress

_PIECE = 1 << 22  # weights that are held as floats
_F32 = 0
_EMBEDDINGS, _HEAD = "token_embd.weight", "output.weight"
Changes = list[tuple[_core.Adapter, int, float]]  # an adapter, the index of one of its targets, the scale


def _type_number(name: str) -> int:
    for number, (known, _, _) in _core.types().items():
        if known == name.upper() and _core.can_quantize(number):
            return number
    makeable = [known for number, (known, _, _) in _core.types().items() if _core.can_quantize(number)]
    raise ValueError(f"type {name!r} is not one that can be made: {', '.join(makeable)}")


def _collect(adapters: Sequence[_core.Adapter], scales: Sequence[float]) -> dict[str, Changes]:
    """What happens to each tensor, in the order of the adapters; scale 0 is nothing."""
    changes: dict[str, Changes] = {}
    for adapter, scale in zip(adapters, scales, strict=True):
        for index, name in enumerate(adapter.targets() if scale else ()):
            changes.setdefault(name, []).append((adapter, index, float(scale)))
    return changes


def _layout(file: GgufFile, changes: Mapping[str, Changes], type: str | None) -> list[Tensor]:
    """The tensors of the new file. A head that was the embeddings as well becomes a tensor of its own where
    only one of both changes."""
    tensors = list(file.tensors.values())
    if _HEAD not in file.tensors and (_HEAD in changes or _EMBEDDINGS in changes):
        tensors.append(replace(file.tensors[_EMBEDDINGS], name=_HEAD))
    number = None if type is None else _type_number(type)
    out = []
    for tensor in tensors:
        wanted = tensor.type
        if number is not None and tensor.name in changes and len(tensor.dims) > 1:
            wanted = number
        if tensor.name in changes and wanted != _F32 and not _core.can_quantize(wanted):
            raise UnsupportedError(
                f"tensor {tensor.name!r} is {type_name(wanted)}, which this build reads but cannot write: "
                "give another type (--type), such as Q8_0"
            )
        n_rows = tensor.n // tensor.n_per_row
        out.append(replace(tensor, type=wanted, size=n_rows * row_bytes(wanted, tensor.n_per_row)))
    return out


class _Work:
    def __init__(
        self, file: GgufFile, changes: Mapping[str, Changes], threads: int, progress: Progress
    ) -> None:
        self._file, self._changes, self._threads, self._progress = file, changes, threads, progress

    def pieces(self, target: Tensor) -> Iterator[Bytes]:
        source = self._file.tensors.get(target.name) or self._file.tensors[_EMBEDDINGS]
        data, changes = self._file.data(source), self._changes.get(target.name, [])
        if not changes:
            for at in range(0, source.size, 4 * _PIECE):
                yield data[at : at + 4 * _PIECE]
        else:
            n, stride = source.n_per_row, row_bytes(source.type, source.n_per_row)
            step = max(_PIECE // n, 1)
            for first in range(0, source.n // n, step):
                count = min(step, source.n // n - first)
                raw = np.ascontiguousarray(data[first * stride : (first + count) * stride])
                rows = _core.dequantize(source.type, raw, count * n).reshape(count, n)
                for adapter, index, scale in changes:
                    adapter.merge(index, scale, first, rows)
                yield self._stored(target, rows)
                self._progress.running((first + count) * stride)
        self._progress.finished(source.size)

    def _stored(self, target: Tensor, rows: np.ndarray) -> Bytes:
        if target.type == _F32:
            return np.ascontiguousarray(rows, np.float32).reshape(-1).view(np.uint8)
        count, n = rows.shape
        out = np.empty(count * row_bytes(target.type, n), np.uint8)
        raw = np.ascontiguousarray(rows, np.float32).reshape(-1).view(np.uint8)
        _core.quantize_rows(out, target.type, raw, _F32, count, n, None, self._threads)
        return out


def merge(
    model: str | os.PathLike[str],
    adapters: Mapping[str | os.PathLike[str], float],
    target: str | os.PathLike[str],
    *,
    type: str | None = None,
    threads: int | None = None,
    quiet: bool = True,
) -> int:
    """Write the model with the adapters in its weights to `target`; returns the number of tensors that
    changed.

    adapters   paths and their scales, added in this order
    type       the type of the matrices that change, such as "F16" or "Q8_0"; None: each keeps its own
    quiet      show no progress on standard error

    `target` appears when it is whole. An adapter that replaces whole tensors has scale 1 only.
    """
    file = open_whole(model)
    path = Path(target)
    if path.exists() and path.samefile(file.path):
        raise ValueError(f"{path} is the source: give the new file another name")
    if not adapters:
        raise ValueError("no adapter is given")
    core = _core.Model(file.path)
    loaded = [_core.Adapter(core, path) for path in adapters]
    try:  # what may be attached together may be merged together
        session = _core.Session(core, n_ctx=1, n_threads=1, kv_type="f16", isa=None, memory_limit=0)
        session.set_adapters(loaded, [float(scale) for scale in adapters.values()])
    except ValueError as error:
        raise AdapterError(str(error)) from None
    changes = _collect(loaded, list(adapters.values()))
    missing = [name for name in changes if name not in file.tensors and name != _HEAD]
    if missing:  # fused in the file, or a format whose tensors have no names
        raise UnsupportedError(
            f"{file.path} has no tensor {missing[0]!r} of its own, which an adapter changes: "
            "attach the adapter instead"
        )
    tensors = _layout(file, changes, type)
    keys = {key: value for key, value in file.keys.items() if not key.startswith("pyedge.sha256.")}
    n_threads = _core.threads_explain()[0] if threads is None else threads
    total = sum(tensor.size for tensor in file.tensors.values())
    with Progress(f"merging into {path.name}", total, quiet=quiet) as progress:
        try:
            write(path, keys, tensors, _Work(file, changes, n_threads, progress).pieces)
        except ValueError as error:
            raise Error(f"{path}: {error}") from error
    return len(changes)
