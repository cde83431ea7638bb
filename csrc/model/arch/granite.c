/* Granite 3: as llama, with factors on embeddings, residuals, scores and logits, which the file names. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_granite;
const pe_arch pe_arch_granite = {
    .name = "granite",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .logit_divisor = true,
    .rope_base = 10000.0f,
};
