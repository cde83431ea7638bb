/* Granite with experts: the multipliers of Granite, a softmax over the best experts. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_ATTENTION, PE_PRE_NORMS, PE_EXPERTS, PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_granitemoe;
const pe_arch pe_arch_granitemoe = {
    .name = "granitemoe",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .routing = PE_SOFTMAX_BEST,
    .logit_divisor = true,
    .rope_base = 10000.0f,
};
