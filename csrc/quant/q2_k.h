/* Q2_K: 256 weights of 2 bits; sub-scales and mins of 4 bits for 16 weights.
 * weight = d * scale * q - dmin * min.
 * Group j of 32 weights lies in bits 2 * (j % 4) of 32 bytes of qs: groups 0..3 in the first 32, 4..7 in the last. */
#ifndef PE_QUANT_Q2_K_H
#define PE_QUANT_Q2_K_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q2_k_block {
    uint8_t scales[16]; /* low nibble: sub-scale, high nibble: min, of 16 weights each */
    uint8_t qs[64];
    uint8_t d[2];    /* half: scale of the sub-scales */
    uint8_t dmin[2]; /* half: scale of the mins */
} pe_q2_k_block;
_Static_assert(sizeof(pe_q2_k_block) == 84, "a Q2_K block is 84 bytes");

static inline void pe_q2_k_decode(const void *blocks, float *out, size_t n) {
    const pe_q2_k_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d), dmin = pe_half_load(block->dmin);
        for (int s = 0; s < 16; s++, out += 16) { /* 16 weights of one sub-scale */
            const uint8_t *qs = block->qs + s / 8 * 32 + s % 2 * 16;
            int shift = s / 2 % 4 * 2;
            float scale = d * (float)(block->scales[s] & 15), min = dmin * (float)(block->scales[s] >> 4);
            for (int i = 0; i < 16; i++) out[i] = scale * (float)(qs[i] >> shift & 3) - min;
        }
    }
}

#ifdef PE_VQ
PE_WORD vq pe_q2_k_weights(const uint8_t *row, size_t g) {
    const pe_q2_k_block *block = (const pe_q2_k_block *)row + g / 8;
    unsigned j = g % 8;
    vq q = vq_and(vq_shrv(vq_load_u8(block->qs + j / 4 * 32), (int)(j % 4 * 2)), 3);
    return vq_mul(q, vq_set2(block->scales[2 * j] & 15, block->scales[2 * j + 1] & 15));
}

static inline void pe_q2_k_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q2_k_block *block = (const pe_q2_k_block *)row + b;
    const float scale = vs_f16(block->d), min = -vs_f16(block->dmin);
    for (int j = 0; j < 8; j++) d[j] = scale;
    for (int j = 0; j < 16; j++) m[j] = min * (float)(block->scales[j] >> 4);
}
#endif

#endif
