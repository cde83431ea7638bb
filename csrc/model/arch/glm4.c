/* GLM 4 of 2025 (0414, Z1): norms before and after each block, rope on neighbouring pairs of half of each head. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_ATTENTION, PE_FUSED_GATED, PE_PRE_NORMS, PE_POST_NORMS,
};

extern const pe_arch pe_arch_glm4;
const pe_arch pe_arch_glm4 = {
    .name = "glm4",
    PE_RULES,
    .activation = PE_SILU,
    .rope_base = 10000.0f,
};
