/* Q5_K: 256 weights of 5 bits; sub-scales and mins of 6 bits for 32 weights. weight = d * scale * q - dmin * min.
 * Nibbles lie as in Q4_K; bit j of qh[i] is the fifth bit of weight i of group j. */
#ifndef PE_QUANT_Q5_K_H
#define PE_QUANT_Q5_K_H

#include "base/half.h"
#include "quant/kscales.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q5_k_block {
    uint8_t d[2];    /* half: scale of the sub-scales */
    uint8_t dmin[2]; /* half: scale of the mins */
    uint8_t scales[12];
    uint8_t qh[32];  /* fifth bits */
    uint8_t qs[128]; /* nibbles */
} pe_q5_k_block;
_Static_assert(sizeof(pe_q5_k_block) == 176, "a Q5_K block is 176 bytes");

static inline void pe_q5_k_decode(const void *blocks, float *out, size_t n) {
    const pe_q5_k_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d), dmin = pe_half_load(block->dmin);
        for (unsigned j = 0; j < 8; j++, out += 32) {
            const uint8_t *qs = block->qs + j / 2 * 32;
            unsigned shift = j % 2 * 4;
            float scale = d * (float)pe_kscales_scale(block->scales, j);
            float min = dmin * (float)pe_kscales_min(block->scales, j);
            for (int i = 0; i < 32; i++) {
                int q = (qs[i] >> shift & 15) | (block->qh[i] >> j & 1) << 4;
                out[i] = scale * (float)q - min;
            }
        }
    }
}

#ifdef PE_VQ
PE_WORD vq pe_q5_k_weights(const uint8_t *row, size_t g) {
    const pe_q5_k_block *block = (const pe_q5_k_block *)row + g / 8;
    unsigned j = g % 8;
    vq low = vq_nibbles(block->qs + j / 2 * 32, j % 2);
    vq high = vq_shl(vq_and(vq_shrv(vq_load_u8(block->qh), (int)j), 1), 4);
    return vq_or(low, high);
}

static inline void pe_q5_k_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q5_k_block *block = (const pe_q5_k_block *)row + b;
    const float scale = vs_f16(block->d), min = -vs_f16(block->dmin);
    uint8_t scales[8], mins[8];
    pe_kscales_unpack(block->scales, scales, mins);
    vs_scale_bytes(d, scales, scale);
    vs_scale_bytes(m, mins, min);
}
#endif

#endif
