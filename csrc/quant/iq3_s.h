/* IQ3_S: 256 weights, 4 at a time from a grid of 512 rows; sub-scales of 4 bits for 32 weights.
 * weight = d * (1 + 2 * scale) * sign * grid value. Row number k of group j has its ninth bit at bit k of qh[j]. */
#ifndef PE_QUANT_IQ3_S_H
#define PE_QUANT_IQ3_S_H

#include "base/half.h"
#include "quant/iq_grids.h"
#include <stddef.h>

typedef struct pe_iq3_s_block {
    uint8_t d[2];      /* half: scale of the sub-scales */
    uint8_t qs[64];    /* low eight bits of the row numbers */
    uint8_t qh[8];     /* ninth bits */
    uint8_t signs[32]; /* a bit a weight */
    uint8_t scales[4]; /* nibbles, low one first */
} pe_iq3_s_block;
_Static_assert(sizeof(pe_iq3_s_block) == 110, "an IQ3_S block is 110 bytes");

static inline void pe_iq3_s_decode(const void *blocks, float *out, size_t n) {
    const pe_iq3_s_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned k = 0; k < 64; k++, out += 4) {
            unsigned at = block->qs[k] | (block->qh[k / 8] >> k % 8 & 1) << 8;
            float scale = d * (float)(1 + 2 * (block->scales[k / 16] >> k % 16 / 8 * 4 & 15));
            pe_iq_decode(out, 4, pe_iq3s_grid[at], block->signs[k / 2] >> k % 2 * 4, scale);
        }
    }
}

#ifdef PE_VQ
static inline vq pe_iq3_s_weights(const uint8_t *row, size_t g) {
    const pe_iq3_s_block *block = (const pe_iq3_s_block *)row + g / 8;
    const unsigned j = g % 8;
    const uint8_t *qs = block->qs + 8 * j;
    const unsigned high = block->qh[j];
    uint64_t rows[4];
    for (int k = 0; k < 4; k++)
        rows[k] = pe_iq3s_grid[qs[2 * k] | (high << (8 - 2 * k) & 256)] |
                  (uint64_t)pe_iq3s_grid[qs[2 * k + 1] | (high << (7 - 2 * k) & 256)] << 32;
    return vq_negate(vq_set_s8(rows[0], rows[1], rows[2], rows[3]), pe_load_u32(block->signs + 4 * j));
}

static inline void pe_iq3_s_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq3_s_block *block = (const pe_iq3_s_block *)row + b;
    const float scale = vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale * (float)(1 + 2 * (block->scales[j / 2] >> j % 2 * 4 & 15));
    (void)m;
}
#endif

#endif
