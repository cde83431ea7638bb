/* Nemotron and Minitron: layer norms, a squared ReLU, rope on a part of each head. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_UP_DOWN,
    PE_PRE_NORMS,
};

extern const pe_arch pe_arch_nemotron;
const pe_arch pe_arch_nemotron = {
    .name = "nemotron",
    PE_RULES,
    .shifted_norms = true,
    .activation = PE_RELU_SQUARED,
    .layer_norm = true,
    .rope_split = true,
    .rope_base = 10000.0f,
};
