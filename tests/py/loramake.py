"""Makes LoRA adapters for the models of `arch_models`, as PEFT and as GGUF, and models with them merged in.

A is random, and so is B, in the order of rows that Hugging Face has; what conversion to GGUF does to the rows
of a matrix is done to those of B here, in NumPy, so that merged weights are an independent account of the
same.
"""

from __future__ import annotations

import json
import pathlib
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import arch_models as am
import ggufmake as gm
import hfmake
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RANK, ALPHA = 4, 6.0
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": ["q_proj"]}

_LLAMA = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
}
_DENSE = {
    "attn_qkv": "self_attention.query_key_value",
    "attn_output": "self_attention.dense",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
_GPT2 = {
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_LFM2 = {
    **_LLAMA,
    "attn_output": "self_attn.out_proj",
    "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3",
    "ffn_down": "feed_forward.w2",
    "shortconv.in_proj": "conv.in_proj",
    "shortconv.out_proj": "conv.out_proj",
}
# Architecture: what stands before a layer's number, modules of a layer, of embeddings and head.
NAMES: dict[str, tuple[str, Mapping[str, str], str, str]] = {
    "phi3": ("model.layers", {**_LLAMA, "ffn_up": "mlp.gate_up_proj"}, "model.embed_tokens", "lm_head"),
    "starcoder2": (
        "model.layers",
        {**_LLAMA, "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
        "model.embed_tokens",
        "lm_head",
    ),
    "falcon": ("transformer.h", _DENSE, "transformer.word_embeddings", "lm_head"),
    "chatglm": (
        "transformer.encoder.layers",
        _DENSE,
        "transformer.embedding.word_embeddings",
        "transformer.output_layer",
    ),
    "gpt2": ("transformer.h", _GPT2, "transformer.wte", "lm_head"),
    "lfm2": ("model.layers", _LFM2, "model.embed_tokens", "lm_head"),
    "lfm2moe": (
        "model.layers",
        {**_LFM2, "ffn_gate_inp": "feed_forward.gate"},
        "model.embed_tokens",
        "lm_head",
    ),
    "glm4": ("model.layers", {**_LLAMA, "ffn_up": "mlp.gate_up_proj"}, "model.embed_tokens", "lm_head"),
    "starcoder": ("transformer.h", _GPT2, "transformer.wte", "lm_head"),
    "gptneox": (
        "gpt_neox.layers",
        {name: module.replace("self_attention", "attention") for name, module in _DENSE.items()},
        "gpt_neox.embed_in",
        "embed_out",
    ),
    "phi2": (
        "model.layers",
        {**_LLAMA, "attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"},
        "model.embed_tokens",
        "lm_head",
    ),
    "exaone": (
        "transformer.h",
        {
            "attn_q": "attn.attention.q_proj",
            "attn_k": "attn.attention.k_proj",
            "attn_v": "attn.attention.v_proj",
            "attn_output": "attn.attention.out_proj",
            "ffn_gate": "mlp.c_fc_0",
            "ffn_up": "mlp.c_fc_1",
            "ffn_down": "mlp.c_proj",
        },
        "transformer.wte",
        "lm_head",
    ),
    "internlm2": (
        "model.layers",
        {
            "attn_output": "attention.wo",
            "ffn_gate": "feed_forward.w1",
            "ffn_up": "feed_forward.w3",
            "ffn_down": "feed_forward.w2",
        },
        "model.tok_embeddings",
        "output",
    ),
    "granitemoe": (
        "model.layers",
        {**_LLAMA, "ffn_gate_inp": "block_sparse_moe.router.layer"},
        "model.embed_tokens",
        "lm_head",
    ),
}
_DEFAULT = ("model.layers", _LLAMA, "model.embed_tokens", "lm_head")
PERMUTED = (
    "llama",
    "arcee",
    "granite",
    "granitemoe",
    "internlm2",
    "minicpm",
    "mistral3",
    "olmo",
    "smollm3",
)


def module_of(arch: str, tensor: str) -> str | None:
    """The module whose weight a tensor of GGUF is, where it is a matrix that adapters may have."""
    layers, inside, embeddings, head = NAMES.get(arch, _DEFAULT)
    stem = tensor.removesuffix(".weight")
    if stem == tensor:
        return None
    if stem in ("token_embd", "output"):
        return embeddings if stem == "token_embd" else head
    if not stem.startswith("blk."):
        return None
    _, layer, rest = stem.split(".", 2)
    return f"{layers}.{layer}.{inside[rest]}" if rest in inside else None


def rows_in_model(arch: str, tensor: str, b: Floats, kv_heads: int) -> Floats:
    """Rows [out, ...] in Hugging Face's order to that of the model file."""
    head, rest = am.HEAD, b.shape[1:]
    if arch in PERMUTED and tensor.split(".")[2:3] in (["attn_q"], ["attn_k"]):
        return b.reshape(-1, 2, head // 2, *rest).swapaxes(1, 2).reshape(b.shape)
    if arch in ("falcon", "gptneox") and ".attn_qkv." in tensor:
        groups = b.reshape(kv_heads, -1, head, *rest)
        parts = (groups[:, :-2], groups[:, -2], groups[:, -1])
        return np.concatenate([part.reshape(-1, *rest) for part in parts])
    return b


@dataclass(frozen=True)
class Adapter:
    """Pairs by tensor of the model: A [rank, in] and B [out, rank] as PEFT has them; of the embeddings A is
    [rank, vocab], and B [embd, rank]."""

    case: am.Case
    pairs: Mapping[str, tuple[Floats, Floats]]
    scale: float = ALPHA / RANK
    whole: Mapping[str, Floats] = field(default_factory=dict)  # by PEFT's names

    @property
    def kv_heads(self) -> int:
        fused = self.case.dims.get("attn_qkv")
        return (fused[1] - am.Q_SIZE) // (2 * am.HEAD) if fused else am.KV_HEADS

    def rounded(self, dtype: str) -> Adapter:
        """The same with values as this type keeps them."""

        def kept(x: Floats) -> Floats:
            if dtype == "BF16":
                return (hfmake.bf16(x).astype(np.uint32) << 16).view(np.float32)
            return x.astype(np.float16).astype(np.float32) if dtype == "F16" else x

        return replace(self, pairs={name: (kept(a), kept(b)) for name, (a, b) in self.pairs.items()})

    def merged(self, weights: Mapping[str, Floats], strength: float = 1.0) -> dict[str, Floats]:
        """The weights with the adapter in them. A head that was tied to the embeddings stays as it was."""
        out = dict(weights)
        if "token_embd.weight" in self.pairs and "output.weight" not in out:
            out["output.weight"] = out["token_embd.weight"]
        for name, (a, b) in self.pairs.items():
            of_model = rows_in_model(self.case.arch, name, b, self.kv_heads).astype(np.float64)
            product = of_model @ a if name != "token_embd.weight" else (of_model @ a).T
            out[name] = (out[name] + strength * self.scale * product).astype(np.float32)
        return out

    def arrays(self, prefix: str = "base_model.model.", suffix: str = ".weight") -> dict[str, Floats]:
        """Tensors under PEFT's names."""
        out = {}
        for name, (a, b) in self.pairs.items():
            module = module_of(self.case.arch, name)
            kind = "lora_embedding_" if name == "token_embd.weight" else "lora_"
            end = suffix if kind == "lora_" else suffix.removesuffix(".weight")
            out[f"{prefix}{module}.{kind}A{end}"] = a
            out[f"{prefix}{module}.{kind}B{end}"] = b
        return {**out, **self.whole}

    def save_peft(self, folder: pathlib.Path, *, dtype: str = "F32", **config: Any) -> pathlib.Path:
        return save(folder, self.arrays(), dtype, **config)

    def save_gguf(self, path: pathlib.Path, kind: int = gm.GGML_F32) -> pathlib.Path:
        tensors = []
        for name, (a, b) in self.pairs.items():
            of_model = rows_in_model(self.case.arch, name, b, self.kv_heads)
            for letter, x in (("a", a.T if name == "token_embd.weight" else a), ("b", of_model)):
                stored = np.ascontiguousarray(x, "<f4" if kind == gm.GGML_F32 else "<f2")
                tensors.append((f"{name}.lora_{letter}", gm.Tensor(x.shape[::-1], stored.tobytes(), kind)))
        keys = [
            ("general.type", gm.text("adapter")),
            ("general.architecture", gm.text(self.case.arch)),
            ("adapter.type", gm.text("lora")),
            ("adapter.lora.alpha", gm.f32(ALPHA)),
        ]
        path.write_bytes(gm.Gguf(keys=keys, tensors=tensors).to_bytes())
        return path


def save(
    folder: pathlib.Path, arrays: Mapping[str, Floats], dtype: str = "F32", **config: Any
) -> pathlib.Path:
    """A PEFT folder; a config value of None removes the key."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(hfmake.safetensors(arrays, dtype))
    text = {key: value for key, value in {**CONFIG, **config}.items() if value is not None}
    (folder / "adapter_config.json").write_text(json.dumps(text))
    return folder


def adapter_for(
    name: str, only: Sequence[str] = (), seed: int = 0, strength: float = 1.0, ends: bool = True
) -> Adapter:
    """An adapter of every matrix of a case, or of tensors with these words in their names; `ends`: of
    embeddings and head too."""
    case = am.CASES[name]
    pairs = {}
    weights = case.weights()
    shapes = {tensor: weight.shape for tensor, weight in weights.items()}
    if "output.weight" not in shapes:
        shapes["output.weight"] = shapes["token_embd.weight"]
    for tensor, shape in shapes.items():
        if module_of(case.arch, tensor) is None or (only and not any(word in tensor for word in only)):
            continue
        if not ends and not tensor.startswith("blk."):
            continue
        n_out, n_in = shape if tensor != "token_embd.weight" else shape[::-1]
        rng = np.random.default_rng(zlib.crc32(tensor.encode()) + seed)
        a = rng.normal(0, 1 / np.sqrt(n_in if tensor != "token_embd.weight" else RANK), (RANK, n_in))
        b = rng.normal(0, 0.2 * strength, (n_out, RANK))
        pairs[tensor] = (a.astype(np.float32), b.astype(np.float32))
    return Adapter(case, pairs)


def model_file(case: am.Case, weights: Mapping[str, Floats] | None = None) -> bytes:
    """The bytes of a case's model, with other weights than its own."""
    file = case.file()
    if weights is not None:
        tensors = [
            (name, gm.Tensor(value.shape[::-1], np.ascontiguousarray(value, "<f4").tobytes()))
            for name, value in weights.items()
        ]
        file = replace(file, tensors=tensors)
    return file.to_bytes()


# ---- seeds for tests/fuzz/fuzz_adapter.c -------------------------------------------------------------------


def _seed(which: int, weights: bytes, config: Mapping[str, Any] | None) -> bytes:
    text = b"" if config is None else json.dumps(config).encode()
    return struct.pack("<BH", which, 0xFFFF if config is None else len(text)) + weights + text


def seeds() -> dict[str, bytes]:
    """Sound adapters of the fuzz target's own small models, one of each format and of each kind of tensor."""
    embd, q, kv, ff, vocab, rank = 8, 8, 4, 8, 16, 2
    at = "base_model.model.model.layers.1."

    def pair(
        module: str, n_in: int, n_out: int, kind: str = "lora_", end: str = ".weight"
    ) -> dict[str, Floats]:
        return {
            f"{module}.{kind}A{end}": np.full((rank, n_in), 0.5, np.float32),
            f"{module}.{kind}B{end}": np.full((n_out, rank), 0.25, np.float32),
        }

    plain = {**pair(f"{at}self_attn.q_proj", embd, q), **pair(f"{at}mlp.down_proj", ff, embd)}
    ends = {
        **pair("base_model.model.model.embed_tokens", vocab, embd, "lora_embedding_", ""),
        **pair("base_model.model.lm_head", embd, vocab),
        "base_model.model.model.norm.weight": np.ones(embd, np.float32),
    }
    fused = {
        **pair(f"{at}self_attn.qkv_proj", embd, q + 2 * kv),
        **pair(f"{at}mlp.gate_up_proj", embd, 2 * ff),
    }
    config = {**CONFIG, "r": rank}
    patterns = {
        **config,
        "use_rslora": True,
        "rank_pattern": {r"^model\.layers\.[0-9]+\.(self_attn|mlp).*": rank},
    }
    gguf_tensors = [
        (f"blk.0.attn_v.weight.lora_{letter}", gm.Tensor.zeros(dims, gm.GGML_F16))
        for letter, dims in (("a", (embd, rank)), ("b", (rank, kv)))
    ]
    keys = [
        ("general.type", gm.text("adapter")),
        ("general.architecture", gm.text("llama")),
        ("adapter.type", gm.text("lora")),
        ("adapter.lora.alpha", gm.f32(4)),
    ]
    n_nano = 2 * (rank * embd * 4 + (q + 2 * kv + embd) * rank)
    header = (
        b"S4DBMLRU" + struct.pack("<4I", 2024, 10, 10, 32) + struct.pack("<7I", rank, 4, 2, embd, 2, 1, ff)
    )
    return {
        "peft": _seed(0, hfmake.safetensors(plain, "F16"), config),
        "patterns": _seed(0, hfmake.safetensors(plain, "BF16"), patterns),
        "ends": _seed(0, hfmake.safetensors(ends), config),
        "fused": _seed(1, hfmake.safetensors(fused), config),
        "gguf": _seed(0, gm.Gguf(keys=keys, tensors=gguf_tensors).to_bytes(), None),
        "nano": _seed(0, header.ljust(256, b"\0") + np.full(n_nano, 0.5, "<f4").tobytes(), None),
    }


if __name__ == "__main__":
    for name, data in seeds().items():
        (pathlib.Path(sys.argv[1]) / name).write_bytes(data)
