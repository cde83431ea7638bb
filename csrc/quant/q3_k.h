/* Q3_K: 256 weights of 3 bits; sub-scales of 6 bits for 16 weights. weight = d * (scale - 32) * (q - 4).
 * Group j of 32 weights has its low bits at 2 * (j % 4) of 32 bytes of qs (groups 0..3 in the first 32, 4..7 in the
 * last) and its third bit at bit j of hmask.
 * Sub-scale s of 0..15 has its low nibble in byte s % 8 (low nibbles first), its upper two bits in byte 8 + s % 4 at
 * 2 * (s / 4). */
#ifndef PE_QUANT_Q3_K_H
#define PE_QUANT_Q3_K_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_q3_k_block {
    uint8_t hmask[32]; /* third bits */
    uint8_t qs[64];    /* low two bits */
    uint8_t scales[12];
    uint8_t d[2]; /* half: scale of the sub-scales */
} pe_q3_k_block;
_Static_assert(sizeof(pe_q3_k_block) == 110, "a Q3_K block is 110 bytes");

/* The two sub-scales of group j, before the offset of 32: that of weights 0..15 in the low byte, 16..31 in the high. */
static inline uint32_t pe_q3_k_scale_pair(const pe_q3_k_block *block, unsigned j) {
    uint32_t low = (uint32_t)pe_load_u16(block->scales + j % 4 * 2) >> j / 4 * 4 & 0x0f0f;
    uint32_t high = (uint32_t)pe_load_u16(block->scales + 8 + j % 2 * 2) >> j / 2 * 2 & 0x0303;
    return low | high << 4;
}

static inline void pe_q3_k_decode(const void *blocks, float *out, size_t n) {
    const pe_q3_k_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned j = 0; j < 8; j++, out += 32) {
            uint32_t pair = pe_q3_k_scale_pair(block, j);
            float scale[2] = {d * (float)((int)(pair & 0xff) - 32), d * (float)((int)(pair >> 8) - 32)};
            for (unsigned i = 0; i < 32; i++) {
                int q = (block->qs[j / 4 * 32 + i] >> j % 4 * 2 & 3) | (block->hmask[i] >> j & 1) << 2;
                out[i] = scale[i / 16] * (float)(q - 4);
            }
        }
    }
}

#ifdef PE_VQ
/* Negated, and their scale as well: -128 fits into a byte, 128 does not. */
PE_WORD vq pe_q3_k_weights(const uint8_t *row, size_t g) {
    const pe_q3_k_block *block = (const pe_q3_k_block *)row + g / 8;
    unsigned j = g % 8;
    uint32_t pair = pe_q3_k_scale_pair(block, j);
    vq low = vq_and(vq_shrv(vq_load_u8(block->qs + j / 4 * 32), (int)(j % 4 * 2)), 3);
    vq high = vq_shl(vq_and(vq_shrv(vq_load_u8(block->hmask), (int)j), 1), 2);
    return vq_mul(vq_sub(vq_set1(4), vq_or(low, high)), vq_set2((int)(pair & 0xff) - 32, (int)(pair >> 8) - 32));
}

static inline void pe_q3_k_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q3_k_block *block = (const pe_q3_k_block *)row + b;
    const float scale = -vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
