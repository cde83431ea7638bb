/* Phi 3 and 4: Q, K and V as one matrix, gate and up as another, and tables of rope divisors for short and long
 * contexts. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_FUSED_ATTENTION,
    PE_FUSED_GATED,
    PE_PRE_NORMS,
    PE_ROPE_TABLE("rope_factors_long", rope_long),
    PE_ROPE_TABLE("rope_factors_short", rope_short),
};

extern const pe_arch pe_arch_phi3;
const pe_arch pe_arch_phi3 = {
    .name = "phi3",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .window_pattern = PE_ALL_LAYERS,
    .window_optional = true,
    .rope_base = 10000.0f,
};
