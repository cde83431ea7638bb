"""The table of kernels, the quantised activations and the products, on every instruction set of this machine.

The reference is never another kernel. Integer products have to come out with exactly the bits that
csrc/kernels/kernels.h promises, computed here anew: the header fixes the order of roundings, and an
instruction set may only differ in whether acc + a * b is rounded once or twice. Products with float weights
are held to float64 within a stated bound. The other slots are in test_kernels_float.py.
"""

from __future__ import annotations

from typing import Any

import kernel_table as kt
import numpy as np
import pytest
from kernel_table import (
    EPS,
    FLOATS,
    GROUP,
    INTS,
    ISAS,
    TYPES,
    Array,
    Bytes,
    Floats,
    Kernels,
    QuantType,
    assert_same_bits,
)

Q_MAX = 16383
SPECIAL = np.array([0, -0.0, 1e-45, -1e-40, 1e-37, 1.7e-33, 1, -2, 1e30, -1e30, 3e38], np.float32)


library, kernels = kt.library, kt.kernels  # fixtures


def fma(a: Floats, b: Floats, c: Floats) -> Floats:
    """a * b + c with one rounding: in float64 rounded to odd, then to float, which together round once."""
    product = a.astype(np.float64) * b.astype(np.float64)  # exact
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    even = (total.view(np.int64) & 1) == 0
    direction = np.where(error > 0, np.inf, -np.inf)
    odd = np.where((error != 0) & even, np.nextafter(total, direction), total)
    return odd.astype(np.float32)


# ---- the table ---------------------------------------------------------------------------------------------


def test_table_can_be_had_by_name(library: Any) -> None:
    out = library.ffi.new("const pe_kernels **")
    usable = []
    for name, runs, reason in kt.isa_names(library):
        status = library.lib.pe_kernels_select(name.encode(), out)
        if runs:
            assert status == library.lib.PE_OK
            usable.append(name)
        else:
            assert status == library.lib.PE_ERR_UNSUPPORTED
            assert name in library.error() and reason.removeprefix("lacks ") in library.error()
    assert usable[0] == "scalar"
    assert set(usable) <= set(ISAS)
    assert Kernels(library, None).name in usable  # PYEDGE_ISA, or the best


def test_every_slot_is_filled_and_tested(kernels: Kernels) -> None:
    fields = dict(kernels.ffi.typeof("pe_kernels").fields)
    assert set(fields) - {"name", "tile_tokens", "act_parts"} == {
        *("quantize", "gemv", "gemm"),
        *("rms_norm", "layer_norm", "add", "scale", "soft_cap", "rope"),
        *("silu_mul", "gelu_tanh_mul", "gelu_erf_mul"),
        *("kv_store", "attend", "attend_join", "max", "any_nan", "sum_exp", "read_sum"),
        "add_low",  # test_kernels_low.py
        "fits",  # test_quantize_types.py
    }, "a slot without a test"
    null = kernels.ffi.NULL
    for name in set(fields) - {"gemv", "gemm", "tile_tokens", "act_parts"}:
        assert getattr(kernels.table, name) != null
    for row in TYPES.values():
        assert kernels.table.gemv[row.slot] != null and kernels.table.gemm[row.slot] != null
        assert kernels.library.lib.pe_kernels_slot(row.number) == row.slot
    assert kernels.library.lib.pe_kernels_slot(9999) == -1


# ---- activations -------------------------------------------------------------------------------------------


def quantise(x: Floats) -> tuple[Array, Floats, Floats]:
    """What quantize_row has to give, in bits: each step is one IEEE operation."""
    groups = x.reshape(-1, GROUP)
    largest = np.abs(groups).max(axis=1)
    with np.errstate(over="ignore", divide="ignore"):
        scale = largest / np.float32(Q_MAX)
        inverse = np.where(scale > np.float32(1e-37), np.float32(Q_MAX) / largest, np.float32(0))
        scale = np.where(inverse == 0, np.float32(0), scale)
        q = np.rint(groups * inverse[:, None]).astype(np.int16)
        halves = q.reshape(-1, 2, GROUP // 2).sum(axis=2, dtype=np.int64).astype(np.float32)
        return q.ravel(), scale, (scale[:, None] * halves).ravel()


def activations(name: str, n: int, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n).astype(np.float32)
    if name == "outlier":
        x[rng.integers(n)] = 1e4
    elif name == "huge":
        x *= np.float32(1e30)
    elif name == "denormal":
        x *= np.float32(1e-40)
    elif name == "tiny":  # groups on both sides of where scales would be subnormal
        x *= np.float32(10.0) ** rng.uniform(-38, -32, n // GROUP).astype(np.float32).repeat(GROUP)
    elif name == "zero":
        x[:] = 0
    elif name == "some zero groups":
        x.reshape(-1, GROUP)[::2] = 0
    elif name == "special":
        x = rng.choice(SPECIAL, n)
    elif name == "ties":  # halves of a step, to be rounded to even
        x = (rng.integers(-Q_MAX * 2, Q_MAX * 2 + 1, n) / 2).astype(np.float32)
        x.reshape(-1, GROUP)[:, 0] = Q_MAX
    elif name == "constant":
        x[:] = -3.25
    return x


KINDS = [
    "normal",
    "outlier",
    "huge",
    "denormal",
    "tiny",
    "zero",
    "some zero groups",
    "special",
    "ties",
    "constant",
]


@pytest.mark.parametrize("kind", KINDS)
def test_quantize_row(kernels: Kernels, kind: str) -> None:
    for n in (32, 64, 576, 2048):
        x = activations(kind, n, seed=n)
        q, scale, total = kernels.quantize_row(kernels.memory.fenced(x))
        kernels.memory.check()
        for got, expected in zip((q, scale, total), quantise(x), strict=True):
            np.testing.assert_array_equal(got, expected)
        assert np.abs(q.astype(int)).max() <= Q_MAX
        assert np.isfinite(scale).all()
        # The largest value of a group uses the whole range, and no value is off by more than half a step.
        steps = scale.repeat(GROUP).astype(np.float64)
        alive = steps > 0
        assert (np.abs(q).reshape(-1, GROUP).max(axis=1)[alive[::GROUP]] == Q_MAX).all()
        assert (np.abs(steps * q - x)[alive] <= 0.502 * steps[alive]).all()
        assert (np.abs(x[~alive]) <= 1.7e-33).all()


def test_tokens_are_quantised_alone(kernels: Kernels) -> None:
    """Scales and sums of any number of tokens are those of each token; the integers lie as gemm wants."""
    n, tile = 96, kernels.tile
    for n_tokens in (2, kernels.few, kernels.few + 1, 2 * tile, 2 * tile + 1):
        x = np.stack([activations(KINDS[t % len(KINDS)], n, seed=t) for t in range(n_tokens)])
        got = kernels.quantize(kernels.memory.fenced(x))
        kernels.memory.check()
        alone = [np.stack(parts) for parts in zip(*(kernels.quantize_row(line) for line in x), strict=True)]
        if n_tokens <= kernels.few:
            for many, one in zip(got, alone, strict=True):
                np.testing.assert_array_equal(many, one)
            continue
        for many, one in zip(got[1:], alone[1:], strict=True):
            by_token = many.transpose(0, 2, 1).reshape(-1, many.shape[1])
            np.testing.assert_array_equal(by_token[:n_tokens], one)
            assert not by_token[n_tokens:].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_activations_that_are_not_numbers_do_no_harm(kernels: Kernels, bad: float) -> None:
    """A broken model can make them; the result means nothing, but nothing else may go wrong."""
    x = activations("normal", 64)
    x[[3, 40]] = bad
    row = TYPES["Q8_0"]
    w = kt.random_weights(kernels.library, row, 3, 64, seed=1)
    kernels.gemv(row, w, x)
    kernels.gemm(row, w, np.stack([x, x]))


# ---- integer products --------------------------------------------------------------------------------------


def parts(library: Any, row: QuantType, w: Bytes, n: int) -> tuple[Array, Floats, Floats]:
    """Of rows: integers [n_rows, n], scales [n_rows, n / 32] and mins [n_rows, mins * n / 32]."""
    integers = np.empty((len(w), n), np.int16)
    scale = np.empty((len(w), n // GROUP), np.float32)
    low = np.empty((len(w), row.mins * n // GROUP), np.float32)
    for r, line in enumerate(np.ascontiguousarray(w)):
        data, cast = library.ffi.from_buffer(line), library.ffi.cast
        raw = cast("const uint8_t *", data)
        assert library.lib.pe_test_integers(row.number, raw, n, cast("int16_t *", integers[r].ctypes.data))
        scales = (cast("float *", part[r].ctypes.data) for part in (scale, low))
        assert library.lib.pe_test_scales(row.number, raw, n, *scales)
    return integers, scale, low


def integer_product(library: Any, row: QuantType, w: Bytes, x: Floats, fused: bool) -> Floats:
    """y [n_tokens, n_rows] for x [n_tokens, n], with every rounding that kernels.h tells."""
    n_tokens, n = x.shape
    integers, scale, low = parts(library, row, w, n)
    tokens = [quantise(line) for line in x]
    q, x_scale, x_sum = (np.stack([token[i] for token in tokens]) for i in range(3))
    w_groups = integers.astype(np.float64).reshape(len(w), -1, GROUP)  # exact: sums stay below 2^53
    dots = np.einsum("tgi,rgi->gtr", q.astype(np.float64).reshape(n_tokens, -1, GROUP), w_groups)
    assert np.abs(dots).max() < 2**31

    def step(a: Floats, b: Floats, c: Floats) -> Floats:
        return fma(a, b, c) if fused else a * b + c

    acc = np.zeros((n_tokens, len(w)), np.float32)
    for g in range(n // GROUP):
        acc = step(dots[g].astype(np.float32), scale[:, g] * x_scale[:, g, None], acc)
        first, second = x_sum[:, 2 * g, None], x_sum[:, 2 * g + 1, None]
        if row.mins == 1:
            acc = step(low[:, g], first + second, acc)
        if row.mins == 2:
            acc = step(low[:, 2 * g + 1], second, step(low[:, 2 * g], first, acc))
    return acc


@pytest.fixture(scope="module")
def fused(kernels: Kernels) -> bool:
    """Whether this instruction set rounds a * b + c once. Nothing else may differ between them."""
    row = TYPES["Q8_0"]
    w, x = kt.random_weights(kernels.library, row, 8, 2048, seed=3), activations("normal", 2048)
    got = kernels.gemv(row, w, x)
    once, twice = (integer_product(kernels.library, row, w, x[None], kind)[0] for kind in (True, False))
    assert not np.array_equal(once, twice)
    if np.array_equal(got, once):
        return True
    assert_same_bits(got, twice, "neither the bits with one rounding a step nor those with two")
    return False


def lengths(row: QuantType) -> list[int]:
    return [row.elements * k for k in ((1, 2, 3, 18, 64) if row.elements == 32 else (1, 2, 3, 8))]


@pytest.mark.parametrize("name", INTS)
def test_gemv_bits(kernels: Kernels, fused: bool, name: str) -> None:
    row = TYPES[name]
    for n in lengths(row):
        w = kt.random_weights(kernels.library, row, 33, n, seed=n)
        for kind in ("normal", "outlier", "some zero groups", "huge", "tiny"):
            x = activations(kind, n, seed=n + 1)
            expected = integer_product(kernels.library, row, w, x[None], fused)[0]
            assert_same_bits(kernels.gemv(row, w, x), expected, f"n = {n}, {kind}")


@pytest.mark.parametrize("name", [*INTS, *FLOATS])
def test_gemv_rows_do_not_depend_on_each_other(kernels: Kernels, name: str) -> None:
    row = TYPES[name]
    n = max(row.elements, 32)
    w, x = kt.random_weights(kernels.library, row, 33, n, seed=7), activations("normal", n)
    whole = kernels.gemv(row, w, x)
    for n_rows in range(1, 34):
        assert_same_bits(kernels.gemv(row, w[:n_rows], x), whole[:n_rows])
        assert_same_bits(kernels.gemv(row, w[33 - n_rows :], x), whole[33 - n_rows :])


@pytest.mark.parametrize("name", [*INTS, *FLOATS])
def test_gemm_gives_each_token_the_bits_of_gemv(kernels: Kernels, name: str) -> None:
    row = TYPES[name]
    for n in lengths(row)[:4] if row.is_int else (1, 7, 33, 80, 576):
        w = kt.random_weights(kernels.library, row, 16, n, seed=n)
        kinds = ("normal", "outlier", "zero", "normal")
        x = np.stack([activations(kinds[t % 4], n, seed=t) for t in range(kernels.few + kernels.tile + 3)])
        alone = np.stack([kernels.gemv(row, w, line) for line in x])
        for n_tokens in range(2, len(x) + 1):
            for n_rows in (1, 5, 16) if n_tokens in (2, 3, len(x)) else (16,):
                got = kernels.gemm(row, w[:n_rows], x[:n_tokens], stride=n_rows + 3)
                assert_same_bits(got, np.ascontiguousarray(alone[:n_tokens, :n_rows]), f"n = {n}")


@pytest.mark.parametrize("n_rows", range(1, 17))
def test_gemm_of_any_panel(kernels: Kernels, n_rows: int) -> None:
    for name in ("Q4_1", "Q6_K", "F16"):
        row = TYPES[name]
        w = kt.random_weights(kernels.library, row, 16, 256, seed=n_rows)
        for n_tokens in (3, kernels.few + 3):
            x = np.stack([activations("normal", 256, seed=t) for t in range(n_tokens)])
            expected = np.ascontiguousarray(kernels.gemm(row, w, x)[:, :n_rows])
            assert_same_bits(kernels.gemm(row, w[:n_rows], x, stride=40), expected)


def decoded(library: Any, row: QuantType, w: Bytes, n: int) -> Floats:
    out = np.empty((len(w), n), np.float32)
    data = np.ascontiguousarray(w)
    target = library.ffi.cast("float *", out.ctypes.data)
    status = library.lib.pe_dequantize(row.number, library.ffi.from_buffer(data), data.size, target, out.size)
    assert status == library.lib.PE_OK, library.error()
    return out


@pytest.mark.parametrize("name", INTS)
def test_integer_products_are_near_the_exact_ones(kernels: Kernels, name: str) -> None:
    """Half a step of the activations for each weight, and a rounding of the terms' sum for each step."""
    row = TYPES[name]
    for n in (256, 2048):
        w = kt.random_weights(kernels.library, row, 19, n, seed=n)
        _, _, low = parts(kernels.library, row, w, n)
        mins = np.abs(low).repeat(GROUP // row.mins, axis=1) if row.mins else np.zeros((len(w), n))
        for kind in ("normal", "outlier", "huge"):
            x = activations(kind, n, seed=3).astype(np.float64)
            weights = decoded(kernels.library, row, w, n).astype(np.float64)
            steps = np.abs(x).reshape(-1, GROUP).max(axis=1).repeat(GROUP) / Q_MAX
            terms = (np.abs(weights) + 2 * mins) @ np.abs(x)
            bound = np.abs(weights) @ (0.502 * steps) + (n / GROUP * (1 + row.mins) + 8) * EPS * terms
            error = np.abs(kernels.gemv(row, w, x.astype(np.float32)) - weights @ x)
            assert (error <= bound).all(), (n, kind, (error / bound).max())


@pytest.mark.parametrize("name", INTS)
@pytest.mark.parametrize("fill", [0x00, 0xFF, 0x80, 0x7F])
def test_extreme_integers_do_not_overflow(kernels: Kernels, fused: bool, name: str, fill: int) -> None:
    row, n = TYPES[name], 256
    w = np.full((9, n // row.elements, row.size), fill, np.uint8)
    kt.put_scales(kernels.library, row, w.reshape(-1, row.size), lambda: np.ones(w.size // row.size))
    w = w.reshape(9, -1)
    for sign in (1, -1):
        x = np.full((kernels.few + 1, n), sign * Q_MAX, np.float32)
        expected = integer_product(kernels.library, row, w, x, fused)
        assert_same_bits(kernels.gemv(row, w, x[0]), expected[0])
        assert_same_bits(kernels.gemm(row, w, x[:2]), expected[:2])
        assert_same_bits(kernels.gemm(row, w, x), expected)


def test_the_largest_integer_product_is_exact(kernels: Kernels) -> None:
    """Sub-scale -128 times -32 against the largest activation: 32 of them are 131072 below 2^31."""
    row, n = TYPES["Q6_K"], 2048
    w = np.zeros((11, n // 256, row.size), np.uint8)
    offsets = {name: field.offset for name, field in kernels.ffi.typeof("pe_q6_k_block").fields}
    w[:, :, offsets["scales"] : offsets["scales"] + 16] = 0x80
    w[:, :, offsets["d"] : offsets["d"] + 2] = np.array([1], "<f2").view(np.uint8)
    w = w.reshape(11, -1)
    for sign in (1, -1):
        x = np.full((kernels.few + 1, n), sign * Q_MAX, np.float32)
        exact = sign * n * 4096 * Q_MAX
        assert np.float32(exact) == exact
        assert (kernels.gemv(row, w, x[0]) == exact).all()
        assert (kernels.gemm(row, w, x[:2]) == exact).all()
        assert (kernels.gemm(row, w, x) == exact).all()


# ---- float products ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("n", [1, 2, 7, 15, 16, 17, 31, 33, 80, 100, 576, 2048])
def test_float_products(kernels: Kernels, name: str, n: int) -> None:
    """At most a rounding of every partial sum, which never exceeds the sum of magnitudes."""
    row = TYPES[name]
    w = kt.random_weights(kernels.library, row, 9, n, seed=n)
    weights = decoded(kernels.library, row, w, n).astype(np.float64)
    x = activations("normal", n, seed=1) if n >= GROUP else np.linspace(-1, 2, n, dtype=np.float32)
    error = np.abs(kernels.gemv(row, w, x) - weights @ x)
    assert (error <= (n + 4) * EPS * (np.abs(weights) @ np.abs(x))).all()


def all_values(name: str) -> tuple[Bytes, Floats]:
    """Weights [n, size] of a float type, extremes included, and what they are worth."""
    rng = np.random.default_rng(1)
    if name in ("F16", "BF16"):
        codes = np.arange(0x7C00 if name == "F16" else 0x7F80, dtype=np.uint16)[:: 1 if name == "F16" else 5]
        values = codes.view(np.float16).astype(np.float32)
        if name == "BF16":
            values = (codes.astype(np.uint32) << 16).view(np.float32)
        return codes.astype("<u2").view(np.uint8).reshape(-1, 2), values
    kind = np.dtype(kt.NUMPY_TYPES[name])
    if name.startswith("I"):
        info = np.iinfo(kind)
        numbers = rng.integers(info.min, info.max, 4096, kind.newbyteorder("="), endpoint=True)
        numbers[:4] = info.min, info.max, 0, -1
    else:
        words = rng.integers(0, 0x7F800000, 4096, np.uint32)
        words[:4] = 0, 1, 0x007FFFFF, 0x7F7FFFFF
        numbers = words.view(np.float32).astype(kind)
        if name == "F64":
            numbers[4:] *= 1 + rng.random(4092) * 1e-8  # between two floats, mostly
            numbers[4:] = np.minimum(numbers[4:], np.finfo(np.float32).max)
    return numbers.view(np.uint8).reshape(4096, -1), numbers.astype(np.float32)


@pytest.mark.parametrize("name", FLOATS)
def test_every_float_weight_is_read_exactly(kernels: Kernels, name: str) -> None:
    """One weight a row times 1: subnormals and the largest values included, in every lane and in the tail."""
    row = TYPES[name]
    raw, values = all_values(name)
    n = 19
    w = np.zeros((len(raw), n, raw.shape[1]), np.uint8)
    place = np.arange(len(raw)) % n
    w[np.arange(len(raw)), place] = raw
    got = kernels.gemv(row, w.reshape(len(raw), -1), np.ones(n, np.float32))
    np.testing.assert_array_equal(got, values)
