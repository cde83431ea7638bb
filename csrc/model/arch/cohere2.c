/* Command R7B: attention and feed-forward side by side from one layer norm, three layers with a sliding window and rope
 * for each layer that sees everything and has none, scaled logits. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_GATED,
    PE_NORM("attn_norm", attn_norm, PE_DIM_EMBD),
};

extern const pe_arch pe_arch_cohere2;
const pe_arch pe_arch_cohere2 = {
    .name = "cohere2",
    PE_RULES,
    .activation = PE_SILU,
    .layer_norm = true,
    .parallel = true,
    .window_pattern = 4,
    .rope_window_only = true,
    .rope_base = 10000.0f,
};
