/* Quantisers: floats into the blocks that the type headers describe. Own methods for the published formats; each type
 * has one function
 *
 *   pe_<type>_encode(blocks, x [n], w [n], n, fits)
 *
 * that writes the blocks of n weights, a multiple of the block, so that the sum of w * (x - decoded)^2 is small, and
 * returns the sum of (x - decoded)^2, not weighted; infinite where the type cannot hold a value. All x are finite, all
 * w are positive. */
#ifndef PE_QUANT_ENCODE_H
#define PE_QUANT_ENCODE_H

#include "base/half.h"
#include "quant/fits.h"

typedef float (*pe_encode)(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits);

/* The types that can be made: PE_ENCODER(number, lower). */
#define PE_ENCODERS                                                                                                    \
    PE_ENCODER(0, f32)                                                                                                 \
    PE_ENCODER(1, f16)                                                                                                 \
    PE_ENCODER(30, bf16)                                                                                               \
    PE_ENCODER(2, q4_0)                                                                                                \
    PE_ENCODER(3, q4_1)                                                                                                \
    PE_ENCODER(6, q5_0)                                                                                                \
    PE_ENCODER(7, q5_1)                                                                                                \
    PE_ENCODER(8, q8_0)                                                                                                \
    PE_ENCODER(10, q2_k)                                                                                               \
    PE_ENCODER(11, q3_k)                                                                                               \
    PE_ENCODER(12, q4_k)                                                                                               \
    PE_ENCODER(13, q5_k)                                                                                               \
    PE_ENCODER(14, q6_k)                                                                                               \
    PE_ENCODER(20, iq4_nl)                                                                                             \
    PE_ENCODER(23, iq4_xs)                                                                                             \
    PE_ENCODER(34, tq1_0)                                                                                              \
    PE_ENCODER(35, tq2_0)                                                                                              \
    PE_ENCODER(39, mxfp4)                                                                                              \
    PE_ENCODER(41, q1_0)                                                                                               \
    PE_ENCODER(42, q2_0)                                                                                               \
    PE_ENCODER(18, iq3_xxs)                                                                                            \
    PE_ENCODER(21, iq3_s)                                                                                              \
    PE_ENCODER(22, iq2_s)                                                                                              \
    PE_ENCODER(17, iq2_xs)                                                                                             \
    PE_ENCODER(16, iq2_xxs)                                                                                            \
    PE_ENCODER(19, iq1_s)                                                                                              \
    PE_ENCODER(29, iq1_m)

#define PE_ENCODER(number, lower)                                                                                      \
    float pe_##lower##_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits);
PE_ENCODERS
#undef PE_ENCODER

extern const pe_levels pe_levels_iq4; /* of IQ4_NL and IQ4_XS */

static inline void pe_store_u16(void *p, uint32_t value) {
    uint8_t *bytes = p;
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

/* Eight levels at once, as bytes of a number: packing is bit by bit the same for all of them. */
static inline uint64_t pe_load_levels(const uint8_t *levels) {
    uint64_t word;
    memcpy(&word, levels, sizeof word);
    return word;
}

static inline void pe_store_levels(void *p, uint64_t word) { memcpy(p, &word, sizeof word); }

static inline uint64_t pe_eight(unsigned byte) { return UINT64_C(0x0101010101010101) * byte; }

/* The largest magnitude of x [n]. As integers, magnitudes of finite floats are in the same order. */
static inline float pe_largest(const float *x, size_t n) {
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t magnitude = pe_float_bits(x[i]) & 0x7fffffff;
        most = magnitude > most ? magnitude : most;
    }
    return pe_float_from_bits(most);
}

/* The value that a scale has as a half: infinite past the range, and so is then the error of the block. */
static inline float pe_half_value(float value) { return pe_half_to_float(pe_float_to_half(value)); }

/* Store a scale as a half and return the value that a reader will find. */
static inline float pe_store_scale(void *p, float value) {
    value = pe_half_value(value);
    pe_store_u16(p, pe_float_to_half(value));
    return value;
}

#endif
