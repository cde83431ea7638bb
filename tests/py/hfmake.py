"""Makes Hugging Face model folders for tests: weights, configs, tokenizers; sound or wrong in one place."""

from __future__ import annotations

import json
import pathlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import ggufmake
import numpy as np

DTYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": None, "I32": "<i4", "F8_E4M3": "|u1"}
Arrays = Mapping[str, np.ndarray]


def bf16(x: np.ndarray) -> np.ndarray:
    """The upper halves of floats, as 16-bit numbers; what is below is cut off."""
    return (np.ascontiguousarray(x, "<f4").view("<u4") >> 16).astype("<u2")


def stored(x: np.ndarray, dtype: str) -> bytes:
    return bf16(x).tobytes() if dtype == "BF16" else x.astype(DTYPES[dtype]).tobytes()


def safetensors(
    arrays: Arrays,
    dtype: str = "F32",
    entries: Mapping[str, Mapping[str, Any]] | None = None,
    tail: bytes = b"",
) -> bytes:
    """A file; `entries` change or add parts of the header's entries."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, x in arrays.items():
        raw = stored(x, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(x.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    for name, changes in (entries or {}).items():
        header[name] = {**header.get(name, {}), **changes}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data + tail


@dataclass
class Folder:
    """A folder to be: tensors as transformers names them, and JSON files by name. None removes a file."""

    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    files: dict[str, Any] = field(default_factory=dict)
    dtype: str = "F32"

    def write(self, path: pathlib.Path, shards: int = 0) -> pathlib.Path:
        path.mkdir(exist_ok=True)
        files = {"config.json": self.config, **self.files}
        if not shards:
            files.setdefault("model.safetensors", safetensors(self.arrays, self.dtype))
        index: dict[str, str] = {}
        for no in range(shards):
            file = f"model-{no + 1:05}-of-{shards:05}.safetensors"
            part = dict(list(self.arrays.items())[no::shards])
            files.setdefault(file, safetensors(part, self.dtype))
            index |= dict.fromkeys(part, file)
        if shards:
            files.setdefault("model.safetensors.index.json", {"metadata": {}, "weight_map": index})
        for name, content in files.items():
            if content is not None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                (path / name).write_bytes(data)
        return path


# ---- tokenizers --------------------------------------------------------------------------------------------

BYTE_LEVEL: Final = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS: Final = {"type": "Digits", "individual_digits": True}
SMOLLM: Final = {"type": "Sequence", "pretokenizers": [DIGITS, BYTE_LEVEL]}


def added(number: int, content: str, special: bool = True) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": special, **flags}


def bpe_tokenizer(
    tokens: Sequence[str], merges: Sequence[str], special: Sequence[int] = (0, 1, 2), pre: Any = SMOLLM
) -> dict[str, Any]:
    """A byte-level tokenizer.json."""
    return {
        "version": "1.0",
        "added_tokens": [added(i, tokens[i]) for i in special],
        "normalizer": None,
        "pre_tokenizer": pre,
        "post_processor": BYTE_LEVEL,
        "decoder": BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens) if i not in special},
            "merges": list(merges),
        },
    }


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def sentencepiece(
    pieces: Sequence[tuple[str, float, int]], kind: int = 2, prefix: bool = True, charsmap: bytes = b""
) -> bytes:
    """A tokenizer.model. kind: 1 unigram, 2 BPE; types of pieces are GGUF's."""
    out = b""
    for text, score, type in pieces:
        out += _field(1, _field(1, text.encode()) + _field(2, float(score)) + _field(3, type))
    out += _field(2, _field(3, kind))
    rules = (_field(2, charsmap) if charsmap else b"") + _field(3, int(prefix)) + _field(4, 0)
    return out + _field(3, rules)


# ---- a small llama -----------------------------------------------------------------------------------------

NAMES: Final = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name: str, names: Mapping[str, str] = NAMES, layers: str = "model.layers") -> str:
    """The name in transformers of a tensor in GGUF."""
    stem, _, suffix = name.rpartition(".")
    if not stem.startswith("blk."):
        return f"{names[stem]}.{suffix}"
    _, i, part = stem.split(".")
    return f"{layers}.{i}.{names[part]}.{suffix}"


def halves_from_pairs(x: np.ndarray, head: int) -> np.ndarray:
    """Rows of Q or K with rotation partners half a head apart, from rows that have them side by side."""
    out = np.empty_like(x)
    for first in range(0, len(x), head):
        for i in range(head // 2):
            out[first + i] = x[first + 2 * i]
            out[first + head // 2 + i] = x[first + 2 * i + 1]
    return out


LLAMA: Final = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": ggufmake.N_VOCAB["bpe"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
LLAMA_TOKENS: Final = (
    *ggufmake.BPE_SPECIAL,
    *ggufmake.byte_alphabet(),
    *(merge.replace(" ", "") for merge in ggufmake.BPE_MERGES),
)


def llama(gguf: ggufmake.Gguf | None = None, dtype: str = "F32") -> Folder:
    """The folder of `ggufmake.tiny_llama_file()`."""
    arrays = {}
    for name, tensor in (gguf or ggufmake.tiny_llama_file()).tensors:
        assert isinstance(name, str)
        x = np.frombuffer(tensor.data, "<f4").reshape(tensor.dims[::-1])
        head = 16 if name.endswith(("attn_q.weight", "attn_k.weight")) else 0
        arrays[hf_name(name)] = halves_from_pairs(x, head) if head else x
    tokenizer = bpe_tokenizer(LLAMA_TOKENS, ggufmake.BPE_MERGES)
    return Folder(dict(LLAMA), arrays, {"tokenizer.json": tokenizer}, dtype)
