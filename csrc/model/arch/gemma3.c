/* Gemma 3 (text): norms before and after each block and on every head of Q and K, GELU, scaled embeddings, five layers
 * with a sliding window and a small rope base for each layer that sees everything. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_POST_NORMS,
    PE_QK_NORMS,
};

extern const pe_arch pe_arch_gemma3;
const pe_arch pe_arch_gemma3 = {
    .name = "gemma3",
    PE_RULES,
    .shifted_norms = true,
    .activation = PE_GELU_TANH,
    .rope_split = true,
    .scale_embeddings = true,
    .window_pattern = 6,
    .window_unscaled = true,
    .wide_scale_layers = 62,
    .rope_base = 1000000.0f,
    .rope_base_window = 10000.0f,
};
