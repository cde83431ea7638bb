/* I16: signed integers of 16 bits, little-endian. */
#ifndef PE_QUANT_I16_H
#define PE_QUANT_I16_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_i16_block {
    uint8_t value[2];
} pe_i16_block;
_Static_assert(sizeof(pe_i16_block) == 2, "an I16 block is 2 bytes");

static inline void pe_i16_decode(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int16_t value;
        memcpy(&value, p + 2 * i, sizeof value);
        out[i] = (float)value;
    }
}

#endif
