/* Ministral 3: as llama, with YaRN and queries that grow with the position. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
};

extern const pe_arch pe_arch_mistral3;
const pe_arch pe_arch_mistral3 = {
    .name = "mistral3",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .rope_base = 10000.0f,
};
