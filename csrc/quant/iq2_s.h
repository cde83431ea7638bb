/* IQ2_S: 256 weights, 8 at a time from a grid of 1024 rows; sub-scales of 4 bits for 16 weights.
 * weight = d * (0.5 + scale) / 4 * sign * grid value. Row number k of group j has its upper two bits at 2k of qh[j]. */
#ifndef PE_QUANT_IQ2_S_H
#define PE_QUANT_IQ2_S_H

#include "base/half.h"
#include "quant/iq_grids.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_iq2_s_block {
    uint8_t d[2];      /* half: scale of the sub-scales */
    uint8_t qs[32];    /* low eight bits of the row numbers */
    uint8_t signs[32]; /* a bit a weight */
    uint8_t qh[8];     /* upper two bits of the row numbers */
    uint8_t scales[8]; /* of a group of 32: low nibble for its first 16 weights, high nibble for the others */
} pe_iq2_s_block;
_Static_assert(sizeof(pe_iq2_s_block) == 82, "an IQ2_S block is 82 bytes");

static inline void pe_iq2_s_decode(const void *blocks, float *out, size_t n) {
    const pe_iq2_s_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned k = 0; k < 32; k++, out += 8) {
            unsigned at = block->qs[k] | (block->qh[k / 4] >> k % 4 * 2 & 3) << 8;
            float scale = d * (0.5f + (float)(block->scales[k / 4] >> k % 4 / 2 * 4 & 15)) * 0.25f;
            pe_iq_decode(out, 8, pe_iq2s_grid[at], block->signs[k], scale);
        }
    }
}

#ifdef PE_VQ
static inline vq pe_iq2_s_weights(const uint8_t *row, size_t g) {
    const pe_iq2_s_block *block = (const pe_iq2_s_block *)row + g / 8;
    const unsigned j = g % 8;
    const uint8_t *qs = block->qs + 4 * j;
    const uint64_t *grid = pe_iq2s_grid;
    const unsigned high = block->qh[j];
    vq w = vq_set_s8(grid[qs[0] | (high << 8 & 0x300)], grid[qs[1] | (high << 6 & 0x300)],
                     grid[qs[2] | (high << 4 & 0x300)], grid[qs[3] | (high << 2 & 0x300)]);
    w = vq_negate(w, pe_load_u32(block->signs + 4 * j));
    return vq_scale2(w, 2 * (block->scales[j] & 15) + 1, 2 * (block->scales[j] >> 4) + 1);
}

static inline void pe_iq2_s_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq2_s_block *block = (const pe_iq2_s_block *)row + b;
    const float scale = 0.125f * vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
