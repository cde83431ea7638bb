"""A tiny model of each architecture and of each way to set it up, as GGUF with weights made from names.

Shared by the tests and by `tools/make_arch_golden.py`, which loads the same weights into transformers. Each
tensor comes from a generator seeded with its name, so that adding a case changes no other.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ggufmake import BOOL, I32, N_VOCAB, Gguf, Tensor, Value, bpe_vocab, f32, text, u32
from numpy.typing import NDArray

VOCAB = N_VOCAB["bpe"]
CONTEXT, EMBD, HEADS, KV_HEADS, HEAD, FF = 256, 64, 4, 2, 16, 96
EXPERTS, EXPERTS_USED, EXPERT_FF = 6, 2, 32
CONV = 3

Q_SIZE, KV_SIZE = HEADS * HEAD, KV_HEADS * HEAD
DIMS: dict[str, tuple[int, ...]] = {
    "token_embd": (EMBD, VOCAB),
    "output": (EMBD, VOCAB),
    "output_norm": (EMBD,),
    "token_embd_norm": (EMBD,),
    "position_embd": (EMBD, CONTEXT),
    "rope_freqs": (HEAD // 2,),
    "rope_factors_long": (HEAD // 2,),
    "rope_factors_short": (HEAD // 2,),
    "attn_norm": (EMBD,),
    "attn_norm_2": (EMBD,),
    "attn_q": (EMBD, Q_SIZE),
    "attn_k": (EMBD, KV_SIZE),
    "attn_v": (EMBD, KV_SIZE),
    "attn_qkv": (EMBD, Q_SIZE + 2 * KV_SIZE),
    "attn_output": (Q_SIZE, EMBD),
    "attn_q_norm": (HEAD,),
    "attn_k_norm": (HEAD,),
    "post_attention_norm": (EMBD,),
    "ffn_norm": (EMBD,),
    "ffn_gate": (EMBD, FF),
    "ffn_up": (EMBD, FF),
    "ffn_down": (FF, EMBD),
    "post_ffw_norm": (EMBD,),
    "in_proj": (EMBD, 3 * EMBD),
    "out_proj": (EMBD, EMBD),
    "conv": (CONV, EMBD),
    "ffn_gate_inp": (EMBD, EXPERTS),
    "ffn_gate_exps": (EMBD, EXPERT_FF, EXPERTS),
    "ffn_up_exps": (EMBD, EXPERT_FF, EXPERTS),
    "ffn_down_exps": (EXPERT_FF, EMBD, EXPERTS),
    "exp_probs_b": (EXPERTS,),
}
NORMS, QKV = ("attn_norm", "ffn_norm"), ("attn_q", "attn_k", "attn_v")
ATTENTION, GATED = (*QKV, "attn_output"), ("ffn_gate", "ffn_up", "ffn_down")
COMMON = (*NORMS, *ATTENTION, *GATED)
QK_NORMS, POST_NORMS = ("attn_q_norm", "attn_k_norm"), ("post_attention_norm", "post_ffw_norm")
ROPE_TABLES = ("rope_freqs", "rope_factors_long", "rope_factors_short")


@dataclass(frozen=True)
class Case:
    """One model. `layer`: names of each layer's tensors; `biased`: those with a bias, also "output_norm"."""

    arch: str
    layer: Sequence[str] = COMMON
    outside: Sequence[str] = ("output",)  # beside embeddings and last norm
    biased: Sequence[str] = ()
    n_layer: int = 2
    keys: Mapping[str, Value] = field(default_factory=dict)  # without the architecture's name
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # other than DIMS
    layer_norm: bool = False
    output_norm: str = "output_norm"
    others: Mapping[int, Sequence[str]] = field(default_factory=dict)  # tensors of layers that differ
    tables: Mapping[str, Sequence[float]] = field(default_factory=dict)  # values of ROPE_TABLES

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Every tensor as a matrix [out, in] or vector, or [expert, out, in]."""
        outside = ("token_embd", *([self.output_norm] if self.output_norm else []), *self.outside)
        names = [f"{name}.weight" for name in outside]
        names += [f"{name}.bias" for name in ("output_norm", "output") if name in self.biased]
        for i in range(self.n_layer):
            layer = self.others.get(i, self.layer)
            names += [f"blk.{i}.{name}.{'bias' if name == 'exp_probs_b' else 'weight'}" for name in layer]
            names += [f"blk.{i}.{name}.bias" for name in self.biased if name in self.layer]
        return {name: self._random(name) for name in names}

    def _random(self, name: str) -> NDArray[np.float32]:
        stem, kind = name.split(".")[-2:]
        if stem in self.tables:
            return np.array(self.tables[stem], np.float32)
        dims = (self.dims.get(stem) or DIMS[stem])[::-1]
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if stem == "exp_probs_b":
            return rng.normal(0, 0.3, dims).astype(np.float32)
        if kind == "bias":
            is_norm = stem.endswith("norm")
            return rng.normal(0, 0.1, dims[-1:] if is_norm else dims[:1]).astype(np.float32)
        if "norm" in stem:
            return rng.normal(1, 0.1, dims).astype(np.float32)
        spread = 0.3 if stem in ("token_embd", "position_embd") else 1.5 / np.sqrt(dims[-1])
        return rng.normal(0, spread, dims).astype(np.float32)

    def file(self) -> Gguf:
        eps = "attention.layer_norm_epsilon" if self.layer_norm else "attention.layer_norm_rms_epsilon"
        keys: dict[str, Value] = {
            "block_count": u32(self.n_layer),
            "context_length": u32(CONTEXT),
            "embedding_length": u32(EMBD),
            "feed_forward_length": u32(FF),
            "attention.head_count": u32(HEADS),
            "attention.head_count_kv": u32(KV_HEADS),
            "attention.key_length": u32(HEAD),
            "attention.value_length": u32(HEAD),
            eps: f32(1e-5),
            **self.keys,
        }
        return Gguf(
            keys=[
                ("general.architecture", text(self.arch)),
                *((f"{self.arch}.{key}", value) for key, value in keys.items()),
                *bpe_vocab().items(),
            ],
            tensors=[
                (name, Tensor(value.shape[::-1], value.astype("<f4").tobytes()))
                for name, value in self.weights().items()
            ],
        )


def _pattern(*windowed: bool) -> Value:
    return Value.array(BOOL, windowed)


_WINDOW = {"attention.sliding_window": u32(24)}
_NORM_BIASES = ("attn_norm", "ffn_norm", "output_norm")
_YARN = {
    "rope.scaling.type": text("yarn"),
    "rope.scaling.factor": f32(4.0),
    "rope.scaling.original_context_length": u32(64),
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def _llama3_table() -> list[float]:
    """Divisors of the frequencies: 1 for waves below a fourth of the original context, 8 above all of it."""
    turns = 64 / (2 * np.pi * 10000.0 ** (np.arange(0, HEAD, 2) / HEAD))
    smooth = np.clip((turns - 1) / 3, 0, 1)
    return [float(x) for x in 1 / ((1 - smooth) / 8 + smooth)]


_LLAMA3_TABLE = _llama3_table()
_FUSED_DIMS = {"ffn_up": (EMBD, 2 * FF)}
_FUSED = (*NORMS, "attn_qkv", "attn_output", "ffn_up", "ffn_down")
_LONG = (1.0, 1.1, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
_SHORT = (1.0, 1.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)

CASES: dict[str, Case] = {
    "llama": Case("llama"),
    "llama-tied-biased": Case("llama", outside=(), biased=(*ATTENTION, *GATED)),
    "llama-linear": Case(
        "llama", keys={"rope.scaling.type": text("linear"), "rope.scaling.factor": f32(4.0)}
    ),
    "llama-yarn": Case("llama", keys=_YARN),
    "llama-llama3": Case("llama", outside=("output", "rope_freqs"), tables={"rope_freqs": _LLAMA3_TABLE}),
    "llama-window": Case("llama", keys=_WINDOW),
    "qwen2": Case("qwen2", outside=(), biased=QKV),
    "qwen2-yarn": Case("qwen2", biased=QKV, keys=_YARN),
    "qwen3": Case("qwen3", layer=(*COMMON, *QK_NORMS)),
    "qwen3moe": Case(
        "qwen3moe",
        layer=(
            *NORMS,
            *ATTENTION,
            *QK_NORMS,
            *("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"),
        ),
        keys={
            "expert_count": u32(EXPERTS),
            "expert_used_count": u32(EXPERTS_USED),
            "expert_feed_forward_length": u32(EXPERT_FF),
        },
    ),
    "gemma": Case("gemma", outside=()),
    "gemma2": Case(
        "gemma2",
        layer=(*COMMON, *POST_NORMS),
        outside=(),
        n_layer=3,
        keys={**_WINDOW, "attn_logit_softcapping": f32(2.0), "final_logit_softcapping": f32(3.0)},
    ),
    "gemma3": Case(
        "gemma3",
        layer=(*COMMON, *POST_NORMS, *QK_NORMS),
        outside=(),
        n_layer=7,
        keys={**_WINDOW, "rope.scaling.type": text("linear"), "rope.scaling.factor": f32(8.0)},
    ),
    "phi3": Case("phi3", layer=_FUSED, dims=_FUSED_DIMS, keys=_WINDOW),
    "phi3-long": Case(
        "phi3",
        layer=_FUSED,
        dims=_FUSED_DIMS,
        outside=("output", "rope_factors_long", "rope_factors_short"),
        keys={
            "rope.scaling.original_context_length": u32(64),
            "rope.scaling.attn_factor": f32(float(np.sqrt(1 + np.log(4) / np.log(64)))),
        },
        tables={"rope_factors_long": _LONG, "rope_factors_short": _SHORT},
    ),
    "smollm3": Case("smollm3", outside=(), n_layer=5),
    "granite": Case(
        "granite",
        outside=(),
        biased=ATTENTION,
        keys={
            "attention.scale": f32(0.2),
            "embedding_scale": f32(3.0),
            "residual_scale": f32(0.4),
            "logit_scale": f32(2.0),
        },
    ),
    "olmo2": Case(
        "olmo2",
        layer=(*ATTENTION, *QK_NORMS, *GATED, *POST_NORMS),
        dims={"attn_q_norm": (Q_SIZE,), "attn_k_norm": (KV_SIZE,)},
    ),
    "olmo3": Case(
        "olmo2",
        layer=(*ATTENTION, *QK_NORMS, *GATED, *POST_NORMS),
        dims={"attn_q_norm": (Q_SIZE,), "attn_k_norm": (KV_SIZE,)},
        n_layer=5,
        keys={
            **_WINDOW,
            **_YARN,
            "rope.scaling.yarn_attn_factor": f32(1.2),
            "attention.sliding_window_pattern": _pattern(True, True, True, False, True),
        },
    ),
    "stablelm": Case(
        "stablelm",
        biased=(*QKV, *_NORM_BIASES),
        keys={"rope.dimension_count": u32(4)},
        layer_norm=True,
    ),
    "stablelm-parallel": Case(
        "stablelm",
        layer=("attn_norm", *ATTENTION, *QK_NORMS, *GATED),
        biased=("attn_norm", "output_norm"),
        dims={"attn_q_norm": (HEAD, HEADS), "attn_k_norm": (HEAD, KV_HEADS)},
        keys={"rope.dimension_count": u32(4), "use_parallel_residual": Value.of(BOOL, True)},
        layer_norm=True,
    ),
    "starcoder2": Case(
        "starcoder2",
        layer=(*NORMS, *ATTENTION, "ffn_up", "ffn_down"),
        outside=(),
        biased=(*_NORM_BIASES, *ATTENTION, "ffn_up", "ffn_down"),
        keys=_WINDOW,
        layer_norm=True,
    ),
    "falcon": Case(
        "falcon",
        layer=("attn_norm", "attn_qkv", "attn_output", "ffn_up", "ffn_down"),
        outside=(),
        biased=("attn_norm", "output_norm"),
        dims={"attn_qkv": (EMBD, Q_SIZE + 2 * HEAD)},
        keys={"attention.head_count_kv": u32(1)},
        layer_norm=True,
    ),
    "falcon-two-norms": Case(
        "falcon",
        layer=("attn_norm", "attn_norm_2", "attn_qkv", "attn_output", "ffn_up", "ffn_down"),
        outside=(),
        biased=("attn_norm", "attn_norm_2", "output_norm"),
        layer_norm=True,
    ),
    "cohere2": Case(
        "cohere2",
        layer=("attn_norm", *ATTENTION, *GATED),
        outside=(),
        n_layer=5,
        keys={**_WINDOW, "logit_scale": f32(0.25)},
        layer_norm=True,
    ),
    "gpt2": Case(
        "gpt2",
        layer=(*NORMS, "attn_qkv", "attn_output", "ffn_up", "ffn_down"),
        outside=("position_embd",),
        biased=(*_NORM_BIASES, "attn_qkv", "attn_output", "ffn_up", "ffn_down"),
        dims={"attn_qkv": (EMBD, 3 * Q_SIZE)},
        keys={"attention.head_count_kv": u32(HEADS)},
        layer_norm=True,
    ),
    "chatglm": Case(
        "chatglm",
        layer=_FUSED,
        biased=("attn_qkv",),
        dims=_FUSED_DIMS,
        keys={"rope.dimension_count": u32(HEAD // 2)},
    ),
}

_CONV = (*NORMS, *GATED, "shortconv.in_proj", "shortconv.conv", "shortconv.out_proj")
CASES["lfm2"] = Case(
    "lfm2",
    layer=(*COMMON, *QK_NORMS),
    outside=(),
    output_norm="token_embd_norm",
    n_layer=5,
    keys={
        "attention.head_count_kv": Value.array(I32, [0, 0, KV_HEADS, 0, KV_HEADS]),
        "shortconv.l_cache": u32(CONV),
    },
    others=dict.fromkeys((0, 1, 3), _CONV),
)

_EXPERTS = ("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
_ROUTED = {"expert_count": u32(EXPERTS), "expert_used_count": u32(EXPERTS_USED)}
_UP_DOWN = ("ffn_up", "ffn_down")
_SCALES = {"embedding_scale": f32(3.0), "residual_scale": f32(0.4), "logit_scale": f32(2.0)}
_ALL_BIASES = (*_NORM_BIASES, "attn_qkv", "attn_output", *_UP_DOWN)

CASES |= {
    "llama-experts": Case(
        "llama",
        layer=(*NORMS, *ATTENTION, *_EXPERTS),
        keys={**_ROUTED, "feed_forward_length": u32(EXPERT_FF)},
    ),
    "seed_oss": Case("seed_oss", layer=("attn_norm", "post_attention_norm", *ATTENTION, *GATED), biased=QKV),
    "arcee": Case("arcee", layer=(*NORMS, *ATTENTION, *_UP_DOWN)),
    "command-r": Case(
        "command-r",
        layer=("attn_norm", *ATTENTION, *QK_NORMS, *GATED),
        dims={"attn_q_norm": (HEAD, HEADS), "attn_k_norm": (HEAD, KV_HEADS)},
        outside=(),
        keys={"logit_scale": f32(0.25)},
        layer_norm=True,
    ),
    "ernie4_5": Case("ernie4_5", outside=(), biased=(*ATTENTION, *GATED)),
    "exaone": Case("exaone", outside=("output", "rope_freqs"), tables={"rope_freqs": _LLAMA3_TABLE}),
    "exaone4": Case("exaone4", layer=(*ATTENTION, *QK_NORMS, *GATED, *POST_NORMS)),
    "exaone4-window": Case(
        "exaone4", layer=(*ATTENTION, *QK_NORMS, *GATED, *POST_NORMS), n_layer=5, keys=_WINDOW
    ),
    "glm4": Case(
        "glm4",
        layer=(*NORMS, *ATTENTION, "ffn_up", "ffn_down", *POST_NORMS),
        biased=QKV,
        dims=_FUSED_DIMS,
        keys={"rope.dimension_count": u32(HEAD // 2)},
    ),
    "gptneox": Case(
        "gptneox",
        layer=(*NORMS, "attn_qkv", "attn_output", *_UP_DOWN),
        biased=_ALL_BIASES,
        dims={"attn_qkv": (EMBD, 3 * Q_SIZE)},
        keys={
            "attention.head_count_kv": u32(HEADS),
            "rope.dimension_count": u32(4),
            "use_parallel_residual": Value.of(BOOL, True),
        },
        layer_norm=True,
    ),
    "gptneox-serial": Case(
        "gptneox",
        layer=(*NORMS, "attn_qkv", "attn_output", *_UP_DOWN),
        biased=_ALL_BIASES,
        dims={"attn_qkv": (EMBD, 3 * Q_SIZE)},
        keys={
            "attention.head_count_kv": u32(HEADS),
            "rope.dimension_count": u32(4),
            "use_parallel_residual": Value.of(BOOL, False),
        },
        layer_norm=True,
    ),
    "granitemoe": Case(
        "granitemoe",
        layer=(*NORMS, *ATTENTION, *_EXPERTS),
        outside=(),
        keys={
            **_ROUTED,
            **_SCALES,
            "attention.scale": f32(0.2),
            "feed_forward_length": u32(EXPERT_FF),
        },
    ),
    "hunyuan-dense": Case("hunyuan-dense", layer=(*COMMON, *QK_NORMS), outside=()),
    "internlm2": Case("internlm2"),
    "minicpm": Case("minicpm", keys=_SCALES),
    "mistral3": Case(
        "mistral3",
        keys={
            **_YARN,
            "rope.scaling.original_context_length": u32(16),  # so that several are passed
            "rope.scaling.yarn_log_multiplier": f32(1.0),
            "attention.temperature_scale": f32(0.1),
        },
    ),
    "nemotron": Case(
        "nemotron",
        layer=(*NORMS, *ATTENTION, *_UP_DOWN),
        biased=_NORM_BIASES,
        keys={"rope.dimension_count": u32(HEAD // 2)},
        layer_norm=True,
    ),
    "olmo": Case("olmo", layer=(*ATTENTION, *GATED), outside=(), output_norm="", layer_norm=True),
    "olmoe": Case(
        "olmoe",
        layer=(*NORMS, *ATTENTION, *QK_NORMS, *_EXPERTS),
        dims={"attn_q_norm": (Q_SIZE,), "attn_k_norm": (KV_SIZE,)},
        keys={**_ROUTED, "feed_forward_length": u32(EXPERT_FF)},
    ),
    "phi2": Case(
        "phi2",
        layer=("attn_norm", *ATTENTION, *_UP_DOWN),
        biased=("attn_norm", *ATTENTION, *_UP_DOWN, "output_norm", "output"),
        keys={"rope.dimension_count": u32(HEAD // 2)},
        layer_norm=True,
    ),
    "starcoder": Case(
        "starcoder",
        layer=(*NORMS, "attn_qkv", "attn_output", *_UP_DOWN),
        outside=("position_embd",),
        biased=_ALL_BIASES,
        dims={"attn_qkv": (EMBD, Q_SIZE + 2 * HEAD)},
        keys={"attention.head_count_kv": u32(1)},
        layer_norm=True,
    ),
}
_CONV_EXPERTS = (
    *NORMS,
    *_EXPERTS,
    "exp_probs_b",
    "shortconv.in_proj",
    "shortconv.conv",
    "shortconv.out_proj",
)
CASES["lfm2moe"] = Case(
    "lfm2moe",
    layer=(*NORMS, *ATTENTION, *QK_NORMS, *_EXPERTS, "exp_probs_b"),
    outside=(),
    output_norm="token_embd_norm",
    n_layer=5,
    keys={
        **_ROUTED,
        "attention.head_count_kv": Value.array(I32, [0, 0, KV_HEADS, 0, KV_HEADS]),
        "shortconv.l_cache": u32(CONV),
        "expert_feed_forward_length": u32(EXPERT_FF),
        "expert_gating_func": u32(2),
        "leading_dense_block_count": u32(1),
    },
    others={0: _CONV, 1: _CONV_EXPERTS, 3: _CONV_EXPERTS},
)

POOLED = ("llama", "qwen3", "gemma3", "olmo2")  # whose embeddings are compared
LENGTH, POSITIONS = 80, (0, 20, 47, 79)  # of the evaluated ids; where logits are compared


def ids_of(name: str) -> list[int]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return [int(id) for id in rng.integers(3, VOCAB, LENGTH)]
