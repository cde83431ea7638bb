/* IQ2_XS: 256 weights, 8 at a time from a grid of 512 rows; sub-scales of 4 bits for 16 weights.
 * weight = d * (0.5 + scale) / 4 * sign * grid value.
 * Eight weights have 16 bits: the row number in the low nine, and seven signs. */
#ifndef PE_QUANT_IQ2_XS_H
#define PE_QUANT_IQ2_XS_H

#include "base/half.h"
#include "quant/iq_grids.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_iq2_xs_block {
    uint8_t d[2]; /* half: scale of the sub-scales */
    uint8_t qs[64];
    uint8_t scales[8]; /* of a group of 32: low nibble for its first 16 weights, high nibble for the others */
} pe_iq2_xs_block;
_Static_assert(sizeof(pe_iq2_xs_block) == 74, "an IQ2_XS block is 74 bytes");

static inline void pe_iq2_xs_decode(const void *blocks, float *out, size_t n) {
    const pe_iq2_xs_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned k = 0; k < 32; k++, out += 8) {
            uint32_t code = pe_load_u16(block->qs + 2 * k), sub = block->scales[k / 4] >> k % 4 / 2 * 4 & 15;
            float scale = d * (0.5f + (float)sub) * 0.25f;
            pe_iq_decode(out, 8, pe_iq2xs_grid[code & 511], pe_iq_even_signs(code >> 9), scale);
        }
    }
}

#ifdef PE_VQ
static inline vq pe_iq2_xs_weights(const uint8_t *row, size_t g) {
    const pe_iq2_xs_block *block = (const pe_iq2_xs_block *)row + g / 8;
    const unsigned j = g % 8;
    const uint64_t codes = pe_iq_load_u64(block->qs + 8 * j), *grid = pe_iq2xs_grid;
    uint64_t signs = codes >> 9 & 0x007f007f007f007f; /* a byte in 16 bits each, to be moved side by side */
    signs = (signs | signs >> 8) & 0x0000ffff0000ffff;
    vq w = vq_set_s8(grid[codes & 511], grid[codes >> 16 & 511], grid[codes >> 32 & 511], grid[codes >> 48 & 511]);
    w = vq_negate(w, pe_iq_even_signs((uint32_t)(signs | signs >> 16)));
    return vq_scale2(w, 2 * (block->scales[j] & 15) + 1, 2 * (block->scales[j] >> 4) + 1);
}

static inline void pe_iq2_xs_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq2_xs_block *block = (const pe_iq2_xs_block *)row + b;
    const float scale = 0.125f * vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
