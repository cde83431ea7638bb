/* I64: signed integers of 64 bits, little-endian. A weight is rounded once, to float. */
#ifndef PE_QUANT_I64_H
#define PE_QUANT_I64_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_i64_block {
    uint8_t value[8];
} pe_i64_block;
_Static_assert(sizeof(pe_i64_block) == 8, "an I64 block is 8 bytes");

static inline void pe_i64_decode(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int64_t value;
        memcpy(&value, p + 8 * i, sizeof value);
        out[i] = (float)value;
    }
}

#endif
