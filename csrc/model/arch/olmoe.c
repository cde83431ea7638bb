/* OLMoE: norms over all heads of Q and of K at once; the weights of the chosen experts are those of the softmax over
 * all. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_PRE_NORMS,
    PE_NORM("attn_q_norm", q_norm, PE_DIM_Q),
    PE_NORM("attn_k_norm", k_norm, PE_DIM_KV),
    PE_EXPERTS,
};

extern const pe_arch pe_arch_olmoe;
const pe_arch pe_arch_olmoe = {
    .name = "olmoe",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .qk_norm = PE_QK_ALL,
    .routing = PE_SOFTMAX_ALL,
    .rope_base = 10000.0f,
};
