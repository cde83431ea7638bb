/* Checkpoints of llama2.c (https://github.com/karpathy/llama2.c): version 0 (floats, without a magic number), 1
 * (floats) and 2 (8-bit integers in groups, each tensor followed by its scales). Little-endian throughout; tensors back
 * to back in an order that the version implies. The vocabulary is a file of its own, tokenizer.bin: the longest token's
 * size, then a score, a size and the text of each token; how many there are the model says.
 *
 * Checked before use: that the length of the model is exactly what its header implies, and that the vocabulary has as
 * many tokens as the model. */
#ifndef PE_FORMAT_LLAMA2C_H
#define PE_FORMAT_LLAMA2C_H

#include "format/gguf.h"

/* Whether the bytes begin as a checkpoint does. Version 0 is known by its seven numbers alone: they must be those of a
 * model. */
bool pe_llama2c_is(const uint8_t *data, size_t size);
/* The vocabulary's bytes are not needed afterwards. */
pe_status pe_llama2c_read(const uint8_t *data, size_t size, const uint8_t *vocab, size_t vocab_size, pe_gguf *out);

#endif
