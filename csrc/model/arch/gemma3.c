/* Gemma 3 (text): norms before and after each block and on every head of Q and K, GELU, scaled embeddings, five layers
 * with a sliding window and a small rope base for each layer that sees everything. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_VECTOR("attn_q_norm", q_norm, PE_DIM_HEAD),
    PE_VECTOR("attn_k_norm", k_norm, PE_DIM_HEAD),
    PE_VECTOR("post_attention_norm", attn_post_norm, PE_DIM_EMBD),
    PE_VECTOR("post_ffw_norm", ffn_post_norm, PE_DIM_EMBD),
};

extern const pe_arch pe_arch_gemma3;
const pe_arch pe_arch_gemma3 = {
    .name = "gemma3",
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .activation = PE_GELU_TANH,
    .rope_split = true,
    .scale_embeddings = true,
    .window_pattern = 6,
    .rope_base = 1000000.0f,
    .rope_base_window = 10000.0f,
};
