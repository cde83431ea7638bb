/* Q5_1: 32 weights of 5 bits, scale and min; weight = d * q + m.
 * Nibbles lie as in Q4_0; bit i of qh is the fifth bit of weight i. */
#ifndef PE_QUANT_Q5_1_H
#define PE_QUANT_Q5_1_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q5_1_block {
    uint8_t d[2];   /* half: scale */
    uint8_t m[2];   /* half: min */
    uint8_t qh[4];  /* fifth bits */
    uint8_t qs[16]; /* nibbles */
} pe_q5_1_block;
_Static_assert(sizeof(pe_q5_1_block) == 24, "a Q5_1 block is 24 bytes");

static inline void pe_q5_1_decode(const void *blocks, float *out, size_t n) {
    const pe_q5_1_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_half_load(block->d), m = pe_half_load(block->m);
        uint32_t qh = pe_load_u32(block->qh);
        for (int i = 0; i < 16; i++) {
            int low = (block->qs[i] & 15) | (int)(qh >> i & 1) << 4;
            int high = (block->qs[i] >> 4) | (int)(qh >> (i + 16) & 1) << 4;
            out[i] = d * (float)low + m;
            out[i + 16] = d * (float)high + m;
        }
    }
}

#ifdef PE_VQ
PE_WORD vq pe_q5_1_weights(const uint8_t *row, size_t g) {
    const pe_q5_1_block *block = (const pe_q5_1_block *)row + g;
    return vq_or(vq_load_nibbles(block->qs), vq_mask(pe_load_u32(block->qh), 16));
}

static inline void pe_q5_1_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q5_1_block *block = (const pe_q5_1_block *)row + b;
    *d = vs_f16(block->d);
    *m = vs_f16(block->m);
}
#endif

#endif
