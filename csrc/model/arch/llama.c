/* Llama and its many relatives (SmolLM, TinyLlama, Llama 2 and 3): RMS norms, rope on neighbouring pairs (the files
 * store Q and K permuted for it), SiLU. Llama 3.1 and later bring a table of rope divisors. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    {"rope_freqs.weight", offsetof(pe_model, rope_factors), false, true, PE_DIM_ROT_HALF, PE_DIM_ONE},
};

extern const pe_arch pe_arch_llama;
const pe_arch pe_arch_llama = {
    .name = "llama",
    .rules = rules,
    .n_rules = sizeof rules / sizeof *rules,
    .activation = PE_SILU,
    .rope_base = 10000.0f,
};
