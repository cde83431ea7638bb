/* SmolLM 3: as llama; every fourth layer has no rope. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_smollm3;
const pe_arch pe_arch_smollm3 = {
    .name = "smollm3",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .no_rope_step = 4,
    .rope_base = 10000.0f,
};
