"""The quantisers: error against another engine's on the same weights, what they report, what they refuse."""

from __future__ import annotations

import pathlib

import numpy as np
import numpy.typing as npt
import pytest

from pyedge import _core

TYPES = {name: (number, elements, size) for number, (name, elements, size) in _core.types().items()}
NUMBERS = {name: TYPES[name][0] for name in TYPES if _core.can_quantize(TYPES[name][0])}
MADE = list(NUMBERS)
REQUIRED = {
    *("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "Q1_0", "Q2_0"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"),
}
# No row of a grid is constant, and floats of four bits are far apart.
COARSE = {"MXFP4": 0.2, "IQ3_XXS": 0.3, "IQ3_S": 0.3, "IQ2_S": 0.3, "IQ2_XS": 0.8, "IQ2_XXS": 0.8}
BAR = 1.02  # error allowed, as a multiple of the reference's

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def encode(
    name: str, x: Floats, importance: Floats | None = None, threads: int = 1
) -> tuple[Bytes, float, float]:
    number, elements, size = TYPES[name]
    raw = np.ascontiguousarray(x).view(np.uint8).ravel()
    out = np.empty(x.size // elements * size, np.uint8)
    return out, *_core.quantize_rows(out, number, raw, 0, *x.shape, importance, threads)


def decode(name: str, raw: Bytes, shape: tuple[int, ...]) -> Floats:
    raw = np.ascontiguousarray(raw).ravel()
    return _core.dequantize(TYPES[name][0], raw, int(np.prod(shape))).reshape(shape)


def there_and_back(name: str, x: Floats, importance: Floats | None = None) -> Floats:
    return decode(name, encode(name, x, importance)[0], x.shape)


def samples() -> dict[str, Floats]:
    rng = np.random.default_rng(7)
    shape = (16, 1024)
    made = {
        "normal": rng.normal(0, 0.02, shape),
        "heavy tails": rng.standard_t(3, shape) * 0.02,
        "one sign": np.abs(rng.normal(0, 1, shape)),
        "outlier": np.where(rng.random(shape) < 1e-3, 50, rng.normal(0, 0.5, shape)),
        "sparse": rng.normal(0, 1, shape) * (rng.random(shape) < 0.05),
        "scales": rng.normal(0, 1, shape) * np.exp(rng.normal(0, 1, (16, 64)).repeat(16, axis=1)),
    }
    return {name: values.astype(np.float32) for name, values in made.items()}


def test_all_types_that_need_no_calibration_can_be_made() -> None:
    assert set(MADE) >= REQUIRED


# ---- error against references ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("weighted", [False, True])
def test_error_is_that_of_the_reference_or_less(refs: pathlib.Path, name: str, weighted: bool) -> None:
    with np.load(refs / "dequant" / "dequant.npz") as data:
        key = f"{name}_q_raw" if weighted else f"{name}_q0_raw"
        if key not in data:
            pytest.skip(f"no {key} in the reference data")
        x, theirs, importance = data["x"], data[key], data["imatrix"].astype(np.float32)
    weights = importance if weighted else np.float32(1)

    def errors(values: Floats) -> Floats:
        return np.sqrt((weights * (values - x) ** 2).sum(axis=1, dtype=np.float64))

    ours = errors(there_and_back(name, x, importance if weighted else None))
    bound = errors(decode(name, theirs, x.shape))
    rows = bound > 0
    assert (ours[~rows] == 0).all()
    # A row is two blocks: single rows may be unlucky, all together may not.
    np.testing.assert_array_less(ours[rows], bound[rows] * 1.05)
    assert np.linalg.norm(ours / np.where(rows, bound, 1)) <= BAR * np.sqrt(rows.sum())


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("F32", "F16", "BF16")])
def test_importance_moves_the_error_away_from_what_matters(name: str) -> None:
    x = samples()["normal"]
    importance = np.random.default_rng(1).gamma(0.3, 1, x.shape[1]).astype(np.float32)

    def error(values: Floats) -> float:
        return float((importance * (values - x) ** 2).sum())

    plain, weighted = error(there_and_back(name, x)), error(there_and_back(name, x, importance))
    assert weighted <= plain * (1.001 if name in ("Q8_0", "Q6_K") else 0.999)


# ---- what is reported is what is there ---------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_reported_error_is_the_real_one(name: str) -> None:
    for kind, x in samples().items():
        raw, squared_error, squared_sum = encode(name, x)
        real = ((decode(name, raw, x.shape).astype(np.float64) - x) ** 2).sum()
        assert squared_error == pytest.approx(real, rel=1e-3, abs=1e-9 * squared_sum), kind
        assert squared_sum == pytest.approx((x.astype(np.float64) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_bytes_do_not_depend_on_threads(name: str) -> None:
    x = samples()["heavy tails"]
    alone = encode(name, x)
    for threads in (2, 5):
        raw, squared_error, squared_sum = encode(name, x, threads=threads)
        np.testing.assert_array_equal(raw, alone[0])
        assert (squared_error, squared_sum) == alone[1:]


@pytest.mark.parametrize("name", MADE)
def test_rows_do_not_depend_on_each_other(name: str) -> None:
    """Whatever is done side by side: short rows, whose number of blocks is odd, and importances by column."""
    rng = np.random.default_rng(3)
    x = rng.standard_t(4, (37, 3 * max(TYPES[name][1], 32))).astype(np.float32)
    importance = rng.gamma(1, 1, x.shape[1]).astype(np.float32)
    for weights in (None, importance):
        alone = [encode(name, row[None], weights)[0] for row in x]
        np.testing.assert_array_equal(encode(name, x, weights)[0], np.concatenate(alone))


@pytest.mark.parametrize("isa", [name for name, usable, _ in _core.isas() if usable])
def test_instruction_sets_find_the_same_errors(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = samples()["normal"]
    best = {name: encode(name, x)[1] for name in MADE}
    monkeypatch.setenv("PYEDGE_ISA", isa)
    for name in MADE:
        assert encode(name, x)[1] == pytest.approx(best[name], rel=1e-2), name


def test_rows_of_any_type_are_read() -> None:
    x = samples()["normal"]
    for source in MADE:
        raw = encode(source, x)[0]
        values = decode(source, raw, x.shape)
        out = np.empty_like(values)
        squared_error, _ = _core.quantize_rows(
            out.view(np.uint8).ravel(), 0, raw, NUMBERS[source], *x.shape, None, 1
        )
        np.testing.assert_array_equal(out, values)
        assert squared_error == 0


# ---- edges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
def test_zeros_stay_zeros(name: str) -> None:
    x = np.zeros((3, 512), np.float32)
    x[1, 300] = 1  # one weight that is not, in an otherwise empty block
    back = there_and_back(name, x)
    assert not back[[0, 2]].any()
    assert np.isfinite(back).all()


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("value", [1.0, -3.0, 0.01, 6e4])
def test_constant_rows(name: str, value: float) -> None:
    x = np.full((1, 512), value, np.float32)
    np.testing.assert_allclose(there_and_back(name, x), x, rtol=COARSE.get(name, 0.01))


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0"])
def test_ternary_weights_are_kept_exactly(name: str) -> None:
    x = np.random.default_rng(3).integers(-1, 2, (4, 512)).astype(np.float32) * np.float32(0.375)
    np.testing.assert_array_equal(there_and_back(name, x), x)


@pytest.mark.parametrize("name", ["Q4_0", "Q5_0", "Q4_1", "Q5_1"])
def test_quantising_twice_changes_next_to_nothing(name: str) -> None:
    once = there_and_back(name, samples()["normal"])
    np.testing.assert_allclose(there_and_back(name, once), once, atol=2e-3 * float(np.abs(once).max()))


def test_floats_round_to_nearest() -> None:
    x = np.array([[1 + 2**-11, 1 + 3 * 2**-11, -65504, 2**-25, 3e-8, 0.1, 1 + 2**-9, 1 + 2**-8]], np.float32)
    np.testing.assert_array_equal(there_and_back("F16", x), x.astype(np.float16).astype(np.float32))
    expected = [1, 1, -65536, 2**-25, 3e-8, 0.1, 1, 1]
    np.testing.assert_allclose(there_and_back("BF16", x)[0], expected, rtol=2**-8)


@pytest.mark.parametrize("name", MADE)
def test_no_rows(name: str) -> None:
    raw, squared_error, squared_sum = encode(name, np.zeros((0, 256), np.float32))
    assert (raw.size, squared_error, squared_sum) == (0, 0, 0)


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(name: str, bad: float) -> None:
    x = np.zeros((4, 4096), np.float32)
    x[2, 3001] = bad
    with pytest.raises(Exception, match=r"row 2, column 3001 is not a finite number"):
        encode(name, x)


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("F32", "BF16", "MXFP4")])
def test_value_that_the_type_cannot_hold(name: str) -> None:
    x = np.ones((2, 256), np.float32)
    x[1, 5] = -1e12
    with pytest.raises(ValueError, match=rf"row 1, column 5 is -1e\+12, which {name} cannot hold"):
        encode(name, x)


def test_floats_with_a_wide_range_hold_large_values() -> None:
    x = np.full((1, 32), 1e30, np.float32)
    for name in ("F32", "BF16"):
        np.testing.assert_allclose(there_and_back(name, x), x, rtol=2**-8)


def test_wrong_arguments() -> None:
    x = np.zeros((2, 256), np.float32)
    raw = x.view(np.uint8).ravel()
    out = np.empty(288, np.uint8)
    for arguments, message in (
        ((12, raw, 0, 2, 255, None, 1), "multiple"),
        ((14, raw, 0, 2, 256, None, 1), "in Q6_K take 420 bytes, not 288"),
        ((12, raw[:-1], 0, 2, 256, None, 1), "more than the 2047 bytes"),
        ((12, raw, 0, 2**62, 256, None, 1), "more than the 2048 bytes"),
        ((12, raw, 0, 2, 256, None, -1), "n_threads"),
        ((12, raw, 0, 2, 256, None, 513), "n_threads"),
        ((12, raw, 0, 2, 256, np.ones(255, np.float32), 1), "255 importances for 256"),
        ((12, raw, 0, 2, 256, np.full(256, -1, np.float32), 1), "importance of column 0 is -1"),
        ((12, raw, 0, 2, 256, np.full(256, np.nan, np.float32), 1), "importance of column 0"),
    ):
        with pytest.raises(ValueError, match=message):
            _core.quantize_rows(out, *arguments)
    for to, source in ((99, 0), (12, 99)):
        with pytest.raises(Exception, match="type 99 is unknown"):
            _core.quantize_rows(out, to, raw, source, 2, 256, None, 1)
    if "Q8_K" in TYPES:
        with pytest.raises(Exception, match="reads Q8_K, but cannot make it"):
            _core.quantize_rows(out, TYPES["Q8_K"][0], raw, 0, 2, 256, None, 1)


def test_importance_of_nothing_is_no_importance() -> None:
    x = samples()["normal"]
    zeros = np.zeros(x.shape[1], np.float32)
    np.testing.assert_array_equal(encode("Q4_K", x, zeros)[0], encode("Q4_K", x)[0])
