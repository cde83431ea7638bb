/* I8: signed integers of 8 bits. */
#ifndef PE_QUANT_I8_H
#define PE_QUANT_I8_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_i8_block {
    uint8_t value[1];
} pe_i8_block;
_Static_assert(sizeof(pe_i8_block) == 1, "an I8 block is 1 bytes");

static inline void pe_i8_decode(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int8_t value;
        memcpy(&value, p + i, sizeof value);
        out[i] = (float)value;
    }
}

#endif
