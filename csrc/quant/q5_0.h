/* Q5_0: 32 weights of 5 bits, one scale; weight = d * (q - 16).
 * Nibbles lie as in Q4_0; bit i of qh is the fifth bit of weight i. */
#ifndef PE_QUANT_Q5_0_H
#define PE_QUANT_Q5_0_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q5_0_block {
    uint8_t d[2];   /* half: scale */
    uint8_t qh[4];  /* fifth bits */
    uint8_t qs[16]; /* nibbles */
} pe_q5_0_block;
_Static_assert(sizeof(pe_q5_0_block) == 22, "a Q5_0 block is 22 bytes");

static inline void pe_q5_0_decode(const void *blocks, float *out, size_t n) {
    const pe_q5_0_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_half_load(block->d);
        uint32_t qh = pe_load_u32(block->qh);
        for (int i = 0; i < 16; i++) {
            int low = (block->qs[i] & 15) | (int)(qh >> i & 1) << 4;
            int high = (block->qs[i] >> 4) | (int)(qh >> (i + 16) & 1) << 4;
            out[i] = d * (float)(low - 16);
            out[i + 16] = d * (float)(high - 16);
        }
    }
}

#ifdef PE_VQ
/* Fifth bit and offset in one step: where the bit is set they cancel out, where it is clear the sign bits of -16 go
 * before the nibble. */
PE_WORD vq pe_q5_0_weights(const uint8_t *row, size_t g) {
    const pe_q5_0_block *block = (const pe_q5_0_block *)row + g;
    return vq_add_clear(vq_load_nibbles(block->qs), block->qh, -16);
}

static inline void pe_q5_0_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q5_0_block *block = (const pe_q5_0_block *)row + b;
    *d = vs_f16(block->d);
    (void)m;
}
#endif

#endif
