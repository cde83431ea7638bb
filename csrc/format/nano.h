/* Model files of Nano (https://github.com/bd4sur/Nano): floats, Q80 (8-bit integers) and Q4K (blocks of 4 bits), with
 * their vocabulary. Little-endian throughout:
 *
 *   header, 256 bytes | vocabulary | tensors, back to back, in an order that the header implies | rope tables | output
 *
 * Checked before use: that the length of the file is exactly what the header implies; each entry of the vocabulary; the
 * head of each Q4K frame and block; that the rope tables are those of base 10000, which is what evaluation computes.
 * Known to lie, and found from the length instead: the group size of a Q80 file whose width is no multiple of it. */
#ifndef PE_FORMAT_NANO_H
#define PE_FORMAT_NANO_H

#include "format/gguf.h"

/* Whether the bytes begin as those of Nano do, adapters included. */
bool pe_nano_is(const uint8_t *data, size_t size);
pe_status pe_nano_read(const uint8_t *data, size_t size, pe_gguf *out);

#endif
