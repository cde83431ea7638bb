#!/usr/bin/env python3
"""Write csrc/quant/iq_grids.c: the grids of the IQ tensor types, which are part of their formats.

A grid maps an index to 8 (IQ1, IQ2) or 4 (IQ3) small integers, each one of 3 or 8 values. Its rows are in
ascending order of the numbers of these values, the last one first, so the file has a bit for every row that
is possible. The values come from the tables that the `gguf` package publishes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from gguf import quants

# Kind: the values, and how many a row has.
KINDS: dict[str, tuple[list[int], int]] = {
    "IQ1": ([-1, 0, 1], 8),
    "IQ2": ([8, 25, 43], 8),
    "IQ3XXS": ([4, 12, 20, 28, 36, 44, 52, 62], 4),
    "IQ3S": ([1, 3, 5, 7, 9, 11, 13, 15], 4),
}
GRIDS = [
    ("iq1s", "IQ1", quants.IQ1_S),
    ("iq2xxs", "IQ2", quants.IQ2_XXS),
    ("iq2xs", "IQ2", quants.IQ2_XS),
    ("iq2s", "IQ2", quants.IQ2_S),
    ("iq3xxs", "IQ3XXS", quants.IQ3_XXS),
    ("iq3s", "IQ3S", quants.IQ3_S),
]


def rows(kind: str, source: Any) -> list[int]:
    """Each row as a number whose digits, the first one the lowest, are the numbers of its values."""
    values, width = KINDS[kind]
    source.init_grid()
    grid = np.asarray(source.grid, np.int64).reshape(-1, width)
    numbers = [sum(values.index(int(v)) * len(values) ** i for i, v in enumerate(row)) for row in grid]
    if numbers != sorted(set(numbers)):
        raise ValueError(f"{kind}: the rows are not in order")
    return numbers


def words(kind: str, numbers: list[int]) -> list[int]:
    """Bit i of all is set where row i is in the grid."""
    values, width = KINDS[kind]
    bits = sum(1 << number for number in numbers)
    return [bits >> at & 0xFFFFFFFF for at in range(0, len(values) ** width, 32)]


def table(name: str, numbers: list[int]) -> list[str]:
    lines = [f"static const uint32_t {name}[] = {{"]
    for at in range(0, len(numbers), 10):
        lines.append("    " + " ".join(f"0x{number:08x}," for number in numbers[at : at + 10]))
    return [*lines, "};", ""]


EXPAND = """\
/* The rows whose bit is set, as bytes, of `width` values each. */
static void expand(void *grid, const uint32_t *rows, const int8_t *values, uint32_t n_values, size_t width) {
    uint64_t *wide = grid;
    uint32_t *narrow = grid;
    uint32_t n_rows = 1;
    for (size_t i = 0; i < width; i++) n_rows *= n_values;
    for (uint32_t i = 0; i < n_rows; i++) {
        if (!(rows[i / 32] >> i % 32 & 1)) continue;
        uint64_t row = 0;
        uint32_t digits = i;
        for (size_t k = 0; k < width; k++, digits /= n_values)
            row |= (uint64_t)(uint8_t)values[digits % n_values] << 8 * k;
        if (width == 8)
            *wide++ = row;
        else
            *narrow++ = (uint32_t)row;
    }
}
"""


def render() -> str:
    lines = [
        "/* The grids of the IQ types. From tools/gen_iq_grids.py, which took them from the gguf package.",
        " * Of every row that is possible a bit says whether the grid has it; the rows, 33 KB, are made when",
        " * the library is loaded. */",
        '#include "quant/iq_grids.h"',
        "",
        "// clang-format off",
    ]
    declared, made = [], []
    for name, kind, source in GRIDS:
        numbers = rows(kind, source)
        values, width = KINDS[kind]
        lines += table(f"{name}_rows", words(kind, numbers))
        declared.append(f"uint{8 * width}_t pe_{name}_grid[{len(numbers)}];")
        of = ", ".join(map(str, values))
        made.append(
            f"    expand(pe_{name}_grid, {name}_rows, (const int8_t[]){{{of}}}, {len(values)}, {width});"
        )
    lines += [*declared, "", EXPAND]
    lines += ["__attribute__((constructor)) static void expand_all(void) {", *made, "}"]
    return "\n".join([*lines, "// clang-format on", ""])


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "csrc" / "quant" / "iq_grids.c"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.write_text(render(), encoding="ascii")


if __name__ == "__main__":
    main()
