/* OLMo 2 and 3: norms after each block instead of before, and over all heads of Q and of K at once. OLMo 3 has a
 * sliding window in three of four layers, without the rope scaling of the others. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_GATED,
    PE_POST_NORMS,
    PE_NORM("attn_q_norm", q_norm, PE_DIM_Q),
    PE_NORM("attn_k_norm", k_norm, PE_DIM_KV),
};

extern const pe_arch pe_arch_olmo2;
const pe_arch pe_arch_olmo2 = {
    .name = "olmo2",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .qk_norm = PE_QK_ALL,
    .window_pattern = 4,
    .window_optional = true,
    .window_unscaled = true,
    .rope_base = 10000.0f,
};
