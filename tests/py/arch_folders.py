"""The tiny models of `arch_models.py` as the folders that transformers saves: tensors under its names and in
its layout, and its config (tests/golden/arch_configs.json).

What conversion to GGUF changes on the way (norms of Gemma with 1 added, rows of Q and K in the order of rope,
merged matrices) is undone here. `tools/make_arch_golden.py` loads these folders into transformers, and makes
sure that it would save them as they are. Three architectures are not in transformers: their folders have the
names that their authors published, and their logits are those of an equal model.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, Final

import arch_models as am
import hfmake
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "golden" / "arch_configs.json"

TENSORS: Final = {
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
    "output": "embed_out",
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
# Where the experts of a family are, and what it calls gate, up and down.
_BY_NAME = ("gate_proj", "up_proj", "down_proj")
_BY_NUMBER = ("w1", "w3", "w2")
EXPERTS: Final = {
    "Qwen3Moe": ("mlp.experts", _BY_NAME),
    "Olmoe": ("mlp.experts", _BY_NAME),
    "Mixtral": ("block_sparse_moe.experts", _BY_NUMBER),
    "Lfm2Moe": ("feed_forward.experts", _BY_NUMBER),
}
PERMUTED = ("llama", "smollm3", "granite", "granitemoe", "internlm2", "minicpm", "mistral3", "arcee", "olmo")
# Of each case: the family in transformers, names other than TENSORS.
FAMILIES: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "llama": ("Llama", {}),
    "llama-tied-biased": ("Llama", {}),
    "llama-linear": ("Llama", {}),
    "llama-yarn": ("Llama", {}),
    "llama-llama3": ("Llama", {}),
    "llama-window": ("Mistral", {}),
    "qwen2": ("Qwen2", {}),
    "qwen2-yarn": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "qwen3moe": ("Qwen3Moe", {"ffn_gate_inp": "mlp.gate"}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", GEMMA),
    "gemma3": ("Gemma3", GEMMA),
    "phi3": ("Phi3", PHI3),
    "phi3-long": ("Phi3", PHI3),
    "smollm3": ("SmolLM3", {}),
    "granite": ("Granite", {}),
    "olmo2": ("Olmo2", {}),
    "olmo3": ("Olmo3", {}),
    "stablelm": ("StableLm", {}),
    "stablelm-parallel": ("StableLm", {}),
    "starcoder2": ("Starcoder2", {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}),
    "falcon": ("Falcon", {**FALCON, "attn_norm": "input_layernorm"}),
    "falcon-two-norms": ("Falcon", {**FALCON, "attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"}),
    "cohere2": ("Cohere2", {}),
    "gpt2": ("GPT2", GPT2),
    "lfm2": ("Lfm2", LFM2),
    "chatglm": ("Glm", PHI3),
    "llama-experts": ("Mixtral", {"ffn_gate_inp": "block_sparse_moe.gate"}),
    "arcee": ("Arcee", {}),
    "seed_oss": ("SeedOss", {}),
    "command-r": ("Cohere", {}),
    "ernie4_5": ("Ernie4_5", {}),
    "exaone": ("Llama", {}),
    "exaone4": ("Exaone4", {}),
    "exaone4-window": ("Exaone4", {}),
    "glm4": ("Glm4", GLM4),
    "gptneox": ("GPTNeoX", NEOX),
    "gptneox-serial": ("GPTNeoX", NEOX),
    "granitemoe": ("GraniteMoe", {"ffn_gate_inp": "block_sparse_moe.router.layer"}),
    "hunyuan-dense": (
        "HunYuanDenseV1",
        {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"},
    ),
    "internlm2": ("Llama", {}),
    "minicpm": ("Granite", {}),
    "mistral3": ("Ministral3", {}),
    "nemotron": ("Nemotron", {}),
    "olmo": ("Olmo", {}),
    "olmoe": ("Olmoe", {"ffn_gate_inp": "mlp.gate"}),
    "phi2": ("Phi", PHI),
    "starcoder": ("GPTBigCode", GPT2),
    "lfm2moe": (
        "Lfm2Moe",
        {**LFM2, "ffn_gate_inp": "feed_forward.gate", "exp_probs_b": "feed_forward.expert_bias"},
    ),
}


def unpermute(value: Array, heads: int) -> Array:
    """Rows of a head from rope on neighbours to rope on halves."""
    shape = value.shape
    pairs = value.reshape(heads, shape[0] // heads // 2, 2, *shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(shape)


def grouped_qkv(value: Array, kv_heads: int) -> Array:
    """Rows by KV group: its queries, its key, its value."""
    parts = np.split(value, [am.Q_SIZE, am.Q_SIZE + kv_heads * am.HEAD])
    groups = [part.reshape(kv_heads, -1, *value.shape[1:]) for part in parts]
    return np.concatenate(groups, axis=1).reshape(value.shape)


def _experts(family: str, prefix: str, weights: dict[str, Array], i: int) -> dict[str, Array]:
    """The experts of a layer, each tensor [expert, out, in]."""
    gate, up, down = (weights[f"blk.{i}.ffn_{part}_exps.weight"] for part in ("gate", "up", "down"))
    if family == "GraniteMoe":
        at = f"{prefix}.{i}.block_sparse_moe"
        both = np.concatenate([gate, up], axis=1)
        return {f"{at}.input_linear.weight": both, f"{at}.output_linear.weight": down}
    at, names = EXPERTS[family]
    return {
        f"{prefix}.{i}.{at}.{e}.{name}.weight": stack[e]
        for name, stack in zip(names, (gate, up, down), strict=True)
        for e in range(am.EXPERTS)
    }


def arrays_of(name: str) -> dict[str, Array]:
    """The tensors of a case as transformers saves them."""
    case = am.CASES[name]
    family, names = FAMILIES[name]
    prefix = "transformer.h" if family in ("GPT2", "GPTBigCode", "Falcon") else "model.layers"
    prefix = "gpt_neox.layers" if family == "GPTNeoX" else prefix
    out: dict[str, Array] = {}
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
        if f"blk.{i}.ffn_gate_exps.weight" in weights:
            out |= _experts(family, prefix, weights, i)
    return {name: np.ascontiguousarray(value) for name, value in out.items()}


# ---- families that transformers does not have --------------------------------------------------------------

_EXAONE = {
    "model.embed_tokens": "transformer.wte",
    "model.norm": "transformer.ln_f",
    "model.layers": "transformer.h",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "self_attn.o_proj": "attn.attention.out_proj",
    "self_attn": "attn.attention",
    "gate_proj": "c_fc_0",
    "up_proj": "c_fc_1",
    "down_proj": "c_proj",
}
_INTERNLM2 = {
    "model.embed_tokens": "model.tok_embeddings",
    "lm_head": "output",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


def _renamed(arrays: dict[str, Array], names: dict[str, str]) -> dict[str, Array]:
    out = {}
    for name, value in arrays.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        out[name] = value
    return out


def _internlm2(arrays: dict[str, Array]) -> dict[str, Array]:
    """Q, K and V in one: of each key head its queries, itself, its value."""
    out = {
        name: value for name, value in arrays.items() if not name.endswith(("q_proj.weight", "k_proj.weight"))
    }
    for name in [name for name in out if name.endswith("v_proj.weight")]:
        at = name.removesuffix("self_attn.v_proj.weight")
        parts = [arrays[f"{at}self_attn.{letter}_proj.weight"] for letter in "qkv"]
        out[f"{at}attention.wqkv.weight"] = grouped_qkv(np.concatenate(parts), am.KV_HEADS)
        del out[name]
    return _renamed(out, _INTERNLM2)


def folder_of(name: str, configs: dict[str, Any]) -> hfmake.Folder:
    """A folder for `pyedge convert`. configs: what is in CONFIGS."""
    arrays, config = arrays_of(name), dict(configs[name])
    if name == "exaone":
        arrays = _renamed(arrays, _EXAONE)
        config["num_layers"] = config.pop("num_hidden_layers")
        config["activation_function"] = config.pop("hidden_act")
        config["layer_norm_epsilon"] = config.pop("rms_norm_eps")
        config["architectures"] = ["ExaoneForCausalLM"]
    elif name == "internlm2":
        arrays = _internlm2(arrays)
        config["architectures"] = ["InternLM2ForCausalLM"]
    elif name == "minicpm":
        config["scale_emb"] = config.pop("embedding_multiplier")
        config["scale_depth"] = config.pop("residual_multiplier") * am.CASES[name].n_layer ** 0.5
        config["dim_model_base"] = int(am.EMBD / config.pop("logits_scaling"))
        config["architectures"] = ["MiniCPMForCausalLM"]
    return hfmake.Folder(config, arrays, hfmake.llama().files)


def saved_configs() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CONFIGS.read_text(encoding="utf-8"))
    return found
