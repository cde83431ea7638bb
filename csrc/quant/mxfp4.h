/* MXFP4: 32 weights, floats of 4 bits (sign, two bits of exponent, one of mantissa), times a power of two.
 * weight = 2^(e - 127) * value[q] / 2, since the values are stored doubled. Nibbles lie as in Q4_0.
 * Format: OCP Microscaling Formats v1.0; unlike there, e = 255 is a power as any other. */
#ifndef PE_QUANT_MXFP4_H
#define PE_QUANT_MXFP4_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_mxfp4_block {
    uint8_t e;
    uint8_t qs[16]; /* nibbles */
} pe_mxfp4_block;
_Static_assert(sizeof(pe_mxfp4_block) == 17, "an MXFP4 block is 17 bytes");

static const int8_t pe_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128); the first two are subnormal. */
static inline float pe_mxfp4_scale(uint8_t e) {
    return pe_float_from_bits(e < 2 ? UINT32_C(0x00200000) << e : (uint32_t)(e - 1) << 23);
}

static inline void pe_mxfp4_decode(const void *blocks, float *out, size_t n) {
    const pe_mxfp4_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_mxfp4_scale(block->e);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)pe_mxfp4_values[block->qs[i] & 15];
            out[i + 16] = d * (float)pe_mxfp4_values[block->qs[i] >> 4];
        }
    }
}

#ifdef PE_VQ
static inline vq pe_mxfp4_weights(const uint8_t *row, size_t g) {
    return vq_load_values(((const pe_mxfp4_block *)row + g)->qs, pe_mxfp4_values);
}

static inline void pe_mxfp4_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_mxfp4_block *block = (const pe_mxfp4_block *)row + b;
    *d = pe_mxfp4_scale(block->e);
    (void)m;
}
#endif

#endif
