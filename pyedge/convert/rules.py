"""What the tables of architectures are made of: a rule for each tensor, the record of a family,
and the rules that many families share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..gguf_file import Value
from .config import Config, llama3_factors

Keys = dict[str, Value]


@dataclass(frozen=True)
class Rule:
    """One tensor, or one a layer where its names have {i}; {e} stands for an expert, {h} for a head.

    source  several with "|" between them are put one after the other
    shape   names of extents (see `extents`), as the source has them: the contiguous one last
    step    how its rows change on the way (see tensors.py)
    part    what is taken of the source, which has more: "q", "k" or "v" of matrices that are grouped by key
            head; "first" or "second" half of the matrix of each expert
    bias    whether there is a vector beside the matrix: "no", "may", "must"
    only    the layers that have it, by one of the tags that `Arch.tags` gives them
    whole   the names are whole, without ".weight" to be added
    """

    target: str
    source: str
    shape: tuple[str, ...]
    step: str = "copy"
    part: str = ""
    bias: str = "no"
    optional: bool = False
    only: str = ""
    whole: bool = False


def no_keys(c: Config) -> Keys:
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
    keys: Callable[[Config], Keys] = no_keys
    tags: Callable[[Config], Sequence[str]] = _no_tags  # of each layer, with spaces between
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
        "heads": c.n_head,
        "kv heads": c.n_head_kv,
        "q": q,
        "kv": kv,
        "qkv": q + 2 * kv,
        "context": c.size("max_position_embeddings"),
        "experts": c.n_expert,
        "expert_ff": c.size("moe_intermediate_size", ff),
        "2expert_ff": 2 * c.size("moe_intermediate_size", ff),
        "3embd": 3 * c.n_embd,
        "conv": c.size("conv_L_cache", 1),
        "one": 1,
    }


# ---- rules that families share -----------------------------------------------------------------------------


def layer(target: str, source: str, *shape: str, at: str = "model.layers", **more: Any) -> Rule:
    sources = "|".join(f"{at}.{{i}}.{part}" for part in source.split("|"))
    return Rule(f"blk.{{i}}.{target}", sources, shape, **more)


def ends(bias: str = "no", norm: str = "model.norm", embd: str = "model.embed_tokens") -> tuple[Rule, ...]:
    return (
        Rule("token_embd", embd, ("vocab", "embd")),
        Rule("output_norm", norm, ("embd",), bias=bias),
        Rule("output", "lm_head", ("vocab", "embd")),
    )


def attention(
    step: str = "copy", bias: str = "may", output: str = "o_proj", out_bias: str = "", only: str = ""
) -> tuple[Rule, ...]:
    out_bias = out_bias or ("no" if bias == "must" else bias)
    return (
        layer("attn_q", "self_attn.q_proj", "q", "embd", step=step, bias=bias, only=only),
        layer("attn_k", "self_attn.k_proj", "kv", "embd", step=step, bias=bias, only=only),
        layer("attn_v", "self_attn.v_proj", "kv", "embd", bias=bias, only=only),
        layer("attn_output", f"self_attn.{output}", "embd", "q", bias=out_bias, only=only),
    )


def mlp(
    bias: str = "no",
    gate: str = "mlp.gate_proj",
    up: str = "mlp.up_proj",
    down: str = "mlp.down_proj",
    only: str = "",
) -> tuple[Rule, ...]:
    return (
        layer("ffn_gate", gate, "ff", "embd", bias=bias, only=only),
        layer("ffn_up", up, "ff", "embd", bias=bias, only=only),
        layer("ffn_down", down, "embd", "ff", bias=bias, only=only),
    )


def norms(
    *pairs: tuple[str, str],
    step: str = "copy",
    bias: str = "no",
    shape: str = "embd",
    at: str = "model.layers",
) -> tuple[Rule, ...]:
    return tuple(layer(target, source, shape, at=at, step=step, bias=bias) for target, source in pairs)


PRE_NORMS = (("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"))
HEAD_NORMS = (("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm"))
FUSED_MLP = (
    layer("ffn_up", "mlp.gate_up_proj", "2ff", "embd"),
    layer("ffn_down", "mlp.down_proj", "embd", "ff"),
)
SEPARATE_QKV = "self_attn.q_proj|self_attn.k_proj|self_attn.v_proj"
LLAMA = (*ends(), *norms(*PRE_NORMS), *attention("permute"), *mlp("may"))
QWEN = (*ends(), *norms(*PRE_NORMS))


def rope_freqs(c: Config) -> Mapping[str, list[float]]:
    factors = llama3_factors(c)
    return {"rope_freqs.weight": factors} if factors else {}


GELU = ("gelu", "gelu_new", "gelu_pytorch_tanh")
