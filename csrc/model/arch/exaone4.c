/* EXAONE 4: norms after each block and on every head of Q and K. The large model has windows in three of four
 * layers, and rope in these alone. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_ATTENTION, PE_GATED, PE_POST_NORMS, PE_QK_NORMS, PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_exaone4;
const pe_arch pe_arch_exaone4 = {
    .name = "exaone4",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .window_pattern = 4,
    .window_optional = true,
    .rope_window_only = true,
    .rope_base = 10000.0f,
};
