/* StarCoder and SantaCoder: as gpt2, with one KV head. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS, PE_OUTSIDE("position_embd", positions, false, PE_DIM_CONTEXT), PE_FUSED_ATTENTION, PE_UP_DOWN,
    PE_PRE_NORMS,
};

extern const pe_arch pe_arch_starcoder;
const pe_arch pe_arch_starcoder = {
    .name = "starcoder",
    PE_RULES,
    .activation = PE_GELU_TANH,
    .layer_norm = true,
    .no_rope = true,
    .rope_base = 10000.0f,
};
