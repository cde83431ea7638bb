/* IQ4_NL: 32 weights of 4 bits that number unevenly spaced values, one scale; weight = d * value[q].
 * Byte i of qs holds weight i in its low and weight i + 16 in its high nibble. */
#ifndef PE_QUANT_IQ4_NL_H
#define PE_QUANT_IQ4_NL_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_iq4_nl_block {
    uint8_t d[2];   /* half: scale */
    uint8_t qs[16]; /* nibbles */
} pe_iq4_nl_block;
_Static_assert(sizeof(pe_iq4_nl_block) == 18, "an IQ4_NL block is 18 bytes");

static const int8_t pe_iq4_nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static inline void pe_iq4_nl_decode(const void *blocks, float *out, size_t n) {
    const pe_iq4_nl_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_half_load(block->d);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)pe_iq4_nl_values[block->qs[i] & 15];
            out[i + 16] = d * (float)pe_iq4_nl_values[block->qs[i] >> 4];
        }
    }
}

#ifdef PE_VQ
PE_WORD vq pe_iq4_nl_weights(const uint8_t *row, size_t g) {
    return vq_load_values(((const pe_iq4_nl_block *)row + g)->qs, pe_iq4_nl_values);
}

static inline void pe_iq4_nl_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_iq4_nl_block *block = (const pe_iq4_nl_block *)row + b;
    *d = vs_f16(block->d);
    (void)m;
}
#endif

#endif
