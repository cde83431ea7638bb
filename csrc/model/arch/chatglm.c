/* ChatGLM 3 and GLM 4: Q, K and V as one matrix with a bias, gate and up as another, rope on neighbouring pairs of the
 * first half of each head. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_FUSED_ATTENTION, PE_FUSED_GATED, PE_PRE_NORMS, PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_chatglm;
const pe_arch pe_arch_chatglm = {
    .name = "chatglm",
    PE_RULES,
    .activation = PE_SILU,
    .rope_base = 10000.0f,
};
