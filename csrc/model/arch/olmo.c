/* OLMo, the first: layer norms without weights. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_OUTSIDE("token_embd", embeddings, false, PE_DIM_VOCAB),
    PE_OUTSIDE("output", output, true, PE_DIM_VOCAB),
    PE_ATTENTION,
    PE_GATED,
};

extern const pe_arch pe_arch_olmo;
const pe_arch pe_arch_olmo = {
    .name = "olmo",
    PE_RULES,
    .permuted_heads = true,
    .activation = PE_SILU,
    .layer_norm = true,
    .plain_norm = true,
    .rope_base = 10000.0f,
};
