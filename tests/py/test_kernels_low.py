"""The low-rank addition of adapters on every instruction set: its values, and that its bits do not depend on
how rows and tokens are grouped."""

from __future__ import annotations

from typing import Any

import kernel_table as kt
import numpy as np
import pytest
from kernel_table import EPS, Array, Floats, Kernels, assert_same_bits

library, kernels = kt.library, kt.kernels  # fixtures


def added(kernels: Kernels, y: Floats, b: Array, u: Floats, first: int, end: int) -> Floats:
    """y [n_tokens, n] with u b added to columns first..end-1, everything fenced."""
    n_tokens, n = y.shape
    room = kernels.memory.output(y.shape)
    room[:] = y
    columns, terms = kernels.memory.fenced(b), kernels.memory.fenced(u)

    def at(array: Array, kind: str) -> Any:
        return kernels.library.ffi.cast(kind, array.ctypes.data + first * array.itemsize)

    kernels.table.add_low(
        at(room, "float *"), n, at(columns, "const void *"), b.dtype == np.float32, n, end - first,
        kernels.floats(terms), u.shape[1], u.shape[1], n_tokens,
    )  # fmt: skip
    kernels.memory.check()
    return room


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_add_low(kernels: Kernels, dtype: type) -> None:
    rng = np.random.default_rng(1)
    for n in (1, 3, 8, 16, 17, 31, 32, 33, 100):
        for rank in (1, 3, 4, 5, 8, 19):
            y = rng.standard_normal((3, n)).astype(np.float32)
            b = rng.standard_normal((rank, n)).astype(dtype)
            u = rng.standard_normal((3, rank)).astype(np.float32)
            got = added(kernels, y, b, u, 0, n)
            exact = y.astype(np.float64) + u.astype(np.float64) @ b.astype(np.float64)
            size = np.abs(y) + np.abs(u) @ np.abs(b.astype(np.float32))
            assert (np.abs(got - exact) <= 2 * EPS * (rank + 1) * size).all()
            for t in range(3):
                alone = added(kernels, y[t : t + 1], b, u[t : t + 1], 0, n)
                assert_same_bits(alone[0], np.ascontiguousarray(got[t]))
            half = n // 2
            parts = added(kernels, added(kernels, y, b, u, 0, half), b, u, half, n)
            assert_same_bits(parts, got)
