"""Importance matrices: how much each input column of a matrix matters, as mean squares of what came in on a
calibration text.

The file is GGUF: `general.type` is "imatrix", and for each matrix there are two tensors, `<name>.in_sum2`
[columns, matrices] with the sums of squares and `<name>.counts` [1, matrices] with the number of inputs.
Mixtures of experts have several matrices in one tensor.
Format: https://github.com/ggml-org/llama.cpp/tree/master/tools/imatrix
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import ModelFileError
from .gguf_file import GgufFile, Tensor, Value, write

if TYPE_CHECKING:
    from .model import Model

_F32 = 0
_SUMS, _COUNTS = ".in_sum2", ".counts"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Imatrix:
    """Sums of squares [matrices, columns] and counts [matrices] by the name of the tensor."""

    sums: Mapping[str, Floats]
    counts: Mapping[str, Floats]
    datasets: Sequence[str] = ()
    chunk_count: int = 0
    chunk_size: int = 0

    def importance(self, name: str, n_columns: int, n_matrices: int) -> Floats | None:
        """Mean squares [n_matrices, n_columns], or None where nothing is known of this tensor."""
        if name not in self.sums:
            return None
        sums, counts = self.sums[name], self.counts[name]
        if sums.shape != (n_matrices, n_columns):
            raise ModelFileError(
                f"the importance matrix has {sums.shape[0]} x {sums.shape[1]} values for {name}, which has "
                f"{n_matrices} x {n_columns}: it was made for another model"
            )
        return np.ascontiguousarray(sums / np.maximum(counts, 1)[:, None], dtype=np.float32)


def _floats(file: GgufFile, tensor: Tensor) -> Floats:
    if tensor.type != _F32:
        raise ModelFileError(f"{file.path}: {tensor.name} is {tensor.type_name}; importance matrices are F32")
    values = file.data(tensor).view("<f4").astype(np.float32)
    if not np.isfinite(values).all() or (values < 0).any():
        raise ModelFileError(f"{file.path}: {tensor.name} has values that are no finite sums of squares")
    return values


def load(path: str | os.PathLike[str]) -> Imatrix:
    """Read an importance matrix."""
    file = GgufFile(path)
    kind = file.get("general.type")
    if kind != "imatrix":
        raise ModelFileError(f"{path}: no importance matrix: its general.type is {kind!r}, not 'imatrix'")
    sums: dict[str, Floats] = {}
    counts: dict[str, Floats] = {}
    for name, tensor in file.tensors.items():
        if not name.endswith(_SUMS):
            continue
        base = name.removesuffix(_SUMS)
        if base + _COUNTS not in file.tensors:
            raise ModelFileError(f"{path}: there is {name}, but no {base + _COUNTS}")
        sums[base] = _floats(file, tensor).reshape(-1, tensor.n_per_row)
        counts[base] = _floats(file, file.tensors[base + _COUNTS])
        if counts[base].size != sums[base].shape[0]:
            raise ModelFileError(
                f"{path}: {base} has {sums[base].shape[0]} rows of sums and {counts[base].size} counts"
            )
    if not sums:
        raise ModelFileError(f"{path}: the importance matrix is empty")
    return Imatrix(
        sums,
        counts,
        tuple(file.get("imatrix.datasets", ())),
        int(file.get("imatrix.chunk_count", 0)),
        int(file.get("imatrix.chunk_size", 0)),
    )


def save(path: str | os.PathLike[str], matrix: Imatrix) -> None:
    """Write an importance matrix; the file appears when it is whole."""
    keys = {
        "general.type": Value.string("imatrix"),
        "imatrix.datasets": Value.strings(list(matrix.datasets)),
        "imatrix.chunk_count": Value.uint32(matrix.chunk_count),
        "imatrix.chunk_size": Value.uint32(matrix.chunk_size),
    }
    data: dict[str, NDArray[np.uint8]] = {}
    tensors = []
    for name, sums in matrix.sums.items():
        counts = matrix.counts[name].reshape(-1, 1)
        for suffix, values in ((_SUMS, sums), (_COUNTS, counts)):
            raw = np.ascontiguousarray(values, dtype="<f4")
            data[name + suffix] = raw.view(np.uint8).ravel()
            tensors.append(Tensor(name + suffix, (raw.shape[1], raw.shape[0]), _F32, size=raw.nbytes))
    write(Path(path), keys, tensors, lambda tensor: (data[tensor.name],))


def collect(
    model: Model,
    text: str | bytes,
    *,
    dataset: str = "",
    context: int = 512,
    chunks: int | None = None,
    output: bool = False,
    each: Callable[[int, int], None] = lambda done, total: None,
) -> Imatrix:
    """Evaluate a text and sum the squares of what each matrix is multiplied with.

    The text is cut into chunks of `context` tokens, each evaluated on its own; where the model adds BOS, it
    replaces the first token of each. A rest that fills no chunk is left out; a text shorter than one is one.

    dataset  the name of the text, kept in the file
    chunks   at most so many; all if not given
    output   the output matrix as well (usually left out: its error shows in the logits directly)
    each     called with the chunks done and their number, after each
    """
    ids = model.tokenize(text)
    size = min(context, len(ids))
    if size < 2:
        raise ValueError(f"an importance matrix needs a text of at least 2 tokens; this one has {len(ids)}")
    starts = range(0, len(ids) - size + 1, size)[:chunks]
    bos = model._first_token()
    session = model._new_core_session(size)
    session.collect(True)
    for done, start in enumerate(starts, 1):
        chunk = ids[start : start + size]
        if bos is not None:
            chunk[0] = bos
        session.rewind(0)
        if output:
            session.score(chunk, 0)
        else:
            session.hidden(chunk)
        each(done, len(starts))
    sums: dict[str, Floats] = {}
    counts: dict[str, Floats] = {}
    for name, (squares, inputs) in session.collected().items():
        if inputs.any() and (output or name.startswith("blk.")):
            sums[name], counts[name] = squares.astype(np.float32), inputs.astype(np.float32)
    return Imatrix(sums, counts, (dataset,) if dataset else (), len(starts), size)


def add(first: Imatrix, second: Imatrix) -> Imatrix:
    """What both texts give together."""
    sums, counts = dict(first.sums), dict(first.counts)
    for name, more in second.sums.items():
        if name not in sums:
            sums[name], counts[name] = more, second.counts[name]
        elif sums[name].shape == more.shape:
            sums[name], counts[name] = sums[name] + more, counts[name] + second.counts[name]
        else:
            raise ModelFileError(
                f"the importance matrices have {sums[name].shape} and {more.shape} values for {name}: "
                "they were made for different models"
            )
    size = first.chunk_size or second.chunk_size
    tokens = first.chunk_count * first.chunk_size + second.chunk_count * second.chunk_size
    count = tokens // size if size else 0
    return Imatrix(sums, counts, (*first.datasets, *second.datasets), count, size)
