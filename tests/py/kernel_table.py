"""The table of kernels as Python sees it: rows of the `.def` files, slots of the header, guarded memory.

Tests and benches read the same lists as the build does: a new type or instruction set is tested and
measured without a change here.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from conftest import CSRC, CLibrary, declarations

GROUP: Final = 32
EPS: Final = 2.0**-24  # the largest relative error of one rounding to float
Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class QuantType:
    """A row of quants.def."""

    number: int
    name: str
    lower: str
    elements: int
    size: int  # bytes of a block
    is_int: bool
    mins: int
    slot: int

    def row_bytes(self, n: int) -> int:
        assert n % self.elements == 0
        return n // self.elements * self.size


def _rows(path: str, macro: str) -> list[list[str]]:
    text = (CSRC / path).read_text(encoding="utf-8")
    return [row.split(", ") for row in re.findall(rf"^{macro}\((\w.*)\)$", text, flags=re.M)]


TYPES: Final = {
    row[1]: QuantType(
        int(row[0]), row[1], row[2], int(row[3]), int(row[4]), row[5] == "INT", int(row[6]), slot
    )
    for slot, row in enumerate(_rows("quant/quants.def", "PE_QUANT"))
}
INTS: Final = [name for name, row in TYPES.items() if row.is_int]
FLOATS: Final = [name for name, row in TYPES.items() if not row.is_int]
ISAS: Final = [row[0] for row in _rows("kernels/isas.def", "PE_ISA")]


def declare(library: CLibrary) -> None:
    """The header, with its slots named, and the doors of tests/c/shim_kernels.c and shim_quant.c."""
    slots = "".join(f"PE_SLOT_{name}, " for name in TYPES)
    library.declare(
        declarations(CSRC / "kernels" / "kernels.h").replace(
            "enum pe_quant_slot {", "enum pe_quant_slot { " + slots
        )
    )
    for row in TYPES.values():  # the structs of the blocks tell where the scales lie
        text = declarations(CSRC / "quant" / f"{row.lower}.h")
        found = re.search(rf"typedef struct pe_{row.lower}_block \{{.*?\}} pe_{row.lower}_block;", text, re.S)
        assert found, row.lower
        library.declare(found[0])
    library.declare("""
        size_t pe_test_gemm_scratch(size_t n);
        size_t pe_test_attend_scratch(size_t head_dim);
        size_t pe_test_kernels_size(void);
        bool pe_test_scales(int type, const uint8_t *row, size_t n, float *scale, float *min);
        bool pe_test_integers(int type, const uint8_t *row, size_t n, int16_t *out);
        int mprotect(void *address, size_t size, int protection);
    """)
    size = library.lib.pe_test_kernels_size()
    assert library.ffi.sizeof("pe_kernels") == size, "the header was not read as the compiler reads it"


def isa_names(library: CLibrary) -> Iterator[tuple[str, bool, str]]:
    """Name, whether this machine can run it, and why; weakest first."""
    info, index = library.ffi.new("pe_isa_info *"), 0
    while library.lib.pe_isa_get(index, info):
        yield (
            library.ffi.string(info.name).decode(),
            bool(info.usable),
            library.ffi.string(info.reason).decode(),
        )
        index += 1


def halves(library: CLibrary, row: QuantType) -> list[int]:
    """Where in a block its half-precision scale and min lie."""
    fields = library.ffi.typeof(f"pe_{row.lower}_block").fields
    return [field.offset for name, field in fields if name in ("d", "m", "dmin")]


def random_weights(
    library: CLibrary, row: QuantType, n_rows: int, n: int, seed: int, spread: float = 0.02
) -> Bytes:
    """Rows of blocks [n_rows, row_bytes]: any integers, scales of either sign around `spread`."""
    rng = np.random.default_rng(seed)
    if not row.is_int:
        values = rng.standard_normal((n_rows, n)).astype(np.float32)
        if row.name == "BF16":
            return (values.view(np.uint32) >> 16).astype("<u2").view(np.uint8)
        return values.astype({"F32": "<f4", "F16": "<f2"}[row.name]).view(np.uint8)
    raw = rng.integers(0, 256, (n_rows * n // row.elements, row.size), np.uint8)
    for at in halves(library, row):
        raw[:, at : at + 2] = rng.normal(0, spread, (len(raw), 1)).astype("<f2").view(np.uint8)
    return raw.reshape(n_rows, -1)


class Memory:
    """Arrays whose last byte is the last that may be read, and arrays that notice a write past their end."""

    CANARY: Final = 0xA5
    MARGIN: Final = 2048  # bytes on each side: room for a wrong size to show here, and not in the heap

    def __init__(self, library: CLibrary) -> None:
        self._library = library
        self._watched: list[tuple[Bytes, int, int]] = []  # room, first byte of the output, bytes of it

    def fenced(self, values: Array) -> Array:
        """A copy that ends where a page without access begins."""
        page = mmap.PAGESIZE
        whole = -(-max(values.nbytes, 1) // page) * page
        room = mmap.mmap(-1, whole + page)
        view = np.frombuffer(room, np.uint8)
        status = self._library.lib.mprotect(self._library.ffi.from_buffer(room) + whole, page, 0)
        assert status == 0
        start = whole - values.nbytes
        view[start:whole] = np.ascontiguousarray(values).view(np.uint8).ravel()
        return view[start:whole].view(values.dtype).reshape(values.shape)

    def output(self, shape: int | tuple[int, ...], dtype: Any = np.float32, align: int = 64) -> Array:
        """Room for results, filled with NaN (or a pattern) and with canaries on both sides."""
        count, size = int(np.prod(shape)), np.dtype(dtype).itemsize
        room = np.full(count * size + 2 * self.MARGIN + align, self.CANARY, np.uint8)
        start = self.MARGIN + -(room.ctypes.data + self.MARGIN) % align
        self._watched.append((room, start, count * size))
        out: Array = room[start : start + count * size].view(dtype).reshape(shape)
        if np.issubdtype(out.dtype, np.floating):
            out[...] = np.nan
        return out

    def check(self) -> None:
        """Fails where a canary was overwritten."""
        watched, self._watched = self._watched, []
        for room, start, size in watched:
            assert (room[:start] == self.CANARY).all(), "bytes before an output were overwritten"
            assert (room[start + size :] == self.CANARY).all(), "bytes past an output were overwritten"


class Kernels:
    """The kernels of one instruction set, called with arrays."""

    def __init__(self, library: CLibrary, name: str | None) -> None:
        """`name` None: what PYEDGE_ISA or the machine choose."""
        self.library, self.ffi = library, library.ffi
        out = self.ffi.new("const pe_kernels **")
        chosen = self.ffi.NULL if name is None else self.ffi.new("char[]", name.encode())
        status = library.lib.pe_kernels_select(chosen, out)
        assert status == library.lib.PE_OK, library.error()
        self.table = out[0]
        self.name: str = self.ffi.string(self.table.name).decode()
        self.tile: int = self.table.tile_tokens
        self.memory = Memory(library)

    def floats(self, array: Array) -> Any:
        assert array.dtype == np.float32 and array.flags.c_contiguous
        return self.ffi.cast("float *", array.ctypes.data)

    def bytes(self, array: Array) -> Any:
        assert array.flags.c_contiguous
        return self.ffi.cast("uint8_t *", array.ctypes.data)

    def quantize_row(self, x: Floats) -> tuple[Array, Floats, Floats]:
        n = x.size
        q = self.memory.output(n, np.int16)
        scale, total = self.memory.output(n // GROUP), self.memory.output(n // GROUP * 2)
        pointer = self.ffi.cast("int16_t *", q.ctypes.data)
        self.table.quantize_row(pointer, self.floats(scale), self.floats(total), self.floats(x), n)
        return q, scale, total

    def quantize_tiles(self, x: Floats) -> tuple[Array, Floats, Floats]:
        """x [n_tokens, n] in tiles: q [tiles, n / 2, tile, 2], scale [tiles, n / 32, tile], sum likewise."""
        n_tokens, n = x.shape
        tile, tiles = self.tile, -(-n_tokens // self.tile)
        q = self.memory.output((tiles, n // 2, tile, 2), np.int16)
        scale = self.memory.output((tiles, n // GROUP, tile))
        total = self.memory.output((tiles, n // GROUP * 2, tile))
        scratch = self.memory.output(2 * n)
        for i in range(tiles):
            part = x[i * tile : (i + 1) * tile]
            self.table.quantize_tile(
                self.ffi.cast("int16_t *", q[i].ctypes.data),
                self.floats(scale[i]),
                self.floats(total[i]),
                self.floats(part),
                len(part),
                n,
                self.floats(scratch),
            )
        return q, scale, total

    def act(self, x: Floats, quantised: tuple[Array, Floats, Floats] | None) -> Any:
        """A pe_act over x [n_tokens, n]; the caller keeps the arrays alive."""
        act = self.ffi.new("pe_act *", {"n_tokens": x.shape[0], "n": x.shape[1], "f32": self.floats(x)})
        if quantised is not None:
            q, scale, total = quantised
            act.q = self.ffi.cast("int16_t *", q.ctypes.data)
            act.scale, act.sum = self.floats(scale), self.floats(total)
        return act

    def gemv(self, row: QuantType, w: Bytes, x: Floats) -> Floats:
        """w [n_rows, row_bytes] times x [n], inputs and weights fenced."""
        fenced = self.memory.fenced
        parts = tuple(fenced(part) for part in self.quantize_row(x)) if row.is_int else None
        inputs, weights = fenced(x.reshape(1, -1)), fenced(w)
        y = self.memory.output(len(w))
        act = self.act(inputs, parts)  # type: ignore[arg-type]
        self.table.gemv[row.slot](self.floats(y), self.bytes(weights), w.shape[1], len(w), act)
        self.memory.check()
        return y

    def gemm(self, row: QuantType, w: Bytes, x: Floats, stride: int | None = None) -> Floats:
        """The same for x [n_tokens, n]: y [n_tokens, n_rows]; what lies between the rows of y must stay."""
        fenced = self.memory.fenced
        n_tokens, n = x.shape
        stride = len(w) if stride is None else stride
        parts = tuple(fenced(part) for part in self.quantize_tiles(x)) if row.is_int else None
        inputs, weights = fenced(x), fenced(w)
        y = self.memory.output((n_tokens, stride))
        scratch = self.memory.output(self.library.lib.pe_test_gemm_scratch(n), np.uint8)
        act = self.act(inputs, parts)  # type: ignore[arg-type]
        y_room = y.ravel()[: (n_tokens - 1) * stride + len(w)]
        self.table.gemm[row.slot](
            self.floats(y_room),
            stride,
            self.bytes(weights),
            w.shape[1],
            len(w),
            act,
            self.ffi.cast("void *", scratch.ctypes.data),
        )
        assert np.isnan(y[:, len(w) :]).all(), "bytes between the rows of y were overwritten"
        self.memory.check()
        return np.ascontiguousarray(y[:, : len(w)])


def assert_same_bits(got: Array, expected: Array, what: str = "") -> None:
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32), err_msg=what)


# ---- fixtures, for test modules to take over


@pytest.fixture(scope="module")
def library(core: Any) -> Any:
    declare(core)
    return core


@pytest.fixture(scope="module", params=ISAS)
def kernels(request: pytest.FixtureRequest, library: Any) -> Kernels:
    for name, usable, reason in isa_names(library):
        if name == request.param and usable:
            return Kernels(library, name)
        if name == request.param:
            pytest.skip(f"{name} cannot run on this machine: it {reason}")
    pytest.skip(f"{request.param} is not in this build")
