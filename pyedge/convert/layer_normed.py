"""Families with layer norms, among them all that come from GPT-2.

Names of keys: the constants of the `gguf` package.
"""

from __future__ import annotations

from . import extras
from .rules import GELU, PRE_NORMS, Arch, Rule, attention, ends, layer, mlp, norms

_GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "max_position_embeddings": "n_positions",
    "intermediate_size": "n_inner",
    "hidden_act": "activation_function",
}
_TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")


def _gpt2(step: str) -> tuple[Rule, ...]:
    """step: how matrices change, which are [in, out] with "transpose" and else [out, in]."""

    def matrix(target: str, source: str, out: str, n_in: str) -> Rule:
        shape = (n_in, out) if step == "transpose" else (out, n_in)
        return layer(target, source, *shape, at="h", step=step, bias="must")

    return (
        *ends("must", "ln_f", "wte"),
        Rule("position_embd", "wpe", ("context", "embd")),
        layer("attn_norm", "ln_1", "embd", at="h", bias="must"),
        layer("ffn_norm", "ln_2", "embd", at="h", bias="must"),
        matrix("attn_qkv", "attn.c_attn", "qkv", "embd"),
        matrix("attn_output", "attn.c_proj", "embd", "q"),
        matrix("ffn_up", "mlp.c_fc", "ff", "embd"),
        matrix("ffn_down", "mlp.c_proj", "embd", "ff"),
    )


LAYER_NORMED: tuple[Arch, ...] = (
    Arch(
        "gpt2",
        ("GPT2LMHeadModel",),
        ("gpt2",),
        _gpt2("transpose"),
        epsilon="layer_norm_epsilon",
        rms=False,
        rope=False,
        activations=GELU,
        renames=_GPT2_NAMES,
        defaults={"layer_norm_epsilon": 1e-5},
        keys=extras.gpt2,
        derived=extras.gpt2_derived,
        prefixes=(("transformer.", ""),),
        ignore=r"(^|\.)attn\.(masked_)?bias$",
    ),
    Arch(
        "starcoder",
        ("GPTBigCodeForCausalLM",),
        ("gpt_bigcode",),
        _gpt2("copy"),
        epsilon="layer_norm_epsilon",
        rms=False,
        rope=False,
        activations=_TANH,
        renames=_GPT2_NAMES,
        defaults={"layer_norm_epsilon": 1e-5, "activation_function": "gelu_pytorch_tanh"},
        keys=extras.starcoder,
        derived=extras.starcoder_derived,
        prefixes=(("transformer.", ""),),
        ignore=r"(^|\.)attn\.(masked_)?bias$",
    ),
    Arch(
        "starcoder2",
        ("Starcoder2ForCausalLM",),
        ("starcoder2",),
        (
            *ends(bias="must"),
            *norms(*PRE_NORMS, bias="must"),
            *attention(bias="may"),
            layer("ffn_up", "mlp.c_fc", "ff", "embd", bias="may"),
            layer("ffn_down", "mlp.c_proj", "embd", "ff", bias="may"),
        ),
        epsilon="norm_epsilon",
        rms=False,
        activations=GELU,
        defaults={"norm_epsilon": 1e-5},
        keys=extras.window,
    ),
    Arch(
        "gptneox",
        ("GPTNeoXForCausalLM",),
        ("gpt_neox",),
        (
            *ends("must", "gpt_neox.final_layer_norm", "gpt_neox.embed_in"),
            *norms(*PRE_NORMS, bias="must", at="gpt_neox.layers"),
            *(
                layer(target, source, *shape, at="gpt_neox.layers", step=step, bias="may")
                for target, source, shape, step in (
                    ("attn_qkv", "attention.query_key_value", ("qkv", "embd"), "groups"),
                    ("attn_output", "attention.dense", ("embd", "q"), "copy"),
                    ("ffn_up", "mlp.dense_h_to_4h", ("ff", "embd"), "copy"),
                    ("ffn_down", "mlp.dense_4h_to_h", ("embd", "ff"), "copy"),
                )
            ),
        ),
        epsilon="layer_norm_eps",
        rms=False,
        activations=("gelu",),
        renames={"partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"},
        defaults={"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_parallel_residual": True},
        keys=extras.parallel_residual,
        derived=extras.own_heads,
        prefixes=(("embed_out.", "lm_head."),),
        ignore=r"rotary_emb\.inv_freq$|attention\.(masked_)?bias$",
    ),
    Arch(
        "falcon",
        ("FalconForCausalLM", "RWForCausalLM"),
        ("falcon", "RefinedWeb", "RefinedWebModel"),
        (
            *ends("must", "transformer.ln_f", "transformer.word_embeddings"),
            layer("attn_norm", "input_layernorm", "embd", at="transformer.h", bias="must", only="one-norm"),
            layer("attn_norm", "ln_mlp", "embd", at="transformer.h", bias="must", only="two-norms"),
            layer("attn_norm_2", "ln_attn", "embd", at="transformer.h", bias="must", only="two-norms"),
            layer(
                "attn_qkv", "self_attention.query_key_value", "qkv", "embd", at="transformer.h", step="groups"
            ),
            layer("attn_output", "self_attention.dense", "embd", "q", at="transformer.h"),
            layer("ffn_up", "mlp.dense_h_to_4h", "ff", "embd", at="transformer.h"),
            layer("ffn_down", "mlp.dense_4h_to_h", "embd", "ff", at="transformer.h"),
        ),
        epsilon="layer_norm_epsilon",
        rms=False,
        activations=GELU,
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
        "stablelm",
        ("StableLmForCausalLM", "StableLMEpochForCausalLM"),
        ("stablelm", "stablelm_epoch"),
        (
            *ends(bias="must"),
            *norms(("attn_norm", "input_layernorm"), bias="must"),
            layer("ffn_norm", "post_attention_layernorm", "embd", bias="must", only="serial"),
            layer("attn_q_norm", "self_attn.q_layernorm.norms.{h}", "head", optional=True),
            layer("attn_k_norm", "self_attn.k_layernorm.norms.{h}", "head", optional=True),
            *attention(bias="may", out_bias="no"),
            *mlp(),
        ),
        epsilon="layer_norm_eps",
        rms=False,
        renames={"partial_rotary_factor": "rope_pct", "layer_norm_eps": "norm_eps"},
        defaults={"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25, "use_parallel_residual": False},
        keys=extras.parallel_residual,
        tags=extras.stablelm_tags,
    ),
    Arch(
        "phi2",
        ("PhiForCausalLM",),
        ("phi",),
        (
            Rule("token_embd", "model.embed_tokens", ("vocab", "embd")),
            Rule("output_norm", "model.final_layernorm", ("embd",), bias="must"),
            Rule("output", "lm_head", ("vocab", "embd"), bias="must"),
            *norms(("attn_norm", "input_layernorm"), bias="must"),
            *attention(bias="must", output="dense", out_bias="must"),
            layer("ffn_up", "mlp.fc1", "ff", "embd", bias="must"),
            layer("ffn_down", "mlp.fc2", "embd", "ff", bias="must"),
        ),
        epsilon="layer_norm_eps",
        rms=False,
        activations=_TANH,
        defaults={"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5, "hidden_act": "gelu_new"},
        keys=extras.phi2,
    ),
    Arch(  # stores its norms less one
        "nemotron",
        ("NemotronForCausalLM",),
        ("nemotron",),
        (
            Rule("token_embd", "model.embed_tokens", ("vocab", "embd")),
            Rule("output_norm", "model.norm", ("embd",), step="plus_one", bias="must"),
            Rule("output", "lm_head", ("vocab", "embd")),
            *norms(*PRE_NORMS, step="plus_one", bias="must"),
            *attention(bias="may"),
            layer("ffn_up", "mlp.up_proj", "ff", "embd", bias="may"),
            layer("ffn_down", "mlp.down_proj", "embd", "ff", bias="may"),
        ),
        epsilon="norm_eps",
        rms=False,
        activations=("relu2",),
        defaults={"norm_eps": 1e-5, "partial_rotary_factor": 0.5, "hidden_act": "relu2"},
    ),
    Arch(
        "command-r",
        ("CohereForCausalLM",),
        ("cohere",),
        (
            *ends(),
            *norms(("attn_norm", "input_layernorm")),
            layer("attn_q_norm", "self_attn.q_norm", "heads", "head", optional=True),
            layer("attn_k_norm", "self_attn.k_norm", "kv heads", "head", optional=True),
            *attention(bias="may"),
            *mlp(),
        ),
        epsilon="layer_norm_eps",
        rms=False,
        defaults={"layer_norm_eps": 1e-5, "logit_scale": 0.0625},
        keys=extras.cohere,
    ),
    Arch(
        "cohere2",
        ("Cohere2ForCausalLM",),
        ("cohere2",),
        (*ends(), *norms(("attn_norm", "input_layernorm")), *attention(bias="may"), *mlp()),
        epsilon="layer_norm_eps",
        rms=False,
        defaults={"layer_norm_eps": 1e-5, "sliding_window": 4096, "logit_scale": 0.0625},
        keys=extras.cohere2,
    ),
)
