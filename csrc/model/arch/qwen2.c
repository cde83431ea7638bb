/* Qwen 2 and 2.5: as llama, with biases on Q, K and V (any matrix may have one) and rope on halves. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
};

extern const pe_arch pe_arch_qwen2;
const pe_arch pe_arch_qwen2 = {
    .name = "qwen2",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .window_pattern = PE_ALL_LAYERS,
    .window_optional = true,
    .rope_base = 10000.0f,
};
