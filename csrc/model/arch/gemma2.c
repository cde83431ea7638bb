/* Gemma 2: norms before and after each block, every other layer with a sliding window, soft caps on scores and logits.
 */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_COMMON_TENSORS,
    PE_POST_NORMS,
};

extern const pe_arch pe_arch_gemma2;
const pe_arch pe_arch_gemma2 = {
    .name = "gemma2",
    PE_RULES,
    .shifted_norms = true,
    .activation = PE_GELU_TANH,
    .rope_split = true,
    .scale_embeddings = true,
    .window_pattern = 2,
    .window_default = 4096,
    .wide_scale_layers = 46,
    .rope_base = 10000.0f,
};
