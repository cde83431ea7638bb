/* IQ1_M: 256 weights, 8 at a time from the grid of IQ1_S; sub-scales of 3 bits for 16 weights, shifts for 8.
 * weight = d * (2 * scale + 1) * (grid value +- 1/8). In eighths, grid value and shift are an integer.
 * The half d is spread over the upper nibbles of the four words of scales, whose low 12 bits are sub-scales. */
#ifndef PE_QUANT_IQ1_M_H
#define PE_QUANT_IQ1_M_H

#include "base/half.h"
#include "quant/iq_grids.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_iq1_m_block {
    uint8_t qs[32]; /* low eight bits of the row numbers */
    uint8_t qh[16]; /* a nibble for 8 weights, low one first: upper three bits of the row number, sign of the shift */
    uint8_t scales[8]; /* of a group of 32: six bits; two groups a word */
} pe_iq1_m_block;
_Static_assert(sizeof(pe_iq1_m_block) == 56, "an IQ1_M block is 56 bytes");

static inline uint16_t pe_iq1_m_half(const pe_iq1_m_block *block) {
    const uint8_t *s = block->scales;
    return (uint16_t)(s[1] >> 4 | (s[3] & 0xf0) | (s[5] & 0xf0) << 4 | (s[7] & 0xf0) << 8);
}

/* The two sub-scales of group j: that of weights 0..15 in the low three bits. */
static inline unsigned pe_iq1_m_scale_pair(const pe_iq1_m_block *block, unsigned j) {
    return pe_load_u16(block->scales + j / 2 * 2) >> j % 2 * 6 & 63;
}

static inline void pe_iq1_m_decode(const void *blocks, float *out, size_t n) {
    const pe_iq1_m_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_to_float(pe_iq1_m_half(block));
        for (unsigned k = 0; k < 32; k++, out += 8) {
            unsigned high = block->qh[k / 2] >> k % 2 * 4, sub = pe_iq1_m_scale_pair(block, k / 4) >> k % 4 / 2 * 3 & 7;
            uint64_t row = pe_iq1s_grid[block->qs[k] | (high & 7) << 8];
            float scale = d * (float)(2 * sub + 1), shift = high & 8 ? -0.125f : 0.125f;
            for (int i = 0; i < 8; i++) out[i] = scale * ((float)(int8_t)(row >> 8 * i & 0xff) + shift);
        }
    }
}

#ifdef PE_VQ
static inline vq pe_iq1_m_weights(const uint8_t *row, size_t g) {
    const pe_iq1_m_block *block = (const pe_iq1_m_block *)row + g / 8;
    const unsigned j = g % 8;
    const uint8_t *qs = block->qs + 4 * j;
    const uint64_t *grid = pe_iq1s_grid;
    const uint32_t high = pe_load_u16(block->qh + 2 * j);
    vq w = vq_set_s8(grid[qs[0] | (high << 8 & 0x700)], grid[qs[1] | (high << 4 & 0x700)], grid[qs[2] | (high & 0x700)],
                     grid[qs[3] | (high >> 4 & 0x700)]);
    uint32_t minus = (high >> 3 & 0x11) | (high << 5 & 0x110000); /* the signs to a bit a byte, then to whole bytes */
    minus = ((minus | minus << 4) & 0x01010101) * 0xff;
    w = vq_sub(vq_add(vq_shl(w, 3), vq_set1(1)), vq_mask(minus, 2));
    const unsigned pair = pe_iq1_m_scale_pair(block, j);
    return vq_scale2(w, 2 * (int)(pair & 7) + 1, 2 * (int)(pair >> 3) + 1);
}

static inline void pe_iq1_m_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq1_m_block *block = (const pe_iq1_m_block *)row + b;
    const uint16_t half = pe_iq1_m_half(block);
    const float scale = 0.125f * vs_f16(&half);
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
