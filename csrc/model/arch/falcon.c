/* Falcon: attention and feed-forward side by side, from one layer norm or (40B and later) from one each; no gate. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_FUSED_ATTENTION,
    PE_UP_DOWN,
    PE_NORM("attn_norm", ffn_norm, PE_DIM_EMBD),
    PE_NORM_OPTIONAL("attn_norm_2", attn_norm, PE_DIM_EMBD, PE_DIM_ONE),
};

extern const pe_arch pe_arch_falcon;
const pe_arch pe_arch_falcon = {
    .name = "falcon",
    PE_RULES,
    .grouped_qkv = true,
    .activation = PE_GELU_ERF,
    .layer_norm = true,
    .rope_split = true,
    .parallel = true,
    .rope_base = 10000.0f,
};
