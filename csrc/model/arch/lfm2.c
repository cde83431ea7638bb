/* LFM 2: most layers have a short convolution over the last few positions instead of attention, with gates before and
 * after it; the others norms on every head of Q and K. And lfm2moe: after some dense layers, experts, chosen by
 * sigmoids with a bias. */
#include "model/arch/rules.h"

#define CONV(name, field, in, out)                                                                                     \
    {"blk.%u.shortconv." name, offsetof(pe_layer, field), PE_KIND_MATRIX, false, in, out, PE_CONV_LAYERS}
#define ATTENTION(name, field, kind, in, out)                                                                          \
    {"blk.%u." name, offsetof(pe_layer, field), kind, false, in, out, PE_ATTENTION_LAYERS}

static const pe_tensor_rule rules[] = {
    PE_OUTSIDE("token_embd", embeddings, false, PE_DIM_VOCAB),
    PE_OUTSIDE("output", output, true, PE_DIM_VOCAB),
    {"token_embd_norm", offsetof(pe_model, output_norm), PE_KIND_NORM, false, PE_DIM_EMBD, PE_DIM_ONE, PE_EVERY_LAYER},
    PE_PRE_NORMS,
    PE_DENSE_GATED,
    PE_EXPERTS,
    {"blk.%u.exp_probs_b", offsetof(pe_layer, expert_bias), PE_KIND_BIAS, false, PE_DIM_EXPERT, PE_DIM_ONE,
     PE_EXPERT_LAYERS},
    ATTENTION("attn_q", q, PE_KIND_MATRIX, PE_DIM_EMBD, PE_DIM_Q),
    ATTENTION("attn_k", k, PE_KIND_MATRIX, PE_DIM_EMBD, PE_DIM_KV),
    ATTENTION("attn_v", v, PE_KIND_MATRIX, PE_DIM_EMBD, PE_DIM_KV),
    ATTENTION("attn_output", o, PE_KIND_MATRIX, PE_DIM_Q, PE_DIM_EMBD),
    ATTENTION("attn_q_norm", q_norm, PE_KIND_NORM, PE_DIM_HEAD, PE_DIM_ONE),
    ATTENTION("attn_k_norm", k_norm, PE_KIND_NORM, PE_DIM_HEAD, PE_DIM_ONE),
    CONV("in_proj", conv_in, PE_DIM_EMBD, PE_DIM_EMBD_THRICE),
    CONV("out_proj", conv_out, PE_DIM_EMBD, PE_DIM_EMBD),
    {"blk.%u.shortconv.conv", offsetof(pe_layer, conv), PE_KIND_VECTOR, false, PE_DIM_CONV, PE_DIM_EMBD,
     PE_CONV_LAYERS},
};

extern const pe_arch pe_arch_lfm2;
const pe_arch pe_arch_lfm2 = {
    .name = "lfm2",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .short_conv = true,
    .rope_base = 1000000.0f,
};

extern const pe_arch pe_arch_lfm2moe;
const pe_arch pe_arch_lfm2moe = {
    .name = "lfm2moe",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .short_conv = true,
    .routing = PE_SIGMOID,
    .rope_base = 1000000.0f,
};
