/* Seed-OSS: as Qwen 2, but the norm before the feed-forward has the name that others give to one after attention. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_GATED,
    PE_NORM("attn_norm", attn_norm, PE_DIM_EMBD),
    PE_NORM("post_attention_norm", ffn_norm, PE_DIM_EMBD),
};

extern const pe_arch pe_arch_seed_oss;
const pe_arch pe_arch_seed_oss = {
    .name = "seed_oss",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .rope_base = 10000.0f,
};
