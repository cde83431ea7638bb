"""Write tests/golden/architectures.npz: logits of transformers on the tiny models of tests/py/arch_models.py.

    python tools/make_arch_golden.py [CASE]...

Needs torch and transformers; 5.23 made the file that is there. Each model's tensors go into a model of the
same family by the names below; what the file format changes on the way (norms of Gemma with 1 added, rows of
Q and K in the order of rope, merged matrices) is undone here.
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import numpy as np
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "py"))

import arch_models as am  # noqa: E402

TARGET = ROOT / "tests" / "golden" / "architectures.npz"
TENSORS = {
    "token_embd": "model.embed_tokens",
    "output": "lm_head",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GEMMA = {"ffn_norm": "pre_feedforward_layernorm"}
PHI3 = {"ffn_up": "mlp.gate_up_proj"}
GPT2 = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "attn_norm": "ln_1",
    "ffn_norm": "ln_2",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
FALCON = {
    "token_embd": "transformer.word_embeddings",
    "output_norm": "transformer.ln_f",
    "attn_qkv": "self_attention.query_key_value",
    "attn_output": "self_attention.dense",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
LFM2 = {
    "token_embd_norm": "model.embedding_norm",
    "attn_norm": "operator_norm",
    "ffn_norm": "ffn_norm",
    "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm",
    "attn_k_norm": "self_attn.k_layernorm",
    "ffn_gate": "feed_forward.w1",
    "ffn_up": "feed_forward.w3",
    "ffn_down": "feed_forward.w2",
    "in_proj": "conv.in_proj",
    "conv": "conv.conv",
    "out_proj": "conv.out_proj",
}
NEOX = {
    "token_embd": "gpt_neox.embed_in",
    "output_norm": "gpt_neox.final_layer_norm",
    "attn_qkv": "attention.query_key_value",
    "attn_output": "attention.dense",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
GLM4 = {
    "ffn_up": "mlp.gate_up_proj",
    "post_attention_norm": "post_self_attn_layernorm",
    "post_ffw_norm": "post_mlp_layernorm",
}
PHI = {
    "output_norm": "model.final_layernorm",
    "attn_output": "self_attn.dense",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
ROUTED = {"num_experts": am.EXPERTS, "num_local_experts": am.EXPERTS, "num_experts_per_tok": am.EXPERTS_USED}
# Where the experts of a family are.
MOE = {
    "Qwen3Moe": "mlp",
    "Mixtral": "mlp",
    "Olmoe": "mlp",
    "GraniteMoe": "block_sparse_moe",
    "Lfm2Moe": "feed_forward",
}
PERMUTED = ("llama", "smollm3", "granite", "granitemoe", "internlm2", "minicpm", "mistral3", "arcee", "olmo")
WINDOW: dict[str, Any] = {"sliding_window": 24}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
MID = "sliding_attention"
FULL = "full_attention"
# Of each case: the family, settings beside the common ones, names other than TENSORS.
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "llama": ("Llama", {}, {}),
    "llama-tied-biased": ("Llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "llama-linear": ("Llama", {"rope_parameters": {**PLAIN, "rope_type": "linear", "factor": 4.0}}, {}),
    "llama-yarn": ("Llama", {"rope_parameters": YARN}, {}),
    "llama-llama3": ("Llama", {}, {}),
    "llama-window": ("Mistral", WINDOW, {}),
    "qwen2": ("Qwen2", {}, {}),
    "qwen2-yarn": ("Qwen2", {"rope_parameters": YARN}, {}),
    "qwen3": ("Qwen3", {}, {}),
    "qwen3moe": (
        "Qwen3Moe",
        {
            "num_experts": am.EXPERTS,
            "num_experts_per_tok": am.EXPERTS_USED,
            "moe_intermediate_size": am.EXPERT_FF,
            "norm_topk_prob": True,
        },
        {"ffn_gate_inp": "mlp.gate"},
    ),
    "gemma": ("Gemma", {"hidden_activation": "gelu_pytorch_tanh"}, {}),
    "gemma2": (
        "Gemma2",
        {
            **WINDOW,
            "query_pre_attn_scalar": am.HEAD,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
        GEMMA,
    ),
    "gemma3": (
        "Gemma3",
        {
            **WINDOW,
            "query_pre_attn_scalar": am.HEAD,
            "layer_types": [MID] * 5 + [FULL, MID],
            "rope_parameters": {
                FULL: {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                MID: PLAIN,
            },
        },
        GEMMA,
    ),
    "phi3": ("Phi3", WINDOW, PHI3),
    "phi3-long": (
        "Phi3",
        {
            "original_max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "original_max_position_embeddings": 64,
                "long_factor": list(am.CASES["phi3-long"].tables["rope_factors_long"]),
                "short_factor": list(am.CASES["phi3-long"].tables["rope_factors_short"]),
            },
        },
        PHI3,
    ),
    "smollm3": ("SmolLM3", {}, {}),
    "granite": (
        "Granite",
        {
            "attention_bias": True,
            "attention_multiplier": 0.2,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
        },
        {},
    ),
    "olmo2": ("Olmo2", {}, {}),
    "olmo3": (
        "Olmo3",
        {
            **WINDOW,
            "layer_types": [MID] * 3 + [FULL, MID],
            "rope_parameters": {FULL: {**YARN, "attention_factor": 1.2}, MID: PLAIN},
        },
        {},
    ),
    "stablelm": ("StableLm", {"use_qkv_bias": True, "partial_rotary_factor": 0.25}, {}),
    "stablelm-parallel": (
        "StableLm",
        {"use_parallel_residual": True, "qk_layernorm": True, "partial_rotary_factor": 0.25},
        {},
    ),
    "starcoder2": (
        "Starcoder2",
        {**WINDOW, "use_bias": True},
        {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
    ),
    "falcon": (
        "Falcon",
        {"multi_query": True, "new_decoder_architecture": False},
        {**FALCON, "attn_norm": "input_layernorm"},
    ),
    "falcon-two-norms": (
        "Falcon",
        {"new_decoder_architecture": True, "num_kv_heads": am.KV_HEADS},
        {**FALCON, "attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"},
    ),
    "cohere2": ("Cohere2", {**WINDOW, "logit_scale": 0.25, "layer_types": [MID] * 3 + [FULL, MID]}, {}),
    "gpt2": ("GPT2", {"activation_function": "gelu_new"}, GPT2),
    "lfm2": (
        "Lfm2",
        {
            "norm_eps": 1e-5,
            "conv_L_cache": am.CONV,
            "conv_bias": False,
            "block_auto_adjust_ff_dim": False,
            "block_ff_dim": am.FF,
            "layer_types": ["conv", "conv", FULL, "conv", FULL],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        LFM2,
    ),
    "chatglm": ("Glm", {"attention_bias": True, "partial_rotary_factor": 0.5}, PHI3),
    "llama-experts": ("Mixtral", {**ROUTED, "intermediate_size": am.EXPERT_FF}, {"ffn_gate_inp": "mlp.gate"}),
    "arcee": ("Arcee", {"hidden_act": "relu2"}, {}),
    "command-r": ("Cohere", {"logit_scale": 0.25, "use_qk_norm": True}, {}),
    "ernie4_5": ("Ernie4_5", {"use_bias": True}, {}),
    "exaone": ("Llama", {}, {}),
    "exaone4": ("Exaone4", {"sliding_window": None, "layer_types": [FULL] * 2}, {}),
    "exaone4-window": ("Exaone4", {**WINDOW, "layer_types": [MID] * 3 + [FULL, MID]}, {}),
    "glm4": ("Glm4", {"attention_bias": True, "partial_rotary_factor": 0.5}, GLM4),
    "gptneox": ("GPTNeoX", {"use_parallel_residual": True, "partial_rotary_factor": 0.25}, NEOX),
    "gptneox-serial": ("GPTNeoX", {"use_parallel_residual": False, "partial_rotary_factor": 0.25}, NEOX),
    "granitemoe": (
        "GraniteMoe",
        {
            **ROUTED,
            "intermediate_size": am.EXPERT_FF,
            "attention_multiplier": 0.2,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
        },
        {"ffn_gate_inp": "block_sparse_moe.router"},
    ),
    "hunyuan-dense": (
        "HunYuanDenseV1",
        {},
        {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"},
    ),
    "internlm2": ("Llama", {}, {}),  # a llama under another name
    "minicpm": (  # not in transformers; its definition is Granite's with these factors
        "Granite",
        {
            "attention_multiplier": am.HEAD**-0.5,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "logits_scaling": 2.0,
        },
        {},
    ),
    "mistral3": (
        "Ministral3",
        {
            "rope_parameters": {
                **YARN,
                "original_max_position_embeddings": 16,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1,
            }
        },
        {},
    ),
    "nemotron": ("Nemotron", {"hidden_act": "relu2", "norm_eps": 1e-5, "partial_rotary_factor": 0.5}, {}),
    "olmo": ("Olmo", {"clip_qkv": None}, {}),
    "olmoe": (
        "Olmoe",
        {**ROUTED, "intermediate_size": am.EXPERT_FF, "norm_topk_prob": False},
        {"ffn_gate_inp": "mlp.gate"},
    ),
    "phi2": ("Phi", {"hidden_act": "gelu_new", "partial_rotary_factor": 0.5}, PHI),
    "starcoder": ("GPTBigCode", {"activation_function": "gelu_pytorch_tanh", "multi_query": True}, GPT2),
    "lfm2moe": (
        "Lfm2Moe",
        {
            **ROUTED,
            "norm_eps": 1e-5,
            "conv_L_cache": am.CONV,
            "conv_bias": False,
            "moe_intermediate_size": am.EXPERT_FF,
            "num_dense_layers": 1,
            "use_expert_bias": True,
            "norm_topk_prob": True,
            "layer_types": ["conv", "conv", FULL, "conv", FULL],
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        {**LFM2, "ffn_gate_inp": "feed_forward.gate", "exp_probs_b": "feed_forward.expert_bias"},
    ),
}


def config_of(name: str, case: am.Case) -> Any:
    family, settings, _ = FAMILIES[name]
    common: dict[str, Any] = {
        "vocab_size": am.VOCAB,
        "hidden_size": am.EMBD,
        "intermediate_size": am.FF,
        "num_hidden_layers": case.n_layer,
        "num_attention_heads": am.HEADS,
        "num_key_value_heads": am.KV_HEADS,
        "head_dim": am.HEAD,
        "max_position_embeddings": am.CONTEXT,
        "rms_norm_eps": 1e-5,
        "layer_norm_eps": 1e-5,
        "layer_norm_epsilon": 1e-5,
        "norm_epsilon": 1e-5,
        "rope_parameters": dict(PLAIN),
        "tie_word_embeddings": "output" not in case.outside,
        "pad_token_id": None,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    if family in ("GPT2", "GPTBigCode"):
        common = {
            "vocab_size": am.VOCAB,
            "n_embd": am.EMBD,
            "n_layer": case.n_layer,
            "n_head": am.HEADS,
            "n_positions": am.CONTEXT,
            "n_inner": am.FF,
            "layer_norm_epsilon": 1e-5,
        }
    if family == "Falcon":
        del common["head_dim"]
        common |= {"ffn_hidden_size": am.FF, "parallel_attn": True, "bias": False, "alibi": False}
    suffix = "TextConfig" if family == "Gemma3" else "Config"
    rope = settings.get("rope_parameters", common.get("rope_parameters"))
    if rope and "partial_rotary_factor" in settings:
        settings = {
            **settings,
            "rope_parameters": {**rope, "partial_rotary_factor": settings["partial_rotary_factor"]},
        }
    return getattr(transformers, f"{family}{suffix}")(**{**common, **settings})


def unpermute(value: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of a head from rope on neighbours to rope on halves."""
    shape = value.shape
    pairs = value.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(shape)


def grouped_qkv(value: np.ndarray[Any, Any], kv_heads: int) -> np.ndarray[Any, Any]:
    """Rows by KV group: its queries, its key, its value."""
    parts = np.split(value, [am.Q_SIZE, am.Q_SIZE + kv_heads * am.HEAD])
    groups = [part.reshape(kv_heads, -1, *value.shape[1:]) for part in parts]
    return np.concatenate(groups, axis=1).reshape(value.shape)


def state_of(name: str, case: am.Case) -> dict[str, np.ndarray[Any, Any]]:
    family, _, names = FAMILIES[name]
    prefix = "transformer.h" if family in ("GPT2", "GPTBigCode", "Falcon") else "model.layers"
    prefix = "gpt_neox.layers" if family == "GPTNeoX" else prefix
    out: dict[str, np.ndarray[Any, Any]] = {}
    weights = case.weights()
    for full, value in weights.items():
        *layer, stem, kind = full.split(".")
        if stem in am.ROPE_TABLES or stem.endswith("_exps"):
            continue
        if stem.endswith("norm") and (
            family.startswith("Gemma") or (family == "Nemotron" and kind == "weight")
        ):
            value = value - np.float32(1)
        if case.arch in PERMUTED and stem in ("attn_q", "attn_k"):
            value = unpermute(value, am.HEADS if stem == "attn_q" else am.KV_HEADS)
        if family == "GPT2" and kind == "weight" and value.ndim == 2 and layer:
            value = value.T
        if stem == "conv":
            value = value[:, None]
        if stem == "attn_qkv" and (family == "GPTNeoX" or name == "falcon-two-norms"):
            value = grouped_qkv(value, am.HEADS if family == "GPTNeoX" else am.KV_HEADS)
        target = {**TENSORS, **names}[stem]
        if stem == "exp_probs_b":
            out[f"{prefix}.{layer[1]}.{target}"] = value
        elif family == "Glm" and stem == "attn_qkv":
            parts = np.split(value, [am.Q_SIZE, am.Q_SIZE + am.KV_SIZE])
            for part, letter in zip(parts, "qkv", strict=True):
                out[f"{prefix}.{layer[1]}.self_attn.{letter}_proj.{kind}"] = part
        elif name == "stablelm-parallel" and stem in am.QK_NORMS:
            for head, row in enumerate(value):
                out[f"{prefix}.{layer[1]}.self_attn.{target[10]}_layernorm.norms.{head}.weight"] = row
        else:
            out[f"{prefix}.{layer[1]}.{target}.{kind}" if layer else f"{target}.{kind}"] = value
    for i in range(case.n_layer):
        if f"blk.{i}.ffn_gate_exps.weight" not in weights:
            continue
        gate, up, down = (weights[f"blk.{i}.ffn_{part}_exps.weight"] for part in ("gate", "up", "down"))
        out[f"{prefix}.{i}.{MOE[family]}.experts.gate_up_proj"] = np.concatenate([gate, up], axis=1)
        out[f"{prefix}.{i}.{MOE[family]}.experts.down_proj"] = down
    return out


def logits_of(name: str) -> np.ndarray[Any, Any]:
    case = am.CASES[name]
    family = FAMILIES[name][0]
    tail = {"GPT2": "LMHeadModel"}.get(family, "ForCausalLM")
    config = config_of(name, case)
    config._attn_implementation = "eager"
    model = getattr(transformers, family + tail)(config).float().eval()
    state = {
        key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in state_of(name, case).items()
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [key for key in missing if not (config.tie_word_embeddings and key == "lm_head.weight")]
    if missing or unexpected:
        raise SystemExit(f"{name}: missing {missing[:4]}, unexpected {unexpected[:4]}")
    if "rope_freqs" in case.tables:
        model.model.rotary_emb.inv_freq /= torch.tensor(case.tables["rope_freqs"])
    with torch.no_grad():
        rows = model(torch.tensor([am.ids_of(name)])).logits[0]
    return rows[list(am.POSITIONS)].numpy().astype(np.float32)


def main() -> None:
    have = dict(np.load(TARGET)) if TARGET.exists() else {}
    for name in sys.argv[1:] or am.CASES:
        have[name] = logits_of(name)
        print(name, have[name].std())
    np.savez_compressed(TARGET, **{name: have[name] for name in am.CASES if name in have})


if __name__ == "__main__":
    main()
