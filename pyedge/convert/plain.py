"""Model files of Nano and of llama2.c as plans of a GGUF file.

The core reads these files and checks every length in them; what its directory says is all that is used here.
Both are llamas. Their 8-bit weights have scales in floats, which no type of GGUF has, so that only floats
keep them as they are; Q8_0 and Q4_K keep the integers and round the scales to halves.

Nano's vocabulary, longest match forward, is no kind that GGUF knows. It is written as "t5", which finds the
row of tokens with the best sum of scores, here the fewest tokens: the same ids wherever that is the longest
match too. By the pre-tokeniser "nano" this library knows it again, and matches as Nano does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ModelFileError, UnsupportedError
from ..gguf_file import Bytes, Tensor, Value, row_bytes
from .folder import Source, read_bytes
from .tensors import NUMBERS, Plan
from .values import f32, f32s, flag, i32s, text, texts, u32

_NANO_Q4K = NUMBERS["NANO_Q4K"]
_BLOCK = 256  # weights of a block of Q4K
_NORMAL, _BYTE = 1, 6  # tokenizer.ggml.token_type
_SPACE = "▁"


@dataclass(frozen=True)
class Split(Source):
    """8-bit integers in order, then a scale for each `group` of them; read as F32 or as Q8_0 (`dtype`)."""

    group: int = 1

    def read(self, first: int = 0, count: int | None = None) -> Bytes:
        count = self.n_rows - first if count is None else count
        n, width = math.prod(self.shape), self.shape[-1]
        begin, end = first * width, (first + count) * width
        q = self._part(begin, end - begin).view(np.int8)
        low, high = begin // self.group, -(-end // self.group)
        scales = self._part(n + 4 * low, 4 * (high - low)).view("<f4")
        if self.dtype == "Q8_0":
            blocks = np.empty((count * width // 32,), np.dtype([("d", "<f2"), ("q", "i1", 32)]))
            blocks["q"] = q.reshape(-1, 32)
            blocks["d"] = _halves(self, scales)[np.arange(begin, end, 32) // self.group - low]
            return blocks.view(np.uint8).reshape(count, -1)
        x: NDArray[np.float32] = q * scales[np.arange(begin, end) // self.group - low]
        return x.view(np.uint8).reshape(count, -1)

    def _part(self, at: int, size: int) -> Bytes:
        return read_bytes(self.path, self.name, self.offset + at, size)


@dataclass(frozen=True)
class Blocks(Source):
    """Rows of blocks of Nano's Q4K, a row shorter than a block in one; read as F32 or Q4_K (`dtype`)."""

    def read(self, first: int = 0, count: int | None = None) -> Bytes:
        count = self.n_rows - first if count is None else count
        per_row = -(-self.shape[-1] // _BLOCK)
        row = per_row * row_bytes(_NANO_Q4K, _BLOCK)
        data = read_bytes(self.path, self.name, self.offset + first * row, count * row)
        if self.dtype == "Q4_K":
            return self._as_q4_k(data.reshape(count * per_row, -1)).reshape(count, -1)
        x = _core.dequantize(_NANO_Q4K, data, count * per_row * _BLOCK).reshape(count, -1)
        return np.ascontiguousarray(x[:, : self.shape[-1]]).view(np.uint8)

    def _as_q4_k(self, blocks: Bytes) -> Bytes:
        """The same scales and weights; of each 64 weights, Q4_K has the second 32 in the high bits."""
        out = np.empty((len(blocks), row_bytes(NUMBERS["Q4_K"], _BLOCK)), np.uint8)
        out[:, :4] = _halves(self, blocks[:, 12:20].copy().view("<f4")).view(np.uint8)
        out[:, 4:16] = blocks[:, 20:32]
        packed = blocks[:, 32:]
        halves = np.stack([packed & 15, packed >> 4], axis=2).reshape(-1, 4, 2, 32)
        out[:, 16:] = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(-1, 128)
        return out


def _halves(source: Source, scales: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        halves = scales.astype("<f2")
    if not np.isfinite(halves).all():
        raise ModelFileError(f"{source.path}: tensor {source.name!r}: it has a scale that F16 cannot hold")
    return halves


@dataclass(frozen=True)
class Plain:
    """What is written of such a file."""

    keys: Mapping[str, Value]  # without general.*
    plans: Sequence[Plan]


def read(path: Path, tokenizer: Path | None, wanted: str | None) -> Plain:
    """Plan the conversion of a file. wanted: the type of matrices; None: F32, which is exact."""
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"GGUF":
                raise UnsupportedError(
                    f"{path}: it is a GGUF file already; `pyedge quantize` changes its types"
                )
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}") from error
    core = _core.Model(path, None, tokenizer, no_weights=True)
    metadata = core.metadata(True)
    format = str(metadata.pop("general.source.format", ""))
    q4k = format.endswith("(Q4K)")
    if wanted == "Q4_K" and not q4k:
        raise ValueError(f"Q4_K is for Nano files of Q4K, and {path} is {format}; convert it, then quantize")
    plans = [_plan(path, entry, wanted or "F32", q4k) for entry in core.tensors()]
    return Plain({**_keys(metadata), **_vocab_keys(core, metadata, path)}, plans)


def _plan(path: Path, entry: tuple[str, int, tuple[int, ...], int, int], wanted: str, q4k: bool) -> Plan:
    name, _, shape, offset, size = entry
    n, n_in = math.prod(shape), shape[-1]
    whole = {"Q8_0": n_in % 32 == 0, "Q4_K": n_in % _BLOCK == 0}.get(wanted, True)
    type = "F32" if len(shape) == 1 else wanted if whole else "F16"
    if size == 4 * n and not (q4k and len(shape) > 1):
        source = Source(name, path, "F32", shape, offset, size)
    elif q4k:
        source = Blocks(name, path, "Q4_K" if type == "Q4_K" else "F32", shape, offset, 4 * n)
    else:
        group = 4 * n // (size - n)
        keeps = type == "Q8_0" and group % 32 == 0
        source = Split(name, path, "Q8_0" if keeps else "F32", shape, offset, 4 * n, group)
    number, dims = NUMBERS[type], shape[::-1]
    return Plan(Tensor(name, dims, number, size=row_bytes(number, n_in) * (n // n_in)), [source])


def _value(value: Any) -> Value:
    """Numbers of these files are all of 32 bits."""
    if isinstance(value, bool):
        return flag(value)
    if isinstance(value, int):
        return u32(value)
    return f32(value) if isinstance(value, float) else text(value)


def _keys(metadata: Mapping[str, Any]) -> dict[str, Value]:
    keys = {}
    for name, value in metadata.items():
        if not isinstance(value, list) and not name.startswith(("general.", "tokenizer.ggml.model")):
            keys[name] = _value(value)
    return keys


def _vocab_keys(core: _core.Model, metadata: Mapping[str, Any], path: Path) -> dict[str, Value]:
    types = metadata["tokenizer.ggml.token_type"]
    tokens = []
    for number, type in enumerate(types):
        token = core.token_bytes(number)
        if type == _BYTE:
            token = b"<0x%02X>" % token[0]
        elif type == _NORMAL:
            if _SPACE.encode() in token:
                raise UnsupportedError(
                    f"{path}: token {number} has the character U+2581, which stands for a space in GGUF"
                )
            token = token.replace(b" ", _SPACE.encode())
        tokens.append(token)
    nano = metadata["tokenizer.ggml.model"] == "nano"
    keys = {
        "model": text("t5" if nano else "llama"),
        "pre": text("nano" if nano else "default"),
        "tokens": texts(tokens),
        "token_type": i32s(types),
        "scores": f32s([-1.0] * len(tokens) if nano else metadata["tokenizer.ggml.scores"]),
    }
    if nano:
        keys |= {f"add_{name}": flag(False) for name in ("bos_token", "eos_token", "space_prefix")}
        keys["remove_extra_whitespaces"] = flag(False)
    return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}
