/* Quantisers of the types without sub-scales: plain floats, and blocks of 32 with one scale. */
#include "quant/encode.h"

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

/* A type of plain blocks. All are laid out alike: d, m of lines, fifth bits, and the rest of the levels. */
typedef struct simple {
    pe_levels levels;
    pe_search search;
    int bits;
    bool line;
} simple;

static size_t bytes_of(const simple *type) {
    return 2 + (type->line ? 2 : 0) + (type->bits == 5 ? 4 : 0) + (type->bits == 8 ? 32 : 16);
}

/* Levels to the bytes that hold them, still side by side: those of weights i and i + 16 share a byte, and the fifth
 * bits are a number, weight i's at bit i. */
static void join_levels(uint16_t levels[32][PE_SIDE], uint16_t fifth[2][PE_SIDE]) {
    memset(fifth, 0, 2 * sizeof *fifth);
    for (size_t i = 0; i < 16; i++)
        for (size_t b = 0; b < PE_SIDE; b++) {
            const unsigned low = levels[i][b], high = levels[i + 16][b];
            fifth[0][b] |= (uint16_t)((low >> 4) << i);
            fifth[1][b] |= (uint16_t)((high >> 4) << i);
            levels[i][b] = (uint16_t)((low & 15) | (high & 15) << 4);
        }
}

/* The first `count` blocks; overwrites the levels. */
static void pack(const simple *type, uint8_t *block, pe_side *side, size_t count) {
    uint16_t fifth[2][PE_SIDE];
    if (type->bits < 8) join_levels(side->levels, fifth);
    const size_t n_bytes = type->bits < 8 ? 16 : 32;
    const unsigned zero = type->bits < 8 ? 0 : 127; /* the level that a byte of 0 stands for */
    for (size_t b = 0; b < count; b++) {
        pe_store_u16(block, side->d[b]);
        block += 2;
        if (type->line) {
            pe_store_u16(block, side->m[b]);
            block += 2;
        }
        if (type->bits == 5) {
            pe_store_u16(block, fifth[0][b]);
            pe_store_u16(block + 2, fifth[1][b]);
            block += 4;
        }
        for (size_t i = 0; i < n_bytes; i++) block[i] = (uint8_t)(side->levels[i][b] - zero);
        block += n_bytes;
    }
}

static float encode(const simple *type, uint8_t *block, const float *x, const float *w, size_t n, const pe_fits *fits) {
    pe_side side;
    float padded_x[PE_SIDE * 32] = {0}, padded_w[PE_SIDE * 32] = {0}, error = 0;
    if (!type->search.tries || memcmp(w, w + 1, (n - 1) * sizeof *w) == 0) w = NULL; /* each like the next */
    for (size_t left = n / 32, count; left > 0; left -= count, x += count * 32) {
        count = left < PE_SIDE ? left : PE_SIDE;
        if (count < PE_SIDE) { /* the lanes that are left hold zeros */
            x = memcpy(padded_x, x, count * 32 * sizeof *x);
            if (w) w = memcpy(padded_w, w, count * 32 * sizeof *w);
        }
        fits->side(&side, x, w, &type->levels, &type->search, type->line);
        for (size_t b = 0; b < count; b++) error += side.error[b];
        pack(type, block, &side, count);
        block += count * bytes_of(type);
        if (w) w += count * 32;
    }
    return error;
}

float pe_q4_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const simple type = {{.lo = -8, .hi = 7}, {-0.12f, 0.032f, 8, 0, false}, 4, false};
    return encode(&type, blocks, x, w, n, fits);
}

float pe_q5_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const simple type = {{.lo = -16, .hi = 15}, {-0.06f, 0.016f, 8, 0, false}, 5, false};
    return encode(&type, blocks, x, w, n, fits);
}

float pe_q8_0_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const simple type = {{.lo = -127, .hi = 127}, {.tries = 0}, 8, false}; /* so dense: no search */
    return encode(&type, blocks, x, w, n, fits);
}

float pe_q4_1_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const simple type = {{.lo = 0, .hi = 15}, {-0.06f, 0.016f, 8, 0, false}, 4, true};
    return encode(&type, blocks, x, w, n, fits);
}

float pe_q5_1_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const simple type = {{.lo = 0, .hi = 31}, {-0.03f, 0.008f, 8, 0, false}, 5, true};
    return encode(&type, blocks, x, w, n, fits);
}
