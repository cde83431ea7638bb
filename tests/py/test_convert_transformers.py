"""`pyedge convert` against transformers: tiny random models of every family give its logits in f32.

Runs where torch and transformers are installed; nothing is fetched.
"""

from __future__ import annotations

import pathlib
from typing import Any

import hfmake
import numpy as np
import pytest

import pyedge
from pyedge.convert import convert

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

BASE = {"rope_theta": 10000.0}
LONGER = {"original_max_position_embeddings": 64, **BASE}
YARN = {"rope_type": "yarn", "factor": 4.0, **LONGER}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "factor": 8.0}
FACTORS = {
    name: [1 + step * i for i in range(12)] for name, step in (("short_factor", 0.05), ("long_factor", 0.5))
}
GEMMA3 = {
    "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
    "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
}
FALCON = {"parallel_attn": True, "bias": False, "num_kv_heads": 2}
# Family: class, changes of its config.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 32}),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama3": ("Llama", {"rope_parameters": {"rope_type": "llama3", **LLAMA3, **LONGER}}),
    "yarn": ("Llama", {"rope_parameters": YARN}),
    "linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "mistral": ("Mistral", {"sliding_window": 16, "head_dim": 32}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 64}),
    "qwen3moe": (
        "Qwen3Moe",
        {"head_dim": 32, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
        | {"norm_topk_prob": True},
    ),
    "gemma": ("Gemma", {"head_dim": 64}),
    "gemma2": ("Gemma2", {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 16}),
    "gemma3": (
        "Gemma3",
        {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 16, "num_hidden_layers": 7}
        | {"rope_parameters": GEMMA3},
    ),
    "phi3": ("Phi3", {"sliding_window": None}),
    "phi3 with a window": ("Phi3", {"sliding_window": 16}),
    "longrope": (
        "Phi3",
        {"original_max_position_embeddings": 64, "sliding_window": None}
        | {"rope_parameters": {"rope_type": "longrope", "partial_rotary_factor": 0.75, **FACTORS, **LONGER}},
    ),
    "smollm3": ("SmolLM3", {}),
    "granite": (
        "Granite",
        {"embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22}
        | {"attention_multiplier": 0.0156},
    ),
    "olmo2": ("Olmo2", {}),
    "olmo3": ("Olmo3", {"sliding_window": 16}),
    "olmo3 with yarn": (
        "Olmo3",
        {"sliding_window": 16}
        | {
            "rope_parameters": {"full_attention": YARN, "sliding_attention": {"rope_type": "default", **BASE}}
        },
    ),
    "stablelm": ("StableLm", {"use_qkv_bias": True}),
    "stablelm with norms of heads": ("StableLm", {"qk_layernorm": True, "use_parallel_residual": True}),
    "starcoder2": ("Starcoder2", {}),
    "starcoder2 with a window": ("Starcoder2", {"sliding_window": 16}),
    "falcon 7b": ("Falcon", {**FALCON, "multi_query": True, "new_decoder_architecture": False}),
    "falcon 40b": ("Falcon", {**FALCON, "new_decoder_architecture": True, "ffn_hidden_size": 192}),
    "cohere2": ("Cohere2", {"sliding_window": 16, "head_dim": 32}),
    "gpt2": ("GPT2", {}),
    "glm": ("Glm", {"head_dim": 32}),
    "lfm2": (
        "Lfm2",
        {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "block_multiple_of": 32},
    ),
}
COMMON = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
GPT2 = {"n_embd": 128, "n_layer": 2, "n_head": 4, "n_positions": 256}
IDS = {"vocab_size": hfmake.LLAMA["vocab_size"], "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}


def tiny(name: str, changes: dict[str, Any]) -> Any:
    """A random model whose norms and biases are neither one nor zero."""
    sizes = GPT2 if name == "GPT2" else COMMON
    config_class = getattr(transformers, "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config")
    model_class = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    torch.manual_seed(3)
    model = model_class(config_class(**{**sizes, **IDS, **changes})).eval().float()
    with torch.no_grad():
        for part, x in model.named_parameters():
            noise = torch.randn_like(x)
            if "norm" in part or "ln_" in part:
                x.add_(0.2 * noise)
            else:
                x.copy_(0.1 * noise if part.endswith("bias") else noise * 0.7 / x.shape[-1] ** 0.5)
    return model


@pytest.mark.parametrize("case", CASES)
def test_logits(tmp_path: pathlib.Path, case: str) -> None:
    model = tiny(*CASES[case])
    source = tmp_path / "model"
    model.save_pretrained(source)
    hfmake.Folder({}, {}, {**hfmake.llama().files, "config.json": None, "model.safetensors": None}).write(
        source
    )
    ids = np.random.default_rng(5).integers(3, 260, 40)
    with torch.no_grad():
        expected = model(torch.tensor(ids[None])).logits[0].numpy()
    convert(source, tmp_path / "out.gguf")
    try:  # at 64 positions both choose the short factors of longrope
        opened = pyedge.Model(str(tmp_path / "out.gguf"), kv_type="f32", context=64)
    except pyedge.UnsupportedError as error:
        if "is not one that this version runs" in str(error):
            pytest.skip(str(error))
        raise
    with opened as converted:
        found = converted.logits(ids.tolist())
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


CHATGLM = {
    "model.embed_tokens": "transformer.embedding.word_embeddings",
    "model.norm": "transformer.encoder.final_layernorm",
    "lm_head": "transformer.output_layer",
    "model.layers": "transformer.encoder.layers",
    "self_attn.o_proj": "self_attention.dense",
    "mlp.gate_up_proj": "mlp.dense_h_to_4h",
    "mlp.down_proj": "mlp.dense_4h_to_h",
}


def as_chatglm(model: Any) -> dict[str, np.ndarray]:
    """Tensors of a GLM under the names that ChatGLM3 has, where Q, K and V are one."""
    arrays, fused = {}, {}
    for name, x in model.state_dict().items():
        for theirs, ours in CHATGLM.items():
            name = name.replace(theirs, ours)
        for no, part in enumerate(("q_proj", "k_proj", "v_proj")):
            if part in name:
                whole = name.replace(f"self_attn.{part}", "self_attention.query_key_value")
                fused.setdefault(whole, {})[no] = x.numpy()
        if "self_attn." not in name:
            arrays[name] = x.numpy()
    return arrays | {name: np.concatenate([parts[no] for no in range(3)]) for name, parts in fused.items()}


def test_chatglm(tmp_path: pathlib.Path) -> None:
    model = tiny("Glm", {"head_dim": 32, "rms_norm_eps": 1e-5, "rope_parameters": {"rope_theta": 20000.0}})
    config = {
        "architectures": ["ChatGLMModel"],
        "model_type": "chatglm",
        "num_layers": 4,
        "hidden_size": 128,
        "ffn_hidden_size": 192,
        "kv_channels": 32,
        "num_attention_heads": 4,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "padded_vocab_size": IDS["vocab_size"],
        "seq_length": 256,
        "layernorm_epsilon": 1e-5,
        "rope_ratio": 2.0,
        "rmsnorm": True,
        "add_qkv_bias": True,
        "add_bias_linear": False,
        "post_layer_norm": True,
        "apply_residual_connection_post_layernorm": False,
        "tie_word_embeddings": False,
    }
    folder = hfmake.Folder(config, as_chatglm(model), hfmake.llama().files)
    convert(folder.write(tmp_path / "model"), tmp_path / "out.gguf")
    ids = np.random.default_rng(5).integers(3, 260, 40)
    with torch.no_grad():
        expected = model(torch.tensor(ids[None])).logits[0].numpy()
    with pyedge.Model(str(tmp_path / "out.gguf"), kv_type="f32") as converted:
        found = converted.logits(ids.tolist())
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
