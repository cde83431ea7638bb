/* Llama and its many relatives (SmolLM, TinyLlama, Llama 2 and 3, Mistral, Mixtral): RMS norms, rope on neighbouring
 * pairs (the files store Q and K permuted for it), SiLU. Llama 3.1 and later bring a table of rope divisors, Mistral a
 * window, Mixtral and merges of its kind experts. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_ATTENTION, PE_PRE_NORMS, PE_DENSE_GATED, PE_EXPERTS, PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_llama;
const pe_arch pe_arch_llama = {
    .name = "llama",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .routing = PE_SOFTMAX_BEST,
    .experts_optional = true,
    .window_pattern = PE_ALL_LAYERS,
    .window_optional = true,
    .rope_base = 10000.0f,
};
