/* Qwen 3 with experts: the feed-forward of a token is that of the few experts that its router likes best. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_ATTENTION, PE_PRE_NORMS, PE_QK_NORMS, PE_EXPERTS,
};

extern const pe_arch pe_arch_qwen3moe;
const pe_arch pe_arch_qwen3moe = {
    .name = "qwen3moe",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .routing = PE_SOFTMAX_BEST,
    .window_pattern = PE_ALL_LAYERS,
    .window_optional = true,
    .rope_base = 10000.0f,
};
