"""Importance matrices: how much each input column of a matrix matters, as mean squares of what came in on a
calibration text.

The file is GGUF: `general.type` is "imatrix", and for each matrix there are two tensors, `<name>.in_sum2`
[columns, matrices] with the sums of squares and `<name>.counts` [1, matrices] with the number of inputs.
Mixtures of experts have several matrices in one tensor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ModelFileError
from .gguf_file import GgufFile, Tensor, Value, write

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
