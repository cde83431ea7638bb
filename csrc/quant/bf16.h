/* BF16: the upper half of a 32-bit float. */
#ifndef PE_QUANT_BF16_H
#define PE_QUANT_BF16_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_bf16_block {
    uint8_t value[2];
} pe_bf16_block;
_Static_assert(sizeof(pe_bf16_block) == 2, "BF16 is 2 bytes");

static inline void pe_bf16_decode(const void *blocks, float *out, size_t n) {
    const pe_bf16_block *block = blocks;
    for (size_t i = 0; i < n; i++) out[i] = pe_bf16_to_float(pe_load_u16(block[i].value));
}

#endif
