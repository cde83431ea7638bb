"""The way to the terminal: text from outside, model text, and plain tables.

Model text and names from files are data: they go to the terminal as they are, never through Rich's markup,
and without the control characters by which a text could steer the terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def model_or_default(name: str | None) -> str:
    if name is not None:
        return name
    from .. import hub

    return hub.default_name()


def shown(text: str, stream: TextIO | None = None) -> str:
    """Text from a model or a file for this stream: a terminal gets no control characters."""
    return _CONTROLS.sub("\ufffd", text) if (stream or sys.stdout).isatty() else text


def write(text: str) -> None:
    """Model text to standard output, at once."""
    sys.stdout.write(shown(text))
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for the person, beside the output."""
    print(shown(text, sys.stderr), file=sys.stderr, flush=True)


def read_text(path: Path | None) -> bytes:
    """A file, or standard input for None and "-"."""
    if path is None or str(path) == "-":
        return sys.stdin.buffer.read()
    return path.read_bytes()


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> None:
    """A table without frames. Cells are data, so they are wrapped as Text and not read as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [[shown(str(cell)) for cell in row] for row in rows]
    right = set(right)
    grid = Table(box=None, pad_edge=False, show_header=bool(headers), padding=(0, 2, 0, 0))
    for index in range(len(headers) or (len(rows[0]) if rows else 0)):
        header = headers[index] if headers else ""
        grid.add_column(Text(header), justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout, markup=False, highlight=False)
    if not console.is_terminal:  # a pipe has no width: nothing is folded
        console = Console(file=sys.stdout, markup=False, highlight=False, width=400)
    with console.capture() as capture:
        console.print(grid)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def parse_bytes(text: str) -> int:
    """A size as people write it: 67108864, 64M or 1G, in steps of 1024; else a ValueError."""
    found = re.fullmatch(r"([0-9]{1,18})([KMGTkmgt]?)", text)
    size = int(found[1]) << 10 * " KMGT".index(found[2].upper() or " ") if found else 0
    if not 0 < size < 1 << 63:
        raise ValueError(f"{text!r} is no size; expected bytes, as 67108864, 64M or 1G")
    return size
