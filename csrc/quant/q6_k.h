/* Q6_K: 256 weights of 6 bits; signed sub-scales of 8 bits for 16 weights. weight = d * scale * (q - 32).
 * Each half of 128 weights has 64 bytes of ql and 32 of qh. Its group r of 32 weights has the low four bits in bytes
 * 32 * (r % 2) of ql, low nibbles for r = 0, 1 and high ones for r = 2, 3, and the upper two at 2 * r of qh. */
#ifndef PE_QUANT_Q6_K_H
#define PE_QUANT_Q6_K_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q6_k_block {
    uint8_t ql[128];    /* low four bits */
    uint8_t qh[64];     /* upper two bits */
    uint8_t scales[16]; /* signed */
    uint8_t d[2];       /* half: scale of the sub-scales */
} pe_q6_k_block;
_Static_assert(sizeof(pe_q6_k_block) == 210, "a Q6_K block is 210 bytes");

static inline void pe_q6_k_decode(const void *blocks, float *out, size_t n) {
    const pe_q6_k_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned j = 0; j < 8; j++, out += 32) {
            const uint8_t *ql = block->ql + j / 4 * 64 + j % 2 * 32, *qh = block->qh + j / 4 * 32;
            float scale[2] = {d * (float)(int8_t)block->scales[2 * j], d * (float)(int8_t)block->scales[2 * j + 1]};
            for (unsigned i = 0; i < 32; i++) {
                int q = (ql[i] >> j % 4 / 2 * 4 & 15) | (qh[i] >> j % 4 * 2 & 3) << 4;
                out[i] = scale[i / 16] * (float)(q - 32);
            }
        }
    }
}

#ifdef PE_VQ
/* Without the sub-scales, of which each half of a group has one. */
PE_WORD vq pe_q6_k_integers(const uint8_t *row, size_t g) {
    const pe_q6_k_block *block = (const pe_q6_k_block *)row + g / 8;
    unsigned j = g % 8;
    return vq_load_six(block->ql + j / 4 * 64 + j % 2 * 32, (int)(j % 4 / 2 * 4), block->qh + j / 4 * 32,
                       (int)(j % 4 * 2));
}

PE_WORD vq pe_q6_k_weights(const uint8_t *row, size_t g) {
    const pe_q6_k_block *block = (const pe_q6_k_block *)row + g / 8;
    return vq_scale2_s8(pe_q6_k_integers(row, g), block->scales + 2 * (g % 8));
}

static inline void pe_q6_k_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q6_k_block *block = (const pe_q6_k_block *)row + b;
    const float scale = vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
