/* Quantisers of the types with few or uneven levels: IQ4_NL, MXFP4, and one and two bits a weight. */
#include "quant/encode.h"
#include "quant/iq4_nl.h"
#include "quant/mxfp4.h"
#include "quant/q1_0.h"
#include "quant/q2_0.h"
#include "quant/tq1_0.h"
#include "quant/tq2_0.h"

#include <math.h>

/* ---- tables of four bits ---------------------------------------------------------------------------------------- */

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const float iq4_limits[15] = {-115.5f, -93.5f, -74,   -57,   -42, -28.5f, -16, -4.5f,
                                     7,       19,     31.5f, 45.5f, 61,  79,     101};
const pe_levels pe_levels_iq4 = {.lo = -127, .hi = 113, .values = iq4_values, .limits = iq4_limits, .n = 16};

/* Weights i and i + 16 share a byte. */
static void pack_nibbles(uint8_t out[16], const uint8_t levels[32]) {
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)(levels[i] | levels[i + 16] << 4);
}

float pe_iq4_nl_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const pe_search search = {-0.12f, 0.016f, 16, 1, true};
    pe_iq4_nl_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 32; b++, block++, x += 32, w += 32) {
        uint8_t levels[32];
        const float d = pe_store_scale(block->d, fits->scale(x, w, 32, &pe_levels_iq4, &search).d);
        error += fits->levels(levels, x, 32, d, 0, &pe_levels_iq4);
        pack_nibbles(block->qs, levels);
    }
    return error;
}

/* The exponent byte with the least error, of two: the largest weight comes to 6..12, or to 12..24, which cuts it and is
 * twice as fine for the others. */
static uint8_t mxfp4_exponent(const float *x, const float *w, const pe_levels *levels, const pe_fits *fits) {
    int exponent;
    frexpf(pe_largest(x, 32) / 12, &exponent); /* in 2^(exponent - 1) .. 2^exponent */
    uint8_t best = 0;
    float most = -1;
    for (int e = exponent + 127; e <= exponent + 128; e++) {
        const uint8_t byte = (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
        const float d = pe_mxfp4_scale(byte);
        const pe_sums s = fits->sums(x, w, 32, d, 0, levels);
        const float gain = d * (2 * s.xq - d * s.qq);
        if (gain <= most) continue;
        most = gain;
        best = byte;
    }
    return best;
}

/* The levels of both signs are alike, so magnitudes are fitted; code 8 is the sign. */
float pe_mxfp4_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const float values[8] = {0, 1, 2, 3, 4, 6, 8, 12}, limits[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
    static const pe_levels type = {.lo = 0, .hi = 12, .values = values, .limits = limits, .n = 8};
    pe_mxfp4_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 32; b++, block++, x += 32, w += 32) {
        float magnitudes[32];
        uint8_t levels[32];
        for (int i = 0; i < 32; i++) magnitudes[i] = fabsf(x[i]);
        block->e = mxfp4_exponent(magnitudes, w, &type, fits);
        error += fits->levels(levels, magnitudes, 32, pe_mxfp4_scale(block->e), 0, &type);
        for (int i = 0; i < 32; i++) levels[i] |= (uint8_t)((levels[i] && x[i] < 0) << 3);
        pack_nibbles(block->qs, levels);
    }
    return error;
}

/* ---- one and two bits ------------------------------------------------------------------------------------------- */

float pe_q1_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    pe_q1_0_block *block = blocks;
    float error = 0;
    (void)fits;
    for (size_t b = 0; b < n / 128; b++, block++, x += 128, w += 128) {
        float sum = 0, weight = 0;
        memset(block->qs, 0, sizeof block->qs);
        for (int i = 0; i < 128; i++) {
            sum += w[i] * fabsf(x[i]);
            weight += w[i];
            block->qs[i / 8] |= (uint8_t)((x[i] >= 0) << i % 8);
        }
        const float d = pe_store_scale(block->d, sum / weight);
        for (int i = 0; i < 128; i++) error += (fabsf(x[i]) - d) * (fabsf(x[i]) - d);
    }
    return error;
}

float pe_q2_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const pe_levels type = {.lo = -1, .hi = 2};
    static const pe_search search = {-0.25f, 0.125f, 16, 1, false};
    pe_q2_0_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 64; b++, block++, x += 64, w += 64) {
        uint8_t levels[64];
        const float d = pe_store_scale(block->d, fits->scale(x, w, 64, &type, &search).d);
        error += fits->levels(levels, x, 64, d, 0, &type);
        for (int i = 0; i < 16; i++)
            block->qs[i] =
                (uint8_t)(levels[4 * i] | levels[4 * i + 1] << 2 | levels[4 * i + 2] << 4 | levels[4 * i + 3] << 6);
    }
    return error;
}

/* Digits 0..2 and the scale of a ternary block. Weights that are -d, 0 and d come out as they are. */
static float fit_ternary(uint8_t digits[256], void *field, const float *x, const float *w, const pe_fits *fits) {
    static const pe_levels type = {.lo = -1, .hi = 1};
    static const pe_search search = {0, 0.25f, 16, 1, false};
    const float d = pe_store_scale(field, fits->scale(x, w, 256, &type, &search).d);
    return fits->levels(digits, x, 256, d, 0, &type);
}

float pe_tq2_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    pe_tq2_0_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 256; b++, block++, x += 256, w += 256) {
        uint8_t digits[256];
        error += fit_ternary(digits, block->d, x, w, fits);
        memset(block->qs, 0, sizeof block->qs);
        for (int i = 0; i < 256; i++) block->qs[i / 128 * 32 + i % 32] |= (uint8_t)(digits[i] << i / 32 % 4 * 2);
    }
    return error;
}

/* n bytes of five digits (or fewer), each the digits of as many runs of n weights, as a fraction rounded up. */
static void pack_digits(uint8_t *out, const uint8_t *digits, int n, int runs) {
    for (int i = 0; i < n; i++) {
        int number = 0;
        for (int k = 0; k < 5; k++) number = 3 * number + (k < runs ? digits[k * n + i] : 0);
        out[i] = (uint8_t)((number * 256 + 242) / 243);
    }
}

float pe_tq1_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    pe_tq1_0_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 256; b++, block++, x += 256, w += 256) {
        uint8_t digits[256];
        error += fit_ternary(digits, block->d, x, w, fits);
        pack_digits(block->qs, digits, 32, 5);
        pack_digits(block->qs + 32, digits + 160, 16, 5);
        pack_digits(block->qh, digits + 240, 4, 4);
    }
    return error;
}
