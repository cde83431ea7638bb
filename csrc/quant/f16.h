/* F16: IEEE binary16. */
#ifndef PE_QUANT_F16_H
#define PE_QUANT_F16_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_f16_block {
    uint8_t value[2];
} pe_f16_block;
_Static_assert(sizeof(pe_f16_block) == 2, "F16 is 2 bytes");

static inline void pe_f16_decode(const void *blocks, float *out, size_t n) {
    const pe_f16_block *block = blocks;
    for (size_t i = 0; i < n; i++) out[i] = pe_half_to_float(pe_load_u16(block[i].value));
}

#endif
