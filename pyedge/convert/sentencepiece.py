"""A SentencePiece model file, as far as conversion needs it: pieces and a few settings.

Format: protobuf messages as in sentencepiece_model.proto; field numbers are those of that file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_UNIGRAM, _BPE = 1, 2
_NORMAL = 1


@dataclass
class SentencePiece:
    pieces: list[tuple[bytes, float, int]] = field(default_factory=list)  # text, score, type
    kind: int = _UNIGRAM
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    charsmap: bytes = b""

    @property
    def is_bpe(self) -> bool:
        return self.kind == _BPE


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers of fields with their values: whole numbers, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = _varint(data, at)
        if size is None or size > len(data) - at:
            raise ValueError(f"a field of wire type {kind} that is too long or none of protobuf's")
        yield tag >> 3, data[at : at + size]
        at += size


def _piece(data: bytes) -> tuple[bytes, float, int]:
    text, score, kind = b"", 0.0, _NORMAL
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            text = value
        elif number == 2 and isinstance(value, bytes) and len(value) == 4:
            score = struct.unpack("<f", value)[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    if not 1 <= kind <= 6:
        raise ValueError(f"a piece of the type {kind}")
    text.decode("utf-8")
    return text, score, kind


def parse(data: bytes) -> SentencePiece:
    """The model in these bytes; ValueError where they are none."""
    model = SentencePiece()
    try:
        for number, value in _fields(data):
            if not isinstance(value, bytes):
                continue
            if number == 1:
                model.pieces.append(_piece(value))
            elif number == 2:  # TrainerSpec
                model.kind = next((v for n, v in _fields(value) if n == 3 and isinstance(v, int)), _UNIGRAM)
            elif number == 3:  # NormalizerSpec
                _normalizer(model, value)
    except IndexError:
        raise ValueError("it ends within a number") from None
    if not model.pieces:
        raise ValueError("it has no pieces")
    return model


def _normalizer(model: SentencePiece, data: bytes) -> None:
    for number, value in _fields(data):
        if number == 2 and isinstance(value, bytes):
            model.charsmap = value
        elif number == 3:
            model.add_dummy_prefix = bool(value)
        elif number == 4:
            model.remove_extra_whitespaces = bool(value)
