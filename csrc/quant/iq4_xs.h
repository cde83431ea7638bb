/* IQ4_XS: 256 weights of 4 bits that number the values of IQ4_NL; sub-scales of 6 bits for 32 weights.
 * weight = d * (scale - 32) * value[q]. Nibbles of a group lie as in IQ4_NL.
 * Sub-scale j has its low four bits in nibble j of scales_l, low nibbles first, the upper two at 2j of scales_h. */
#ifndef PE_QUANT_IQ4_XS_H
#define PE_QUANT_IQ4_XS_H

#include "base/half.h"
#include "quant/iq4_nl.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_iq4_xs_block {
    uint8_t d[2];        /* half: scale of the sub-scales */
    uint8_t scales_h[2]; /* upper bits of the sub-scales */
    uint8_t scales_l[4]; /* their low bits */
    uint8_t qs[128];     /* nibbles */
} pe_iq4_xs_block;
_Static_assert(sizeof(pe_iq4_xs_block) == 136, "an IQ4_XS block is 136 bytes");

static inline int pe_iq4_xs_scale(const pe_iq4_xs_block *block, unsigned j) {
    int low = block->scales_l[j / 2] >> j % 2 * 4 & 15, high = pe_load_u16(block->scales_h) >> 2 * j & 3;
    return (low | high << 4) - 32;
}

static inline void pe_iq4_xs_decode(const void *blocks, float *out, size_t n) {
    const pe_iq4_xs_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        for (unsigned j = 0; j < 8; j++, out += 32) {
            float scale = d * (float)pe_iq4_xs_scale(block, j);
            for (unsigned i = 0; i < 32; i++) {
                int q = block->qs[16 * j + i % 16] >> i / 16 * 4 & 15;
                out[i] = scale * (float)pe_iq4_nl_values[q];
            }
        }
    }
}

#ifdef PE_VQ
PE_WORD vq pe_iq4_xs_weights(const uint8_t *row, size_t g) {
    return vq_load_values(((const pe_iq4_xs_block *)row + g / 8)->qs + g % 8 * 16, pe_iq4_nl_values);
}

static inline void pe_iq4_xs_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq4_xs_block *block = (const pe_iq4_xs_block *)row + b;
    const float scale = vs_f16(block->d);
    for (unsigned j = 0; j < 8; j++) d[j] = scale * (float)pe_iq4_xs_scale(block, j);
    (void)m;
}
#endif

#endif
