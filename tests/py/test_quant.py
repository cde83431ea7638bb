"""Tensor types: decode against references bit for bit, the kernels' unpack against decode, refusals."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

ROWS = re.findall(
    r"^PE_QUANT\((\d+), (\w+), (\w+), (\d+), (\d+), (FLOAT|INT), ([012]), (\d+)\)$",
    (pathlib.Path(__file__).resolve().parents[2] / "csrc" / "quant" / "quants.def").read_text(
        encoding="utf-8"
    ),
    flags=re.M,
)
NUMBER = {row[1]: int(row[0]) for row in ROWS}
BLOCK = {row[1]: (int(row[3]), int(row[4])) for row in ROWS}
FLOATS = [row[1] for row in ROWS if row[5] == "FLOAT"]
INTS = [row[1] for row in ROWS if row[5] == "INT"]
LARGEST = {row[1]: int(row[7]) for row in ROWS}
REQUIRED = [
    *("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"),
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q1_0", "Q2_0", "MXFP4", "NVFP4"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K", "TQ1_0", "TQ2_0"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
]
# In files of other formats, and in no reference data of GGUF: see test_nano.py.
FOREIGN = ["Q8_F", "NANO_Q4K"]
# The gguf package does not decode these; their tests have other references.
NOT_IN_PACKAGE = ["I8", "I16", "I32", "I64", "F64", "Q8_K", "Q1_0", "Q2_0"]

# Where in a block the halves are that scale it.
HALVES = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "IQ1_S": (0,), "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,),
    "IQ4_NL": (0,), "IQ4_XS": (0,), "TQ1_0": (52,), "TQ2_0": (64,), "Q1_0": (0,), "Q2_0": (0,),
    # scaled in another way: see set_halves
    "Q8_K": (), "Q8_F": (), "NANO_Q4K": (), "IQ1_M": (), "MXFP4": (), "NVFP4": (),
}  # fmt: skip
FLOAT_SCALES = {"Q8_K": (0,), "Q8_F": (0,), "NANO_Q4K": (12, 16)}

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

OK, ERR_ARG, ERR_UNSUPPORTED = 0, 1, 4


@pytest.fixture(scope="module")
def lib(core: Any) -> Any:
    core.declare_header("quant/types.h")
    core.declare("""
        bool pe_test_unpack(int type, const uint8_t *row, size_t n, float *out);
        bool pe_test_integers(int type, const uint8_t *row, size_t n, int16_t *out);
        void pe_test_half_to_float(const uint16_t *in, float *out, size_t n);
        void pe_test_float_to_half(const float *in, uint16_t *out, size_t n);
    """)
    return core


def pointer(lib: Any, ctype: str, array: npt.NDArray[Any]) -> Any:
    return lib.ffi.cast(ctype, lib.ffi.from_buffer(array))


def elements(name: str, raw: Bytes) -> int:
    block, size = BLOCK[name]
    assert raw.size % size == 0
    return raw.size // size * block


def decode(lib: Any, name: str, raw: Bytes) -> Floats:
    """Through the public function. The blocks start at an odd address, as nothing forbids them to."""
    n = elements(name, raw)
    odd = np.empty(raw.size + 1, np.uint8)
    odd[1:] = raw.ravel()
    out = np.full(n, np.nan, np.float32)
    status = lib.lib.pe_dequantize(
        NUMBER[name], lib.ffi.from_buffer(odd) + 1, raw.size, pointer(lib, "float *", out), n
    )
    assert status == OK, lib.error()
    return out.reshape(*raw.shape[:-1], -1)


def unpack(lib: Any, name: str, raw: Bytes) -> Floats:
    odd = np.empty(raw.size + 1, np.uint8)
    odd[1:] = raw.ravel()
    out = np.full(elements(name, raw), np.nan, np.float32)
    row = lib.ffi.cast("const uint8_t *", lib.ffi.from_buffer(odd)) + 1
    assert lib.lib.pe_test_unpack(NUMBER[name], row, out.size, pointer(lib, "float *", out))
    return out.reshape(*raw.shape[:-1], -1)


def integers(lib: Any, name: str, raw: Bytes) -> npt.NDArray[np.int16]:
    out = np.zeros(elements(name, raw), np.int16)
    row = pointer(lib, "const uint8_t *", raw)
    assert lib.lib.pe_test_integers(NUMBER[name], row, out.size, pointer(lib, "int16_t *", out))
    return out


def random_blocks(name: str, count: int, seed: int) -> Bytes:
    """Random bytes in every field; the scales are finite halves, with subnormals and zeros of both signs."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (count, BLOCK[name][1]), np.uint8)
    for at in HALVES[name]:
        bits = rng.integers(0, 0x7C00, count, np.uint16) | (rng.integers(0, 2, count, np.uint16) << 15)
        bits[:5] = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF][:count]
        rng.shuffle(bits)
        raw[:, at : at + 2] = bits.astype("<u2").view(np.uint8).reshape(-1, 2)
    for at in FLOAT_SCALES.get(name, ()):
        raw[:, at : at + 4] = rng.standard_normal(count).astype("<f4")[:, None].view(np.uint8)
    if name == "IQ1_M":
        raw[:, 55] &= 0xBF  # an exponent below that of infinity
    return raw


def set_halves(name: str, raw: Bytes, *values: float) -> None:
    """One value for each half; a scale of another kind becomes 0.75, or 0.5 where it is a power of two."""
    for at, value in zip(HALVES[name], values, strict=True):
        raw[..., at : at + 2] = np.frombuffer(np.array(value, "<f2").tobytes(), np.uint8)
    for at in FLOAT_SCALES.get(name, ()):
        raw[..., at : at + 4] = np.frombuffer(np.array(0.75, "<f4").tobytes(), np.uint8)
    if name == "MXFP4":
        raw[..., 0] = 127
    if name == "NVFP4":
        raw[..., :4] = 7 << 3
    if name == "IQ1_M":  # the half 0x3a00, a nibble in each word
        raw[..., 49:56:2] = raw[..., 49:56:2] & 15 | np.array([0x00, 0x00, 0xA0, 0x30], np.uint8)


def assert_same_bits(got: Floats, expected: Floats) -> None:
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


# ---- decode against references -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*INTS, "BF16"} - {"Q8_K", "NVFP4", *FOREIGN}))
def test_decode_matches_references(lib: Any, refs: pathlib.Path, name: str) -> None:
    with np.load(refs / "dequant" / "dequant.npz") as data:
        for kind in ("q", "r"):
            assert_same_bits(decode(lib, name, data[f"{name}_{kind}_raw"]), data[f"{name}_{kind}_c"])


@pytest.mark.parametrize("name", [name for name in REQUIRED if name not in NOT_IN_PACKAGE])
def test_decode_matches_gguf_package(lib: Any, name: str) -> None:
    quants = pytest.importorskip("gguf.quants")
    kind = pytest.importorskip("gguf").GGMLQuantizationType(NUMBER[name])
    if name in INTS:
        raw = random_blocks(name, 64, seed=NUMBER[name])
    else:
        raw = np.random.default_rng(1).normal(0, 1, 4096).astype({"F16": np.float16}.get(name, np.float32))
        raw = (
            (raw.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
            if name == "BF16"
            else raw.view(np.uint8)
        )
    with np.errstate(over="ignore"):  # the largest scales of MXFP4
        expected = quants.dequantize(
            raw if name in INTS else raw.view({"F32": "<f4", "F16": "<f2"}.get(name, "u1")), kind
        )
    # Equal as numbers: that package gives zeros of either sign.
    np.testing.assert_array_equal(decode(lib, name, raw).ravel(), np.asarray(expected, np.float32).ravel())


def test_decode_of_floats_is_exact(lib: Any) -> None:
    codes = np.arange(1 << 16, dtype=np.uint16)
    codes = codes[(codes & 0x7C00) != 0x7C00]
    assert_same_bits(decode(lib, "F16", codes.view(np.uint8)), codes.view(np.float16).astype(np.float32))
    codes = np.arange(1 << 16, dtype=np.uint16)
    assert_same_bits(
        decode(lib, "BF16", codes.view(np.uint8)), (codes.astype(np.uint32) << 16).view(np.float32)
    )
    words = np.random.default_rng(0).integers(0, 1 << 32, 4096, np.uint32)
    assert_same_bits(decode(lib, "F32", words.view(np.uint8)), words.view(np.float32))

    words = np.random.default_rng(1).integers(0, 1 << 64, 4096, np.uint64)
    for name, kind in {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}.items():
        assert_same_bits(decode(lib, name, words.view(np.uint8)), words.view(kind).astype(np.float32))
    doubles = np.array([0.0, -0.0, 1 / 3, -1e-45, 1e-60, 3.4e38, 1e300, -np.inf, 1 + 2**-24, 1 + 2**-23])
    with np.errstate(over="ignore", under="ignore"):
        assert_same_bits(decode(lib, "F64", doubles.view(np.uint8)), doubles.astype(np.float32))


def test_decode_of_float_scales_is_its_definition(lib: Any) -> None:
    raw = random_blocks("Q8_K", 64, seed=5)
    d, q = raw[:, :4].copy().view("<f4"), raw[:, 4:260].view(np.int8)
    assert_same_bits(decode(lib, "Q8_K", raw), d * q.astype(np.float32))
    raw = random_blocks("Q8_F", 64, seed=6)
    d, q = raw[:, :4].copy().view("<f4"), raw[:, 4:].view(np.int8)
    assert_same_bits(decode(lib, "Q8_F", raw).reshape(64, 32), d * q.astype(np.float32))


# ---- every code of a weight, from the formats' definitions -------------------------------------------------


def code_cases() -> dict[str, Callable[[int], tuple[Bytes, Floats]]]:
    """Per type: a block whose bytes take each code in turn, and the values that they stand for."""

    def nibbles(name: str, at: int, value: Callable[[int], float], halves: tuple[float, ...]) -> Any:
        def case(code: int) -> tuple[Bytes, Floats]:
            raw = np.zeros((1, BLOCK[name][1]), np.uint8)
            set_halves(name, raw, *halves)
            raw[0, at : at + 16] = np.arange(code, code + 16) % 256
            low = [value(byte & 15) for byte in raw[0, at : at + 16].tolist()]
            high = [value(byte >> 4) for byte in raw[0, at : at + 16].tolist()]
            return raw, np.array(low + high, np.float32)

        return case

    def q8_0(code: int) -> tuple[Bytes, Floats]:
        raw = np.zeros((1, 34), np.uint8)
        set_halves("Q8_0", raw, 0.5)
        raw[0, 2:] = np.arange(code, code + 32) % 256
        return raw, raw[0, 2:].view(np.int8).astype(np.float32) * np.float32(0.5)

    return {
        "Q4_0": nibbles("Q4_0", 2, lambda q: 0.5 * (q - 8), (0.5,)),
        "Q4_1": nibbles("Q4_1", 4, lambda q: 0.5 * q - 3.0, (0.5, -3.0)),
        "Q5_0": nibbles("Q5_0", 6, lambda q: 0.5 * (q - 16), (0.5,)),
        "Q5_1": nibbles("Q5_1", 8, lambda q: 0.5 * q - 3.0, (0.5, -3.0)),
        "Q8_0": q8_0,
    }


@pytest.mark.parametrize("name", sorted(code_cases()))
def test_every_code_of_a_byte(lib: Any, name: str) -> None:
    case = code_cases()[name]
    for code in range(256):
        raw, expected = case(code)
        np.testing.assert_array_equal(decode(lib, name, raw)[0], expected)
        np.testing.assert_array_equal(unpack(lib, name, raw)[0], expected)


@pytest.mark.parametrize("name", ["Q5_0", "Q5_1"])
def test_fifth_bit_belongs_to_its_weight(lib: Any, name: str) -> None:
    at = 2 if name == "Q5_0" else 4
    for bit in range(32):
        raw = np.zeros((1, BLOCK[name][1]), np.uint8)
        set_halves(name, raw, *(1.0, 0.0)[: len(HALVES[name])])
        raw[0, at + bit // 8] = 1 << bit % 8
        expected = np.full(32, -16.0 if name == "Q5_0" else 0.0, np.float32)
        expected[bit] += 16
        np.testing.assert_array_equal(decode(lib, name, raw)[0], expected)
        np.testing.assert_array_equal(integers(lib, name, raw), expected)


@pytest.mark.parametrize("name", INTS)
def test_every_bit_of_a_block_counts(lib: Any, name: str) -> None:
    """Each bit changes the weights (of some block: a sub-scale may be 0), in decode and in unpack alike."""
    size = BLOCK[name][1]
    if name == "Q8_K":
        size -= 32  # the sums of its integers say nothing new
    # What the head says every block says, and all pairs of scales are in another test.
    first = {"NANO_Q4K": 12, "NVFP4": 4}.get(name, 0)
    bits = np.arange(first * 8, size * 8)
    counts = np.zeros(bits.size, bool)
    for seed in range(16):
        block = random_blocks(name, 1, seed)
        set_halves(name, block, *(0.75, 0.5)[: len(HALVES[name])])
        raw = np.repeat(block, bits.size, axis=0)
        raw[np.arange(bits.size), bits // 8] ^= (1 << bits % 8).astype(np.uint8)
        decoded = decode(lib, name, raw)
        counts |= (decoded != decode(lib, name, block)).any(axis=1)
        np.testing.assert_array_equal(unpack(lib, name, raw), decoded)
    assert counts.all()


# ---- unpack for kernels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INTS)
def test_unpack_equals_decode(lib: Any, name: str) -> None:
    """Exactly, as numbers: a product of scale, sub-scale and integer fits into a float in any order, and only
    the addition of the min rounds."""
    for seed in range(4):
        raw = random_blocks(name, 256, seed)
        if name == "NVFP4":  # see the next test: exponents 4 to 8
            raw[:, :4] = (4 + raw[:, :4] % 5) << 3 | raw[:, :4] >> 5
        np.testing.assert_array_equal(unpack(lib, name, raw), decode(lib, name, raw))


def test_far_scales_of_nvfp4(lib: Any) -> None:
    """Its two scales for 32 weights become integers of one power of two: the larger one is exact, the smaller
    one off by at most 1/480 of it."""
    codes = np.arange(256, dtype=np.uint8)
    raw = np.random.default_rng(5).integers(0, 256, (1 << 15, 36), np.uint8)
    raw[:, :4] = np.stack(np.meshgrid(codes, codes), axis=-1).reshape(-1, 4)
    exact, found = (f(lib, "NVFP4", raw).reshape(-1, 2, 16) for f in (decode, unpack))
    scales = decode(lib, "NVFP4", np.where(np.arange(36) < 4, raw, 0x22).astype(np.uint8)).reshape(-1, 2, 16)
    scales = scales[:, :, 0]  # times 1
    large = scales.max(axis=1)
    off = np.abs(found - exact).max(axis=2) / 12
    assert (off <= large[:, None] / 480).all()
    np.testing.assert_array_equal(found[scales == large[:, None]], exact[scales == large[:, None]])


@pytest.mark.parametrize("name", INTS)
def test_integers_stay_in_bounds(lib: Any, name: str) -> None:
    """Kernels add 32 products with 15-bit activations in 32 bits, which allows for 4096."""
    raw = random_blocks(name, 512, seed=3)
    assert np.abs(integers(lib, name, raw).astype(np.int32)).max() == LARGEST[name] <= 4096


def test_integers_reach_the_bound(lib: Any) -> None:
    raw = np.zeros((1, 210), np.uint8)  # codes 0, that is -32, everywhere
    raw[0, 192:208] = 0x80  # sub-scales of -128
    np.testing.assert_array_equal(integers(lib, "Q6_K", raw), 4096)


def test_unpack_is_for_integer_types(lib: Any) -> None:
    for name in FLOATS:
        assert not lib.lib.pe_test_unpack(NUMBER[name], lib.ffi.NULL, 0, lib.ffi.NULL)


# ---- half floats -------------------------------------------------------------------------------------------


def test_half_to_float(lib: Any) -> None:
    codes = np.arange(1 << 16, dtype=np.uint16)
    out = np.empty(codes.size, np.float32)
    lib.lib.pe_test_half_to_float(pointer(lib, "uint16_t *", codes), pointer(lib, "float *", out), codes.size)
    expected = codes.view(np.float16).astype(np.float32)
    nan = np.isnan(expected)
    assert_same_bits(out[~nan], expected[~nan])
    assert np.isnan(out[nan]).all()
    np.testing.assert_array_equal(np.signbit(out), codes >> 15 != 0)


def test_float_to_half(lib: Any) -> None:
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float64)  # up to infinity
    halves[-1] = 65536.0
    ties = ((halves[:-1] + halves[1:]) / 2).astype(np.float32)
    near = [np.nextafter(ties, np.float32(0)), ties, np.nextafter(ties, np.float32(np.inf))]
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, np.uint32)
    edges = np.array([0, 1e-45, 2**-126, 3.4e38, np.inf, np.nan], np.float32)
    values = np.concatenate([*near, bits.view(np.float32), edges])
    values = np.concatenate([values, -values])
    out = np.empty(values.size, np.uint16)
    lib.lib.pe_test_float_to_half(
        pointer(lib, "float *", values), pointer(lib, "uint16_t *", out), values.size
    )
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        expected = values.astype(np.float16)
    nan = np.isnan(values)
    np.testing.assert_array_equal(out[~nan], expected[~nan].view(np.uint16))
    assert np.isnan(out[nan].view(np.float16)).all()


# ---- the table, sizes and refusals -------------------------------------------------------------------------


def test_table_matches_its_rows(lib: Any) -> None:
    assert set(REQUIRED) <= set(NUMBER)
    info = lib.ffi.new("pe_type_info *")
    seen: dict[str, tuple[int, int, int]] = {}
    while lib.lib.pe_type_get(len(seen), info):
        seen[lib.ffi.string(info.name).decode()] = (info.type, info.block_elements, info.block_bytes)
    assert seen == {name: (NUMBER[name], *BLOCK[name]) for name in NUMBER}
    for name, number in NUMBER.items():
        found = lib.lib.pe_quant_find(number)
        assert found == lib.lib.pe_quant_find_name(name.encode())
        assert found.is_int == (name in INTS)
    assert lib.lib.pe_quant_find(-1) == lib.ffi.NULL
    assert lib.lib.pe_quant_find_name(b"q4_k") == lib.ffi.NULL


@pytest.mark.parametrize("name", REQUIRED)
def test_sizes_are_those_of_ggml(name: str) -> None:
    gguf = pytest.importorskip("gguf")
    if name not in gguf.GGMLQuantizationType.__members__:
        pytest.skip("newer than the gguf package")
    kind = gguf.GGMLQuantizationType[name]
    assert NUMBER[name] == kind.value
    assert BLOCK[name] == gguf.GGML_QUANT_SIZES[kind]


def row_size(lib: Any, number: int, n: int) -> int | str:
    size, why = lib.ffi.new("uint64_t *"), lib.ffi.new("const char **")
    if lib.lib.pe_quant_row_size(number, n, size, why):
        return int(size[0])
    return str(lib.ffi.string(why[0]).decode())


@pytest.mark.parametrize("name", list(NUMBER))
def test_row_size(lib: Any, name: str) -> None:
    block, size = BLOCK[name]
    number = NUMBER[name]
    assert row_size(lib, number, 0) == 0
    assert row_size(lib, number, 7 * block) == 7 * size
    if block > 1:
        message = row_size(lib, number, block + 1)
        assert (
            isinstance(message, str)
            and str(block + 1) in message
            and str(block) in message
            and name in message
        )
    largest = (2**64 - 1) // block * block
    if largest // block * size < 2**64:
        assert row_size(lib, number, largest) == largest // block * size
    else:
        message = row_size(lib, number, largest)
        assert isinstance(message, str) and str(largest) in message and "2^64" in message


def test_row_size_of_types_that_are_not_here(lib: Any) -> None:
    for number in (-1, 4, 99, 2**31 - 1, -(2**31)):
        assert row_size(lib, number, 32) == f"type {number} is unknown; known are " + ", ".join(NUMBER)
    assert row_size(lib, 9, 64) == "type 9 (Q8_1) is not supported; supported are " + ", ".join(NUMBER)


def test_foreign_names_are_those_of_ggml(lib: Any) -> None:
    gguf = pytest.importorskip("gguf")
    for kind in gguf.GGMLQuantizationType:
        if kind.value <= 41 and kind.name not in NUMBER:
            assert f"type {kind.value} ({kind.name}) is not supported" in str(row_size(lib, kind.value, 256))


def test_dequantize_refuses(lib: Any) -> None:
    data, out = lib.ffi.new("uint8_t[18]"), lib.ffi.new("float[32]")
    null, call = lib.ffi.NULL, lib.lib.pe_dequantize
    q4_0 = NUMBER["Q4_0"]
    assert call(q4_0, data, 18, out, 32) == OK
    assert call(q4_0, data, 17, out, 32) == ERR_ARG
    assert lib.error() == "dequantize: 32 elements of Q4_0 take 18 bytes, but only 17 are given"
    assert call(q4_0, data, 18, out, 31) == ERR_ARG
    assert "no multiple of the 32" in lib.error()
    assert call(q4_0, null, 18, out, 32) == ERR_ARG and "data is NULL" in lib.error()
    assert call(q4_0, data, 18, null, 32) == ERR_ARG and "out is NULL" in lib.error()
    assert call(q4_0, null, 0, null, 0) == OK
    assert call(99, data, 18, out, 32) == ERR_UNSUPPORTED and "type 99 is unknown" in lib.error()
    most = 2 ** (8 * lib.ffi.sizeof("size_t")) - 32
    assert call(NUMBER["F32"], data, 18, out, most) == ERR_ARG
