"""The keys, tags and vectors that single families have beside the common ones (see archs.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..errors import UnsupportedError
from ..gguf_file import Value
from .config import Config
from .values import f32, flag, flags, i32s, text, u32

Keys = dict[str, Value]
_WINDOWED = {"sliding_attention": True, "full_attention": False}


def window(c: Config) -> Keys:
    """One window in all layers, if there is one."""
    return {"attention.sliding_window": u32(c.size("sliding_window"))} if "sliding_window" in c else {}


def no_window(c: Config) -> Keys:
    """Families whose windows GGUF has no place for: refused where a layer has one."""
    if c.get("use_sliding_window") and (
        any(_windows(c, 0)) or c.size("max_window_layers", 1 << 20) < c.n_layer
    ):
        raise UnsupportedError(
            f"{c.where}: use_sliding_window is true, which GGUF has no place for in this architecture"
        )
    return {}


def _windows(c: Config, pattern: int) -> list[bool]:
    """Which layers have a window; where the config does not say, all but each last of `pattern`."""
    if "layer_types" in c:
        return c.layer_types(_WINDOWED)
    return [pattern > 0 and i % pattern != pattern - 1 for i in range(c.n_layer)]


def _require_pattern(c: Config, pattern: int) -> None:
    """Files of some families do not say which layers have a window: engines know it."""
    usual = [i % pattern != pattern - 1 for i in range(c.n_layer)]
    if _windows(c, pattern) != usual or c.get("sliding_window_pattern", pattern) != pattern:
        raise UnsupportedError(
            f"{c.where}: layer_types must be a full layer after each {pattern - 1} with a window"
        )


def _query_scale(c: Config) -> Keys:
    """A scale of attention scores that does not follow from the size of heads."""
    scalar = c.number("query_pre_attn_scalar", c.head_dim)
    if scalar <= 0:
        raise c.wrong("query_pre_attn_scalar", "a positive number")
    return {} if scalar == c.head_dim else {"attention.scale": f32(scalar**-0.5)}


def _soft_caps(c: Config) -> Keys:
    names = ("attn_logit_softcapping", "final_logit_softcapping")
    return {name: f32(c.number(name)) for name in names if name in c}


def llama(c: Config) -> Keys:
    c.require("partial_rotary_factor", 1, 1.0)
    return {} if c.get("use_sliding_window") is False else window(c)


def _experts(c: Config) -> Keys:
    return {
        "expert_count": u32(c.n_expert),
        "expert_used_count": u32(c.size("num_experts_per_tok", most=c.n_expert)),
    }


def qwen3moe(c: Config) -> Keys:
    c.require("decoder_sparse_step", 1)
    c.require("mlp_only_layers", [])
    c.require("norm_topk_prob", True)  # engines make the weights of the chosen experts sum to one
    return {
        **no_window(c),
        **_experts(c),
        "expert_feed_forward_length": u32(c.size("moe_intermediate_size")),
        "expert_weights_norm": flag(True),
    }


def mixtral(c: Config) -> Keys:
    return {**window(c), **_experts(c)}


def olmoe(c: Config) -> Keys:
    c.require("norm_topk_prob", False)  # engines take the softmax over all experts as it is
    c.require("clip_qkv")
    return _experts(c)


def granitemoe(c: Config) -> Keys:
    return {**granite(c), **_experts(c)}


def olmo(c: Config) -> Keys:
    c.require("clip_qkv")
    return {}


def exaone4(c: Config) -> Keys:
    if "sliding_window" not in c or ("layer_types" in c and not any(_windows(c, 0))):
        return {}
    return {**window(c), "attention.sliding_window_pattern": flags(_windows(c, 4))}


def hunyuan(c: Config) -> Keys:
    """A dynamic scaling with a fixed alpha is another base."""
    c.require("use_qk_norm", True)
    alpha, n = c.rope().get("alpha"), c.head_dim
    if not alpha or n <= 2:
        return {}
    return {"rope.freq_base": f32(c.rope_base() * c.rope_number("alpha") ** (n / (n - 2)))}


def minicpm(c: Config) -> Keys:
    c.require("num_experts", 0)
    return {
        **long_rope(c),
        "embedding_scale": f32(c.number("scale_emb", 1.0)),
        "residual_scale": f32(c.number("scale_depth", 1.0) / math.sqrt(c.n_layer)),
        "logit_scale": f32(c.n_embd / c.size("dim_model_base", 1)),
    }


def mistral3(c: Config) -> Keys:
    no_window(c)
    beta = c.rope().get("llama_4_scaling_beta")
    return {"attention.temperature_scale": f32(c.rope_number("llama_4_scaling_beta"))} if beta else {}


def gemma2(c: Config) -> Keys:
    _require_pattern(c, 2)
    return {**window(c), **_soft_caps(c), **_query_scale(c)}


def gemma3(c: Config) -> Keys:
    _require_pattern(c, 6)
    c.require("use_bidirectional_attention", False)
    if c.rope("sliding_attention")["rope_type"] != "default":
        raise UnsupportedError(
            f"{c.where}: rope_parameters scale the layers with a window, which has no place in GGUF"
        )
    base = {"rope.freq_base_swa": f32(c.rope_base("sliding_attention"))}
    return {**base, **window(c), **_soft_caps(c), **_query_scale(c)}


def phi3(c: Config) -> Keys:
    window = u32(c.size("sliding_window") if "sliding_window" in c else 0)
    return {"attention.sliding_window": window, **long_rope(c)}


def long_rope(c: Config) -> Keys:
    most = c.size("max_position_embeddings")
    original = c.size(
        "original_max_position_embeddings", int(c.rope_number("original_max_position_embeddings", most))
    )
    keys = {"rope.scaling.original_context_length": u32(original)}
    if c.rope()["rope_type"] == "longrope":
        factor = c.rope_number("factor", most / original)
        usual = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 and original > 1 else 1.0
        keys["rope.scaling.attn_factor"] = f32(c.rope_number("attention_factor", usual))
    return keys


def long_factors(c: Config) -> Mapping[str, list[float]]:
    if c.rope()["rope_type"] != "longrope":
        return {}
    vectors = {}
    for name in ("long", "short"):
        factors = c.rope().get(f"{name}_factor")
        if (
            not isinstance(factors, list)
            or len(factors) != c.n_rot // 2
            or not all(isinstance(x, int | float) and 0 < x < 1e9 for x in factors)
        ):
            raise c.wrong("rope_scaling", f"a list {name}_factor of {c.n_rot // 2} positive numbers")
        vectors[f"rope_factors_{name}.weight"] = [float(x) for x in factors]
    return vectors


def smollm3(c: Config) -> Keys:
    c.require("partial_rotary_factor", 1, 1.0)
    no_window(c)
    usual = [int((i + 1) % 4 != 0) for i in range(c.n_layer)]  # 0: a layer without rope
    if c.get("no_rope_layers", usual) != usual or c.get("no_rope_layer_interval", 4) != 4:
        raise UnsupportedError(f"{c.where}: no_rope_layers must be every fourth layer")
    return {}


def granite(c: Config) -> Keys:
    return {
        "attention.scale": f32(c.number("attention_multiplier", 1.0)),
        "embedding_scale": f32(c.number("embedding_multiplier", 1.0)),
        "residual_scale": f32(c.number("residual_multiplier", 1.0)),
        "logit_scale": f32(c.number("logits_scaling", 1.0)),
    }


def olmo3(c: Config) -> Keys:
    return {**window(c), "attention.sliding_window_pattern": flags(_windows(c, 4))}


def parallel_residual(c: Config) -> Keys:
    return {"use_parallel_residual": flag(c.flag("use_parallel_residual"))}


def stablelm_tags(c: Config) -> Sequence[str]:
    return ["parallel" if c.flag("use_parallel_residual") else "serial"] * c.n_layer


def falcon(c: Config) -> Keys:
    c.require("alibi", False)
    c.require("bias", False)
    c.require("parallel_attn", True)
    if not c.flag("new_decoder_architecture"):
        c.require("multi_query", True)
    return {"tensor_data_layout": text("jploski")}


def falcon_tags(c: Config) -> Sequence[str]:
    two = c.flag("new_decoder_architecture") and c.size("num_ln_in_parallel_attn", 2) == 2
    return ["two-norms" if two else "one-norm"] * c.n_layer


def cohere(c: Config) -> Keys:
    return {"logit_scale": f32(c.number("logit_scale")), "rope.scaling.type": text("none")}


def cohere2(c: Config) -> Keys:
    _require_pattern(c, 4)
    return {**window(c), **cohere(c)}


def gpt2(c: Config) -> Keys:
    c.require("scale_attn_by_inverse_layer_idx", False)
    c.require("scale_attn_weights", True)
    c.require("add_cross_attention", False)
    return {}


def starcoder(c: Config) -> Keys:
    c.require("multi_query", True)
    return gpt2(c)


def phi2(c: Config) -> Keys:
    c.require("qk_layernorm", False)
    return {}


def chatglm(c: Config) -> Keys:
    c.require("rmsnorm", True)
    c.require("post_layer_norm", True)
    c.require("apply_residual_connection_post_layernorm", False)
    c.require("add_bias_linear", False)
    return {"rope.freq_base": f32(10000.0 * c.number("rope_ratio", 1.0))}


def lfm2(c: Config) -> Keys:
    c.require("conv_bias", False)
    heads = [c.n_head_kv if tag.startswith("attention") else 0 for tag in lfm2_tags(c)]
    return {"attention.head_count_kv": i32s(heads), "shortconv.l_cache": u32(c.size("conv_L_cache"))}


def lfm2moe(c: Config) -> Keys:
    c.require("norm_topk_prob", True)
    c.require("use_expert_bias", True)
    c.require("routed_scaling_factor", 1, 1.0)
    return {
        **lfm2(c),
        **_experts(c),
        "expert_feed_forward_length": u32(c.size("moe_intermediate_size")),
        "expert_gating_func": u32(2),  # sigmoid
        "leading_dense_block_count": u32(c.get("num_dense_layers")),
    }


def lfm2_tags(c: Config) -> Sequence[str]:
    """What is in the place of attention, and of the feed-forward."""
    if "layer_types" in c:
        full = c.layer_types({"full_attention": True, "conv": False})
    else:
        wanted = c.get("full_attn_idxs")
        if not isinstance(wanted, list):
            raise c.wrong("full_attn_idxs", "a list of layers")
        full = [i in wanted for i in range(c.n_layer)]
    n_dense = c.get("num_dense_layers", c.n_layer)
    if type(n_dense) is not int or not 0 <= n_dense <= c.n_layer:
        raise c.wrong("num_dense_layers", f"0 to {c.n_layer}")
    kinds = ["attention" if each else "convolution" for each in full]
    return [f"{kind} {'dense' if i < n_dense else 'experts'}" for i, kind in enumerate(kinds)]


# ---- values of the config that follow from others ----------------------------------------------------------


def falcon_derived(c: Config) -> Mapping[str, int]:
    new = c.flag("new_decoder_architecture")
    heads = c.size("num_key_value_heads", c.n_head) if new else 1
    return {"num_key_value_heads": heads, "intermediate_size": c.size("intermediate_size", 4 * c.n_embd)}


def own_heads(c: Config) -> Mapping[str, int]:
    """A key head for each, whatever else the config says."""
    return {"num_key_value_heads": c.n_head}


def gpt2_derived(c: Config) -> Mapping[str, int]:
    return {"intermediate_size": c.size("intermediate_size", 4 * c.n_embd)}


def starcoder_derived(c: Config) -> Mapping[str, int]:
    return {**gpt2_derived(c), "num_key_value_heads": 1}


def chatglm_derived(c: Config) -> Mapping[str, int]:
    shared = c.flag("multi_query_attention")
    return {"num_key_value_heads": c.size("multi_query_group_num") if shared else c.n_head}


def lfm2_derived(c: Config) -> Mapping[str, int]:
    width = c.size("block_ff_dim", c.get("intermediate_size"))
    if c.flag("block_auto_adjust_ff_dim", True):
        width = int(2 * width / 3)
        if "block_ffn_dim_multiplier" in c:
            multiple = c.size("block_multiple_of", 256)
            width = int(c.number("block_ffn_dim_multiplier") * width)
            width = -(-width // multiple) * multiple
    return {"intermediate_size": width}
