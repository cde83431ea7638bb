/* MiniCPM 1 and 4: as llama, with factors of embeddings, residuals and logits, and long rope. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_ROPE_TABLE("rope_factors_long", rope_long),
    PE_ROPE_TABLE("rope_factors_short", rope_short),
};

extern const pe_arch pe_arch_minicpm;
const pe_arch pe_arch_minicpm = {
    .name = "minicpm",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .logit_divisor = true,
    .needs_scales = true,
    .rope_base = 10000.0f,
};
