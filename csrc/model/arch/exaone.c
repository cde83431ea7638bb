/* EXAONE 3 and 3.5: as llama, with rope on halves. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_exaone;
const pe_arch pe_arch_exaone = {
    .name = "exaone",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .rope_base = 10000.0f,
};
