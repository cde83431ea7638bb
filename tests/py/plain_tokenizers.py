"""Tokenizers as their definitions read: try every pair, merge the best one, leftmost first, again.

Slow, and independent of the core, whose words of any length and bytes of any kind are held to them. A byte
that is no character of UTF-8 is one of its own, which is neither letter, number nor white space.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import regex
from vocabs import ALPHABET, BYTE_TYPE, NORMAL_TYPE, UNUSED_TYPE, USER_TYPE


def characters(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def merge(symbols: list[bytes], rank: Callable[[bytes, bytes], float]) -> None:
    """In place; rank is inf for a pair that is not merged."""
    ranks = [rank(*pair) for pair in itertools.pairwise(symbols)]
    while ranks and (best := min(ranks)) < math.inf:
        at = ranks.index(best)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        del ranks[at]
        for i in (at - 1, at):
            if 0 <= i < len(ranks):
                ranks[i] = rank(symbols[i], symbols[i + 1])


class PlainBpe:
    """Byte-level BPE; `patterns` are those of its pre-tokeniser, each for the pieces of the one before."""

    def __init__(self, tokens: Sequence[str], merges: Sequence[str], patterns: Sequence[str]) -> None:
        byte = {character: bytes([value]) for value, character in enumerate(ALPHABET)}

        def plain(text: str) -> bytes:
            return b"".join(byte.get(character, b"?") for character in text)

        self.ids: dict[bytes, int] = {}
        for i, text in enumerate(tokens):
            self.ids.setdefault(plain(text), i)
        self.ranks: dict[tuple[bytes, bytes], int] = {}
        for i, pair in enumerate(merges):
            left, right = pair.split(" ", 1)
            self.ranks.setdefault((plain(left), plain(right)), i)
        self.patterns = [regex.compile(pattern, regex.VERSION0) for pattern in patterns]

    def words(self, data: bytes) -> list[bytes]:
        pieces = [characters(data)]
        for pattern in self.patterns:
            cut: list[str] = []
            for piece in pieces:
                at = 0
                for match in pattern.finditer(piece):
                    cut += [piece[at : match.start()], match.group()]
                    at = match.end()
                cut.append(piece[at:])
            pieces = [piece for piece in cut if piece]
        return [as_bytes(piece) for piece in pieces]

    def encode(self, data: bytes) -> list[int]:
        """Bytes that have no token are left out."""
        ids: list[int] = []
        for word in self.words(data):
            symbols = [word[i : i + 1] for i in range(len(word))]
            merge(symbols, lambda left, right: self.ranks.get((left, right), math.inf))
            ids += [self.ids[symbol] for symbol in symbols if symbol in self.ids]
        return ids


class PlainSpm:
    """SentencePiece-style BPE."""

    def __init__(self, ffi: Any, vocab: Any) -> None:
        n = int(vocab.n_tokens)
        self.texts = [bytes(ffi.unpack(v.data, v.size)) for v in ffi.unpack(vocab.tokens, n)]
        self.types = np.frombuffer(ffi.buffer(vocab.types, 4 * n), "<i4")
        self.scores = np.frombuffer(ffi.buffer(vocab.scores, 4 * n), "<f4")
        mergeable = (NORMAL_TYPE, USER_TYPE, UNUSED_TYPE)
        self.ids: dict[bytes, int] = {}
        self.user: list[bytes] = []
        for i, text in enumerate(self.texts):
            if self.types[i] in mergeable:
                self.ids.setdefault(text, i)
            if self.types[i] == USER_TYPE and text != b"</s>":
                self.user.append(text)
        self.user.sort(key=len, reverse=True)
        self.bytes = {int(t[3:5], 16): i for i, t in enumerate(self.texts) if self.types[i] == BYTE_TYPE}

    def encode(self, text: str | bytes) -> list[int]:
        data, ids, start, at = text if isinstance(text, bytes) else text.encode(), [], 0, 0
        while at < len(data):
            match = next((user for user in self.user if data.startswith(user, at)), None)
            if match is None:
                at += 1
                continue
            ids += [*self.merge(characters(data[start:at])), self.ids[match]]
            at += len(match)
            start = at
        return ids + self.merge(characters(data[start:]))

    def merge(self, text: str) -> list[int]:
        symbols = [as_bytes(c) for c in text.replace(" ", "\u2581")]

        def rank(left: bytes, right: bytes) -> float:
            token = self.ids.get(left + right)
            return math.inf if token is None else -float(self.scores[token])

        merge(symbols, rank)
        ids: list[int] = []
        for symbol in symbols:
            ids += [self.ids[symbol]] if symbol in self.ids else [self.bytes[byte] for byte in symbol]
        return ids
