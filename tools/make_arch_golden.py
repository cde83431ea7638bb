"""Write tests/golden/architectures.npz and arch_configs.json: what transformers says of the tiny models of
tests/py/arch_models.py, their logits and their configs.

    python tools/make_arch_golden.py [CASE]...

Needs torch and transformers; 5.23 made the files that are there. Each model is loaded from the folder that
tests/py/arch_folders.py makes of it, and is saved again, to see that such folders are what it writes.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np
import safetensors.numpy
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "py"))

import arch_folders as af  # noqa: E402
import arch_models as am  # noqa: E402
import hfmake  # noqa: E402

TARGET = ROOT / "tests" / "golden" / "architectures.npz"
ROUTED = {"num_experts": am.EXPERTS, "num_local_experts": am.EXPERTS, "num_experts_per_tok": am.EXPERTS_USED}
WINDOW: dict[str, Any] = {"sliding_window": 24}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, **am.LLAMA3}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
MID = "sliding_attention"
FULL = "full_attention"
# Of each case: settings beside the common ones.
SETTINGS: dict[str, dict[str, Any]] = {
    "llama-llama3": {"rope_parameters": LLAMA3},
    "exaone": {"rope_parameters": LLAMA3},
    "llama-tied-biased": {"attention_bias": True, "mlp_bias": True},
    "llama-linear": {"rope_parameters": {**PLAIN, "rope_type": "linear", "factor": 4.0}},
    "llama-yarn": {"rope_parameters": YARN},
    "llama-window": WINDOW,
    "qwen2-yarn": {"rope_parameters": YARN},
    "qwen3moe": {
        "num_experts": am.EXPERTS,
        "num_experts_per_tok": am.EXPERTS_USED,
        "moe_intermediate_size": am.EXPERT_FF,
        "norm_topk_prob": True,
    },
    "gemma": {"hidden_activation": "gelu_pytorch_tanh"},
    "gemma2": {
        **WINDOW,
        "query_pre_attn_scalar": am.HEAD,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    },
    "gemma3": {
        **WINDOW,
        "query_pre_attn_scalar": am.HEAD,
        "layer_types": [MID] * 5 + [FULL, MID],
        "rope_parameters": {
            FULL: {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
            MID: PLAIN,
        },
    },
    "phi3": WINDOW,
    "phi3-long": {
        "original_max_position_embeddings": 64,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "original_max_position_embeddings": 64,
            "long_factor": list(am.CASES["phi3-long"].tables["rope_factors_long"]),
            "short_factor": list(am.CASES["phi3-long"].tables["rope_factors_short"]),
        },
    },
    "granite": {
        "attention_bias": True,
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.4,
        "logits_scaling": 2.0,
    },
    "olmo3": {
        **WINDOW,
        "layer_types": [MID] * 3 + [FULL, MID],
        "rope_parameters": {FULL: {**YARN, "attention_factor": 1.2}, MID: PLAIN},
    },
    "stablelm": {"use_qkv_bias": True, "partial_rotary_factor": 0.25},
    "stablelm-parallel": {"use_parallel_residual": True, "qk_layernorm": True, "partial_rotary_factor": 0.25},
    "starcoder2": {**WINDOW, "use_bias": True},
    "falcon": {"multi_query": True, "new_decoder_architecture": False},
    "falcon-two-norms": {"new_decoder_architecture": True, "num_kv_heads": am.KV_HEADS},
    "cohere2": {**WINDOW, "logit_scale": 0.25, "layer_types": [MID] * 3 + [FULL, MID]},
    "gpt2": {"activation_function": "gelu_new"},
    "lfm2": {
        "norm_eps": 1e-05,
        "conv_L_cache": am.CONV,
        "conv_bias": False,
        "block_auto_adjust_ff_dim": False,
        "block_ff_dim": am.FF,
        "layer_types": ["conv", "conv", FULL, "conv", FULL],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    },
    "chatglm": {"attention_bias": True, "partial_rotary_factor": 0.5},
    "llama-experts": {**ROUTED, "intermediate_size": am.EXPERT_FF},
    "arcee": {"hidden_act": "relu2"},
    "command-r": {"logit_scale": 0.25, "use_qk_norm": True},
    "ernie4_5": {"use_bias": True},
    "exaone4": {"sliding_window": None, "layer_types": [FULL] * 2},
    "exaone4-window": {**WINDOW, "layer_types": [MID] * 3 + [FULL, MID]},
    "glm4": {"attention_bias": True, "partial_rotary_factor": 0.5},
    "gptneox": {"use_parallel_residual": True, "partial_rotary_factor": 0.25},
    "gptneox-serial": {"use_parallel_residual": False, "partial_rotary_factor": 0.25},
    "granitemoe": {
        **ROUTED,
        "intermediate_size": am.EXPERT_FF,
        "attention_multiplier": 0.2,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.4,
        "logits_scaling": 2.0,
    },
    "minicpm": {
        "attention_multiplier": am.HEAD ** (-0.5),
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.4,
        "logits_scaling": 2.0,
    },
    "mistral3": {
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
    "nemotron": {"hidden_act": "relu2", "norm_eps": 1e-05, "partial_rotary_factor": 0.5},
    "olmo": {"clip_qkv": None},
    "olmoe": {**ROUTED, "intermediate_size": am.EXPERT_FF, "norm_topk_prob": False},
    "phi2": {"hidden_act": "gelu_new", "partial_rotary_factor": 0.5},
    "starcoder": {"activation_function": "gelu_pytorch_tanh", "multi_query": True},
    "lfm2moe": {
        **ROUTED,
        "norm_eps": 1e-05,
        "conv_L_cache": am.CONV,
        "conv_bias": False,
        "moe_intermediate_size": am.EXPERT_FF,
        "num_dense_layers": 1,
        "use_expert_bias": True,
        "norm_topk_prob": True,
        "layer_types": ["conv", "conv", FULL, "conv", FULL],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    },
}


def config_of(name: str, case: am.Case) -> Any:
    family, settings = af.FAMILIES[name][0], SETTINGS.get(name, {})
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


def saved(model: Any, folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for key in ("transformers_version", "dtype", "_name_or_path"):
        config.pop(key, None)
    return config, safetensors.numpy.load_file(folder / "model.safetensors")


def model_of(name: str, folder: pathlib.Path) -> Any:
    """The model, loaded from a folder with the weights of the case."""
    config, arrays = config_of(name, am.CASES[name]), af.arrays_of(name)
    hfmake.Folder({}, arrays, {"config.json": None}).write(folder)
    config.save_pretrained(folder)
    family = af.FAMILIES[name][0]
    kind = getattr(transformers, family + {"GPT2": "LMHeadModel"}.get(family, "ForCausalLM"))
    model, found = kind.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    wrong = {key: value for key, value in found.items() if value}
    if wrong:
        raise SystemExit(f"{name}: {wrong}")
    return model.eval()


def pooled(model: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    """Vectors one long, [3, n_embd]: of the mean of the last hidden states, of the first, of the last."""
    with torch.no_grad():
        states = model.base_model(torch.tensor([ids])).last_hidden_state[0]
    rows = torch.stack([states.mean(dim=0), states[0], states[-1]])
    return torch.nn.functional.normalize(rows, dim=1).numpy()


def logits_of(name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(name, pathlib.Path(folder) / "given")
        config, tensors = saved(model, pathlib.Path(folder) / "saved")
    expected = af.arrays_of(name)
    different = set(tensors) ^ set(expected)
    different |= {
        key for key in expected if key in tensors and not np.array_equal(tensors[key], expected[key])
    }
    if different:
        raise SystemExit(f"{name}: saved otherwise: {sorted(different)[:6]}")
    with torch.no_grad():
        rows = model(torch.tensor([am.ids_of(name)])).logits[0]
    vectors = pooled(model, am.ids_of(name))
    return rows[list(am.POSITIONS)].numpy().astype(np.float32), vectors, config


def main() -> None:
    have = dict(np.load(TARGET)) if TARGET.exists() else {}
    configs = af.saved_configs() if af.CONFIGS.exists() else {}
    for name in sys.argv[1:] or am.CASES:
        before = have.get(name)
        have[name], vectors, configs[name] = logits_of(name)
        if name in am.POOLED:
            have[f"{name} pooled"] = vectors
        moved = "" if before is None else f" (moved by {np.abs(have[name] - before).max():.1g})"
        print(f"{name}: spread {have[name].std():.2f}{moved}")
    names = [*am.CASES, *(f"{name} pooled" for name in am.POOLED)]
    np.savez_compressed(TARGET, **{name: have[name] for name in names if name in have})
    ordered = {name: configs[name] for name in am.CASES if name in configs}
    af.CONFIGS.write_text(json.dumps(ordered, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
