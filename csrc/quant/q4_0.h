/* Q4_0: 32 weights of 4 bits, one scale; weight = d * (q - 8).
 * Byte i of qs holds weight i in its low and weight i + 16 in its high nibble. */
#ifndef PE_QUANT_Q4_0_H
#define PE_QUANT_Q4_0_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q4_0_block {
    uint8_t d[2];   /* half: scale */
    uint8_t qs[16]; /* nibbles */
} pe_q4_0_block;
_Static_assert(sizeof(pe_q4_0_block) == 18, "a Q4_0 block is 18 bytes");

static inline void pe_q4_0_decode(const void *blocks, float *out, size_t n) {
    const pe_q4_0_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_half_load(block->d);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((block->qs[i] & 15) - 8);
            out[i + 16] = d * (float)((block->qs[i] >> 4) - 8);
        }
    }
}

#ifdef PE_VQ
PE_WORD vq pe_q4_0_weights(const uint8_t *row, size_t g) {
    const pe_q4_0_block *block = (const pe_q4_0_block *)row + g;
    return vq_sub(vq_load_nibbles(block->qs), vq_set1(8));
}

static inline void pe_q4_0_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q4_0_block *block = (const pe_q4_0_block *)row + b;
    *d = vs_f16(block->d);
    (void)m;
}
#endif

#endif
