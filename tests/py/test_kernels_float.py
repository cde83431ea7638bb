"""Norms, activations, rope, reductions and attention on every instruction set of this machine, against NumPy.

Where a kernel is a chain of single IEEE operations its bits are checked; else it is held to float64 within a
stated bound, so any two instruction sets agree within twice that bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import kernel_table as kt
import numpy as np
import pytest
from kernel_table import EPS, Array, Floats, Kernels, assert_same_bits

library, kernels = kt.library, kt.kernels  # fixtures

# ---- element by element ------------------------------------------------------------------------------------

LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 576, 1001]


def sample(n: int, seed: int, spread: float = 4) -> Floats:
    return (np.random.default_rng(seed).standard_normal(n) * spread).astype(np.float32)


def in_place(kernels: Kernels, slot: str, y: Floats, *rest: Any) -> Floats:
    """Call a slot that changes its first argument, with canaries round it and its inputs fenced."""
    room = kernels.memory.output(y.size)
    room[:] = y
    fenced = [kernels.memory.fenced(part) if isinstance(part, np.ndarray) else part for part in rest]
    arguments = [kernels.floats(part) if isinstance(part, np.ndarray) else part for part in fenced]
    getattr(kernels.table, slot)(kernels.floats(room), *arguments, y.size)
    kernels.memory.check()
    return room


def test_add_and_scale(kernels: Kernels) -> None:
    for n in LENGTHS:
        y, x = sample(n, 1), sample(n, 2)
        assert_same_bits(in_place(kernels, "add", y, x), y + x)
        assert_same_bits(in_place(kernels, "scale", y, 0.3), y * np.float32(0.3))


def silu(x: Array) -> Array:
    return np.where(x < 0, x * np.exp(x) / (1 + np.exp(-np.abs(x))), x / (1 + np.exp(-np.abs(x))))


def gelu(x: Array) -> Array:
    u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return x * np.where(u < 0, np.exp(2 * u) / (1 + np.exp(-2 * np.abs(u))), 1 / (1 + np.exp(-2 * np.abs(u))))


WIDE = np.concatenate(
    [
        np.linspace(-100, 100, 4001),
        np.geomspace(1e-38, 1e12, 500),
        -np.geomspace(1e-38, 1e12, 500),
        [0.0, -0.0, 87.0, -87.0, 87.4, 88.0, -88.0, 88.8, 1e30, -1e30],
    ]
).astype(np.float32)


@pytest.mark.parametrize("slot", ["silu_mul", "gelu_tanh_mul"])
def test_activation(kernels: Kernels, slot: str) -> None:
    """A few roundings, and for each unit of the exponent one more: it is rounded before its exponential is
    taken. Where that would overflow it stops at e^88, which leaves an error of |x| * 1e-38."""
    x = WIDE.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        value = silu(x) if slot == "silu_mul" else gelu(x)
        exponent = np.abs(x) if slot == "silu_mul" else np.abs(1.6 * (x + 0.044715 * x**3))
        bound = (12 + 3 * np.minimum(exponent, 90)) * EPS * np.abs(value) + np.abs(x) * 1e-38 + 1e-44
    for factor in (1.0, -2.5):
        up = np.full(x.size, factor, np.float32)
        error = np.abs(in_place(kernels, slot, WIDE, up) - value * factor)
        assert (error <= bound * abs(factor)).all(), WIDE[np.argmax(error / bound)]
    assert np.isfinite(
        in_place(kernels, slot, np.array([3e38, -3e38], np.float32), np.ones(2, np.float32))
    ).all()


def test_exact_gelu(kernels: Kernels) -> None:
    """erfc within 1.5e-7, and a few roundings."""
    x = WIDE.astype(np.float64)
    value = x * np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    error = np.abs(in_place(kernels, "gelu_erf_mul", WIDE, np.full(x.size, 2, np.float32)) - 2 * value)
    bound = 4e-7 * np.minimum(np.abs(x), 10) + 8 * EPS * np.abs(value)
    assert (error <= bound + 1e-44).all(), WIDE[np.argmax(error - bound)]


@pytest.mark.parametrize("slot", ["silu_mul", "gelu_tanh_mul", "gelu_erf_mul"])
def test_activation_without_a_factor(kernels: Kernels, slot: str) -> None:
    gate = sample(1001, 1)
    ones = in_place(kernels, slot, gate, np.ones(1001, np.float32))
    assert_same_bits(in_place(kernels, slot, gate, kernels.ffi.NULL), ones)


def test_soft_cap(kernels: Kernels) -> None:
    for n in LENGTHS:
        y = np.concatenate([sample(n, 1, 40)[: n - 1], [3e38]]).astype(np.float32)
        for cap in (30.0, 2.5):
            expected = cap * np.tanh(y.astype(np.float64) / cap)
            # the exponent is rounded, and what is small is a difference of numbers near 1
            bound = 2 * EPS * np.abs(expected) + 4 * EPS * cap + 2 * EPS * np.minimum(np.abs(y), 4 * cap)
            assert (np.abs(in_place(kernels, "soft_cap", y, cap) - expected) <= bound).all()


@pytest.mark.parametrize("slot", ["silu_mul", "gelu_tanh_mul", "gelu_erf_mul"])
def test_activation_of_any_length_and_place(kernels: Kernels, slot: str) -> None:
    gate, up = sample(1001, 1), sample(1001, 2)
    whole = in_place(kernels, slot, gate, up)
    for n in LENGTHS:
        for start in (0, 1, 1001 - n):
            end = min(start + n, 1001)
            assert_same_bits(in_place(kernels, slot, gate[start:end], up[start:end]), whole[start:end])


def test_rms_norm(kernels: Kernels) -> None:
    """Lanes add up the squares one after the other; of that error the root keeps half."""
    memory = kernels.memory
    for n in LENGTHS:
        for spread, eps in ((1, 1e-5), (1e4, 1e-6), (1e-3, 1e-5), (1e-20, 1e-6), (0, 1e-6)):
            x, weight = sample(n, n, spread), sample(n, n + 1)
            wide = x.astype(np.float64)
            expected = wide / np.sqrt((wide**2).mean() + np.float32(eps)) * weight
            inputs, weights, out = memory.fenced(x), memory.fenced(weight), memory.output(n)
            kernels.table.rms_norm(*map(kernels.floats, (out, inputs, weights)), n, eps)
            memory.check()
            assert (np.abs(out - expected) <= (n / 4 + 12) * EPS * np.abs(expected) + 1e-44).all(), (
                n,
                spread,
            )
            again = memory.output(n)
            again[:] = x
            kernels.table.rms_norm(*map(kernels.floats, (again, again, weights)), n, eps)
            assert_same_bits(again, out, "in place")
            memory.check()


@pytest.mark.parametrize("biased", [False, True])
def test_layer_norm(kernels: Kernels, biased: bool) -> None:
    memory = kernels.memory
    for n in LENGTHS:
        for spread, shift, eps in ((1, 0, 1e-5), (1e4, 50, 1e-6), (1e-3, 1e-3, 1e-5), (0, 0, 1e-6)):
            x, weight, bias = sample(n, n, spread) + np.float32(shift), sample(n, n + 1), sample(n, n + 2)
            wide = x.astype(np.float64)
            deviation = np.sqrt(wide.var() + np.float32(eps))
            expected = (wide - wide.mean()) / deviation * weight + (bias if biased else 0)
            inputs, weights, biases, out = (
                memory.fenced(x),
                memory.fenced(weight),
                memory.fenced(bias),
                memory.output(n),
            )
            last = kernels.floats(biases) if biased else kernels.ffi.NULL
            kernels.table.layer_norm(*map(kernels.floats, (out, inputs, weights)), last, n, eps)
            memory.check()
            size = (np.abs(wide).max() + np.abs(wide - wide.mean())) / deviation * np.abs(weight) + np.abs(
                bias
            )
            assert (np.abs(out - expected) <= (n / 4 + 12) * EPS * size + 1e-44).all(), (n, spread)
            again = memory.output(n)
            again[:] = x
            kernels.table.layer_norm(*map(kernels.floats, (again, again, weights)), last, n, eps)
            assert_same_bits(again, out, "in place")
            memory.check()


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(("head_dim", "n_rot"), [(64, 64), (128, 32), (80, 20), (24, 24), (16, 2), (2, 2)])
def test_rope(kernels: Kernels, head_dim: int, n_rot: int, split: bool) -> None:
    n_heads, half = 3, n_rot // 2
    x = sample(n_heads * head_dim, 1).reshape(n_heads, head_dim)
    angles = np.random.default_rng(2).uniform(0, 100, half)
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    expected = x.copy()
    first = slice(0, half) if split else slice(0, n_rot, 2)
    second = slice(half, n_rot) if split else slice(1, n_rot, 2)
    expected[:, first] = x[:, first] * cosines - x[:, second] * sines
    expected[:, second] = x[:, first] * sines + x[:, second] * cosines
    room = kernels.memory.output(x.shape)
    room[:] = x
    tables = [kernels.memory.fenced(part) for part in (cosines, sines)]
    kernels.table.rope(kernels.floats(room), n_heads, head_dim, n_rot, *map(kernels.floats, tables), split)
    kernels.memory.check()
    assert_same_bits(room, expected)  # plain C: one rounding an operation on every instruction set


def test_max(kernels: Kernels) -> None:
    for n in LENGTHS:
        x = kernels.memory.fenced(sample(n, n) - np.float32(20))
        assert kernels.table.max(kernels.floats(x), n) == x.max()
        for place in {0, n // 2, n - 1}:
            y = kernels.memory.fenced(np.where(np.arange(n) == place, np.float32(1e30), x))
            assert kernels.table.max(kernels.floats(y), n) == np.float32(1e30)
    nothing = np.full(9, -np.inf, np.float32)
    assert kernels.table.max(kernels.floats(nothing), 9) == -np.inf


def test_sum_exp(kernels: Kernels) -> None:
    """Blocks of 1024 in floats, the blocks in doubles: the error does not grow with the vocabulary."""
    for n in (*LENGTHS, 1024, 1025, 49152, 262144):
        for spread in (0, 1, 8, 60):
            x = sample(n, n, spread)
            x[1::5] = -np.inf
            peak = x.max()
            with np.errstate(invalid="ignore"):
                expected = np.exp(x.astype(np.float64) - peak).sum()
            inputs = kernels.memory.fenced(x)
            got = kernels.table.sum_exp(kernels.floats(inputs), n, peak)
            # e^y is right to 3 roundings and those of y itself; terms below e^-87 are dropped
            assert abs(got - expected) <= (1024 / 4 + 16) * EPS * expected + n * 1e-37, (n, spread)
            assert abs(got - expected) <= 2e-6 * expected, (n, spread)


# ---- keys, values and attention ----------------------------------------------------------------------------

PAGE = 64
MAX_QUERIES = 32


class Cache:
    """Pages of one KV head, filled through kv_store; what was never stored is NaN and must not show."""

    K_OFFSET = 128

    def __init__(self, kernels: Kernels, n_positions: int, head_dim: int, f32: bool) -> None:
        self.kernels, self.head_dim, self.f32 = kernels, head_dim, f32
        self.type = np.float32 if f32 else np.float16
        size = np.dtype(self.type).itemsize
        self.v_offset = self.K_OFFSET + PAGE * head_dim * size + 64
        count = self.v_offset // size + PAGE * head_dim
        self.pages = [kernels.memory.output(count, self.type) for _ in range(-(-n_positions // PAGE))]
        self.list = kernels.ffi.new("void *[]", [self.pointer(page, 0) for page in self.pages])
        self.k = np.zeros((0, head_dim), self.type)  # what was stored, position by position
        self.v = np.zeros((0, head_dim), self.type)

    def pointer(self, page: Array, offset: int) -> Any:
        return self.kernels.ffi.cast("void *", page.ctypes.data + offset)

    def store(self, k: Floats, v: Floats) -> None:
        page, slot = self.pages[len(self.k) // PAGE], len(self.k) % PAGE
        k, v = self.kernels.memory.fenced(k), self.kernels.memory.fenced(v)
        places = self.pointer(page, self.K_OFFSET), self.pointer(page, self.v_offset)
        pointers = self.kernels.floats(k), self.kernels.floats(v)
        self.kernels.table.kv_store(*places, slot, *pointers, self.head_dim, self.f32)
        limit = np.inf if self.f32 else 65504
        self.k = np.vstack([self.k, np.clip(k, -limit, limit).astype(self.type)])
        self.v = np.vstack([self.v, np.clip(v, -limit, limit).astype(self.type)])


@pytest.mark.parametrize("f32", [False, True])
def test_kv_store(kernels: Kernels, f32: bool) -> None:
    """Keys lie transposed, values in rows; halves are rounded to nearest even and kept finite."""
    rng = np.random.default_rng(1)
    edges = [
        0,
        -0.0,
        65504,
        65519.9,
        65520,
        -1e9,
        3e38,
        6e-8,
        2.9e-8,
        3.1e-8,
        -6.1e-5,
        1 + 2**-11,
        1 + 3 * 2**-11,
    ]
    for head_dim in (2, 7, 16, 24, 31, 64, 80, 256):
        cache = Cache(kernels, 70, head_dim, f32)
        for _ in range(67):
            k, v = rng.standard_normal((2, head_dim)).astype(np.float32)
            k[0], v[-1] = rng.choice(edges, 2)
            cache.store(k, v)
        kernels.memory.check()
        item = np.dtype(cache.type).itemsize
        bits = np.uint32 if f32 else np.uint16
        for i, page in enumerate(cache.pages):
            k_room = page[Cache.K_OFFSET // item :][: PAGE * head_dim].reshape(head_dim, PAGE)
            v_room = page[cache.v_offset // item :][: PAGE * head_dim].reshape(PAGE, head_dim)
            stored = min(len(cache.k) - i * PAGE, PAGE)
            for room, rows in ((k_room.T, cache.k), (v_room, cache.v)):
                got, expected = np.ascontiguousarray(room[:stored]), rows[i * PAGE : i * PAGE + stored]
                np.testing.assert_array_equal(got.view(bits), np.ascontiguousarray(expected).view(bits))
                assert np.isnan(room[stored:]).all()
            used = np.zeros(page.size, bool)
            for offset in (Cache.K_OFFSET, cache.v_offset):
                used[offset // item : offset // item + PAGE * head_dim] = True
            assert np.isnan(page[~used]).all()


@dataclass
class Query:
    """A block of queries: the group's heads of some tokens, token after token `stride` floats apart."""

    q: Floats  # [n_tokens, n_group, head_dim]
    position: int
    window: int = 0
    scale: float = 0.125
    gap: int = 5  # floats between the heads of one token and those of the next

    def run(self, kernels: Kernels, cache: Cache, in_place: bool = False, span: int | None = None) -> Floats:
        """With `span` only that span, unfinished: [n_tokens * n_group, head_dim + 2]."""
        n_tokens, n_group, head_dim = self.q.shape
        stride, width = n_group * head_dim + self.gap, n_group * head_dim
        rows = np.full((n_tokens, stride), np.nan, np.float32)
        rows[:, :width] = self.q.reshape(n_tokens, -1)
        count = (n_tokens - 1) * stride + width
        inputs, out = kernels.memory.fenced(rows.ravel()[:count]), kernels.memory.output(count)
        if in_place:
            out[:] = inputs
        scratch = kernels.memory.output(kernels.library.lib.pe_test_attend_scratch(head_dim))
        job = kernels.ffi.new(
            "pe_attend *",
            {
                "pages": cache.list,
                "k_offset": Cache.K_OFFSET,
                "v_offset": cache.v_offset,
                "kv_f32": cache.f32,
                "head_dim": head_dim,
                "n_group": n_group,
                "n_tokens": n_tokens,
                "position": self.position,
                "window": self.window,
                "scale": self.scale,
                "q": kernels.floats(out if in_place else inputs),
                "out": kernels.floats(out),
                "q_stride": stride,
                "out_stride": stride,
                "scratch": kernels.floats(scratch),
            },
        )
        if span is not None:
            partial = kernels.memory.output((n_tokens * n_group, head_dim + 2))
            job.partial, job.span = kernels.floats(partial), span
            kernels.table.attend(job)
            kernels.memory.check()
            return partial
        kernels.table.attend(job)
        kernels.memory.check()
        padded = np.append(out, np.full(self.gap, np.nan, np.float32)).reshape(n_tokens, stride)
        assert np.isnan(padded[:, width:]).all(), "bytes between the rows of out were overwritten"
        return np.ascontiguousarray(padded[:, :width]).reshape(self.q.shape)

    def expected(self, cache: Cache) -> tuple[Array, Array]:
        """The result in float64, and the bound of its error for each query.

        A score is a sum of head_dim products, and e^x turns its absolute error into a relative one of a
        weight; the weights are then summed, and the values, over the positions seen.
        """
        k, v = cache.k.astype(np.float64), cache.v.astype(np.float64)
        out, bound = np.empty(self.q.shape), np.empty(self.q.shape[:2])
        for t, heads in enumerate(self.q.astype(np.float64)):
            at = self.position + t
            seen = slice(max(at + 1 - self.window, 0) if self.window else 0, at + 1)
            for h, q in enumerate(heads):
                scores = np.float32(self.scale) * (k[seen] @ q)
                rounded = (
                    EPS * (k.shape[1] + 4) * np.float32(self.scale) * (np.abs(k[seen]) @ np.abs(q)).max()
                )
                weights = np.exp(scores - scores.max())
                out[t, h] = weights @ v[seen] / weights.sum()
                bound[t, h] = (2 * rounded + (len(scores) + 40) * EPS) * np.abs(v[seen]).max()
        return out, bound


def filled(kernels: Kernels, n_positions: int, head_dim: int, f32: bool, seed: int = 0) -> Cache:
    cache, rng = Cache(kernels, n_positions, head_dim, f32), np.random.default_rng(seed)
    for _ in range(n_positions):
        cache.store(*rng.standard_normal((2, head_dim)).astype(np.float32))
    return cache


# position, tokens, window
PLACES = [
    (0, 1, 0),
    (0, 4, 0),
    (61, 4, 0),
    (63, 1, 0),
    (64, 1, 0),
    (200, 4, 0),
    (200, 4, 32),
    (130, 3, 70),
    (126, 4, 1),
]


@pytest.mark.parametrize("f32", [False, True])
@pytest.mark.parametrize("head_dim", [2, 4, 7, 16, 24, 64, 80, 96, 128, 256])
def test_attend(kernels: Kernels, head_dim: int, f32: bool) -> None:
    rng = np.random.default_rng(head_dim)
    for position, n_tokens, window in PLACES:
        cache = filled(kernels, position + n_tokens, head_dim, f32)
        for n_group in (1, 2, 3, 8):
            q = rng.standard_normal((n_tokens, n_group, head_dim)).astype(np.float32)
            query = Query(q, position, window, scale=head_dim**-0.5)
            got, (expected, bound) = query.run(kernels, cache), query.expected(cache)
            error = np.abs(got - expected).max(axis=2)
            assert (error <= bound).all(), (position, n_tokens, window, n_group, (error / bound).max())
            assert_same_bits(query.run(kernels, cache, in_place=True), got, "in place")


@pytest.mark.parametrize("head_dim", [2, 24, 64])
def test_attend_full_block(kernels: Kernels, head_dim: int) -> None:
    """As many queries as a call may have, in every form."""
    cache = filled(kernels, 100 + MAX_QUERIES, head_dim, False)
    for n_group in (1, 2, 4, 8, 16, 32):
        q = sample(MAX_QUERIES * head_dim, n_group, 1).reshape(-1, n_group, head_dim)
        query = Query(q, position=100)
        expected, bound = query.expected(cache)
        assert (np.abs(query.run(kernels, cache) - expected).max(axis=2) <= bound).all()


@pytest.mark.parametrize("window", [0, 1, 40, 70])
@pytest.mark.parametrize(
    ("head_dim", "f32"), [(16, True), (24, False), (64, False), (80, True), (128, False)]
)
def test_attend_alone_gives_the_bits_of_the_block(
    kernels: Kernels, head_dim: int, f32: bool, window: int
) -> None:
    for position, n_tokens, n_group in ((0, 8, 3), (60, 10, 3), (150, 4, 8), (190, 31, 1)):
        cache = filled(kernels, position + n_tokens, head_dim, f32, seed=position)
        q = sample(n_tokens * n_group * head_dim, 3, 1).reshape(n_tokens, n_group, head_dim)
        block = Query(q, position, window).run(kernels, cache)
        for t in range(n_tokens):
            alone = Query(q[t : t + 1], position + t, window).run(kernels, cache)
            assert_same_bits(alone[0], block[t], f"token {t} at {position}")
        for heads in (slice(0, 1), slice(1, n_group)):
            if part := q[:, heads].shape[1]:
                some = Query(np.ascontiguousarray(q[:, heads]), position, window).run(kernels, cache)
                assert_same_bits(some, np.ascontiguousarray(block[:, heads]), f"{part} heads of {n_group}")


def test_any_nan(kernels: Kernels) -> None:
    for n in (1, 15, 16, 17, 100):
        x = np.linspace(-3e38, 3e38, n, dtype=np.float32)
        x[:: max(n // 3, 1)] = [np.inf, -np.inf][n % 2]
        assert not kernels.table.any_nan(kernels.floats(kernels.memory.fenced(x)), n)
        for i in range(n):
            bad = x.copy()
            bad[i] = np.nan
            assert kernels.table.any_nan(kernels.floats(kernels.memory.fenced(bad)), n)


@pytest.mark.parametrize("head_dim", [7, 64, 80])
@pytest.mark.parametrize(("position", "n_tokens", "window"), [(1100, 1, 0), (1023, 3, 0), (1300, 2, 600)])
def test_attend_in_spans_gives_the_bits_of_the_whole(
    kernels: Kernels, head_dim: int, position: int, n_tokens: int, window: int
) -> None:
    """Spans may be done by several tasks and joined; the result is that of one task, in bits."""
    cache = filled(kernels, position + n_tokens, head_dim, f32=False)
    rng = np.random.default_rng(3)
    query = Query(rng.standard_normal((n_tokens, 3, head_dim)).astype(np.float32), position, window)
    whole = query.run(kernels, cache).reshape(-1, head_dim)
    length = kernels.library.lib.PE_PAGE * kernels.library.lib.PE_SPAN
    first = max(position + 1 - window, 0) // length if window else 0
    spans = [query.run(kernels, cache, span=i) for i in range(first, (position + n_tokens - 1) // length + 1)]
    assert len(spans) > 1
    scratch = kernels.memory.output(kernels.library.lib.pe_test_attend_scratch(head_dim))
    for i, expected in enumerate(whole):
        parts, out = np.stack([span[i] for span in spans]), kernels.memory.output(head_dim)
        arguments = kernels.floats(parts), head_dim + 2, len(spans), head_dim, kernels.floats(scratch)
        kernels.table.attend_join(kernels.floats(out), *arguments)
        kernels.memory.check()
        assert_same_bits(out, np.ascontiguousarray(expected))


@pytest.mark.parametrize("place", [0, 5, 63, 64, 100, 129])
def test_attend_to_one_position(kernels: Kernels, place: int) -> None:
    """One key far above the rest, in an early or a late page: its value comes out exactly."""
    head_dim = 32
    cache, rng = Cache(kernels, 130, head_dim, True), np.random.default_rng(place)
    q = np.ones((1, 4, head_dim), np.float32)
    for i in range(130):
        k = np.full(head_dim, 50 if i == place else -50, np.float32)
        cache.store(k, rng.standard_normal(head_dim).astype(np.float32))
    got = Query(q, position=129, scale=1.0).run(kernels, cache)
    for h in range(4):
        assert_same_bits(got[0, h], cache.v[place])


def test_attend_to_equal_keys_is_the_mean(kernels: Kernels) -> None:
    head_dim = 24
    cache = Cache(kernels, 128, head_dim, False)
    for i in range(128):
        cache.store(np.full(head_dim, 3, np.float32), np.full(head_dim, i, np.float32))
    got = Query(np.ones((1, 2, head_dim), np.float32), position=127, scale=30.0).run(kernels, cache)
    assert (got == 63.5).all()  # every sum on the way is a float
