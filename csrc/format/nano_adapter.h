/* LoRA adapters of Nano (https://github.com/bd4sur/Nano): a header of 256 bytes, then floats, layers contiguous in each
 * tensor: A and B of Q, K, V and the attention's output, of every layer. */
#ifndef PE_FORMAT_NANO_ADAPTER_H
#define PE_FORMAT_NANO_ADAPTER_H

#include "format/gguf.h"

typedef struct pe_nano_adapter { /* what the header says of the model that it is for */
    uint32_t rank, alpha, n_layer, n_embd, n_head, n_head_kv, n_ff;
} pe_nano_adapter;

/* Gives the directory of a GGUF adapter: tensors "blk.0.attn_q.weight.lora_a" and so on. */
pe_status pe_nano_adapter_read(const uint8_t *data, size_t size, pe_nano_adapter *header, pe_gguf *out);

#endif
