"""The table of kernels as Python sees it: rows of the `.def` files, slots of the header, guarded memory.

Tests and benches read the same lists as the build does: a new type or instruction set is tested and
measured without a change here.
"""

from __future__ import annotations

import mmap
import platform
import re
from collections.abc import Callable, Iterator
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
NUMPY_TYPES: Final = {
    **{"F16": "<f2", "F32": "<f4", "F64": "<f8"},
    **{"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"},
}
# As CMakeLists.txt does: the rows of this machine's architecture, and those of any.
_ARCHITECTURES: Final = {"x86_64": "X86_64", "amd64": "X86_64", "aarch64": "AARCH64", "arm64": "AARCH64"}
_ARCHITECTURE: Final = _ARCHITECTURES.get(platform.machine().lower(), "ARM32")
ISAS: Final = [
    row[0] for row in _rows("kernels/isas.def", "PE_ISA") if row[1].strip() in ("ANY", _ARCHITECTURE)
]


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


def put_scales(library: CLibrary, row: QuantType, raw: Bytes, draw: Callable[[], Floats]) -> None:
    """Scales and mins of blocks [n, size], drawn for each of them: [n] finite values."""
    for name, field in library.ffi.typeof(f"pe_{row.lower}_block").fields:
        at, size = field.offset, library.ffi.sizeof(field.type)
        if name in ("d", "m", "dmin"):
            raw[:, at : at + size] = draw().astype(f"<f{size}")[:, None].view(np.uint8)
        elif name == "e":  # of MXFP4: a power of two, whose sign is lost
            raw[:, at] = 128 + np.rint(np.log2(np.maximum(np.abs(draw()), 2.0**-14)))
    if row.name == "NVFP4":  # scales that are integers of one power of two: exponents 4 to 8
        raw[:, :4] = (4 + raw[:, :4] % 5) << 3 | raw[:, :4] >> 5
    if row.name == "IQ1_M":  # a nibble of a half in each word of scales
        nibbles = draw().astype("<f2").view("<u2")[:, None] >> np.array([0, 4, 8, 12], np.uint16) & 15
        raw[:, 49::2] = raw[:, 49::2] & 15 | nibbles.astype(np.uint8) << 4


def random_weights(
    library: CLibrary, row: QuantType, n_rows: int, n: int, seed: int, spread: float = 0.02
) -> Bytes:
    """Rows of blocks [n_rows, row_bytes]: any integers, scales of either sign around `spread`."""
    rng = np.random.default_rng(seed)
    if not row.is_int:
        values = rng.standard_normal((n_rows, n)).astype(np.float32)
        if row.name == "BF16":
            return (values.view(np.uint32) >> 16).astype("<u2").view(np.uint8)
        if row.name.startswith("I"):
            values *= 25
        return values.astype(NUMPY_TYPES[row.name]).view(np.uint8)
    raw = rng.integers(0, 256, (n_rows * n // row.elements, row.size), np.uint8)
    put_scales(library, row, raw, lambda: rng.normal(0, spread, len(raw)))
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
        self.few: int = library.lib.PE_FEW
        self.memory = Memory(library)

    def floats(self, array: Array) -> Any:
        assert array.dtype == np.float32 and array.flags.c_contiguous
        return self.ffi.cast("float *", array.ctypes.data)

    def bytes(self, array: Array) -> Any:
        assert array.flags.c_contiguous
        return self.ffi.cast("uint8_t *", array.ctypes.data)

    def quantize(self, x: Floats) -> tuple[Array, Floats, Floats]:
        """x [n_tokens, n] as gemv (one token) and gemm read it, whole tiles from PE_FEW + 1 tokens on. Scales
        and sums of many tokens come back as [tiles, n / 32, tile] and [tiles, n / 16, tile], else one row a
        token."""
        n_tokens, n = x.shape
        tiles = -(-n_tokens // self.tile) if n_tokens > self.few else 0
        rows = tiles * self.tile or n_tokens
        q = self.memory.output((rows, n * (self.table.act_parts if tiles else 1)), np.int16)
        scale, total = self.memory.output((rows, n // GROUP)), self.memory.output((rows, n // GROUP * 2))
        scratch = self.memory.output(self.library.lib.pe_test_gemm_scratch(n), np.uint8)
        act = self.act(x, (q, scale, total))
        for first in range(0, n_tokens, self.tile):  # as the stages of a forward pass do, a tile at a time
            end = min(first + self.tile, n_tokens)
            self.table.quantize(act, first, end, self.ffi.cast("void *", scratch.ctypes.data))
        if tiles:
            scale, total = scale.reshape(tiles, -1, self.tile), total.reshape(tiles, -1, self.tile)
        return q, scale, total

    def quantize_row(self, x: Floats) -> tuple[Array, Floats, Floats]:
        q, scale, total = self.quantize(x.reshape(1, -1))
        return q[0], scale[0], total[0]

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
        parts = tuple(fenced(part) for part in self.quantize(x)) if row.is_int else None
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
