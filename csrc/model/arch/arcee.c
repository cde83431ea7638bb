/* Arcee (AFM): as llama, with a squared ReLU in place of the gate. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_ATTENTION, PE_UP_DOWN, PE_PRE_NORMS, PE_ROPE_TABLE("rope_freqs", rope_factors),
};

extern const pe_arch pe_arch_arcee;
const pe_arch pe_arch_arcee = {
    .name = "arcee",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_RELU_SQUARED,
    .rope_base = 10000.0f,
};
