/* Shorthands for the tensor tables of arch/<name>.c. Tensor names are those that GGUF files use for all families. */
#ifndef PE_MODEL_ARCH_RULES_H
#define PE_MODEL_ARCH_RULES_H

#include "model/model.h"

#define PE_MATRIX(name, field, in, out)                                                                                \
    {"blk.%u." name, offsetof(pe_layer, field), PE_KIND_MATRIX, false, in, out, PE_EVERY_LAYER}
#define PE_NORM(name, field, in)                                                                                       \
    {"blk.%u." name, offsetof(pe_layer, field), PE_KIND_NORM, false, in, PE_DIM_ONE, PE_EVERY_LAYER}
#define PE_NORM_OPTIONAL(name, field, in, out)                                                                         \
    {"blk.%u." name, offsetof(pe_layer, field), PE_KIND_NORM, true, in, out, PE_EVERY_LAYER}
#define PE_OUTSIDE(name, field, optional, out)                                                                         \
    {name, offsetof(pe_model, field), PE_KIND_MATRIX, optional, PE_DIM_EMBD, out, PE_EVERY_LAYER}
#define PE_ROPE_TABLE(name, field)                                                                                     \
    {name, offsetof(pe_model, field), PE_KIND_VECTOR, true, PE_DIM_ROT_HALF, PE_DIM_ONE, PE_EVERY_LAYER}

#define PE_EMBEDDINGS                                                                                                  \
    PE_OUTSIDE("token_embd", embeddings, false, PE_DIM_VOCAB), PE_OUTSIDE("output", output, true, PE_DIM_VOCAB), {     \
        "output_norm", offsetof(pe_model, output_norm), PE_KIND_NORM, false, PE_DIM_EMBD, PE_DIM_ONE, PE_EVERY_LAYER   \
    }
#define PE_ATTENTION                                                                                                   \
    PE_MATRIX("attn_q", q, PE_DIM_EMBD, PE_DIM_Q), PE_MATRIX("attn_k", k, PE_DIM_EMBD, PE_DIM_KV),                     \
        PE_MATRIX("attn_v", v, PE_DIM_EMBD, PE_DIM_KV), PE_MATRIX("attn_output", o, PE_DIM_Q, PE_DIM_EMBD)
#define PE_FUSED_ATTENTION                                                                                             \
    PE_MATRIX("attn_qkv", qkv, PE_DIM_EMBD, PE_DIM_QKV), PE_MATRIX("attn_output", o, PE_DIM_Q, PE_DIM_EMBD)
#define PE_MATRIX_OPTIONAL(name, field, in, out)                                                                       \
    {"blk.%u." name, offsetof(pe_layer, field), PE_KIND_MATRIX, true, in, out, PE_EVERY_LAYER}
/* Q, K and V in one matrix or in three */
#define PE_ANY_ATTENTION                                                                                               \
    PE_MATRIX_OPTIONAL("attn_q", q, PE_DIM_EMBD, PE_DIM_Q), PE_MATRIX_OPTIONAL("attn_k", k, PE_DIM_EMBD, PE_DIM_KV),   \
        PE_MATRIX_OPTIONAL("attn_v", v, PE_DIM_EMBD, PE_DIM_KV),                                                       \
        PE_MATRIX_OPTIONAL("attn_qkv", qkv, PE_DIM_EMBD, PE_DIM_QKV),                                                  \
        PE_MATRIX("attn_output", o, PE_DIM_Q, PE_DIM_EMBD)
#define PE_UP_DOWN PE_MATRIX("ffn_up", up, PE_DIM_EMBD, PE_DIM_FF), PE_MATRIX("ffn_down", down, PE_DIM_FF, PE_DIM_EMBD)
#define PE_GATED   PE_MATRIX("ffn_gate", gate, PE_DIM_EMBD, PE_DIM_FF), PE_UP_DOWN
#define PE_STACK(name, field, in, out)                                                                                 \
    {"blk.%u." name, offsetof(pe_layer, field), PE_KIND_STACK, false, in, out, PE_EXPERT_LAYERS}
#define PE_EXPERTS                                                                                                     \
    {"blk.%u.ffn_gate_inp", offsetof(pe_layer, router), PE_KIND_MATRIX, false, PE_DIM_EMBD, PE_DIM_EXPERT,             \
     PE_EXPERT_LAYERS},                                                                                                \
        PE_STACK("ffn_gate_exps", gate_exps, PE_DIM_EMBD, PE_DIM_FF_EXPERT),                                           \
        PE_STACK("ffn_up_exps", up_exps, PE_DIM_EMBD, PE_DIM_FF_EXPERT),                                               \
        PE_STACK("ffn_down_exps", down_exps, PE_DIM_FF_EXPERT, PE_DIM_EMBD)
/* the feed-forward of the layers that have no experts */
#define PE_DENSE(name, field, in, out)                                                                                 \
    {"blk.%u." name, offsetof(pe_layer, field), PE_KIND_MATRIX, false, in, out, PE_DENSE_LAYERS}
#define PE_DENSE_GATED                                                                                                 \
    PE_DENSE("ffn_gate", gate, PE_DIM_EMBD, PE_DIM_FF), PE_DENSE("ffn_up", up, PE_DIM_EMBD, PE_DIM_FF),                \
        PE_DENSE("ffn_down", down, PE_DIM_FF, PE_DIM_EMBD)
/* gate and up as one matrix, gate first */
#define PE_FUSED_GATED                                                                                                 \
    PE_MATRIX("ffn_up", up, PE_DIM_EMBD, PE_DIM_FF_TWICE), PE_MATRIX("ffn_down", down, PE_DIM_FF, PE_DIM_EMBD)
#define PE_PRE_NORMS PE_NORM("attn_norm", attn_norm, PE_DIM_EMBD), PE_NORM("ffn_norm", ffn_norm, PE_DIM_EMBD)
#define PE_POST_NORMS                                                                                                  \
    PE_NORM("post_attention_norm", attn_post_norm, PE_DIM_EMBD), PE_NORM("post_ffw_norm", ffn_post_norm, PE_DIM_EMBD)
#define PE_QK_NORMS PE_NORM("attn_q_norm", q_norm, PE_DIM_HEAD), PE_NORM("attn_k_norm", k_norm, PE_DIM_HEAD)

/* What every decoder of the llama kind has. */
#define PE_COMMON_TENSORS PE_EMBEDDINGS, PE_ATTENTION, PE_GATED, PE_PRE_NORMS

#define PE_RULES .rules = rules, .n_rules = sizeof rules / sizeof *rules

#endif
