"""Makes files of Nano and of llama2.c for tests, and the GGUF model that each is equal to.

The weights are those of `ggufmake.tiny_llama_file`. What quantising loses is lost in both: a writer returns
the weights as a reader of its file finds them. Like `ggufmake`, nothing here checks anything, so that files
can be wrong: headers and vocabularies are given as they are to be written.

`python tests/py/plainmake.py FOLDER` writes the seeds of the fuzz target of the readers.
"""

from __future__ import annotations

import pathlib
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import ggufmake as gm
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Weights = dict[str, Floats]

# Names of a layer's matrices in the order that both formats have, after the embeddings.
MATRICES: Final = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up")
F32, Q80, Q4K = 0x00, 0x80, 0x42


@dataclass
class Shape:
    n_layer: int = 2
    n_embd: int = 64
    n_ff: int = 96
    n_head: int = 4
    n_head_kv: int = 2
    n_ctx: int = 128
    tied: bool = False

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head


def tiny_weights(shape: Shape) -> Weights:
    """By GGUF name; matrices as [out, in]."""
    file = gm.tiny_llama_file(**_sizes(shape), vocab="spm")
    out = {}
    for name, tensor in file.tensors:
        assert isinstance(name, str)
        if not (shape.tied and name == "output.weight"):
            out[name] = np.frombuffer(tensor.data, "<f4").reshape(tensor.dims[::-1]).copy()
    return out


def _sizes(shape: Shape) -> dict[str, int]:
    return {
        "n_layer": shape.n_layer,
        "n_embd": shape.n_embd,
        "n_ff": shape.n_ff,
        "n_head": shape.n_head,
        "n_head_kv": shape.n_head_kv,
        "n_ctx": shape.n_ctx,
    }


def equal_gguf(shape: Shape, weights: Mapping[str, Floats]) -> bytes:
    tensors: dict[str, gm.Tensor | None] = {
        name: gm.Tensor(values.shape[::-1], values.astype("<f4").tobytes())
        for name, values in weights.items()
    }
    if shape.tied:
        tensors["output.weight"] = None
    return gm.tiny_llama(**_sizes(shape), vocab="spm", tensors=tensors)


def _names(name: str, n_layer: int) -> list[str]:
    if name in ("token_embd", "output"):
        return [f"{name}.weight"]
    return [f"blk.{i}.{name}.weight" for i in range(n_layer)]


def _floats(weights: Weights, names: Sequence[str]) -> bytes:
    return b"".join(weights[name].astype("<f4").tobytes() for name in names)


def _norms(weights: Weights, name: str, n_layer: int) -> bytes:
    return _floats(weights, [f"blk.{i}.{name}.weight" for i in range(n_layer)])


def rope_tables(shape: Shape, base: float = 10000.0) -> bytes:
    half = shape.head_dim // 2
    angles = np.arange(shape.n_ctx)[:, None] * base ** (-np.arange(half) / half)
    return np.cos(angles).astype("<f4").tobytes() + np.sin(angles).astype("<f4").tobytes()


def put_q80(weights: Weights, name: str, group: int) -> bytes:
    """All integers, then a scale for each group; `weights` becomes what they stand for."""
    flat = weights[name].reshape(-1, group)
    scale = (np.abs(flat).max(axis=1) / np.float32(127)).astype(np.float32)
    q = np.rint(flat / scale[:, None]).astype(np.int8)
    weights[name] = (q.astype(np.float32) * scale[:, None]).reshape(weights[name].shape)
    return q.tobytes() + scale.astype("<f4").tobytes()


def put_q4k(weights: Weights, names: Sequence[str], seed: int) -> bytes:
    """One frame for all layers, of random blocks; `weights` becomes what they stand for."""
    rng = np.random.default_rng(seed)
    rows, cols = weights[names[0]].shape
    per = -(-cols // 256)
    n = len(names) * rows * per
    head = np.array([0x42, min(cols, 256), 0], "<u4").view(np.uint8)
    scales = rng.uniform(0.5, 1.5, (n, 2)).astype("<f4") * np.array([2e-3, 1e-2], "<f4") / np.float32(4)
    packed = rng.integers(0, 256, (n, 12), np.uint8)
    nibbles = rng.integers(0, 256, (n, 128), np.uint8)
    blocks = np.concatenate([np.tile(head, (n, 1)), scales.view(np.uint8), packed, nibbles], axis=1)

    low, middle, high = (packed[:, k : k + 4].astype(np.uint32) for k in (0, 4, 8))
    s6 = np.concatenate([low & 63, (low >> 6 << 4) | (high & 15)], axis=1).astype(np.float32)
    b6 = np.concatenate([middle & 63, (middle >> 6 << 4) | (high >> 4)], axis=1).astype(np.float32)
    q = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(n, 8, 32).astype(np.float32)
    values = q * (scales[:, :1] * s6)[:, :, None] - (scales[:, 1:] * b6)[:, :, None]
    values = values.reshape(len(names), rows, per * 256)[:, :, :cols].astype(np.float32)
    for name, layer in zip(names, values, strict=True):
        weights[name] = np.ascontiguousarray(layer)
    shape = [rows, cols] if len(names) == 1 else [len(names), rows, cols]
    padded = [*shape, 0, 0, 0, 0][:6]
    return struct.pack("<QII6II", 44 + 160 * n, 0x42, len(shape), *padded, n) + blocks.tobytes()


# ---- Nano --------------------------------------------------------------------------------------------------

NANO_SPECIAL: Final = (
    *("<|padding|>", "<|unknown|>", "<|bos|>", "<|eos|>"),
    *("<|instruct_mark|>", "<|response_mark|>", "<|BD4SUR|>"),
)
NANO_WORDS: Final = ("the", "th", "hat", "a very long token 1", "ab", "abcd", "你好", "<|b", "🙂🙂")


def nano_tokens() -> list[str]:
    """As many as the GGUF model has: specials, words, single characters."""
    single = [*"\n abcdehtvrylongk12<|>_你好🙂é"]
    tokens = [*NANO_SPECIAL, *dict.fromkeys(single), *NANO_WORDS]
    return tokens + [chr(0x4E00 + 7 * i) for i in range(gm.N_VOCAB["spm"] - len(tokens))]


def nano_vocabulary(
    tokens: Sequence[str], n_special: int = len(NANO_SPECIAL), count: int | None = None
) -> bytes:
    out = b""
    for id, token in enumerate(tokens):
        out += struct.pack("<BBBBI", len(token), id < n_special, 255, 255, id)
        out += struct.pack(f"<{len(token)}I", *map(ord, token))
    return struct.pack("<II", len(out) + 8, len(tokens) if count is None else count) + out


@dataclass
class Nano:
    """A Nano file in parts."""

    shape: Shape = field(default_factory=Shape)
    quant: int = F32
    group: int = 128  # as written
    used_group: int | None = None  # where the header lies
    arch: int = 0
    vocabulary: bytes = field(default_factory=lambda: nano_vocabulary(nano_tokens()))
    rope_base: float = 10000.0

    def header(self) -> bytes:
        s = self.shape
        fields = [2026, 1, self.arch, 36, s.n_ctx, gm.N_VOCAB["spm"], s.n_layer, s.n_embd, s.n_head]
        fields += [
            s.n_head_kv,
            s.n_ff,
            s.tied,
            s.head_dim,
            self.quant,
            self.group if self.quant == Q80 else 0,
        ]
        return (b"S4DBMLRU" + struct.pack("<15I", *fields)).ljust(256, b"\0")

    def build(self) -> tuple[bytes, Weights]:
        s, weights = self.shape, tiny_weights(self.shape)
        out = self.header() + self.vocabulary
        out += _norms(weights, "attn_norm", s.n_layer) + _norms(weights, "ffn_norm", s.n_layer)
        out += _floats(weights, ["output_norm.weight"])
        for seed, name in enumerate(("token_embd", *MATRICES)):
            out += self._matrix(weights, _names(name, s.n_layer), seed)
        out += rope_tables(s, self.rope_base)
        if not s.tied:
            out += self._matrix(weights, ["output.weight"], 99)
        return out, weights

    def to_bytes(self) -> bytes:
        return self.build()[0]

    def _matrix(self, weights: Weights, names: Sequence[str], seed: int) -> bytes:
        if self.quant == Q4K:
            return put_q4k(weights, names, seed)
        if self.quant == Q80:
            return b"".join(put_q80(weights, name, self.used_group or self.group) for name in names)
        return _floats(weights, names)

    def patched(self, at: int, value: int, form: str = "<I") -> bytes:
        """The file with one number replaced."""
        out = bytearray(self.to_bytes())
        struct.pack_into(form, out, at, value)
        return bytes(out)


# ---- llama2.c ----------------------------------------------------------------------------------------------


def tokenizer_bin(*, old: bool = False, count: int | None = None) -> bytes:
    """The SPM vocabulary of the GGUF model as llama2.c exports it; `old`: bytes as characters."""
    entries = []
    for id, piece in enumerate(gm.spm_tokens()):
        text = {1: "\n<s>\n", 2: "\n</s>\n"}.get(id, piece).replace("▁", " ")
        if old and 3 <= id < 259:
            text = chr(id - 3)
        score = 0.0 if id < 259 else -float(gm.N_VOCAB["spm"] - id)
        data = text.encode()
        entries.append(struct.pack("<fI", score, len(data)) + data)
    longest = max(len(entry) for entry in entries) - 8
    return struct.pack("<I", longest) + b"".join(entries[:count])


@dataclass
class Llama2c:
    """A checkpoint in parts."""

    shape: Shape = field(default_factory=Shape)
    version: int = 1
    group: int = 64

    def header(self) -> bytes:
        s = self.shape
        n_vocab = gm.N_VOCAB["spm"]
        if self.version == 0 and not s.tied:
            n_vocab = -n_vocab
        numbers = struct.pack("<7i", s.n_embd, s.n_ff, s.n_layer, s.n_head, s.n_head_kv, n_vocab, s.n_ctx)
        if self.version == 0:
            return numbers
        out = struct.pack("<Ii", 0x616B3432, self.version) + numbers + struct.pack("<B", s.tied)
        if self.version == 2:
            out += struct.pack("<i", self.group)
        return out.ljust(256, b"\0")

    def build(self) -> tuple[bytes, Weights]:
        s, weights = self.shape, tiny_weights(self.shape)
        attention, hidden = (_norms(weights, name, s.n_layer) for name in ("attn_norm", "ffn_norm"))
        last = _floats(weights, ["output_norm.weight"])
        parts = {
            name: self._matrix(weights, _names(name, s.n_layer))
            for name in ("token_embd", *MATRICES, *(() if s.tied else ("output",)))
        }
        embeddings, output = parts.pop("token_embd"), parts.pop("output", b"")
        products = list(parts.values())
        if self.version == 0:
            out = embeddings + attention + b"".join(products[:4]) + hidden + b"".join(products[4:])
            out += last + rope_tables(s)
        else:
            out = attention + hidden + last + embeddings + b"".join(products)
        return self.header() + out + output, weights

    def to_bytes(self) -> bytes:
        return self.build()[0]

    def _matrix(self, weights: Weights, names: Sequence[str]) -> bytes:
        if self.version == 2:
            return b"".join(put_q80(weights, name, self.group) for name in names)
        return _floats(weights, names)

    def patched(self, at: int, value: int, form: str = "<i") -> bytes:
        out = bytearray(self.to_bytes())
        struct.pack_into(form, out, at, value)
        return bytes(out)


def write_seeds(folder: pathlib.Path) -> None:
    """A byte that says Nano or llama2.c, two with the size of the vocabulary, and the files."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = Shape(n_layer=1, n_embd=4, n_ff=6, n_head=1, n_head_kv=1, n_ctx=4)
    for kind in (F32, Q80, Q4K):
        nano = Nano(replace(shape, tied=kind == Q4K), kind, group=2)
        (folder / f"nano-{kind}").write_bytes(b"\1\0\0" + nano.to_bytes())
    for version in range(3):
        model, vocabulary = Llama2c(shape, version, group=4).to_bytes(), tokenizer_bin()
        head = struct.pack("<BH", 0, len(vocabulary))
        (folder / f"llama2c-{version}").write_bytes(head + model + vocabulary)


if __name__ == "__main__":
    write_seeds(pathlib.Path(sys.argv[1]))
