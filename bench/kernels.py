"""Speed of the products, per tensor type and instruction set, from the same table as the tests.

    python bench/kernels.py [--isa avx2]... [--type Q4_K]... [--mib 16] [--tokens 64] [--json]

gemv is bound by the memory: GB/s of weights read, on one thread, from weights of --mib MiB. gemm is bound by
arithmetic: GFLOP/s (two a weight and token) of one panel after the other against --tokens tokens. The test
library is needed: `make test` builds it, or PYEDGE_TEST_LIB names it. The median of the calls is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "py"))

import kernel_table as kt  # noqa: E402
from conftest import CLibrary  # noqa: E402

N = 2048  # the inner dimension: a row of weights
PANEL_ROWS = 16


def seconds_per_call(call: Callable[[], Any], at_least: float) -> float:
    """Median over repeated calls, after one that warms up."""
    call()
    times: list[float] = []
    end = time.perf_counter() + at_least
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def weights(library: CLibrary, row: kt.QuantType, mib: float) -> kt.Bytes:
    """Rows of N random weights, `mib` MiB together."""
    n_rows = max(int(mib * 2**20) // row.row_bytes(N) // PANEL_ROWS, 1) * PANEL_ROWS
    some = kt.random_weights(library, row, PANEL_ROWS, N, seed=row.number)
    return np.tile(some, (n_rows // PANEL_ROWS, 1))


def gemv_rate(kernels: kt.Kernels, row: kt.QuantType, w: kt.Bytes, at_least: float) -> float:
    """GB/s."""
    x = np.random.default_rng(1).standard_normal((1, N)).astype(np.float32)
    quantised = kernels.quantize_row(x[0])
    act, y = kernels.act(x, quantised), np.empty(len(w), np.float32)
    function = kernels.table.gemv[row.slot]
    arguments = kernels.floats(y), kernels.bytes(w), w.shape[1], len(w), act
    return w.size / seconds_per_call(lambda: function(*arguments), at_least) / 1e9


def gemm_rate(kernels: kt.Kernels, row: kt.QuantType, w: kt.Bytes, tokens: int, at_least: float) -> float:
    """GFLOP/s, unpacking of the panel included."""
    x = np.random.default_rng(1).standard_normal((tokens, N)).astype(np.float32)
    quantised = kernels.quantize_tiles(x)
    act, y = kernels.act(x, quantised), np.empty((tokens, PANEL_ROWS), np.float32)
    scratch = kernels.memory.output(kernels.library.lib.pe_test_gemm_scratch(N), np.uint8)
    function, room = kernels.table.gemm[row.slot], kernels.ffi.cast("void *", scratch.ctypes.data)
    arguments = kernels.floats(y), PANEL_ROWS, kernels.bytes(w), w.shape[1], PANEL_ROWS, act, room
    return 2 * PANEL_ROWS * N * tokens / seconds_per_call(lambda: function(*arguments), at_least) / 1e9


def measure(library: CLibrary, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a kernel and instruction set, under the names that tests and profiles use: gemv_q4_k/avx2."""
    results = []
    usable = [name for name, runs, _ in kt.isa_names(library) if runs and name in (options.isa or kt.ISAS)]
    for name in options.type or list(kt.TYPES):
        row = kt.TYPES[name]
        w = weights(library, row, options.mib)
        for isa in usable:
            kernels = kt.Kernels(library, isa)
            for kernel, unit, rate in (
                ("gemv", "GB/s", gemv_rate(kernels, row, w, options.seconds)),
                ("gemm", "GFLOP/s", gemm_rate(kernels, row, w, options.tokens, options.seconds)),
            ):
                results.append(
                    {"kernel": f"{kernel}_{row.lower}", "isa": isa, "rate": round(rate, 2), "unit": unit}
                )
    return results


def print_table(results: list[dict[str, Any]]) -> None:
    isas = list(dict.fromkeys(result["isa"] for result in results))
    cells = {(result["kernel"], result["isa"]): result["rate"] for result in results}
    for kind, unit in (("gemv", "GB/s"), ("gemm", "GFLOP/s")):
        print(f"{kind + ', ' + unit:<16}" + "".join(f"{isa:>12}" for isa in isas))
        for kernel in dict.fromkeys(name for name, _ in cells if name.startswith(kind)):
            print(f"{kernel:<16}" + "".join(f"{cells[kernel, isa]:12.1f}" for isa in isas))
        print()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isa", action="append", choices=kt.ISAS)
    parser.add_argument("--type", action="append", choices=list(kt.TYPES))
    parser.add_argument("--mib", type=float, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.04, help="spent on each kernel, at least")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    path = pathlib.Path(os.environ.get("PYEDGE_TEST_LIB") or ROOT / "build" / "test" / "libpyedge_test.so")
    if not path.exists():
        parser.error(f"the test library {path} does not exist; `make test` builds it")
    library = CLibrary(path)
    kt.declare(library)
    results = measure(library, options)
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        print_table(results)


if __name__ == "__main__":
    main()
