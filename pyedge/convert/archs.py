"""Architectures as data: what a Hugging Face model of each family becomes in GGUF.

A table has the names of tensors with the shape that each must have, the names that the family gives to common
values of its config, and the keys that only it has. Names of keys: the constants of the `gguf` package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UnsupportedError
from ..gguf_file import Value
from . import extras
from .config import Config, llama3_factors

Keys = dict[str, Value]


@dataclass(frozen=True)
class Rule:
    """One tensor, or one a layer where its names have {i}; {e} stands for an expert, {h} for a head.

    source  several with "|" between them are put one after the other
    shape   names of extents (see `extents`), as the source has them: the contiguous one last
    step    how its rows change on the way (see tensors.py)
    bias    whether there is a vector beside the matrix: "no", "may", "must"
    only    the layers that have it, by a tag that `Arch.tags` gives them
    """

    target: str
    source: str
    shape: tuple[str, ...]
    step: str = "copy"
    bias: str = "no"
    optional: bool = False
    only: str = ""


def _no_keys(c: Config) -> Keys:
    return {}


def _no_tags(c: Config) -> Sequence[str]:
    return [""] * c.n_layer


@dataclass(frozen=True)
class Arch:
    """A family. `name` is GGUF's; `classes` and `types` are what its configs say of themselves."""

    name: str
    classes: tuple[str, ...]
    types: tuple[str, ...]
    rules: tuple[Rule, ...]
    epsilon: str = "rms_norm_eps"
    rms: bool = True
    rope: bool = True
    scalings: tuple[str, ...] = ()  # of rope, beside linear and yarn
    activations: tuple[str, ...] = ("silu",)
    renames: Mapping[str, str] = field(default_factory=dict)  # common name: the family's
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keys: Callable[[Config], Keys] = _no_keys
    tags: Callable[[Config], Sequence[str]] = _no_tags
    derived: Callable[[Config], Mapping[str, int]] = (
        lambda c: {}
    )  # values that take the place of the config's
    # Vectors that are computed from the config.
    vectors: Callable[[Config], Mapping[str, list[float]]] = lambda c: {}
    prefixes: tuple[tuple[str, str], ...] = ()  # of names of tensors: what to replace by what
    ignore: str = r"rotary_emb\.inv_freq$"  # tensors without a place, by an expression


def extents(c: Config) -> dict[str, int]:
    """Sizes by the letters that rules use."""
    q, kv, ff = c.n_head * c.head_dim, c.n_head_kv * c.head_dim, c.size("intermediate_size")
    return {
        "vocab": c.n_vocab,
        "embd": c.n_embd,
        "ff": ff,
        "2ff": 2 * ff,
        "head": c.head_dim,
        "q": q,
        "kv": kv,
        "qkv": q + 2 * kv,
        "context": c.size("max_position_embeddings"),
        "experts": c.n_expert,
        "expert_ff": c.size("moe_intermediate_size", ff),
        "3embd": 3 * c.n_embd,
        "conv": c.size("conv_L_cache", 1),
        "one": 1,
    }


# ---- rules that families share -----------------------------------------------------------------------------


def _layer(target: str, source: str, *shape: str, at: str = "model.layers", **more: Any) -> Rule:
    sources = "|".join(f"{at}.{{i}}.{part}" for part in source.split("|"))
    return Rule(f"blk.{{i}}.{target}", sources, shape, **more)


def _ends(bias: str = "no", norm: str = "model.norm", embd: str = "model.embed_tokens") -> tuple[Rule, ...]:
    return (
        Rule("token_embd", embd, ("vocab", "embd")),
        Rule("output_norm", norm, ("embd",), bias=bias),
        Rule("output", "lm_head", ("vocab", "embd")),
    )


def _attention(
    step: str = "copy", bias: str = "may", output: str = "o_proj", out_bias: str = "", only: str = ""
) -> tuple[Rule, ...]:
    out_bias = out_bias or ("no" if bias == "must" else bias)
    return (
        _layer("attn_q", "self_attn.q_proj", "q", "embd", step=step, bias=bias, only=only),
        _layer("attn_k", "self_attn.k_proj", "kv", "embd", step=step, bias=bias, only=only),
        _layer("attn_v", "self_attn.v_proj", "kv", "embd", bias=bias, only=only),
        _layer("attn_output", f"self_attn.{output}", "embd", "q", bias=out_bias, only=only),
    )


def _mlp(
    bias: str = "no", gate: str = "mlp.gate_proj", up: str = "mlp.up_proj", down: str = "mlp.down_proj"
) -> tuple[Rule, ...]:
    return (
        _layer("ffn_gate", gate, "ff", "embd", bias=bias),
        _layer("ffn_up", up, "ff", "embd", bias=bias),
        _layer("ffn_down", down, "embd", "ff", bias=bias),
    )


def _norms(
    *pairs: tuple[str, str], step: str = "copy", bias: str = "no", shape: str = "embd"
) -> tuple[Rule, ...]:
    return tuple(_layer(target, source, shape, step=step, bias=bias) for target, source in pairs)


_PRE_NORMS = (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"))
_HEAD_NORMS = (("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm"))
_FUSED_MLP = (
    _layer("ffn_up", "mlp.gate_up_proj", "2ff", "embd"),
    _layer("ffn_down", "mlp.down_proj", "embd", "ff"),
)
_SEPARATE_QKV = "self_attn.q_proj|self_attn.k_proj|self_attn.v_proj"
_LLAMA = (*_ends(), *_norms(*_PRE_NORMS), *_attention("permute"), *_mlp("may"))
_QWEN = (*_ends(), *_norms(*_PRE_NORMS))


def _rope_freqs(c: Config) -> Mapping[str, list[float]]:
    factors = llama3_factors(c)
    return {"rope_freqs.weight": factors} if factors else {}


def _gemma(*norms: tuple[str, str], heads: bool = False) -> tuple[Rule, ...]:
    """Gemma stores its norms less one."""
    ends = (
        Rule("token_embd", "model.embed_tokens", ("vocab", "embd")),
        Rule("output_norm", "model.norm", ("embd",), step="plus_one"),
        Rule("output", "lm_head", ("vocab", "embd")),
    )
    head_norms = _norms(*_HEAD_NORMS, step="plus_one", shape="head") if heads else ()
    return (*ends, *_norms(*norms, step="plus_one"), *head_norms, *_attention(bias="no"), *_mlp())


_FOUR_NORMS = (
    ("attn_norm", "input_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
)
_OLMO2 = (
    *_ends(),
    *_norms(
        ("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")
    ),
    _layer("attn_q_norm", "self_attn.q_norm", "q"),
    _layer("attn_k_norm", "self_attn.k_norm", "kv"),
    *_attention(bias="no"),
    *_mlp(),
)
_GELU = ("gelu", "gelu_new", "gelu_pytorch_tanh")
_GEMMA_DEFAULTS = {"rms_norm_eps": 1e-6, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh"}


# ---- the families ------------------------------------------------------------------------------------------

ARCHS: tuple[Arch, ...] = (
    Arch(
        "llama",
        ("LlamaForCausalLM", "MistralForCausalLM"),
        ("llama", "mistral"),
        _LLAMA,
        scalings=("llama3",),
        defaults={"rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
        keys=extras.llama,
        vectors=_rope_freqs,
    ),
    Arch(
        "qwen2",
        ("Qwen2ForCausalLM",),
        ("qwen2",),
        (*_QWEN, *_attention(bias="must"), *_mlp()),
        defaults={"rms_norm_eps": 1e-6},
        keys=extras.no_window,
    ),
    Arch(
        "qwen3",
        ("Qwen3ForCausalLM",),
        ("qwen3",),
        (*_QWEN, *_norms(*_HEAD_NORMS, shape="head"), *_attention(bias="no"), *_mlp()),
        defaults={"rms_norm_eps": 1e-6, "head_dim": 128},
        keys=extras.no_window,
    ),
    Arch(
        "qwen3moe",
        ("Qwen3MoeForCausalLM",),
        ("qwen3_moe",),
        (
            *_QWEN,
            *_norms(*_HEAD_NORMS, shape="head"),
            *_attention(bias="no"),
            _layer("ffn_gate_inp", "mlp.gate", "experts", "embd"),
            _layer("ffn_gate_exps", "mlp.experts.{e}.gate_proj", "expert_ff", "embd"),
            _layer("ffn_up_exps", "mlp.experts.{e}.up_proj", "expert_ff", "embd"),
            _layer("ffn_down_exps", "mlp.experts.{e}.down_proj", "embd", "expert_ff"),
        ),
        renames={"num_experts": "num_local_experts"},
        defaults={
            "rms_norm_eps": 1e-6,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "norm_topk_prob": False,
        },
        keys=extras.qwen3moe,
    ),
    Arch(
        "gemma",
        ("GemmaForCausalLM",),
        ("gemma",),
        _gemma(*_PRE_NORMS),
        activations=_GELU,
        defaults=_GEMMA_DEFAULTS,
    ),
    Arch(
        "gemma2",
        ("Gemma2ForCausalLM",),
        ("gemma2",),
        _gemma(*_FOUR_NORMS),
        activations=_GELU,
        defaults={
            **_GEMMA_DEFAULTS,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        keys=extras.gemma2,
    ),
    Arch(
        "gemma3",
        ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
        ("gemma3_text", "gemma3"),
        _gemma(*_FOUR_NORMS, heads=True),
        activations=_GELU,
        defaults={
            **_GEMMA_DEFAULTS,
            "vocab_size": 262208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131072,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "query_pre_attn_scalar": 256,
            "sliding_window": 4096,
        },
        keys=extras.gemma3,
        prefixes=(
            ("language_model.model.", "model."),
            ("model.language_model.", "model."),
            ("language_model.", ""),
        ),
        ignore=r"rotary_emb\.inv_freq$|vision_tower\.|multi_modal_projector\.",
    ),
    Arch(
        "phi3",
        ("Phi3ForCausalLM",),
        ("phi3",),
        (
            *_ends(),
            *_norms(*_PRE_NORMS),
            _layer("attn_qkv", "self_attn.qkv_proj", "qkv", "embd"),
            _layer("attn_output", "self_attn.o_proj", "embd", "q"),
            *_FUSED_MLP,
        ),
        scalings=("longrope",),
        defaults={"rms_norm_eps": 1e-5},
        keys=extras.phi3,
        vectors=extras.phi3_factors,
    ),
    Arch(
        "smollm3",
        ("SmolLM3ForCausalLM",),
        ("smollm3",),
        _LLAMA,
        scalings=("llama3",),
        defaults={"rms_norm_eps": 1e-6},
        keys=extras.smollm3,
        vectors=_rope_freqs,
    ),
    Arch(
        "granite",
        ("GraniteForCausalLM",),
        ("granite",),
        _LLAMA,
        defaults={"rms_norm_eps": 1e-6},
        keys=extras.granite,
    ),
    Arch("olmo2", ("Olmo2ForCausalLM",), ("olmo2",), _OLMO2, defaults={"rms_norm_eps": 1e-5}),
    Arch(  # runs as olmo2 with windows
        "olmo2",
        ("Olmo3ForCausalLM",),
        ("olmo3",),
        _OLMO2,
        defaults={"rms_norm_eps": 1e-5, "sliding_window": 4096},
        keys=extras.olmo3,
    ),
    Arch(
        "stablelm",
        ("StableLmForCausalLM", "StableLMEpochForCausalLM"),
        ("stablelm", "stablelm_epoch"),
        (
            *_ends(bias="must"),
            *_norms(("attn_norm", "input_layernorm"), bias="must"),
            _layer("ffn_norm", "post_attention_layernorm", "embd", bias="must", only="serial"),
            _layer("attn_q_norm", "self_attn.q_layernorm.norms.{h}", "head", optional=True),
            _layer("attn_k_norm", "self_attn.k_layernorm.norms.{h}", "head", optional=True),
            *_attention(bias="may", out_bias="no"),
            *_mlp(),
        ),
        epsilon="layer_norm_eps",
        rms=False,
        renames={"partial_rotary_factor": "rope_pct", "layer_norm_eps": "norm_eps"},
        defaults={"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_parallel_residual": False},
        keys=extras.stablelm,
        tags=extras.stablelm_tags,
    ),
    Arch(
        "starcoder2",
        ("Starcoder2ForCausalLM",),
        ("starcoder2",),
        (
            *_ends(bias="must"),
            *_norms(*_PRE_NORMS, bias="must"),
            *_attention(bias="may"),
            _layer("ffn_up", "mlp.c_fc", "ff", "embd", bias="may"),
            _layer("ffn_down", "mlp.c_proj", "embd", "ff", bias="may"),
        ),
        epsilon="norm_epsilon",
        rms=False,
        activations=_GELU,
        defaults={"norm_epsilon": 1e-5},
        keys=extras.window,
    ),
    Arch(
        "falcon",
        ("FalconForCausalLM", "RWForCausalLM"),
        ("falcon", "RefinedWeb", "RefinedWebModel"),
        (
            *_ends("must", "transformer.ln_f", "transformer.word_embeddings"),
            _layer("attn_norm", "input_layernorm", "embd", at="transformer.h", bias="must", only="one norm"),
            _layer("attn_norm", "ln_mlp", "embd", at="transformer.h", bias="must", only="two norms"),
            _layer("attn_norm_2", "ln_attn", "embd", at="transformer.h", bias="must", only="two norms"),
            _layer(
                "attn_qkv", "self_attention.query_key_value", "qkv", "embd", at="transformer.h", step="groups"
            ),
            _layer("attn_output", "self_attention.dense", "embd", "q", at="transformer.h"),
            _layer("ffn_up", "mlp.dense_h_to_4h", "ff", "embd", at="transformer.h"),
            _layer("ffn_down", "mlp.dense_4h_to_h", "embd", "ff", at="transformer.h"),
        ),
        epsilon="layer_norm_epsilon",
        rms=False,
        activations=_GELU,
        renames={
            "num_attention_heads": "n_head",
            "num_hidden_layers": "n_layer",
            "num_key_value_heads": "num_kv_heads",
            "intermediate_size": "ffn_hidden_size",
            "hidden_act": "activation",
        },
        defaults={"layer_norm_epsilon": 1e-5, "max_position_embeddings": 2048},
        keys=extras.falcon,
        derived=extras.falcon_derived,
        tags=extras.falcon_tags,
    ),
    Arch(
        "cohere2",
        ("Cohere2ForCausalLM",),
        ("cohere2",),
        (*_ends(), *_norms(("attn_norm", "input_layernorm")), *_attention(bias="may"), *_mlp()),
        epsilon="layer_norm_eps",
        rms=False,
        defaults={"layer_norm_eps": 1e-5, "sliding_window": 4096, "logit_scale": 0.0625},
        keys=extras.cohere2,
    ),
    Arch(
        "gpt2",
        ("GPT2LMHeadModel",),
        ("gpt2",),
        (
            *_ends("must", "ln_f", "wte"),
            Rule("position_embd", "wpe", ("context", "embd")),
            _layer("attn_norm", "ln_1", "embd", at="h", bias="must"),
            _layer("ffn_norm", "ln_2", "embd", at="h", bias="must"),
            _layer("attn_qkv", "attn.c_attn", "embd", "qkv", at="h", step="transpose", bias="must"),
            _layer("attn_output", "attn.c_proj", "q", "embd", at="h", step="transpose", bias="must"),
            _layer("ffn_up", "mlp.c_fc", "embd", "ff", at="h", step="transpose", bias="must"),
            _layer("ffn_down", "mlp.c_proj", "ff", "embd", at="h", step="transpose", bias="must"),
        ),
        epsilon="layer_norm_epsilon",
        rms=False,
        rope=False,
        activations=_GELU,
        renames={
            "hidden_size": "n_embd",
            "num_attention_heads": "n_head",
            "num_hidden_layers": "n_layer",
            "max_position_embeddings": "n_positions",
            "intermediate_size": "n_inner",
            "hidden_act": "activation_function",
        },
        defaults={"layer_norm_epsilon": 1e-5},
        keys=extras.gpt2,
        derived=extras.gpt2_derived,
        prefixes=(("transformer.", ""),),
        ignore=r"(^|\.)attn\.(masked_)?bias$",
    ),
    Arch(
        "chatglm",
        ("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        ("chatglm",),
        (
            Rule("token_embd", "transformer.embedding.word_embeddings", ("vocab", "embd")),
            Rule("output_norm", "transformer.encoder.final_layernorm", ("embd",)),
            Rule("output", "transformer.output_layer", ("vocab", "embd")),
            *(
                _layer(target, source, *shape, at="transformer.encoder.layers", bias=bias)
                for target, source, shape, bias in (
                    ("attn_norm", "input_layernorm", ("embd",), "no"),
                    ("ffn_norm", "post_attention_layernorm", ("embd",), "no"),
                    ("attn_qkv", "self_attention.query_key_value", ("qkv", "embd"), "may"),
                    ("attn_output", "self_attention.dense", ("embd", "q"), "no"),
                    ("ffn_up", "mlp.dense_h_to_4h", ("2ff", "embd"), "no"),
                    ("ffn_down", "mlp.dense_4h_to_h", ("embd", "ff"), "no"),
                )
            ),
        ),
        epsilon="layernorm_epsilon",
        renames={
            "num_hidden_layers": "num_layers",
            "max_position_embeddings": "seq_length",
            "intermediate_size": "ffn_hidden_size",
            "head_dim": "kv_channels",
            "vocab_size": "padded_vocab_size",
        },
        defaults={"layernorm_epsilon": 1e-5, "partial_rotary_factor": 0.5},
        keys=extras.chatglm,
        derived=extras.chatglm_derived,
        ignore=r"rotary_pos_emb\.inv_freq$",
    ),
    Arch(
        "chatglm",
        ("GlmForCausalLM",),
        ("glm",),
        (
            *_ends(),
            *_norms(*_PRE_NORMS),
            _layer("attn_qkv", _SEPARATE_QKV, "q|kv|kv", "embd", bias="may"),
            _layer("attn_output", "self_attn.o_proj", "embd", "q"),
            *_FUSED_MLP,
        ),
        defaults={"rms_norm_eps": 1.5625e-7, "partial_rotary_factor": 0.5},
    ),
    Arch(
        "lfm2",
        ("Lfm2ForCausalLM",),
        ("lfm2",),
        (
            Rule("token_embd", "model.embed_tokens", ("vocab", "embd")),
            Rule("token_embd_norm", "model.embedding_norm", ("embd",)),
            Rule("output", "lm_head", ("vocab", "embd")),
            *_norms(("attn_norm", "operator_norm"), ("ffn_norm", "ffn_norm")),
            _layer("attn_q_norm", "self_attn.q_layernorm", "head", only="attention"),
            _layer("attn_k_norm", "self_attn.k_layernorm", "head", only="attention"),
            *_attention(bias="no", output="out_proj", only="attention"),
            _layer("shortconv.conv", "conv.conv", "embd", "one", "conv", step="squeeze", only="convolution"),
            _layer("shortconv.in_proj", "conv.in_proj", "3embd", "embd", only="convolution"),
            _layer("shortconv.out_proj", "conv.out_proj", "embd", "embd", only="convolution"),
            *_mlp("no", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"),
        ),
        epsilon="norm_eps",
        renames={"rope_theta": "theta"},
        defaults={"norm_eps": 1e-5, "rope_theta": 1e6, "conv_L_cache": 3},
        keys=extras.lfm2,
        derived=extras.lfm2_derived,
        tags=extras.lfm2_tags,
    ),
)


def find(raw: Mapping[str, Any], where: str) -> Arch:
    """The family of a config."""
    classes = raw.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else None
    for arch in ARCHS:
        if name in arch.classes or (name is None and raw.get("model_type") in arch.types):
            return arch
    known = ", ".join(sorted(name for arch in ARCHS for name in arch.classes))
    shown = str(name or raw.get("model_type"))[:64]
    raise UnsupportedError(f"{where}: the architecture {shown!r} cannot be converted; these can: {known}")
