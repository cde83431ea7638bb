/* Q4_1: 32 weights of 4 bits, scale and min; weight = d * q + m.
 * Byte i of qs holds weight i in its low and weight i + 16 in its high nibble. */
#ifndef PE_QUANT_Q4_1_H
#define PE_QUANT_Q4_1_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q4_1_block {
    uint8_t d[2];   /* half: scale */
    uint8_t m[2];   /* half: min */
    uint8_t qs[16]; /* nibbles */
} pe_q4_1_block;
_Static_assert(sizeof(pe_q4_1_block) == 20, "a Q4_1 block is 20 bytes");

static inline void pe_q4_1_decode(const void *blocks, float *out, size_t n) {
    const pe_q4_1_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_half_load(block->d), m = pe_half_load(block->m);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(block->qs[i] & 15) + m;
            out[i + 16] = d * (float)(block->qs[i] >> 4) + m;
        }
    }
}

#ifdef PE_VQ
PE_WORD vq pe_q4_1_weights(const uint8_t *row, size_t g) {
    return vq_load_nibbles(((const pe_q4_1_block *)row + g)->qs);
}

static inline void pe_q4_1_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q4_1_block *block = (const pe_q4_1_block *)row + b;
    *d = vs_f16(block->d);
    *m = vs_f16(block->m);
}
#endif

#endif
