/* Hunyuan, dense: norms on every head of Q and K, after rope. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_QK_NORMS,
};

extern const pe_arch pe_arch_hunyuan_dense;
const pe_arch pe_arch_hunyuan_dense = {
    .name = "hunyuan-dense",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .norm_after_rope = true,
    .rope_base = 10000.0f,
};
