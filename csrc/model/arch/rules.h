/* Shorthands for the tensor tables of arch/<name>.c. Tensor names are those that GGUF files use for all families. */
#ifndef PE_MODEL_ARCH_RULES_H
#define PE_MODEL_ARCH_RULES_H

#include "model/model.h"

#define PE_MATRIX(name, field, in, out) {"blk.%u." name ".weight", offsetof(pe_layer, field), true, false, in, out}
#define PE_VECTOR(name, field, in) {"blk.%u." name ".weight", offsetof(pe_layer, field), false, false, in, PE_DIM_ONE}

/* What every decoder of this kind has. */
#define PE_COMMON_TENSORS                                                                                              \
    {"token_embd.weight", offsetof(pe_model, embeddings), true, false, PE_DIM_EMBD, PE_DIM_VOCAB},                     \
        {"output_norm.weight", offsetof(pe_model, output_norm), false, false, PE_DIM_EMBD, PE_DIM_ONE},                \
        {"output.weight", offsetof(pe_model, output), true, true, PE_DIM_EMBD, PE_DIM_VOCAB},                          \
        PE_VECTOR("attn_norm", attn_norm, PE_DIM_EMBD), PE_MATRIX("attn_q", q, PE_DIM_EMBD, PE_DIM_Q),                 \
        PE_MATRIX("attn_k", k, PE_DIM_EMBD, PE_DIM_KV), PE_MATRIX("attn_v", v, PE_DIM_EMBD, PE_DIM_KV),                \
        PE_MATRIX("attn_output", o, PE_DIM_Q, PE_DIM_EMBD), PE_VECTOR("ffn_norm", ffn_norm, PE_DIM_EMBD),              \
        PE_MATRIX("ffn_gate", gate, PE_DIM_EMBD, PE_DIM_FF), PE_MATRIX("ffn_up", up, PE_DIM_EMBD, PE_DIM_FF),          \
        PE_MATRIX("ffn_down", down, PE_DIM_FF, PE_DIM_EMBD)

#endif
