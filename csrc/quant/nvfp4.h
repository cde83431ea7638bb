/* NVFP4: 64 weights, floats of 4 bits (as in MXFP4), and a scale of 8 bits for each 16.
 * weight = scale * value[q] / 2. A scale is a float without sign (4 bits of exponent, 3 of mantissa; 0x7f is 0, bit 7
 * counts only there). Byte j of a 16's eight bytes holds weights j (low nibble) and j + 8.
 *
 * Kernels want one scale for 32 weights: it is the power of two at which both scales are integers, each below 256.
 * Where one is more than 2^4 times the other, the small one is rounded to that grid: by 1/480 of the large one at most.
 */
#ifndef PE_QUANT_NVFP4_H
#define PE_QUANT_NVFP4_H

#include "base/half.h"
#include "quant/mxfp4.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_nvfp4_block {
    uint8_t scales[4];
    uint8_t qs[32]; /* nibbles */
} pe_nvfp4_block;
_Static_assert(sizeof(pe_nvfp4_block) == 36, "an NVFP4 block is 36 bytes");

/* Scale = mantissa * 2^(exponent - 11), halved as values are doubled; mantissa 0..15, exponent 1..15. */
static inline unsigned pe_nvfp4_mantissa(uint8_t scale) {
    return scale == 0x7f ? 0 : (scale & 7) | (scale & 0x78 ? 8 : 0);
}

static inline unsigned pe_nvfp4_exponent(uint8_t scale) { return scale & 0x78 && scale != 0x7f ? scale >> 3 & 15 : 1; }

static inline float pe_nvfp4_power(unsigned exponent) { return pe_float_from_bits((exponent + 127 - 11) << 23); }

static inline void pe_nvfp4_decode(const void *blocks, float *out, size_t n) {
    const pe_nvfp4_block *block = blocks;
    for (size_t b = 0; b < n / 64; b++, block++) {
        for (int s = 0; s < 4; s++, out += 16) {
            const uint8_t scale = block->scales[s];
            const float d = (float)pe_nvfp4_mantissa(scale) * pe_nvfp4_power(pe_nvfp4_exponent(scale));
            for (int i = 0; i < 8; i++) {
                out[i] = d * (float)pe_mxfp4_values[block->qs[8 * s + i] & 15];
                out[i + 8] = d * (float)pe_mxfp4_values[block->qs[8 * s + i] >> 4];
            }
        }
    }
}

/* Of two scales: the exponent that both are written with. A mantissa of 8 to 15 times 2^4 is below 256. */
static inline unsigned pe_nvfp4_common(const uint8_t scales[2]) {
    const unsigned a = pe_nvfp4_exponent(scales[0]), b = pe_nvfp4_exponent(scales[1]);
    const unsigned low = a < b ? a : b, high = a < b ? b : a;
    return low + 4 < high ? high - 4 : low;
}

/* A scale in units of 2^common, to nearest. */
static inline int pe_nvfp4_integer(uint8_t scale, unsigned common) {
    const unsigned mantissa = pe_nvfp4_mantissa(scale), exponent = pe_nvfp4_exponent(scale);
    if (exponent >= common) return (int)(mantissa << (exponent - common));
    const unsigned down = common - exponent;
    return (int)((mantissa + (1u << (down - 1))) >> down);
}

#ifdef PE_VQ
static inline vq pe_nvfp4_weights(const uint8_t *row, size_t g) {
    const pe_nvfp4_block *block = (const pe_nvfp4_block *)row + g / 2;
    const uint8_t *scales = block->scales + g % 2 * 2;
    /* the first 16 weights to the low nibbles, the second to the high ones */
    uint64_t first, second, nibbles[2];
    memcpy(&first, block->qs + g % 2 * 16, 8);
    memcpy(&second, block->qs + g % 2 * 16 + 8, 8);
    nibbles[0] = (first & 0x0f0f0f0f0f0f0f0f) | (second & 0x0f0f0f0f0f0f0f0f) << 4;
    nibbles[1] = (first >> 4 & 0x0f0f0f0f0f0f0f0f) | (second & 0xf0f0f0f0f0f0f0f0);
    const vq values = vq_load_values((const uint8_t *)nibbles, pe_mxfp4_values);
    const unsigned common = pe_nvfp4_common(scales);
    return vq_scale2(values, pe_nvfp4_integer(scales[0], common), pe_nvfp4_integer(scales[1], common));
}

static inline void pe_nvfp4_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_nvfp4_block *block = (const pe_nvfp4_block *)row + b;
    d[0] = pe_nvfp4_power(pe_nvfp4_common(block->scales));
    d[1] = pe_nvfp4_power(pe_nvfp4_common(block->scales + 2));
    (void)m;
}
#endif

#endif
