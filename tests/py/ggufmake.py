"""Makes GGUF bytes for tests: small valid models, and files that are wrong in exactly one place.

The writer lays out what it is given and checks nothing, so that every mistake a file can have can be
made: counts, lengths, offsets and type numbers may all be overridden. `tiny_llama()` is a complete model
that opens and evaluates; its arguments change or remove single keys and tensors.

`python tests/py/ggufmake.py FOLDER` writes the seeds of the fuzz target of the reader.
"""

from __future__ import annotations

import pathlib
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

# GGUF value types.
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS: Final = {
    U8: "<B",
    I8: "<b",
    U16: "<H",
    I16: "<h",
    U32: "<I",
    I32: "<i",
    F32: "<f",
    BOOL: "<B",
    U64: "<Q",
    I64: "<q",
    F64: "<d",
}
# GGML tensor types: number -> (elements, bytes) of a block.
GGML_F32, GGML_F16, GGML_Q4_0, GGML_Q8_0 = 0, 1, 2, 8
_BLOCKS: Final = {GGML_F32: (1, 4), GGML_F16: (1, 2), GGML_Q4_0: (32, 18), GGML_Q8_0: (32, 34)}
# Token types.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

Scalar = int | float | bool | str | bytes


def string(text: str | bytes, length: int | None = None) -> bytes:
    """A GGUF string; `length` overrides the true one."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data) if length is None else length) + data


def _item(kind: int, value: Scalar) -> bytes:
    if kind == STRING:
        assert isinstance(value, str | bytes)
        return string(value)
    return struct.pack(_FORMATS[kind], value)


@dataclass(frozen=True)
class Value:
    """A metadata value, as the bytes that follow its key."""

    raw: bytes

    @staticmethod
    def of(kind: int, value: Scalar) -> Value:
        return Value(struct.pack("<I", kind) + _item(kind, value))

    @staticmethod
    def array(kind: int, items: Sequence[Scalar], count: int | None = None) -> Value:
        head = struct.pack("<IIQ", ARRAY, kind, len(items) if count is None else count)
        return Value(head + b"".join(_item(kind, item) for item in items))


def u32(value: int) -> Value:
    return Value.of(U32, value)


def f32(value: float) -> Value:
    return Value.of(F32, value)


def text(value: str | bytes) -> Value:
    return Value.of(STRING, value)


def texts(items: Sequence[str | bytes]) -> Value:
    return Value.array(STRING, items)


@dataclass(frozen=True)
class Tensor:
    """Shape (contiguous dimension first), type and bytes; `offset` overrides where it is said to lie."""

    dims: tuple[int, ...]
    data: bytes
    kind: int = GGML_F32
    offset: int | None = None
    n_dims: int | None = None

    @staticmethod
    def zeros(dims: tuple[int, ...], kind: int = GGML_F32) -> Tensor:
        elements, size = _BLOCKS[kind]
        return Tensor(dims, bytes(int(np.prod(dims)) // elements * size), kind)

    @staticmethod
    def random(dims: tuple[int, ...], seed: int) -> Tensor:
        weights = np.random.default_rng(seed).standard_normal(int(np.prod(dims))) / np.sqrt(dims[0])
        return Tensor(dims, weights.astype("<f4").tobytes())


@dataclass
class Gguf:
    """A file to be. Entries are lists of pairs, so that names can be doubled."""

    keys: list[tuple[str | bytes, Value]] = field(default_factory=list)
    tensors: list[tuple[str | bytes, Tensor]] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32  # of the layout; the key general.alignment is written only if it is among the keys
    n_keys: int | None = None
    n_tensors: int | None = None

    def header(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self.keys) if self.n_keys is None else self.n_keys
        return self.magic + struct.pack("<IQQ", self.version, n_tensors, n_keys)

    def metadata(self) -> bytes:
        return b"".join(string(key) + value.raw for key, value in self.keys)

    def directory(self) -> bytes:
        out, end = [], 0
        for name, tensor in self.tensors:
            n_dims = len(tensor.dims) if tensor.n_dims is None else tensor.n_dims
            offset = end if tensor.offset is None else tensor.offset
            dims = struct.pack(f"<{len(tensor.dims)}Q", *tensor.dims)
            out.append(
                string(name) + struct.pack("<I", n_dims) + dims + struct.pack("<IQ", tensor.kind, offset)
            )
            end += len(tensor.data) + -len(tensor.data) % self.alignment
        return b"".join(out)

    def sections(self) -> dict[str, tuple[int, int]]:
        """Where each part of the file begins and ends."""
        parts = {"header": self.header(), "metadata": self.metadata(), "directory": self.directory()}
        out, at = {}, 0
        for name, part in parts.items():
            out[name] = (at, at + len(part))
            at += len(part)
        start = at + -at % self.alignment
        out["padding"] = (at, start)
        out["data"] = (start, len(self.to_bytes()))
        return out

    def to_bytes(self) -> bytes:
        out = bytearray(self.header() + self.metadata() + self.directory())
        for _, tensor in self.tensors:
            out += bytes(-len(out) % self.alignment)
            out += tensor.data
        return bytes(out)


def byte_alphabet() -> list[str]:
    """The characters that stand for the bytes 0..255 in byte-level BPE vocabularies.

    Printable Latin-1 bytes stand for themselves; the rest are numbered from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    out, spare = [], 0x100
    for byte in range(256):
        out.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return out


BPE_MERGES: Final = ("t h", "th e", "Ġ t", "Ġ the", "i n", "a n", "an d", "Ġ and", "Ġ a", "o u", "r e", "e r")
BPE_SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def bpe_vocab() -> dict[str, Value]:
    """Byte-level BPE: three control tokens, the 256 bytes, one token a merge."""
    tokens = [*BPE_SPECIAL, *byte_alphabet(), *(merge.replace(" ", "") for merge in BPE_MERGES)]
    types = [CONTROL] * len(BPE_SPECIAL) + [NORMAL] * (len(tokens) - len(BPE_SPECIAL))
    return {
        "tokenizer.ggml.model": text("gpt2"),
        "tokenizer.ggml.pre": text("smollm"),
        "tokenizer.ggml.tokens": texts(tokens),
        "tokenizer.ggml.token_type": Value.array(I32, types),
        "tokenizer.ggml.merges": texts(BPE_MERGES),
        "tokenizer.ggml.bos_token_id": u32(0),
        "tokenizer.ggml.eos_token_id": u32(2),
        "tokenizer.ggml.add_bos_token": Value.of(BOOL, False),
    }


SPM_PIECES: Final = (
    "▁",
    "t",
    "h",
    "e",
    "a",
    "n",
    "d",
    "th",
    "he",
    "▁t",
    "▁a",
    "the",
    "▁the",
    "an",
    "and",
    "▁and",
)


def spm_tokens() -> list[str]:
    return ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *SPM_PIECES]


def spm_vocab() -> dict[str, Value]:
    """SentencePiece style: unknown, BOS, EOS, 256 byte tokens, a few scored pieces."""
    tokens = spm_tokens()
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(SPM_PIECES)
    scores = [0.0] * 259 + [-float(len(SPM_PIECES) - i) for i in range(len(SPM_PIECES))]
    return {
        "tokenizer.ggml.model": text("llama"),
        "tokenizer.ggml.pre": text("default"),
        "tokenizer.ggml.tokens": texts(tokens),
        "tokenizer.ggml.scores": Value.array(F32, scores),
        "tokenizer.ggml.token_type": Value.array(I32, types),
        "tokenizer.ggml.bos_token_id": u32(1),
        "tokenizer.ggml.eos_token_id": u32(2),
        "tokenizer.ggml.unknown_token_id": u32(0),
        "tokenizer.ggml.add_bos_token": Value.of(BOOL, True),
    }


N_VOCAB: Final = {
    "bpe": len(BPE_SPECIAL) + 256 + len(BPE_MERGES),
    "spm": 3 + 256 + len(SPM_PIECES),
}


def tiny_llama_file(
    *,
    vocab: str = "bpe",
    keys: Mapping[str, Value | None] | None = None,
    tensors: Mapping[str, Tensor | None] | None = None,
    n_layer: int = 2,
    n_embd: int = 64,
    n_ff: int = 96,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ctx: int = 128,
) -> Gguf:
    """A llama with random F32 weights. `keys` and `tensors` replace or add entries; None removes one."""
    n_vocab = N_VOCAB[vocab]
    head_dim = n_embd // n_head
    all_keys: dict[str, Value] = {
        "general.architecture": text("llama"),
        "general.name": text("tiny"),
        "llama.block_count": u32(n_layer),
        "llama.context_length": u32(n_ctx),
        "llama.embedding_length": u32(n_embd),
        "llama.feed_forward_length": u32(n_ff),
        "llama.attention.head_count": u32(n_head),
        "llama.attention.head_count_kv": u32(n_head_kv),
        "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
        "llama.rope.dimension_count": u32(head_dim),
        "llama.rope.freq_base": f32(10000.0),
        "llama.vocab_size": u32(n_vocab),
        **(bpe_vocab() if vocab == "bpe" else spm_vocab()),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (n_embd, n_vocab),
        "output.weight": (n_embd, n_vocab),
        "output_norm.weight": (n_embd,),
    }
    for i in range(n_layer):
        shapes |= {
            f"blk.{i}.attn_norm.weight": (n_embd,),
            f"blk.{i}.attn_q.weight": (n_embd, n_head * head_dim),
            f"blk.{i}.attn_k.weight": (n_embd, n_head_kv * head_dim),
            f"blk.{i}.attn_v.weight": (n_embd, n_head_kv * head_dim),
            f"blk.{i}.attn_output.weight": (n_head * head_dim, n_embd),
            f"blk.{i}.ffn_norm.weight": (n_embd,),
            f"blk.{i}.ffn_gate.weight": (n_embd, n_ff),
            f"blk.{i}.ffn_up.weight": (n_embd, n_ff),
            f"blk.{i}.ffn_down.weight": (n_ff, n_embd),
        }
    all_tensors = {name: Tensor.random(dims, seed) for seed, (name, dims) in enumerate(shapes.items())}
    changed_keys = {**all_keys, **(keys or {})}
    changed_tensors = {**all_tensors, **(tensors or {})}
    return Gguf(
        keys=[(key, value) for key, value in changed_keys.items() if value is not None],
        tensors=[(name, tensor) for name, tensor in changed_tensors.items() if tensor is not None],
    )


def tiny_llama(
    *,
    vocab: str = "bpe",
    keys: Mapping[str, Value | None] | None = None,
    tensors: Mapping[str, Tensor | None] | None = None,
    n_layer: int = 2,
    n_embd: int = 64,
    n_ff: int = 96,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ctx: int = 128,
) -> bytes:
    """The bytes of `tiny_llama_file`."""
    return tiny_llama_file(
        vocab=vocab,
        keys=keys,
        tensors=tensors,
        n_layer=n_layer,
        n_embd=n_embd,
        n_ff=n_ff,
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_ctx=n_ctx,
    ).to_bytes()


def small_gguf() -> Gguf:
    """No model, but every kind of value and several kinds of tensors; for readers and fuzzers."""
    kinds: dict[str, Value] = {f"scalar.{kind}": Value.of(kind, 1) for kind in _FORMATS}
    kinds |= {f"array.{kind}": Value.array(kind, [0, 1, 1]) for kind in _FORMATS}
    kinds |= {
        "scalar.string": text("abc"),
        "array.string": texts(["a", "", "ccc"]),
        "empty": Value.array(U8, []),
    }
    return Gguf(
        keys=list(kinds.items()),
        tensors=[
            ("f32", Tensor.zeros((3, 2))),
            ("f16", Tensor.zeros((5,), GGML_F16)),
            ("q4_0", Tensor.zeros((32, 2), GGML_Q4_0)),
            ("q8_0", Tensor.zeros((64, 1, 1, 2), GGML_Q8_0)),
        ],
    )


def with_key(file: Gguf, key: str | bytes, value: Value) -> Gguf:
    """A copy with one more entry, also where the key is already there."""
    return replace(file, keys=[*file.keys, (key, value)])


def with_tensor(file: Gguf, name: str | bytes, tensor: Tensor) -> Gguf:
    return replace(file, tensors=[*file.tensors, (name, tensor)])


def split(file: Gguf, n_parts: int) -> list[Gguf]:
    """The parts of a model in several files: keys in the first, tensors spread over all."""
    parts = []
    for no in range(n_parts):
        keys = file.keys if no == 0 else []
        numbers = [
            ("split.no", Value.of(U16, no)),
            ("split.count", Value.of(U16, n_parts)),
            ("split.tensors.count", Value.of(I32, len(file.tensors))),
        ]
        parts.append(replace(file, keys=[*keys, *numbers], tensors=file.tensors[no::n_parts]))
    return parts


def part_names(stem: str, n_parts: int) -> list[str]:
    return [f"{stem}-{no:05}-of-{n_parts:05}.gguf" for no in range(1, n_parts + 1)]


def write_seeds(folder: pathlib.Path) -> None:
    aligned = Gguf(
        keys=[("general.alignment", u32(64))],
        tensors=[("a", Tensor.zeros((4,))), ("b", Tensor.zeros((4,)))],
        alignment=64,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small").write_bytes(small_gguf().to_bytes())
    (folder / "aligned").write_bytes(aligned.to_bytes())
    for vocab in N_VOCAB:
        (folder / f"tiny-{vocab}").write_bytes(
            tiny_llama(vocab=vocab, n_layer=1, n_embd=4, n_ff=4, n_head=1, n_head_kv=1)
        )


if __name__ == "__main__":
    write_seeds(pathlib.Path(sys.argv[1]))
