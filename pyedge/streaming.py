"""From token bytes to text that may be shown: whole characters, and nothing of a stop string.

    bytes of a token --> incremental UTF-8 --> [ held tail that may become a stop string ] --> text to show

A token may end inside a character, and a stop string may lie across tokens: both are held back until they are
decided.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Feed token bytes with `push`, end with `finish`; `stopped` tells that a stop string was met."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, data: bytes) -> str:
        """The text that is settled now, after these bytes."""
        return self._settle(self._decoder.decode(data))

    def finish(self) -> str:
        """What was held back; the bytes of an unfinished character become U+FFFD."""
        if self.stopped:
            return ""
        settled = self._settle(self._decoder.decode(b"", final=True))
        if not self.stopped:
            settled += self._held
            self._held = ""
        return settled

    def _settle(self, text: str) -> str:
        if self.stopped:
            return ""
        if not self._stops:
            return text
        held = self._held + text
        cuts = [cut for cut in (held.find(stop) for stop in self._stops) if cut >= 0]
        if cuts:
            self.stopped = True
            self._held = ""
            return held[: min(cuts)]
        keep = max(_overlap(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop` and is not all of it."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


def encode(text: str | bytes) -> bytes:
    """UTF-8 of a str. Lone surrogates U+DC80..U+DCFF, as file names and sys.argv bring them, become the bytes
    that they stand for; other lone surrogates become their three-byte form. Bytes pass as they are."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        pass
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
