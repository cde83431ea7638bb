/* Reader of safetensors (https://huggingface.co/docs/safetensors, "Format"), read where they lie:
 *
 *   u64 n, little-endian | n bytes of JSON: name -> {dtype, shape, data_offsets: [begin, end]} | data
 *
 * It gives the directory that GGUF has, with the file's own names and the dimensions in GGUF's order (the contiguous
 * one first). Checked before use: that a tensor's bytes follow from its shape and type, and that the tensors fill the
 * data section one after the other, as the format demands. */
#ifndef PE_FORMAT_SAFETENSORS_H
#define PE_FORMAT_SAFETENSORS_H

#include "format/gguf.h"

/* Types that adapters come in, as numbers of quant/quants.def. */
enum { PE_SAFE_F32 = 0, PE_SAFE_F16 = 1, PE_SAFE_F64 = 28, PE_SAFE_BF16 = 30 };

/* Whether the bytes can begin such a file: a length, then an object. */
bool pe_safetensors_is(const uint8_t *data, size_t size);
/* Data of tensors may be unaligned. */
pe_status pe_safetensors_read(const uint8_t *data, size_t size, pe_gguf *out);

#endif
