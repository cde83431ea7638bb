#!/usr/bin/env python3
"""Write csrc/text/unicode_data.h: the general category of every code point, as a two-stage table.

Pre-tokenisers only ask whether a character is a letter (and of which case), mark, number, punctuation,
symbol or white space, so a code point takes four bits, and blocks of 256 code points that are equal are
stored once. Made with unicodedata2 15.1.0, the version of Unicode that peers have; without it the
interpreter's tables are used.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import unicodedata2 as unicodedata  # type: ignore[import-not-found]
except ImportError:
    import unicodedata

BLOCK = 256
LAST = 0x110000
# The order is that of the enum in unicode.h.
CLASSES = {"L": 1, "M": 2, "N": 3, "P": 4, "S": 5}
SPACE = 6
CASES = {"Lu": 7, "Lt": 7, "Ll": 8}
# White_Space has these besides the categories Zs, Zl and Zp.
EXTRA_SPACE = {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85}


def classify(code_point: int) -> int:
    category = unicodedata.category(chr(code_point))
    if category[0] == "Z" or code_point in EXTRA_SPACE:
        return SPACE
    return CASES.get(category, CLASSES.get(category[0], 0))


def rows(values: list[int], width: int = 118) -> list[str]:
    lines: list[str] = []
    line = ""
    for value in values:
        text = f"{value},"
        if len(line) + len(text) > width:
            lines.append(line)
            line = ""
        line += text
    return [*lines, line] if line else lines


def render() -> str:
    index: list[int] = []
    blocks: list[list[int]] = []
    known: dict[tuple[int, ...], int] = {}
    for start in range(0, LAST, BLOCK):
        classes = [classify(c) for c in range(start, start + BLOCK)]
        packed = [classes[i] | classes[i + 1] << 4 for i in range(0, BLOCK, 2)]
        number = known.setdefault(tuple(packed), len(blocks))
        if number == len(blocks):
            blocks.append(packed)
        index.append(number)
    if len(blocks) > 256:
        raise SystemExit(f"{len(blocks)} different blocks do not fit into an index of bytes")
    lines = [
        f"/* Classes of code points, Unicode {unicodedata.unidata_version}. From tools/gen_unicode.py.",
        " * Class of c: nibble c & 1 of pe_unicode_blocks[pe_unicode_index[c >> 8]][(c & 255) >> 1]. */",
        "#ifndef PE_TEXT_UNICODE_DATA_H",
        "#define PE_TEXT_UNICODE_DATA_H",
        "",
        "#include <stdint.h>",
        "",
        "// clang-format off",
        f"static const uint8_t pe_unicode_index[{len(index)}] = {{",
        *rows(index),
        "};",
        "",
        f"static const uint8_t pe_unicode_blocks[{len(blocks)}][{BLOCK // 2}] = {{",
    ]
    for block in blocks:
        block_rows = rows(block)
        block_rows[0] = "{" + block_rows[0]
        block_rows[-1] += "},"
        lines += block_rows
    lines += ["};", "// clang-format on", "", "#endif", ""]
    return "\n".join(lines)


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "csrc" / "text" / "unicode_data.h"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.write_text(render(), encoding="ascii")


if __name__ == "__main__":
    main()
