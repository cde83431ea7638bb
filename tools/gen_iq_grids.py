#!/usr/bin/env python3
"""Write csrc/quant/iq_grids.c: the grids of the IQ tensor types, which are part of their formats.

A grid maps an index to 8 (IQ1, IQ2) or 4 (IQ3) small integers, each one of 3 or 8 values. The values come
from the tables that the `gguf` package publishes; the file holds the numbers of the values, packed, and
macros that the compiler expands to bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gguf import quants

# Kind: bits of a packed number, values a row, value of number q (MACROS has the same in C).
KINDS: dict[str, tuple[int, int, Callable[[int], int]]] = {
    "IQ1": (2, 8, lambda q: q - 1),
    "IQ2": (2, 8, lambda q: 8 + 17 * q + (q >> 1)),
    "IQ3XXS": (3, 4, lambda q: 4 + 8 * q + (q == 7) * 2),
    "IQ3S": (3, 4, lambda q: 1 + 2 * q),
}
GRIDS = [
    ("iq1s", "IQ1", quants.IQ1_S),
    ("iq2xxs", "IQ2", quants.IQ2_XXS),
    ("iq2xs", "IQ2", quants.IQ2_XS),
    ("iq2s", "IQ2", quants.IQ2_S),
    ("iq3xxs", "IQ3XXS", quants.IQ3_XXS),
    ("iq3s", "IQ3S", quants.IQ3_S),
]
MACROS = """\
/* Number i of a code, its value as a byte at its place, and the whole row. */
#define NUMBER(code, bits, i) ((uint64_t)(code) >> (bits) * (i) & ((1 << (bits)) - 1))
#define PLACED(value, i) ((uint64_t)((value) & 0xff) << 8 * (i))
#define IQ1(code, i) PLACED(NUMBER(code, 2, i) - 1, i)
#define IQ2(code, i) PLACED(8 + 17 * NUMBER(code, 2, i) + (NUMBER(code, 2, i) >> 1), i)
#define IQ3XXS(code, i) PLACED(4 + 8 * NUMBER(code, 3, i) + (NUMBER(code, 3, i) == 7) * 2, i)
#define IQ3S(code, i) PLACED(1 + 2 * NUMBER(code, 3, i), i)
#define FOUR(kind, code, i) (kind(code, i) | kind(code, i + 1) | kind(code, i + 2) | kind(code, i + 3))
#define ROW4(kind, code) (uint32_t)FOUR(kind, code, 0)
#define ROW8(kind, code) (FOUR(kind, code, 0) | FOUR(kind, code, 4))

#ifdef __wasm__ /* fetched by each visitor: the module has the codes, and makes the rows when it starts */
#define GRID(name, bits, size) static const uint16_t pe_##name##_codes[size]
#define X(code) code,
#else
#define GRID(name, bits, size) const uint##bits##_t pe_##name##_grid[size]
#endif
"""


def codes(kind: str, source: Any) -> list[int]:
    """The packed numbers of each row; a value that C would not give back is a KeyError here."""
    bits, width, value = KINDS[kind]
    source.init_grid()
    grid = np.asarray(source.grid, np.int64).reshape(-1, width)
    number = {value(q): q for q in range(1 << bits)}
    return [sum(number[int(v)] << bits * i for i, v in enumerate(row)) for row in grid]


def table(name: str, kind: str, numbers: list[int]) -> list[str]:
    lines, line = [], ""
    for number in numbers:
        text = f"X(0x{number:04x}) "
        if len(line) + len(text) > 119:
            lines.append(line.rstrip())
            line = ""
        line += text
    width = KINDS[kind][1]
    return [
        "#ifndef __wasm__",
        f"#define X(code) ROW{width}({kind}, code),",
        "#endif",
        f"GRID({name}, {8 * width}, {len(numbers)}) = {{",
        *lines,
        line.rstrip(),
        "};",
        "#ifndef __wasm__",
        "#undef X",
        "#endif",
        "",
    ]


def expansion(sizes: list[int]) -> list[str]:
    """What makes the rows of codes, where the file has only those."""
    names = [
        (name, kind, 8 * KINDS[kind][1], size) for (name, kind, _), size in zip(GRIDS, sizes, strict=True)
    ]
    return [
        "#ifdef __wasm__",
        *(f"uint{bits}_t pe_{name}_grid[{size}];" for name, _, bits, size in names),
        "",
        "__attribute__((constructor)) static void expand(void) {",
        *(
            f"    for (size_t i = 0; i < {size}; i++) "
            f"pe_{name}_grid[i] = ROW{bits // 8}({kind}, pe_{name}_codes[i]);"
            for name, kind, bits, size in names
        ),
        "}",
        "#endif",
        "",
    ]


def render() -> str:
    lines = [
        "/* The grids of the IQ types. From tools/gen_iq_grids.py, which took them from the gguf package. */",
        '#include "quant/iq_grids.h"',
        "",
        "// clang-format off",
        MACROS,
    ]
    tables = [(name, kind, codes(kind, source)) for name, kind, source in GRIDS]
    for name, kind, numbers in tables:
        lines += table(name, kind, numbers)
    lines += expansion([len(numbers) for _, _, numbers in tables])
    return "\n".join([*lines[:-1], "// clang-format on", ""])


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "csrc" / "quant" / "iq_grids.c"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.write_text(render(), encoding="ascii")


if __name__ == "__main__":
    main()
