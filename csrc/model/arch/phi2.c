/* Phi 1, 1.5 and 2: one layer norm for two blocks side by side, rope on a part of each head, biases everywhere. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ANY_ATTENTION,
    PE_UP_DOWN,
    PE_NORM("attn_norm", attn_norm, PE_DIM_EMBD),
};

extern const pe_arch pe_arch_phi2;
const pe_arch pe_arch_phi2 = {
    .name = "phi2",
    PE_RULES,
    .activation = PE_GELU_TANH,
    .layer_norm = true,
    .rope_split = true,
    .parallel = true,
    .rope_base = 10000.0f,
};
