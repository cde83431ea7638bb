"""Families with experts, and those with short convolutions, of which one has both.

Names of keys: the constants of the `gguf` package.
"""

from __future__ import annotations

from . import extras
from .rules import (
    HEAD_NORMS,
    PRE_NORMS,
    QWEN,
    Arch,
    Rule,
    attention,
    ends,
    layer,
    mlp,
    norms,
)


def _experts(router: str, experts: str, gate: str, up: str, down: str, only: str = "") -> tuple[Rule, ...]:
    """Experts that are tensors of their own."""
    return (
        layer("ffn_gate_inp", router, "experts", "embd", only=only),
        layer("ffn_gate_exps", f"{experts}.{{e}}.{gate}", "expert_ff", "embd", only=only),
        layer("ffn_up_exps", f"{experts}.{{e}}.{up}", "expert_ff", "embd", only=only),
        layer("ffn_down_exps", f"{experts}.{{e}}.{down}", "embd", "expert_ff", only=only),
    )


_NAMED = _experts("mlp.gate", "mlp.experts", "gate_proj", "up_proj", "down_proj")
_LFM2 = (
    Rule("token_embd", "model.embed_tokens", ("vocab", "embd")),
    Rule("token_embd_norm", "model.embedding_norm", ("embd",)),
    Rule("output", "lm_head", ("vocab", "embd")),
    *norms(("attn_norm", "operator_norm"), ("ffn_norm", "ffn_norm")),
    layer("attn_q_norm", "self_attn.q_layernorm", "head", only="attention"),
    layer("attn_k_norm", "self_attn.k_layernorm", "head", only="attention"),
    *attention(bias="no", output="out_proj", only="attention"),
    layer("shortconv.conv", "conv.conv", "embd", "one", "conv", step="squeeze", only="convolution"),
    layer("shortconv.in_proj", "conv.in_proj", "3embd", "embd", only="convolution"),
    layer("shortconv.out_proj", "conv.out_proj", "embd", "embd", only="convolution"),
    *mlp("no", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2", only="dense"),
)

EXPERTS: tuple[Arch, ...] = (
    Arch(
        "llama",
        ("MixtralForCausalLM",),
        ("mixtral",),
        (
            *ends(),
            *norms(*PRE_NORMS),
            *attention("permute"),
            *_experts("block_sparse_moe.gate", "block_sparse_moe.experts", "w1", "w3", "w2"),
        ),
        renames={"num_experts": "num_local_experts"},
        defaults={"rms_norm_eps": 1e-5, "num_experts": 8, "num_experts_per_tok": 2},
        keys=extras.mixtral,
    ),
    Arch(
        "qwen3moe",
        ("Qwen3MoeForCausalLM",),
        ("qwen3_moe",),
        (
            *QWEN,
            *norms(*HEAD_NORMS, shape="head"),
            *attention(bias="no"),
            *_NAMED,
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
        "olmoe",
        ("OlmoeForCausalLM",),
        ("olmoe",),
        (
            *ends(),
            *norms(*PRE_NORMS),
            layer("attn_q_norm", "self_attn.q_norm", "q"),
            layer("attn_k_norm", "self_attn.k_norm", "kv"),
            *attention(bias="no"),
            *_NAMED,
        ),
        defaults={"rms_norm_eps": 1e-5, "num_experts": 64, "num_experts_per_tok": 8},
        keys=extras.olmoe,
    ),
    Arch(  # all experts of a layer in one tensor
        "granitemoe",
        ("GraniteMoeForCausalLM",),
        ("granitemoe",),
        (
            *ends(),
            *norms(*PRE_NORMS),
            *attention("permute"),
            layer("ffn_gate_inp", "block_sparse_moe.router.layer", "experts", "embd"),
            *(
                layer(
                    f"ffn_{name}_exps",
                    "block_sparse_moe.input_linear",
                    *("experts", "2expert_ff", "embd"),
                    part=part,
                )
                for name, part in (("gate", "first"), ("up", "second"))
            ),
            layer("ffn_down_exps", "block_sparse_moe.output_linear", "experts", "embd", "expert_ff"),
        ),
        renames={"num_experts": "num_local_experts"},
        defaults={"rms_norm_eps": 1e-6, "num_experts": 8, "num_experts_per_tok": 2},
        keys=extras.granitemoe,
    ),
    Arch(
        "lfm2",
        ("Lfm2ForCausalLM",),
        ("lfm2",),
        _LFM2,
        epsilon="norm_eps",
        renames={"rope_theta": "theta"},
        defaults={"norm_eps": 1e-5, "rope_theta": 1e6, "conv_L_cache": 3},
        keys=extras.lfm2,
        derived=extras.lfm2_derived,
        tags=extras.lfm2_tags,
    ),
    Arch(
        "lfm2moe",
        ("Lfm2MoeForCausalLM",),
        ("lfm2_moe",),
        (
            *_LFM2,
            *_experts("feed_forward.gate", "feed_forward.experts", "w1", "w3", "w2", only="experts"),
            layer("exp_probs_b.bias", "feed_forward.expert_bias", "experts", only="experts", whole=True),
        ),
        epsilon="norm_eps",
        renames={"rope_theta": "theta"},
        defaults={"norm_eps": 1e-5, "rope_theta": 1e6, "conv_L_cache": 3, "num_dense_layers": 2},
        keys=extras.lfm2moe,
        tags=extras.lfm2_tags,
    ),
)
