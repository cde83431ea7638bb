/* ERNIE 4.5, dense: as llama. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
};

extern const pe_arch pe_arch_ernie4_5;
const pe_arch pe_arch_ernie4_5 = {
    .name = "ernie4_5",
    PE_RULES,
    .activation = PE_SILU,
    .rope_base = 10000.0f,
};
