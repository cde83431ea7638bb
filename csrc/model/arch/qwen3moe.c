/* Qwen 3 with experts: the feed-forward of a token is that of the few experts that its router likes best. */
#include "model/arch/rules.h"

static const pe_tensor_rule rules[] = {
    PE_EMBEDDINGS,
    PE_ATTENTION,
    PE_PRE_NORMS,
    PE_QK_NORMS,
    PE_MATRIX("ffn_gate_inp", router, PE_DIM_EMBD, PE_DIM_EXPERT),
    {"blk.%u.ffn_gate_exps", offsetof(pe_layer, gate_exps), PE_KIND_STACK, false, PE_DIM_EMBD, PE_DIM_FF,
     PE_EVERY_LAYER},
    {"blk.%u.ffn_up_exps", offsetof(pe_layer, up_exps), PE_KIND_STACK, false, PE_DIM_EMBD, PE_DIM_FF, PE_EVERY_LAYER},
    {"blk.%u.ffn_down_exps", offsetof(pe_layer, down_exps), PE_KIND_STACK, false, PE_DIM_FF, PE_DIM_EMBD,
     PE_EVERY_LAYER},
};

extern const pe_arch pe_arch_qwen3moe;
const pe_arch pe_arch_qwen3moe = {
    .name = "qwen3moe",
    PE_RULES,
    .activation = PE_SILU,
    .rope_split = true,
    .softmax_experts = true,
    .window_pattern = PE_ALL_LAYERS,
    .window_optional = true,
    .rope_base = 10000.0f,
};
