/* Q8_K: 256 weights of 8 bits, one scale, which is a float; weight = d * q. The sums of 16 integers each that follow
 * serve products between quantised blocks, and say nothing new. */
#ifndef PE_QUANT_Q8_K_H
#define PE_QUANT_Q8_K_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_q8_k_block {
    uint8_t d[4];    /* float: scale */
    uint8_t qs[256]; /* signed */
    uint8_t bsums[32];
} pe_q8_k_block;
_Static_assert(sizeof(pe_q8_k_block) == 292, "a Q8_K block is 292 bytes");

static inline void pe_q8_k_decode(const void *blocks, float *out, size_t n) {
    const pe_q8_k_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_float_from_bits(pe_load_u32(block->d));
        for (int i = 0; i < 256; i++) *out++ = d * (float)(int8_t)block->qs[i];
    }
}

#ifdef PE_VQ
static inline vq pe_q8_k_weights(const uint8_t *row, size_t g) {
    return vq_load_s8(((const pe_q8_k_block *)row + g / 8)->qs + g % 8 * 32);
}

static inline void pe_q8_k_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q8_k_block *block = (const pe_q8_k_block *)row + b;
    const float scale = pe_float_from_bits(pe_load_u32(block->d));
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
