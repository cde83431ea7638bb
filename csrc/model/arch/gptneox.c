/* GPT-NeoX and Pythia: layer norms, fused QKV, rope on a part of each head; blocks side by side or not, as the file
 * says. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_FUSED_ATTENTION,
    PE_UP_DOWN,
    PE_PRE_NORMS,
};

extern const pe_arch pe_arch_gptneox;
const pe_arch pe_arch_gptneox = {
    .name = "gptneox",
    PE_RULES,
    .grouped_qkv = true,
    .activation = PE_GELU_ERF,
    .layer_norm = true,
    .rope_split = true,
    .parallel_key = true,
    .rope_base = 10000.0f,
};
