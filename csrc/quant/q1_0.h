/* Q1_0: 128 weights of one bit, one scale; weight = d where the bit is set, else -d. */
#ifndef PE_QUANT_Q1_0_H
#define PE_QUANT_Q1_0_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_q1_0_block {
    uint8_t d[2];   /* half: scale */
    uint8_t qs[16]; /* bit i % 8 of byte i / 8 */
} pe_q1_0_block;
_Static_assert(sizeof(pe_q1_0_block) == 18, "a Q1_0 block is 18 bytes");

static inline void pe_q1_0_decode(const void *blocks, float *out, size_t n) {
    const pe_q1_0_block *block = blocks;
    for (size_t b = 0; b < n / 128; b++, block++, out += 128) {
        float d = pe_half_load(block->d);
        for (int i = 0; i < 128; i++) out[i] = block->qs[i / 8] >> i % 8 & 1 ? d : -d;
    }
}

#ifdef PE_VQ
static inline vq pe_q1_0_weights(const uint8_t *row, size_t g) {
    const pe_q1_0_block *block = (const pe_q1_0_block *)row + g / 4;
    return vq_sub(vq_mask(pe_load_u32(block->qs + g % 4 * 4), 2), vq_set1(1));
}

static inline void pe_q1_0_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q1_0_block *block = (const pe_q1_0_block *)row + b;
    const float scale = vs_f16(block->d);
    for (int j = 0; j < 4; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
