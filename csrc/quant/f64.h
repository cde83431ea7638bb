/* F64: 64-bit IEEE floats, little-endian. A weight is rounded once, to float. */
#ifndef PE_QUANT_F64_H
#define PE_QUANT_F64_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_f64_block {
    uint8_t value[8];
} pe_f64_block;
_Static_assert(sizeof(pe_f64_block) == 8, "an F64 block is 8 bytes");

static inline void pe_f64_decode(const void *blocks, float *out, size_t n) {
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        double value;
        memcpy(&value, p + 8 * i, sizeof value);
        out[i] = (float)value;
    }
}

#endif
