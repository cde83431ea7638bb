/* IQ2_XXS: 256 weights, 8 at a time from a grid of 256 rows; sub-scales of 4 bits for 32 weights.
 * weight = d * (0.5 + scale) / 4 * sign * grid value.
 * A group of 32 weights has four row numbers and a word: four times seven signs, and the sub-scale in the upper bits.
 */
#ifndef PE_QUANT_IQ2_XXS_H
#define PE_QUANT_IQ2_XXS_H

#include "base/half.h"
#include "quant/iq_grids.h"
#include <stddef.h>

typedef struct pe_iq2_xxs_block {
    uint8_t d[2];   /* half: scale of the sub-scales */
    uint8_t qs[64]; /* 8 bytes a group */
} pe_iq2_xxs_block;
_Static_assert(sizeof(pe_iq2_xxs_block) == 66, "an IQ2_XXS block is 66 bytes");

static inline void pe_iq2_xxs_decode(const void *blocks, float *out, size_t n) {
    const pe_iq2_xxs_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (const uint8_t *qs = block->qs; qs < block->qs + 64; qs += 8) {
            uint32_t word = pe_load_u32(qs + 4), signs = pe_iq_signs(word);
            float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
            for (int k = 0; k < 4; k++, out += 8) pe_iq_decode(out, 8, pe_iq2xxs_grid[qs[k]], signs >> 8 * k, scale);
        }
    }
}

#ifdef PE_VQ
static inline vq pe_iq2_xxs_weights(const uint8_t *row, size_t g) {
    const uint8_t *qs = ((const pe_iq2_xxs_block *)row + g / 8)->qs + g % 8 * 8;
    const uint64_t *grid = pe_iq2xxs_grid;
    return vq_negate(vq_set_s8(grid[qs[0]], grid[qs[1]], grid[qs[2]], grid[qs[3]]), pe_iq_signs(pe_load_u32(qs + 4)));
}

static inline void pe_iq2_xxs_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq2_xxs_block *block = (const pe_iq2_xxs_block *)row + b;
    const float scale = 0.125f * vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale * (float)(2 * (block->qs[8 * j + 7] >> 4) + 1);
    (void)m;
}
#endif

#endif
