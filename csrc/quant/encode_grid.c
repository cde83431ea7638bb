/* Quantisers of the types whose weights are rows of a grid, 4 or 8 at a time, times a sign each and an odd number of a
 * scale: IQ3_XXS, IQ3_S, IQ2_S, IQ2_XS and IQ2_XXS; at the end IQ1_S and IQ1_M, whose rows have signs of their own and
 * are shifted.
 *
 * Magnitudes are fitted as if each could have any level of the grid; that gives the scale of a group. Rows are then the
 * nearest of the whole grid, for some scales around it. */
#include "quant/encode.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"

#include <math.h>

enum { BLOCK = 256, MAX_GROUPS = 16, MAX_GRID = 8 * 2048 };

typedef struct grid_type {
    pe_grid grid;
    pe_levels levels; /* of a coordinate */
    size_t groups;    /* in a block; sub-scales are 2 * s + 1, s in 0..15 */
    float factor;     /* weight = d * factor * sub-scale * sign * coordinate */
    bool even;        /* the number of minus signs of eight weights is even */
    int tries;        /* scales that a group's rows are found for */
} grid_type;

typedef struct grid_block {
    uint16_t rows[64];
    uint8_t signs[BLOCK / 8]; /* bit i % 8 of byte i / 8 */
    int subs[MAX_GROUPS];     /* s */
    float error;
} grid_block;

static const float odd_values[16] = {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
static const float odd_limits[15] = {2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};

/* Magnitudes and signs of eight weights. Where the signs must be even and are not, the weight that matters least gets
 * the wrong one, which is the same as a negative magnitude. */
static uint8_t split_signs(float magnitudes[8], const float *x, const float *w, bool even) {
    unsigned signs = 0, odd = 0;
    int least = 0;
    for (int i = 0; i < 8; i++) {
        magnitudes[i] = fabsf(x[i]);
        signs |= (unsigned)(x[i] < 0) << i;
        odd ^= x[i] < 0;
        if (w[i] * x[i] * x[i] < w[least] * x[least] * x[least]) least = i;
    }
    if (!even || !odd) return (uint8_t)signs;
    magnitudes[least] = -magnitudes[least];
    return (uint8_t)(signs ^ 1u << least);
}

/* The scale of a group, in *qq how much it matters. */
static float group_scale(const float *x, const float *w, size_t n, const grid_type *t, const pe_fits *fits, float *qq) {
    static const pe_search search = {-0.3f, 0.05f, 16, 1, false};
    const float start = fits->scale(x, w, n, &t->levels, &search).d;
    float best = 0, gain = 0;
    uint16_t rows[8];
    *qq = 0;
    for (int k = 0; k < t->tries && start > 0; k++) {
        const float d = start * (1 + 0.05f * (float)(k - t->tries / 2));
        const pe_sums s = fits->rows(rows, x, w, n, d, &t->grid);
        if (s.qq <= 0 || s.xq <= 0 || s.xq * s.xq <= gain * s.qq) continue;
        best = s.xq / s.qq;
        gain = s.xq * best;
        *qq = s.qq;
    }
    return best;
}

static int nearest_sub(float scale, float d, int most) {
    const float sub = (scale * pe_inverse(d) - 1) / 2;
    return sub <= 0 ? 0 : sub >= (float)most ? most : (int)lrintf(sub);
}

static void fit_grid(grid_block *out, void *field, const grid_type *t, const float *x, const float *w,
                     const pe_fits *fits) {
    static const pe_levels odd = {.lo = 1, .hi = 31, .values = odd_values, .limits = odd_limits, .n = 16};
    static const pe_search search = {-0.2f, 0.025f, 16, 1, false};
    const size_t size = BLOCK / t->groups;
    float magnitudes[BLOCK], scales[MAX_GROUPS], weights[MAX_GROUPS], xq = 0, qq = 0;
    for (size_t i = 0; i < BLOCK; i += 8) out->signs[i / 8] = split_signs(magnitudes + i, x + i, w + i, t->even);
    for (size_t g = 0; g < t->groups; g++)
        scales[g] = group_scale(magnitudes + g * size, w + g * size, size, t, fits, &weights[g]);
    float d = pe_half_value(fits->scale(scales, weights, t->groups, &odd, &search).d / t->factor) * t->factor;
    for (size_t g = 0; g < t->groups; g++) {
        out->subs[g] = nearest_sub(scales[g], d, 15);
        const float sub = (float)(2 * out->subs[g] + 1);
        const pe_sums s = fits->rows(out->rows + g * size / t->grid.dims, magnitudes + g * size, w + g * size, size,
                                     d * sub, &t->grid);
        xq += s.xq * sub;
        qq += s.qq * sub * sub;
    }
    d = pe_store_scale(field, d > 0 && qq > 0 ? xq / qq / t->factor : 0) * t->factor;
    out->error = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        const float q = t->grid.values[i % t->grid.dims * t->grid.n + out->rows[i / t->grid.dims]];
        const float value = d * (float)(2 * out->subs[i / size] + 1) * q;
        const float off = (out->signs[i / 8] >> i % 8 & 1 ? -value : value) - x[i];
        out->error += off * off;
    }
}

/* Coordinates of a grid as floats; rows of four bytes or of eight. */
static pe_grid unpack(float values[MAX_GRID], const uint32_t *four, const uint64_t *eight, size_t n) {
    const pe_grid grid = {values, n, four ? 4 : 8};
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < grid.dims; i++)
            values[i * n + r] = (float)(int8_t)((four ? four[r] : eight[r]) >> 8 * i & 0xff);
    return grid;
}

/* Four times seven signs, and the sub-scale in the upper bits. */
static void store_signs(uint8_t *out, const uint8_t signs[4], int sub) {
    uint32_t word = (uint32_t)sub << 28;
    for (int k = 0; k < 4; k++) word |= (uint32_t)(signs[k] & 0x7f) << 7 * k;
    pe_store_u16(out, word);
    pe_store_u16(out + 2, word >> 16);
}

float pe_iq3_xxs_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const float values[8] = {4, 12, 20, 28, 36, 44, 52, 62}, limits[7] = {8, 16, 24, 32, 40, 48, 57};
    float coordinates[MAX_GRID], error = 0;
    const grid_type type = {.grid = unpack(coordinates, pe_iq3xxs_grid, NULL, 256),
                            .levels = {.lo = 4, .hi = 62, .values = values, .limits = limits, .n = 8},
                            .groups = 8,
                            .factor = 0.25f,
                            .even = true,
                            .tries = 5};
    pe_iq3_xxs_block *block = blocks;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        grid_block found;
        fit_grid(&found, block->d, &type, x, w, fits);
        error += found.error;
        for (int k = 0; k < 64; k++) block->qs[k] = (uint8_t)found.rows[k];
        for (int g = 0; g < 8; g++) store_signs(block->words + 4 * g, found.signs + 4 * g, found.subs[g]);
    }
    return error;
}

float pe_iq3_s_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const float values[8] = {1, 3, 5, 7, 9, 11, 13, 15}, limits[7] = {2, 4, 6, 8, 10, 12, 14};
    float coordinates[MAX_GRID], error = 0;
    const grid_type type = {.grid = unpack(coordinates, pe_iq3s_grid, NULL, 512),
                            .levels = {.lo = 1, .hi = 15, .values = values, .limits = limits, .n = 8},
                            .groups = 8,
                            .factor = 1,
                            .tries = 5};
    pe_iq3_s_block *block = blocks;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        grid_block found;
        memset(block, 0, sizeof *block);
        fit_grid(&found, block->d, &type, x, w, fits);
        error += found.error;
        memcpy(block->signs, found.signs, sizeof block->signs);
        for (int k = 0; k < 64; k++) {
            block->qs[k] = (uint8_t)found.rows[k];
            block->qh[k / 8] |= (uint8_t)(found.rows[k] >> 8 << k % 8);
        }
        for (int g = 0; g < 8; g++) block->scales[g / 2] |= (uint8_t)(found.subs[g] << g % 2 * 4);
    }
    return error;
}

/* What the types with rows of eight share: their magnitudes. */
static grid_type rows_of_eight(float coordinates[MAX_GRID], const uint64_t *grid, size_t n, size_t groups, bool even) {
    static const float values[3] = {8, 25, 43}, limits[2] = {16.5f, 34};
    return (grid_type){.grid = unpack(coordinates, NULL, grid, n),
                       .levels = {.lo = 8, .hi = 43, .values = values, .limits = limits, .n = 3},
                       .groups = groups,
                       .factor = 0.125f,
                       .even = even,
                       .tries = n > 512 ? 1 : 3};
}

float pe_iq2_s_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    float coordinates[MAX_GRID], error = 0;
    const grid_type type = rows_of_eight(coordinates, pe_iq2s_grid, 1024, 16, false);
    pe_iq2_s_block *block = blocks;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        grid_block found;
        memset(block, 0, sizeof *block);
        fit_grid(&found, block->d, &type, x, w, fits);
        error += found.error;
        memcpy(block->signs, found.signs, sizeof block->signs);
        for (int k = 0; k < 32; k++) {
            block->qs[k] = (uint8_t)found.rows[k];
            block->qh[k / 4] |= (uint8_t)(found.rows[k] >> 8 << k % 4 * 2);
        }
        for (int g = 0; g < 16; g++) block->scales[g / 2] |= (uint8_t)(found.subs[g] << g % 2 * 4);
    }
    return error;
}

float pe_iq2_xs_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    float coordinates[MAX_GRID], error = 0;
    const grid_type type = rows_of_eight(coordinates, pe_iq2xs_grid, 512, 16, true);
    pe_iq2_xs_block *block = blocks;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        grid_block found;
        fit_grid(&found, block->d, &type, x, w, fits);
        error += found.error;
        for (int k = 0; k < 32; k++)
            pe_store_u16(block->qs + 2 * k, found.rows[k] | (uint32_t)(found.signs[k] & 0x7f) << 9);
        for (int g = 0; g < 16; g += 2) block->scales[g / 2] = (uint8_t)(found.subs[g] | found.subs[g + 1] << 4);
    }
    return error;
}

float pe_iq2_xxs_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    float coordinates[MAX_GRID], error = 0;
    const grid_type type = rows_of_eight(coordinates, pe_iq2xxs_grid, 256, 8, true);
    pe_iq2_xxs_block *block = blocks;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        grid_block found;
        fit_grid(&found, block->d, &type, x, w, fits);
        error += found.error;
        for (int g = 0; g < 8; g++) {
            for (int k = 0; k < 4; k++) block->qs[8 * g + k] = (uint8_t)found.rows[4 * g + k];
            store_signs(block->qs + 8 * g + 4, found.signs + 4 * g, found.subs[g]);
        }
    }
    return error;
}

/* ---- shifted rows: weight = d * sub-scale * (coordinate of -1, 0 or 1, +- 1/8) ---------------------------------- */

typedef struct shifted_block {
    uint16_t rows[BLOCK / 8];
    bool minus[BLOCK / 8]; /* the sign of the shift */
    int subs[MAX_GROUPS];
    float d, error;
} shifted_block;

static float shift_of(bool minus) { return minus ? -0.125f : 0.125f; }

/* Rows for n weights and a shift for each run of them, for a given d; the sums of the shifted coordinates. */
static pe_sums shifted_rows(uint16_t *rows, bool *minus, const float *x, const float *w, size_t n, size_t run, float d,
                            const pe_grid *grid, const pe_fits *fits) {
    pe_sums sums = {0};
    for (size_t at = 0; at < n; at += run, x += run, w += run, rows += run / 8, minus += run / 8) {
        float least = INFINITY, y[32];
        for (int sign = 0; sign < 2; sign++) {
            uint16_t found[4];
            float constant = 0;
            for (size_t i = 0; i < run; i++) {
                y[i] = x[i] - d * shift_of(sign);
                constant += w[i] * y[i] * y[i];
            }
            const pe_sums s = fits->rows(found, y, w, run, d, grid);
            const float error = constant + d * (d * s.qq - 2 * s.xq);
            if (sign && error >= least) continue;
            least = error;
            for (size_t k = 0; k < run / 8; k++) {
                rows[k] = found[k];
                minus[k] = sign;
            }
        }
        for (size_t i = 0; i < run; i++) {
            const float q = grid->values[i % 8 * grid->n + rows[i / 8]] + shift_of(minus[i / 8]);
            sums.xq += w[i] * x[i] * q;
            sums.qq += w[i] * q * q;
        }
    }
    return sums;
}

/* The scale of a group: what its magnitudes would like as zeros and ones, and some beside it. */
static float shifted_scale(const float *x, const float *w, size_t n, size_t run, const pe_grid *grid,
                           const pe_fits *fits, float *qq) {
    static const float ones[2] = {0, 1}, half[1] = {0.5f}, tries[3] = {1, 0.9f, 1.12f};
    static const pe_levels levels = {.lo = 0, .hi = 1, .values = ones, .limits = half, .n = 2};
    static const pe_search search = {-0.1f, 0.08f, 16, 1, false};
    float magnitudes[32], best = 0, gain = 0;
    for (size_t i = 0; i < n; i++) magnitudes[i] = fabsf(x[i]);
    const float start = fits->scale(magnitudes, w, n, &levels, &search).d;
    uint16_t rows[4];
    bool minus[4];
    *qq = 0;
    for (int k = 0; k < 3 && start > 0; k++) {
        const pe_sums s = shifted_rows(rows, minus, x, w, n, run, start * tries[k], grid, fits);
        if (s.qq <= 0 || s.xq <= 0 || s.xq * s.xq <= gain * s.qq) continue;
        best = s.xq / s.qq;
        gain = s.xq * best;
        *qq = s.qq;
    }
    return best;
}

/* A block of `groups` sub-scales, with a shift for each `run` of weights. */
static void fit_shifted(shifted_block *out, size_t groups, size_t run, const float *x, const float *w,
                        const pe_grid *grid, const pe_fits *fits) {
    static const pe_levels odd = {.lo = 1, .hi = 15, .values = odd_values, .limits = odd_limits, .n = 8};
    static const pe_search search = {-0.2f, 0.025f, 16, 1, false};
    const size_t size = BLOCK / groups;
    float scales[MAX_GROUPS], weights[MAX_GROUPS], xq = 0, qq = 0;
    for (size_t g = 0; g < groups; g++)
        scales[g] = shifted_scale(x + g * size, w + g * size, size, run, grid, fits, &weights[g]);
    float d = pe_half_value(fits->scale(scales, weights, groups, &odd, &search).d);
    for (size_t g = 0; g < groups; g++) {
        out->subs[g] = nearest_sub(scales[g], d, 7);
        const float sub = (float)(2 * out->subs[g] + 1);
        const pe_sums s = shifted_rows(out->rows + g * size / 8, out->minus + g * size / 8, x + g * size, w + g * size,
                                       size, run, d * sub, grid, fits);
        xq += s.xq * sub;
        qq += s.qq * sub * sub;
    }
    out->d = d = pe_half_value(d > 0 && qq > 0 ? xq / qq : 0);
    out->error = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        const float q = grid->values[i % 8 * grid->n + out->rows[i / 8]] + shift_of(out->minus[i / 8]);
        const float off = d * (float)(2 * out->subs[i / size] + 1) * q - x[i];
        out->error += off * off;
    }
}

float pe_iq1_s_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    float coordinates[MAX_GRID], error = 0;
    const pe_grid grid = unpack(coordinates, NULL, pe_iq1s_grid, 2048);
    pe_iq1_s_block *block = blocks;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        shifted_block found;
        fit_shifted(&found, 8, 32, x, w, &grid, fits);
        error += found.error;
        pe_store_scale(block->d, found.d);
        for (int g = 0; g < 8; g++) {
            uint32_t high = (uint32_t)found.subs[g] << 12 | (uint32_t)found.minus[4 * g] << 15;
            for (int k = 0; k < 4; k++) {
                block->qs[4 * g + k] = (uint8_t)found.rows[4 * g + k];
                high |= (uint32_t)(found.rows[4 * g + k] >> 8) << 3 * k;
            }
            pe_store_u16(block->qh + 2 * g, high);
        }
    }
    return error;
}

float pe_iq1_m_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    float coordinates[MAX_GRID], error = 0;
    const pe_grid grid = unpack(coordinates, NULL, pe_iq1s_grid, 2048);
    pe_iq1_m_block *block = blocks;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        shifted_block found;
        fit_shifted(&found, 16, 8, x, w, &grid, fits);
        error += found.error;
        const uint32_t d = pe_float_to_half(found.d);
        for (int word = 0; word < 4; word++) {
            uint32_t subs = (d >> 4 * word & 15) << 12; /* a nibble of d above four sub-scales */
            for (int k = 0; k < 4; k++) subs |= (uint32_t)found.subs[4 * word + k] << 3 * k;
            pe_store_u16(block->scales + 2 * word, subs);
        }
        memset(block->qh, 0, sizeof block->qh);
        for (int k = 0; k < 32; k++) {
            block->qs[k] = (uint8_t)found.rows[k];
            block->qh[k / 2] |= (uint8_t)((found.rows[k] >> 8 | found.minus[k] << 3) << k % 2 * 4);
        }
    }
    return error;
}
