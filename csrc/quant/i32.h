/* I32: signed integers of 32 bits, little-endian. A weight is rounded once, to float. */
#ifndef PE_QUANT_I32_H
#define PE_QUANT_I32_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_i32_block {
    uint8_t value[4];
} pe_i32_block;
_Static_assert(sizeof(pe_i32_block) == 4, "an I32 block is 4 bytes");

static inline void pe_i32_decode(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int32_t value;
        memcpy(&value, p + 4 * i, sizeof value);
        out[i] = (float)value;
    }
}

#endif
