/* Gemma: as llama, with GELU, scaled embeddings and rope on halves. The files have 1 added to the norms' weights. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
};

extern const pe_arch pe_arch_gemma;
const pe_arch pe_arch_gemma = {
    .name = "gemma",
    PE_RULES,
    .shifted_norms = true,
    .activation = PE_GELU_TANH,
    .rope_split = true,
    .scale_embeddings = true,
    .rope_base = 10000.0f,
};
