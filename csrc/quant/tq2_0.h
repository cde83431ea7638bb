/* TQ2_0: 256 weights of -1, 0 or 1 in 2 bits, one scale; weight = d * (q - 1).
 * Group j of 32 weights lies in bits 2 * (j % 4) of 32 bytes of qs: groups 0..3 in the first 32, 4..7 in the last. */
#ifndef PE_QUANT_TQ2_0_H
#define PE_QUANT_TQ2_0_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_tq2_0_block {
    uint8_t qs[64];
    uint8_t d[2]; /* half: scale */
} pe_tq2_0_block;
_Static_assert(sizeof(pe_tq2_0_block) == 66, "a TQ2_0 block is 66 bytes");

static inline void pe_tq2_0_decode(const void *blocks, float *out, size_t n) {
    const pe_tq2_0_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned j = 0; j < 8; j++, out += 32)
            for (unsigned i = 0; i < 32; i++) out[i] = d * (float)((block->qs[j / 4 * 32 + i] >> j % 4 * 2 & 3) - 1);
    }
}

#ifdef PE_VQ
static inline vq pe_tq2_0_weights(const uint8_t *row, size_t g) {
    const pe_tq2_0_block *block = (const pe_tq2_0_block *)row + g / 8;
    const unsigned j = g % 8;
    vq q = vq_and(vq_shrv(vq_load_u8(block->qs + j / 4 * 32), (int)(j % 4 * 2)), 3);
    return vq_sub(q, vq_set1(1));
}

static inline void pe_tq2_0_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_tq2_0_block *block = (const pe_tq2_0_block *)row + b;
    const float scale = vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
