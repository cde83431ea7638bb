/* Qwen 3: as llama, with norms on every head of Q and K, and rope on halves. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_QK_NORMS,
};

extern const pe_arch pe_arch_qwen3;
const pe_arch pe_arch_qwen3 = {
    .name = "qwen3",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .window_pattern = PE_ALL_LAYERS,
    .window_optional = true,
    .rope_base = 10000.0f,
};
