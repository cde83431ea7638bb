/* Sixteen-bit floats in portable C: IEEE binary16 ("half", F16) and bfloat16 (BF16).
 *
 * Instruction sets with conversion instructions bring their own; this is what the others and the scalar decode use,
 * and what those instructions are tested against. Stored values are little-endian and may lie at any address. */
#ifndef PE_BASE_HALF_H
#define PE_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint16_t pe_load_u16(const void *p) {
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t pe_load_u32(const void *p) {
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline float pe_float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t pe_float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Exact for every finite value. A signalling NaN comes out quiet, as from the processors' own instructions. */
static inline float pe_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t magnitude = half & 0x7fff;
    uint32_t bits;
    if (magnitude < 0x0400) /* zero or subnormal: a multiple of 2^-24 */
        bits = pe_float_bits((float)magnitude * 0x1p-24f);
    else if (magnitude < 0x7c00) /* the exponent bias goes from 15 to 127 */
        bits = (magnitude << 13) + ((127u - 15u) << 23);
    else
        bits = 0x7f800000 | (magnitude << 13) | (magnitude > 0x7c00 ? 0x00400000 : 0);
    return pe_float_from_bits(sign | bits);
}

/* Rounds to nearest, ties to even; past 65504 + half a step comes infinity. */
static inline uint16_t pe_float_to_half(float value) {
    uint32_t bits = pe_float_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;
    uint32_t half;
    if (magnitude > 0x7f800000)
        half = 0x7e00 | (magnitude >> 13 & 0x03ff);
    else if (magnitude >= 0x477ff000) /* 65520, the tie between 65504 and what would be 65536 */
        half = 0x7c00;
    else if (magnitude >= 0x38800000) /* 2^-14, the smallest normal half */
        half = (magnitude - ((127u - 15u) << 23) + 0x0fff + (magnitude >> 13 & 1)) >> 13;
    else /* one step of floats in [0.5, 1) is one step of subnormal halves: the addition does the rounding */
        half = pe_float_bits(pe_float_from_bits(magnitude) + 0.5f) - 0x3f000000;
    return (uint16_t)(sign | half);
}

static inline float pe_bf16_to_float(uint16_t value) { return pe_float_from_bits((uint32_t)value << 16); }

/* The stored half at p. */
static inline float pe_half_load(const void *p) { return pe_half_to_float(pe_load_u16(p)); }

#endif
