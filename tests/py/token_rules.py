"""Texts that are written as rules, and what is kept of their ids; tests/golden/tokens.json has both."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any


def text_of(rule: Sequence[Sequence[Any]]) -> str:
    """[piece, times] or [first, last, n]: n characters of a range, drawn by x = 1664525 x + 1013904223."""
    parts: list[str] = []
    for part in rule:
        if isinstance(part[0], str):
            parts.append(part[0] * part[1])
            continue
        first, last, n = part
        state = first
        for _ in range(n):
            state = (1664525 * state + 1013904223) % 2**32
            parts.append(chr(first + (state >> 8) % (last - first + 1)))
    return "".join(parts)


def summary(ids: Sequence[int]) -> list[Any]:
    return [len(ids), hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()]
