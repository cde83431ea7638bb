/* Quantisers of the types without sub-scales: plain floats, and blocks of 32 with one scale. */
#include "quant/encode.h"

#include "quant/quants.h"

#include <math.h>

/* ---- floats ----------------------------------------------------------------------------------------------------- */

float pe_f32_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    (void)w, (void)fits;
    memcpy(blocks, x, n * sizeof *x); /* little-endian, as all that this runs on */
    return 0;
}

float pe_f16_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    (void)w;
    return fits->store_f16(blocks, x, n);
}

float pe_bf16_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    (void)w, (void)fits;
    uint8_t *out = blocks;
    float error = 0;
    bool held = true;
    for (size_t i = 0; i < n; i++) { /* to nearest, ties to even */
        const uint32_t bits = pe_float_bits(x[i]), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        const float off = x[i] - pe_bf16_to_float((uint16_t)rounded);
        pe_store_u16(out + 2 * i, rounded);
        error += off * off;
        held &= (rounded & 0x7fff) < 0x7f80;
    }
    return held ? fminf(error, 3e38f) : INFINITY; /* large values have errors whose squares are too large */
}

/* ---- blocks of 32 ----------------------------------------------------------------------------------------------- */

static const pe_levels levels_q4 = {.lo = -8, .hi = 7}, levels_q5 = {.lo = -16, .hi = 15},
                       levels_q8 = {.lo = -127, .hi = 127}, levels_16 = {.lo = 0, .hi = 15},
                       levels_32 = {.lo = 0, .hi = 31};

/* Low nibbles: levels i and i + 16 share a byte. */
static void pack_nibbles(uint8_t out[16], const uint8_t levels[32]) {
    for (int i = 0; i < 16; i += 8)
        pe_store_levels(out + i, (pe_load_levels(levels + i) & pe_eight(15)) |
                                     (pe_load_levels(levels + i + 16) & pe_eight(15)) << 4);
}

/* Fifth bits, level i's at bit i. */
static void pack_fifth(uint8_t out[4], const uint8_t levels[32]) {
    for (int i = 0; i < 4; i++) { /* the factor brings the lowest bit of byte k to bit 56 + k */
        const uint64_t bits = pe_load_levels(levels + 8 * i) >> 4 & pe_eight(1);
        out[i] = (uint8_t)(bits * UINT64_C(0x0102040810204080) >> 56);
    }
}

float pe_q4_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const pe_search search = {-0.12f, 0.016f, 16, 0, false};
    pe_q4_0_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 32; b++, block++, x += 32, w += 32) {
        uint8_t levels[32];
        const float d = pe_store_scale(block->d, fits->scale(x, w, 32, &levels_q4, &search).d);
        error += fits->levels(levels, x, 32, d, 0, &levels_q4);
        pack_nibbles(block->qs, levels);
    }
    return error;
}

float pe_q5_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const pe_search search = {-0.06f, 0.008f, 16, 0, false};
    pe_q5_0_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 32; b++, block++, x += 32, w += 32) {
        uint8_t levels[32];
        const float d = pe_store_scale(block->d, fits->scale(x, w, 32, &levels_q5, &search).d);
        error += fits->levels(levels, x, 32, d, 0, &levels_q5);
        pack_nibbles(block->qs, levels);
        pack_fifth(block->qh, levels);
    }
    return error;
}

float pe_q8_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    pe_q8_0_block *block = blocks;
    float error = 0;
    (void)w; /* levels are so dense that the range decides alone */
    for (size_t b = 0; b < n / 32; b++, block++, x += 32) {
        const float d = pe_store_scale(block->d, pe_largest(x, 32) / 127);
        error += fits->levels(block->qs, x, 32, d, 0, &levels_q8);
        for (int i = 0; i < 32; i++) block->qs[i] = (uint8_t)(block->qs[i] - 127);
    }
    return error;
}

float pe_q4_1_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const pe_search search = {-0.06f, 0.008f, 16, 0, false};
    pe_q4_1_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 32; b++, block++, x += 32, w += 32) {
        uint8_t levels[32];
        const pe_line line = fits->line(x, w, 32, 15, true, &search);
        const float d = pe_store_scale(block->d, line.d), m = pe_store_scale(block->m, line.m);
        error += fits->levels(levels, x, 32, d, m, &levels_16);
        pack_nibbles(block->qs, levels);
    }
    return error;
}

float pe_q5_1_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const pe_search search = {-0.03f, 0.004f, 16, 0, false};
    pe_q5_1_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / 32; b++, block++, x += 32, w += 32) {
        uint8_t levels[32];
        const pe_line line = fits->line(x, w, 32, 31, true, &search);
        const float d = pe_store_scale(block->d, line.d), m = pe_store_scale(block->m, line.m);
        error += fits->levels(levels, x, 32, d, m, &levels_32);
        pack_nibbles(block->qs, levels);
        pack_fifth(block->qh, levels);
    }
    return error;
}
