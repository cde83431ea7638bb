"""Metadata values made from Python's."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ..errors import ModelFileError
from ..gguf_file import Value

_I32, _F32, _BOOL, _STRING, _ARRAY = 5, 6, 7, 8, 9

u32 = Value.uint32
text = Value.string


def i32(value: int) -> Value:
    return Value(struct.pack("<Ii", _I32, value))


def f32(value: float) -> Value:
    try:
        return Value(struct.pack("<If", _F32, value))
    except OverflowError:
        raise ModelFileError(
            f"config.json: a number becomes {value:g}, which no float of 32 bits holds"
        ) from None


def flag(value: bool) -> Value:
    return Value(struct.pack("<I?", _BOOL, value))


def _array(kind: int, code: str, values: Iterable[float]) -> Value:
    items = list(values)
    return Value(struct.pack(f"<IIQ{len(items)}{code}", _ARRAY, kind, len(items), *items))


def i32s(values: Iterable[int]) -> Value:
    return _array(_I32, "i", values)


def f32s(values: Iterable[float]) -> Value:
    return _array(_F32, "f", values)


def flags(values: Iterable[bool]) -> Value:
    return _array(_BOOL, "?", values)


def texts(values: Iterable[bytes]) -> Value:
    """Strings as bytes: tokens need not be UTF-8."""
    items = list(values)
    head = struct.pack("<IIQ", _ARRAY, _STRING, len(items))
    return Value(head + b"".join(struct.pack("<Q", len(item)) + item for item in items))
