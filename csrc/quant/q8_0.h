/* Q8_0: 32 weights of 8 bits, one scale; weight = d * q. */
#ifndef PE_QUANT_Q8_0_H
#define PE_QUANT_Q8_0_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q8_0_block {
    uint8_t d[2];   /* half: scale */
    uint8_t qs[32]; /* signed */
} pe_q8_0_block;
_Static_assert(sizeof(pe_q8_0_block) == 34, "a Q8_0 block is 34 bytes");

static inline void pe_q8_0_decode(const void *blocks, float *out, size_t n) {
    const pe_q8_0_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_half_load(block->d);
        for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)block->qs[i];
    }
}

#ifdef PE_VQ
PE_WORD vq pe_q8_0_weights(const uint8_t *row, size_t g) { return vq_load_s8(((const pe_q8_0_block *)row + g)->qs); }

static inline void pe_q8_0_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q8_0_block *block = (const pe_q8_0_block *)row + b;
    *d = vs_f16(block->d);
    (void)m;
}
#endif

#endif
