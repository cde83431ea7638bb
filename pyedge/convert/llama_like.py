"""Families of the kind of Llama: RMS norms, a gated feed-forward, rope.

Names of keys: the constants of the `gguf` package.
"""

from __future__ import annotations

from . import extras
from .rules import (
    FUSED_MLP,
    GELU,
    HEAD_NORMS,
    LLAMA,
    PRE_NORMS,
    QWEN,
    SEPARATE_QKV,
    Arch,
    Rule,
    attention,
    ends,
    layer,
    mlp,
    norms,
    rope_freqs,
)


def _gemma(*pairs: tuple[str, str], heads: bool = False) -> tuple[Rule, ...]:
    """Gemma stores its norms less one."""
    outside = (
        Rule("token_embd", "model.embed_tokens", ("vocab", "embd")),
        Rule("output_norm", "model.norm", ("embd",), step="plus_one"),
        Rule("output", "lm_head", ("vocab", "embd")),
    )
    head_norms = norms(*HEAD_NORMS, step="plus_one", shape="head") if heads else ()
    return (*outside, *norms(*pairs, step="plus_one"), *head_norms, *attention(bias="no"), *mlp())


_FOUR_NORMS = (
    ("attn_norm", "input_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
)
_POST_NORMS = (
    ("post_attention_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
)
_OLMO2 = (
    *ends(),
    *norms(*_POST_NORMS),
    layer("attn_q_norm", "self_attn.q_norm", "q"),
    layer("attn_k_norm", "self_attn.k_norm", "kv"),
    *attention(bias="no"),
    *mlp(),
)
_GEMMA_DEFAULTS = {"rms_norm_eps": 1e-6, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh"}


_GLM_NORMS = (
    ("attn_norm", "input_layernorm"),
    ("post_attention_norm", "post_self_attn_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_mlp_layernorm"),
)
_OF_PICTURES = r"rotary_emb\.inv_freq$|vision_tower\.|multi_modal_projector\."
_INNER = (
    ("language_model.model.", "model."),
    ("model.language_model.", "model."),
    ("language_model.", ""),
)
_HUNYUAN_NORMS = (
    ("attn_q_norm", "self_attn.query_layernorm"),
    ("attn_k_norm", "self_attn.key_layernorm"),
)

LLAMA_LIKE: tuple[Arch, ...] = (
    Arch(
        "llama",
        ("LlamaForCausalLM", "MistralForCausalLM"),
        ("llama", "mistral"),
        LLAMA,
        scalings=("llama3",),
        defaults={"rms_norm_eps": 1e-6, "max_position_embeddings": 2048},
        keys=extras.llama,
        vectors=rope_freqs,
    ),
    Arch(
        "mistral3",
        ("Ministral3ForCausalLM", "Mistral3ForConditionalGeneration"),
        ("ministral3", "mistral3"),
        LLAMA,
        scalings=("mscale",),
        defaults={"rms_norm_eps": 1e-5},
        keys=extras.mistral3,
        prefixes=_INNER,
        ignore=_OF_PICTURES,
    ),
    Arch(
        "arcee",
        ("ArceeForCausalLM",),
        ("arcee",),
        (
            *ends(),
            *norms(*PRE_NORMS),
            *attention("permute"),
            layer("ffn_up", "mlp.up_proj", "ff", "embd", bias="may"),
            layer("ffn_down", "mlp.down_proj", "embd", "ff", bias="may"),
        ),
        scalings=("llama3",),
        activations=("relu2",),
        defaults={"rms_norm_eps": 1e-5},
        vectors=rope_freqs,
    ),
    Arch(
        "ernie4_5",
        ("Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"),
        ("ernie4_5",),
        (*QWEN, *attention(), *mlp("may")),
        defaults={"rms_norm_eps": 1e-5},
    ),
    Arch(  # names of LG's own files
        "exaone",
        ("ExaoneForCausalLM",),
        ("exaone",),
        (
            *ends(norm="transformer.ln_f", embd="transformer.wte"),
            *(
                layer(target, source, *shape, at="transformer.h")
                for target, source, shape in (
                    ("attn_norm", "ln_1", ("embd",)),
                    ("attn_q", "attn.attention.q_proj", ("q", "embd")),
                    ("attn_k", "attn.attention.k_proj", ("kv", "embd")),
                    ("attn_v", "attn.attention.v_proj", ("kv", "embd")),
                    ("attn_output", "attn.attention.out_proj", ("embd", "q")),
                    ("ffn_norm", "ln_2", ("embd",)),
                    ("ffn_gate", "mlp.c_fc_0", ("ff", "embd")),
                    ("ffn_up", "mlp.c_fc_1", ("ff", "embd")),
                    ("ffn_down", "mlp.c_proj", ("embd", "ff")),
                )
            ),
        ),
        epsilon="layer_norm_epsilon",
        scalings=("llama3",),
        renames={"num_hidden_layers": "num_layers", "hidden_act": "activation_function"},
        defaults={"layer_norm_epsilon": 1e-5},
        vectors=rope_freqs,
    ),
    Arch(
        "exaone4",
        ("Exaone4ForCausalLM",),
        ("exaone4",),
        (*ends(), *norms(*_POST_NORMS), *norms(*HEAD_NORMS, shape="head"), *attention(bias="no"), *mlp()),
        scalings=("llama3",),
        defaults={"rms_norm_eps": 1e-5},
        keys=extras.exaone4,
        vectors=rope_freqs,
    ),
    Arch(
        "hunyuan-dense",
        ("HunYuanDenseV1ForCausalLM",),
        ("hunyuan_v1_dense",),
        (*QWEN, *norms(*_HUNYUAN_NORMS, shape="head"), *attention(bias="no"), *mlp()),
        defaults={"rms_norm_eps": 1e-5},
        keys=extras.hunyuan,
    ),
    Arch(  # names of InternLM's own files
        "internlm2",
        ("InternLM2ForCausalLM",),
        ("internlm2",),
        (
            Rule("token_embd", "model.tok_embeddings", ("vocab", "embd")),
            Rule("output_norm", "model.norm", ("embd",)),
            Rule("output", "output", ("vocab", "embd")),
            *norms(("attn_norm", "attention_norm"), ("ffn_norm", "ffn_norm")),
            *(
                layer(f"attn_{part}", "attention.wqkv", "qkv", "embd", part=part, step=step)
                for part, step in (("q", "permute"), ("k", "permute"), ("v", "copy"))
            ),
            layer("attn_output", "attention.wo", "embd", "q"),
            *mlp("no", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"),
        ),
        defaults={"rms_norm_eps": 1e-5},
    ),
    Arch(  # names of OpenBMB's own files
        "minicpm",
        ("MiniCPMForCausalLM",),
        ("minicpm",),
        LLAMA,
        scalings=("longrope",),
        defaults={"rms_norm_eps": 1e-5},
        keys=extras.minicpm,
        vectors=extras.long_factors,
    ),
    Arch(
        "qwen2",
        ("Qwen2ForCausalLM",),
        ("qwen2",),
        (*QWEN, *attention(bias="must"), *mlp()),
        defaults={"rms_norm_eps": 1e-6},
        keys=extras.no_window,
    ),
    Arch(
        "seed_oss",
        ("SeedOssForCausalLM",),
        ("seed_oss",),
        (
            *ends(),
            *norms(PRE_NORMS[0], ("post_attention_norm", "post_attention_layernorm")),
            *attention(),
            *mlp("may"),
        ),
        defaults={"rms_norm_eps": 1e-6, "head_dim": 128},
    ),
    Arch(
        "qwen3",
        ("Qwen3ForCausalLM",),
        ("qwen3",),
        (*QWEN, *norms(*HEAD_NORMS, shape="head"), *attention(bias="no"), *mlp()),
        defaults={"rms_norm_eps": 1e-6, "head_dim": 128},
        keys=extras.no_window,
    ),
    Arch(
        "gemma",
        ("GemmaForCausalLM",),
        ("gemma",),
        _gemma(*PRE_NORMS),
        activations=GELU,
        defaults=_GEMMA_DEFAULTS,
    ),
    Arch(
        "gemma2",
        ("Gemma2ForCausalLM",),
        ("gemma2",),
        _gemma(*_FOUR_NORMS),
        activations=GELU,
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
        activations=GELU,
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
        prefixes=_INNER,
        ignore=_OF_PICTURES,
    ),
    Arch(
        "phi3",
        ("Phi3ForCausalLM",),
        ("phi3",),
        (
            *ends(),
            *norms(*PRE_NORMS),
            layer("attn_qkv", "self_attn.qkv_proj", "qkv", "embd"),
            layer("attn_output", "self_attn.o_proj", "embd", "q"),
            *FUSED_MLP,
        ),
        scalings=("longrope",),
        defaults={"rms_norm_eps": 1e-5},
        keys=extras.phi3,
        vectors=extras.long_factors,
    ),
    Arch(
        "smollm3",
        ("SmolLM3ForCausalLM",),
        ("smollm3",),
        LLAMA,
        scalings=("llama3",),
        defaults={"rms_norm_eps": 1e-6},
        keys=extras.smollm3,
        vectors=rope_freqs,
    ),
    Arch(
        "granite",
        ("GraniteForCausalLM",),
        ("granite",),
        LLAMA,
        defaults={"rms_norm_eps": 1e-6},
        keys=extras.granite,
    ),
    Arch(  # norms without weights
        "olmo",
        ("OlmoForCausalLM",),
        ("olmo",),
        (
            Rule("token_embd", "model.embed_tokens", ("vocab", "embd")),
            Rule("output", "lm_head", ("vocab", "embd")),
            *attention("permute", bias="no"),
            *mlp(),
        ),
        epsilon="layer_norm_eps",
        rms=False,
        defaults={"layer_norm_eps": 1e-5},
        keys=extras.olmo,
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
        "chatglm",
        ("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        ("chatglm",),
        (
            Rule("token_embd", "transformer.embedding.word_embeddings", ("vocab", "embd")),
            Rule("output_norm", "transformer.encoder.final_layernorm", ("embd",)),
            Rule("output", "transformer.output_layer", ("vocab", "embd")),
            *(
                layer(target, source, *shape, at="transformer.encoder.layers", bias=bias)
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
            *ends(),
            *norms(*PRE_NORMS),
            layer("attn_qkv", SEPARATE_QKV, "q|kv|kv", "embd", bias="may"),
            layer("attn_output", "self_attn.o_proj", "embd", "q"),
            *FUSED_MLP,
        ),
        defaults={"rms_norm_eps": 1.5625e-7, "partial_rotary_factor": 0.5},
    ),
    Arch(
        "glm4",
        ("Glm4ForCausalLM",),
        ("glm4",),
        (*ends(), *norms(*_GLM_NORMS), *attention(out_bias="no"), *FUSED_MLP),
        defaults={"rms_norm_eps": 1.5625e-7, "partial_rotary_factor": 0.5},
    ),
)
