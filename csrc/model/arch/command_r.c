/* Command R and Aya: one layer norm for two blocks side by side; the largest with norms of its own for each head. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_GATED,
    PE_NORM("attn_norm", attn_norm, PE_DIM_EMBD),
    PE_NORM_OPTIONAL("attn_q_norm", q_norm, PE_DIM_HEAD, PE_DIM_HEADS),
    PE_NORM_OPTIONAL("attn_k_norm", k_norm, PE_DIM_HEAD, PE_DIM_KV_HEADS),
};

extern const pe_arch pe_arch_command_r;
const pe_arch pe_arch_command_r = {
    .name = "command-r",
    PE_RULES,
    .activation = PE_SILU,
    .layer_norm = true,
    .parallel = true,
    .qk_norm = PE_QK_EACH,
    .rope_base = 10000.0f,
};
