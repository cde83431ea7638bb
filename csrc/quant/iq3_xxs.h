/* IQ3_XXS: 256 weights, 4 at a time from a grid of 256 rows; sub-scales of 4 bits for 32 weights.
 * weight = d * (0.5 + scale) / 2 * sign * grid value. */
#ifndef PE_QUANT_IQ3_XXS_H
#define PE_QUANT_IQ3_XXS_H

#include "base/half.h"
#include "quant/iq_grids.h"
#include <stddef.h>

typedef struct pe_iq3_xxs_block {
    uint8_t d[2];      /* half: scale of the sub-scales */
    uint8_t qs[64];    /* row numbers */
    uint8_t words[32]; /* of each group of 32: four times seven signs, and the sub-scale in the upper bits */
} pe_iq3_xxs_block;
_Static_assert(sizeof(pe_iq3_xxs_block) == 98, "an IQ3_XXS block is 98 bytes");

static inline void pe_iq3_xxs_decode(const void *blocks, float *out, size_t n) {
    const pe_iq3_xxs_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        const uint8_t *qs = block->qs;
        for (unsigned j = 0; j < 8; j++) {
            uint32_t word = pe_load_u32(block->words + 4 * j), signs = pe_iq_signs(word);
            float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            for (int k = 0; k < 8; k++, out += 4) pe_iq_decode(out, 4, pe_iq3xxs_grid[*qs++], signs >> 4 * k, scale);
        }
    }
}

#ifdef PE_VQ
static inline vq pe_iq3_xxs_weights(const uint8_t *row, size_t g) {
    const pe_iq3_xxs_block *block = (const pe_iq3_xxs_block *)row + g / 8;
    const unsigned j = g % 8;
    const uint8_t *qs = block->qs + 8 * j;
    uint64_t rows[4];
    for (int k = 0; k < 4; k++) rows[k] = pe_iq3xxs_grid[qs[2 * k]] | (uint64_t)pe_iq3xxs_grid[qs[2 * k + 1]] << 32;
    return vq_negate(vq_set_s8(rows[0], rows[1], rows[2], rows[3]), pe_iq_signs(pe_load_u32(block->words + 4 * j)));
}

static inline void pe_iq3_xxs_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq3_xxs_block *block = (const pe_iq3_xxs_block *)row + b;
    const float scale = 0.25f * vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale * (float)(2 * (block->words[4 * j + 3] >> 4) + 1);
    (void)m;
}
#endif

#endif
