/* F32: 32-bit IEEE floats, little-endian as on every machine that this library runs on. */
#ifndef PE_QUANT_F32_H
#define PE_QUANT_F32_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct pe_f32_block {
    uint8_t value[4];
} pe_f32_block;
_Static_assert(sizeof(pe_f32_block) == 4, "F32 is 4 bytes");

static inline void pe_f32_decode(const void *blocks, float *out, size_t n) {
    if (n > 0) memcpy(out, blocks, n * sizeof *out);
}

#endif
