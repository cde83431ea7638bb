/* StarCoder 2: layer norms, biases everywhere, GELU without a gate. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_UP_DOWN,
    PE_PRE_NORMS,
};

extern const pe_arch pe_arch_starcoder2;
const pe_arch pe_arch_starcoder2 = {
    .name = "starcoder2",
    PE_RULES,
    .activation = PE_GELU_TANH,
    .layer_norm = true,
    .rope_split = true,
    .window_pattern = PE_ALL_LAYERS,
    .window_optional = true,
    .rope_base = 10000.0f,
};
