"""Speed of the kernels, per tensor type and instruction set, from the same table as the tests.

    python bench/kernels.py [--isa avx2]... [--slot gemv]... [--type Q4_K]... [--tokens 2,4,8,16,64]
        [--depth 512,4096] [--mib 16] [--json]

All on one thread. Products: gemv is bound by the memory, so GB/s of weights read, from weights of --mib MiB;
gemm by arithmetic, so GFLOP/s (two a weight and token); and what these tokens cost, one token being 1.
Attention: one token's queries as GB/s of keys and values, a block of queries as GFLOP/s. The rest: GB/s read
and written, within the cache. The test library is needed: `make test` builds it, or PYEDGE_TEST_LIB names it.
The best of the calls is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "py"))

import kernel_table as kt  # noqa: E402
from conftest import CLibrary  # noqa: E402

N = 2048  # the inner dimension of products: a row of weights; and the length of vectors
PRODUCTS = ("gemv", "gemm")
PAGE = 64
Result = dict[str, Any]
Call = Callable[[], Any]


def seconds_per_call(call: Call, at_least: float) -> float:
    """The best of repeated calls, after one that warms up. Short calls are timed several at a time."""
    call()
    start = time.perf_counter()
    call()
    count = max(1, min(1000, int(5e-5 / max(time.perf_counter() - start, 1e-9))))
    best, runs, end = float("inf"), 0, time.perf_counter() + at_least
    while runs < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(count):
            call()
        best, runs = min(best, (time.perf_counter() - start) / count), runs + 1
    return best


# ---- products ----


def weights(library: CLibrary, row: kt.QuantType, mib: float) -> kt.Bytes:
    """Rows of N random weights, `mib` MiB together."""
    panel = library.lib.PE_PANEL_ROWS
    n_rows = max(int(mib * 2**20) // row.row_bytes(N) // panel, 1) * panel
    some = kt.random_weights(library, row, panel, N, seed=row.number)
    return np.tile(some, (n_rows // panel, 1))


def product_seconds(
    kernels: kt.Kernels, row: kt.QuantType, w: kt.Bytes, tokens: int, at_least: float
) -> float:
    """One token by gemv, more by gemm."""
    x = np.random.default_rng(1).standard_normal((tokens, N)).astype(np.float32)
    quantised = kernels.quantize(x)
    act, y = kernels.act(x, quantised), np.empty((tokens, len(w)), np.float32)
    data, out = kernels.bytes(w), kernels.floats(y)
    if tokens == 1:
        gemv = kernels.table.gemv[row.slot]
        return seconds_per_call(lambda: gemv(out, data, w.shape[1], len(w), act), at_least)
    scratch = kernels.memory.output(kernels.library.lib.pe_test_gemm_scratch(N), np.uint8)
    room = kernels.ffi.cast("void *", scratch.ctypes.data)
    panels = kernels.library.lib.pe_test_gemm_panels
    return seconds_per_call(
        lambda: panels(kernels.table, row.slot, out, data, w.shape[1], len(w), act, room), at_least
    )


def products(kernels: kt.Kernels, options: argparse.Namespace) -> Iterator[Result]:
    for name in options.type or list(kt.TYPES):
        row = kt.TYPES[name]
        w = weights(kernels.library, row, options.mib)
        one = product_seconds(kernels, row, w, 1, options.seconds)
        if "gemv" in options.slot:
            yield result(f"gemv_{row.lower}", kernels, 1, w.size / one / 1e9, "GB/s", cost=1.0)
        for tokens in options.tokens if "gemm" in options.slot else []:
            many = product_seconds(kernels, row, w, tokens, options.seconds)
            rate = 2 * len(w) * N * tokens / many / 1e9
            yield result(f"gemm_{row.lower}", kernels, tokens, rate, "GFLOP/s", cost=many / one)


def result(kernel: str, kernels: kt.Kernels, tokens: int, rate: float, unit: str, **more: float) -> Result:
    facts = {name: round(value, 3) for name, value in more.items()}
    return {
        "kernel": kernel,
        "isa": kernels.name,
        "tokens": tokens,
        "rate": round(rate, 2),
        "unit": unit,
        **facts,
    }


# ---- attention ----


def attention(kernels: kt.Kernels, options: argparse.Namespace) -> Iterator[Result]:
    """One token after `depth` others, and as many tokens as one call takes; heads of 64 in groups of three,
    as SmolLM2 has them, and of 256 in groups of four, as Gemma 3."""
    ffi, rng = kernels.ffi, np.random.default_rng(2)
    for head_dim, n_group in ((64, 3), (256, 4)):
        scratch = np.empty(kernels.library.lib.pe_test_attend_scratch(head_dim), np.float32)
        for depth in options.depth:
            pages = rng.standard_normal((-(-(depth + 32) // PAGE), 2, PAGE * head_dim)).astype(np.float16)
            half = PAGE * head_dim * 2
            listed = [ffi.cast("void *", page.ctypes.data) for page in pages]
            kept = ffi.new("void *[]", listed)
            for n_tokens in (1, kernels.library.lib.PE_MAX_QUERIES // n_group):
                q = rng.standard_normal((n_tokens, n_group * head_dim)).astype(np.float32)
                out = np.empty_like(q)
                facts = {
                    "pages": kept,
                    "k_offset": 0,
                    "v_offset": half,
                    "kv_f32": False,
                    "head_dim": head_dim,
                    "n_group": n_group,
                    "n_tokens": n_tokens,
                    "position": depth,
                    "window": 0,
                    "scale": head_dim**-0.5,
                    "q": kernels.floats(q),
                    "out": kernels.floats(out),
                    "q_stride": q.shape[1],
                    "out_stride": q.shape[1],
                    "scratch": kernels.floats(scratch),
                }
                job = ffi.new("pe_attend *", facts)
                seconds = seconds_per_call(lambda job=job: kernels.table.attend(job), options.seconds)
                name = f"attend_{head_dim}_d{depth}"
                if n_tokens == 1:
                    yield result(name, kernels, 1, 2 * 2 * head_dim * depth / seconds / 1e9, "GB/s")
                else:
                    flops = 4 * head_dim * depth * n_group * n_tokens
                    yield result(name, kernels, n_tokens, flops / seconds / 1e9, "GFLOP/s")


# ---- vectors ----


def vectors(kernels: kt.Kernels, options: argparse.Namespace) -> Iterator[Result]:
    """What works on vectors in the cache: bytes read and written."""
    rng, table = np.random.default_rng(3), kernels.table
    arrays = [rng.standard_normal(N).astype(np.float32) for _ in range(3)]
    a, b, c = (kernels.floats(array) for array in arrays)
    angles = [np.cos(np.arange(32, dtype=np.float32)), np.sin(np.arange(32, dtype=np.float32))]
    cosines, sines = (kernels.floats(angle) for angle in angles)
    key_page, value_page = np.empty(PAGE * 64, np.float16), np.empty(PAGE * 64, np.float16)
    k_room, v_room = (kernels.ffi.cast("void *", page.ctypes.data) for page in (key_page, value_page))
    x = arrays[0].reshape(1, -1)
    quantised = kernels.quantize(x)
    act = kernels.act(x, quantised)
    scratch = kernels.memory.output(kernels.library.lib.pe_test_gemm_scratch(N), np.uint8)
    room = kernels.ffi.cast("void *", scratch.ctypes.data)
    spans = rng.random(16 * 66, np.float32)
    joined = np.empty(kernels.library.lib.pe_test_attend_scratch(64), np.float32)
    partial, joining = kernels.floats(spans), kernels.floats(joined)
    halves = rng.standard_normal((8, N)).astype(np.float16)  # B of an adapter of rank 8
    columns = kernels.ffi.cast("const void *", halves.ctypes.data)
    big = np.zeros(2**18, np.uint8)  # within a second-level cache
    calls: dict[str, tuple[float, Call]] = {  # bytes, and what moves them
        "quantize": (6 * N, lambda: table.quantize(act, 0, 1, room)),
        "rms_norm": (12 * N, lambda: table.rms_norm(c, a, b, N, 1e-5)),
        "layer_norm": (16 * N, lambda: table.layer_norm(c, a, b, b, N, 1e-5)),
        "add": (12 * N, lambda: table.add(c, a, N)),
        "scale": (8 * N, lambda: table.scale(c, 1.0, N)),
        "soft_cap": (8 * N, lambda: table.soft_cap(c, 30.0, N)),
        "silu_mul": (12 * N, lambda: table.silu_mul(c, b, N)),
        "gelu_tanh_mul": (12 * N, lambda: table.gelu_tanh_mul(c, b, N)),
        "gelu_erf_mul": (12 * N, lambda: table.gelu_erf_mul(c, b, N)),
        "rope": (8 * N, lambda: table.rope(c, N // 64, 64, 64, cosines, sines, True)),
        "kv_store": (6 * 2 * 64, lambda: table.kv_store(k_room, v_room, 5, a, b, 64, False)),
        "add_low": (halves.nbytes, lambda: table.add_low(c, N, columns, False, N, N, a, 8, 8, 1)),
        "max": (4 * N, lambda: table.max(a, N)),
        "any_nan": (4 * N, lambda: table.any_nan(a, N)),
        "attend_join": (4 * 16 * 66, lambda: table.attend_join(c, partial, 66, 16, 64, joining)),
        "sum_exp": (4 * N, lambda: table.sum_exp(a, N, 4.0)),
        "read_sum": (big.size, lambda: table.read_sum(kernels.bytes(big), big.size)),
    }
    for name, (size, call) in calls.items():
        if name in options.slot:
            np.copyto(arrays[2], 0)  # what grows in place starts small
            yield result(name, kernels, 1, size / seconds_per_call(call, options.seconds) / 1e9, "GB/s")


# ---- all of them ----


def slots(library: CLibrary) -> list[str]:
    """The functions of the table."""
    names = []
    for name, field in library.ffi.typeof("pe_kernels").fields:
        kind = field.type.item if field.type.kind == "array" else field.type
        if kind.kind == "function":
            names.append(name)
    return names


def measure(library: CLibrary, options: argparse.Namespace) -> list[Result]:
    """One row a kernel and instruction set, under the names that tests and profiles use: gemv_q4_k/avx2."""
    results: list[Result] = []
    for isa, runs, _ in kt.isa_names(library):
        if not runs or isa not in (options.isa or kt.ISAS):
            continue
        kernels = kt.Kernels(library, isa)
        if set(PRODUCTS) & set(options.slot):
            results += products(kernels, options)
        if "attend" in options.slot:
            results += attention(kernels, options)
        results += vectors(kernels, options)
    for slot in options.slot:
        if results and not any(row["kernel"].startswith(slot) for row in results):
            print(f"nothing measures the slot {slot}", file=sys.stderr)
    return results


def print_table(results: list[Result]) -> None:
    """Instruction sets across; a kernel of several tokens has a line for each count."""
    isas = list(dict.fromkeys(row["isa"] for row in results))
    cells = {(row["kernel"], row["tokens"], row["isa"]): row for row in results}
    print(f"{'kernel':<24}{'tokens':>7}{'unit':>9}" + "".join(f"{isa:>20}" for isa in isas))
    for kernel, tokens in dict.fromkeys((row["kernel"], row["tokens"]) for row in results):
        texts, unit = [], ""
        for isa in isas:
            row = cells.get((kernel, tokens, isa), {})
            unit = row.get("unit", unit)
            cost = f" (x{row['cost']:.2f})" if tokens > 1 and "cost" in row else ""
            texts.append(f"{row['rate']:.1f}{cost}" if row else "")
        print(f"{kernel:<24}{tokens:>7}{unit:>9}" + "".join(f"{text:>20}" for text in texts))


def counts(text: str) -> list[int]:
    return [int(item) for item in text.split(",")]


def main() -> None:
    path = pathlib.Path(os.environ.get("PYEDGE_TEST_LIB") or ROOT / "build" / "test" / "libpyedge_test.so")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isa", action="append", choices=kt.ISAS)
    parser.add_argument("--slot", action="append", help="as gemv, attend, rms_norm; all if not given")
    parser.add_argument("--type", action="append", choices=list(kt.TYPES), help="tensor types of products")
    parser.add_argument("--mib", type=float, default=16, help="size of the weights")
    parser.add_argument("--tokens", type=counts, default=[2, 4, 8, 16, 64], help="of gemm, each 2 or more")
    parser.add_argument("--depth", type=counts, default=[512, 4096], help="of attention")
    parser.add_argument("--seconds", type=float, default=0.04, help="spent on each kernel, at least")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not path.exists():
        parser.error(f"the test library {path} does not exist; `make test` builds it")
    library = CLibrary(path)
    kt.declare(library)
    library.declare("""
        void pe_test_gemm_panels(const pe_kernels *kernels, int slot, float *y, const uint8_t *w,
                                 size_t row_bytes, size_t n_rows, const pe_act *x, void *scratch);
    """)
    known = slots(library)
    options.slot = options.slot or known
    if set(options.slot) - set(known):
        parser.error(f"--slot must be of {', '.join(known)}")
    if min(options.tokens) < 2:
        parser.error("--tokens: gemm takes two or more; one token is gemv")
    results = measure(library, options)
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        print_table(results)


if __name__ == "__main__":
    main()
