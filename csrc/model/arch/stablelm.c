/* StableLM 2: layer norms, rope on a part of each head. The larger ones have norms of their own on each head of Q and
 * K, and one norm for both blocks, which then stand side by side. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_GATED,
    PE_NORM("attn_norm", attn_norm, PE_DIM_EMBD),
    PE_NORM_OPTIONAL("ffn_norm", ffn_norm, PE_DIM_EMBD, PE_DIM_ONE),
    PE_NORM_OPTIONAL("attn_q_norm", q_norm, PE_DIM_HEAD, PE_DIM_HEADS),
    PE_NORM_OPTIONAL("attn_k_norm", k_norm, PE_DIM_HEAD, PE_DIM_KV_HEADS),
};

extern const pe_arch pe_arch_stablelm;
const pe_arch pe_arch_stablelm = {
    .name = "stablelm",
    PE_RULES,
    .activation = PE_SILU,
    .layer_norm = true,
    .rope_split = true,
    .qk_norm = PE_QK_EACH,
    .rope_base = 10000.0f,
};
