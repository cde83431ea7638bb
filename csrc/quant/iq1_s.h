/* IQ1_S: 256 weights, 8 at a time from a grid of 2048 rows; sub-scale of 3 bits and shift of one bit for 32 weights.
 * weight = d * (2 * scale + 1) * (grid value +- 1/8). In eighths, grid value and shift are an integer.
 * qh of a group of 32: three times four upper bits of the row numbers, the sub-scale, and the sign of the shift. */
#ifndef PE_QUANT_IQ1_S_H
#define PE_QUANT_IQ1_S_H

#include "base/half.h"
#include "quant/iq_grids.h"
#include <stddef.h>

typedef struct pe_iq1_s_block {
    uint8_t d[2];   /* half: scale of the sub-scales */
    uint8_t qs[32]; /* low eight bits of the row numbers */
    uint8_t qh[16];
} pe_iq1_s_block;
_Static_assert(sizeof(pe_iq1_s_block) == 50, "an IQ1_S block is 50 bytes");

static inline void pe_iq1_s_decode(const void *blocks, float *out, size_t n) {
    const pe_iq1_s_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned k = 0; k < 32; k++, out += 8) {
            uint32_t high = pe_load_u16(block->qh + k / 4 * 2);
            uint64_t row = pe_iq1s_grid[block->qs[k] | (high >> k % 4 * 3 & 7) << 8];
            float scale = d * (float)(2 * (high >> 12 & 7) + 1), shift = high >> 15 ? -0.125f : 0.125f;
            for (int i = 0; i < 8; i++) out[i] = scale * ((float)(int8_t)(row >> 8 * i & 0xff) + shift);
        }
    }
}

#ifdef PE_VQ
static inline vq pe_iq1_s_weights(const uint8_t *row, size_t g) {
    const pe_iq1_s_block *block = (const pe_iq1_s_block *)row + g / 8;
    const unsigned j = g % 8;
    const uint8_t *qs = block->qs + 4 * j;
    const uint64_t *grid = pe_iq1s_grid;
    const uint32_t high = pe_load_u16(block->qh + 2 * j);
    vq w = vq_set_s8(grid[qs[0] | (high << 8 & 0x700)], grid[qs[1] | (high << 5 & 0x700)],
                     grid[qs[2] | (high << 2 & 0x700)], grid[qs[3] | (high >> 1 & 0x700)]);
    return vq_add(vq_shl(w, 3), vq_set1(high >> 15 ? -1 : 1));
}

static inline void pe_iq1_s_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq1_s_block *block = (const pe_iq1_s_block *)row + b;
    const float scale = 0.125f * vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale * (float)(2 * (block->qh[2 * j + 1] >> 4 & 7) + 1);
    (void)m;
}
#endif

#endif
