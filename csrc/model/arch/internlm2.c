/* InternLM 2 and 2.5: as llama. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
};

extern const pe_arch pe_arch_internlm2;
const pe_arch pe_arch_internlm2 = {
    .name = "internlm2",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .rope_base = 10000.0f,
};
