/* Quantisers of the K types: super-blocks of 256 weights in groups, each group with a sub-scale (and a min) that is
 * itself a whole number of a scale of the block.
 *
 * First each group is fitted alone, in real numbers. Then the block's scale is fitted to the sub-scales in the same
 * way, each weighted by how fast the error grows when it is missed. With the sub-scales whole, levels are rounded anew,
 * each sub-scale may move to what its levels ask for, and the block's scale is solved once more over all 256 weights.
 */
#include "quant/encode.h"

#include "quant/iq4_xs.h"
#include "quant/quants.h"

#include <math.h>

enum { BLOCK = 256, MAX_GROUPS = 16 };

/* Halves below this are coarse: a block's scale that small stays as it was when the sub-scales were chosen for it. */
static const float SMALL = 0x1p-16f;

static int clamp_round(float value, int lo, int hi) {
    return value <= (float)lo ? lo : value >= (float)hi ? hi : (int)lrintf(value);
}

/* ---- packing ---------------------------------------------------------------------------------------------------- */

/* Two bits of each level: levels i, i + 32, i + 64 and i + 96 of a half share a byte. */
static void pack_pairs(uint8_t out[64], const uint8_t levels[BLOCK]) {
    for (int half = 0; half < 2; half++, levels += 128, out += 32) {
        for (int i = 0; i < 32; i += 8) {
            uint64_t word = 0;
            for (int k = 0; k < 4; k++) word |= (pe_load_levels(levels + 32 * k + i) & pe_eight(3)) << 2 * k;
            pe_store_levels(out + i, word);
        }
    }
}

/* One bit of each level: levels i, i + 32, ... share a byte. */
static void pack_bits(uint8_t out[32], const uint8_t levels[BLOCK], int bit) {
    for (int i = 0; i < 32; i += 8) {
        uint64_t word = 0;
        for (int k = 0; k < 8; k++) word |= (pe_load_levels(levels + 32 * k + i) >> bit & pe_eight(1)) << k;
        pe_store_levels(out + i, word);
    }
}

/* ---- scale * level: Q3_K, Q6_K and IQ4_XS ----------------------------------------------------------------------- */

typedef struct signed_type {
    int groups; /* in a block */
    pe_levels levels;
    int sub_lo, sub_hi; /* sub-scales */
    pe_search search;   /* of a group's scale */
} signed_type;

typedef struct signed_block {
    int subs[MAX_GROUPS];
    uint8_t levels[BLOCK]; /* counted from the lowest */
    float error;
} signed_block;

/* Writes the block's scale at `field`. */
static void fit_signed(signed_block *out, void *field, const signed_type *t, const float *x, const float *w,
                       const pe_fits *fits) {
    static const pe_search search = {-0.2f, 0.025f, 16, 0, false};
    const size_t n = (size_t)t->groups, size = BLOCK / n;
    const pe_levels subs = {.lo = (float)t->sub_lo, .hi = (float)t->sub_hi};
    const pe_groups groups = {x, w, n, size, &t->levels, t->sub_lo, t->sub_hi, false};
    float scales[MAX_GROUPS], curvatures[MAX_GROUPS], xq = 0, qq = 0;
    for (size_t g = 0; g < n; g++) {
        const pe_line line = fits->scale(x + size * g, w + size * g, size, &t->levels, &t->search);
        scales[g] = line.d;
        curvatures[g] = line.qq;
    }
    float d = fits->scale(scales, curvatures, n, &subs, &search).d;
    d = pe_half_value(fits->block_scale(&groups, scales, NULL, d));
    for (size_t g = 0; g < n; g++) {
        int sub = clamp_round(scales[g] * pe_inverse(d), t->sub_lo, t->sub_hi);
        const pe_sums s = fits->sums(x + size * g, w + size * g, size, d * (float)sub, 0, &t->levels);
        if (s.qq > 0) sub = clamp_round(s.xq / s.qq * pe_inverse(d), t->sub_lo, t->sub_hi);
        out->subs[g] = sub;
        xq += s.xq * (float)sub;
        qq += s.qq * (float)(sub * sub);
    }
    d = pe_store_scale(field, qq > 0 && fabsf(xq / qq) >= SMALL ? xq / qq : d);
    out->error = 0;
    for (size_t g = 0; g < n; g++)
        out->error += fits->levels(out->levels + size * g, x + size * g, size, d * (float)out->subs[g], 0, &t->levels);
}

float pe_q3_k_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const signed_type type = {16, {.lo = -4, .hi = 3}, -32, 31, {-0.2f, 0.025f, 16, 0, false}};
    pe_q3_k_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        signed_block found;
        memset(block, 0, sizeof *block);
        fit_signed(&found, block->d, &type, x, w, fits);
        error += found.error;
        pack_pairs(block->qs, found.levels);
        pack_bits(block->hmask, found.levels, 2);
        for (int s = 0; s < 16; s++) {
            const int sub = found.subs[s] + 32;
            block->scales[s % 8] |= (uint8_t)((sub & 15) << s / 8 * 4);
            block->scales[8 + s % 4] |= (uint8_t)(sub >> 4 << s / 4 * 2);
        }
    }
    return error;
}

float pe_q6_k_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const signed_type type = {16, {.lo = -32, .hi = 31}, -128, 127, {-0.03f, 0.004f, 16, 0, false}};
    pe_q6_k_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        signed_block found;
        memset(block, 0, sizeof *block);
        fit_signed(&found, block->d, &type, x, w, fits);
        error += found.error;
        for (int i = 0; i < BLOCK; i++) {
            const int group = i / 32; /* of 32; the layout as in q6_k.h */
            block->ql[group / 4 * 64 + group % 2 * 32 + i % 32] |=
                (uint8_t)((found.levels[i] & 15) << group % 4 / 2 * 4);
            block->qh[group / 4 * 32 + i % 32] |= (uint8_t)(found.levels[i] >> 4 << group % 4 * 2);
        }
        for (int s = 0; s < 16; s++) block->scales[s] = (uint8_t)found.subs[s];
    }
    return error;
}

float pe_iq4_xs_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    const signed_type type = {8, pe_levels_iq4, -32, 31, {-0.12f, 0.016f, 16, 1, true}};
    pe_iq4_xs_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        signed_block found;
        uint32_t high = 0;
        memset(block->scales_l, 0, sizeof block->scales_l);
        fit_signed(&found, block->d, &type, x, w, fits);
        error += found.error;
        for (int i = 0; i < 128; i++)
            block->qs[i] = (uint8_t)(found.levels[i / 16 * 32 + i % 16] | found.levels[i / 16 * 32 + 16 + i % 16] << 4);
        for (int g = 0; g < 8; g++) {
            const unsigned sub = (unsigned)(found.subs[g] + 32);
            block->scales_l[g / 2] |= (uint8_t)((sub & 15) << g % 2 * 4);
            high |= sub >> 4 << 2 * g;
        }
        pe_store_u16(block->scales_h, high);
    }
    return error;
}

/* ---- scale * level - min: Q2_K, Q4_K and Q5_K ------------------------------------------------------------------- */

typedef struct min_type {
    int groups; /* in a block */
    pe_levels levels;
    int sub_hi;       /* sub-scales and mins are 0..sub_hi */
    pe_search search; /* of a group's scale and min */
} min_type;

typedef struct min_block {
    int subs[MAX_GROUPS], mins[MAX_GROUPS];
    uint8_t levels[BLOCK];
    float error;
} min_block;

/* Solve for the scales d and dmin of the block at the levels of its groups. */
static void solve_block(const min_block *found, const pe_sums *sums, int groups, float *d, float *dmin) {
    double xa = 0, xb = 0, aa = 0, ab = 0, bb = 0; /* x = d * a - dmin * b */
    for (int g = 0; g < groups; g++) {
        const double sub = found->subs[g], min = found->mins[g];
        xa += sub * sums[g].xq;
        xb += min * sums[g].x;
        aa += sub * sub * sums[g].qq;
        ab += sub * min * sums[g].q;
        bb += min * min * sums[g].w;
    }
    const double determinant = aa * bb - ab * ab;
    if (determinant <= 1e-9 * aa * bb) return; /* one of the two is not used: leave them as they were found */
    const double new_d = (xa * bb - xb * ab) / determinant, new_dmin = (xa * ab - xb * aa) / determinant;
    if (new_d < SMALL || new_dmin < SMALL) return;
    *d = (float)new_d;
    *dmin = (float)new_dmin;
}

/* The block's scale of sub-scales, or of mins: all are positive, so the largest one is put near the top. */
static float fit_top(const float *values, const float *weights, int n, int hi, const pe_fits *fits) {
    static const pe_search search = {-0.2f, 0.025f, 16, 0, false};
    const pe_levels levels = {.lo = 0, .hi = (float)hi};
    return fits->scale(values, weights, (size_t)n, &levels, &search).d;
}

static void fit_min(min_block *out, void *d_field, void *dmin_field, const min_type *t, const float *x, const float *w,
                    const pe_fits *fits) {
    const size_t size = (size_t)(BLOCK / t->groups);
    const pe_groups groups = {x, w, (size_t)t->groups, size, &t->levels, 0, t->sub_hi, true};
    float scales[MAX_GROUPS], weights[MAX_GROUPS], mins[MAX_GROUPS];
    pe_sums sums[MAX_GROUPS];
    for (int g = 0; g < t->groups; g++) {
        const pe_line line = fits->line(x + size * g, w + size * g, size, t->levels.hi, false, &t->search);
        scales[g] = line.d;
        mins[g] = line.m;
        /* The min can follow the scale: what is left of the curvature when it does. */
        weights[g] = line.m < 0 ? line.qq - line.q * line.q / line.w : line.qq;
    }
    float d = fit_top(scales, weights, t->groups, t->sub_hi, fits);
    d = pe_half_value(fits->block_scale(&groups, scales, mins, d));
    for (int g = 0; g < t->groups; g++) { /* the mins for the sub-scales as they are now */
        out->subs[g] = clamp_round(scales[g] * pe_inverse(d), 0, t->sub_hi);
        const float scale = d * (float)out->subs[g];
        const pe_sums s = fits->sums(x + size * g, w + size * g, size, scale, mins[g], &t->levels);
        const float min = (scale * s.q - s.x) / s.w;
        mins[g] = min > 0 ? min : 0;
        weights[g] = s.w;
    }
    float dmin = pe_half_value(fit_top(mins, weights, t->groups, t->sub_hi, fits));
    for (int g = 0; g < t->groups; g++) {
        out->mins[g] = clamp_round(mins[g] * pe_inverse(dmin), 0, t->sub_hi);
        const float min = dmin * (float)out->mins[g];
        sums[g] = fits->sums(x + size * g, w + size * g, size, d * (float)out->subs[g], -min, &t->levels);
        if (sums[g].qq > 0)
            out->subs[g] = clamp_round((sums[g].xq + min * sums[g].q) / sums[g].qq * pe_inverse(d), 0, t->sub_hi);
    }
    solve_block(out, sums, t->groups, &d, &dmin);
    d = pe_store_scale(d_field, d);
    dmin = pe_store_scale(dmin_field, dmin);
    out->error = 0;
    for (int g = 0; g < t->groups; g++)
        out->error += fits->levels(out->levels + size * g, x + size * g, size, d * (float)out->subs[g],
                                   -dmin * (float)out->mins[g], &t->levels);
}

float pe_q2_k_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const min_type type = {16, {.lo = 0, .hi = 3}, 15, {-0.2f, 0.025f, 16, 1, false}};
    pe_q2_k_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        min_block found;
        memset(block, 0, sizeof *block);
        fit_min(&found, block->d, block->dmin, &type, x, w, fits);
        error += found.error;
        pack_pairs(block->qs, found.levels);
        for (int g = 0; g < 16; g++) block->scales[g] = (uint8_t)(found.subs[g] | found.mins[g] << 4);
    }
    return error;
}

/* The 12 bytes of kscales.h. */
static void pack_kscales(uint8_t out[12], const min_block *found) {
    for (int g = 0; g < 4; g++) {
        out[g] = (uint8_t)(found->subs[g] | found->subs[g + 4] >> 4 << 6);
        out[g + 4] = (uint8_t)(found->mins[g] | found->mins[g + 4] >> 4 << 6);
        out[g + 8] = (uint8_t)((found->subs[g + 4] & 15) | (found->mins[g + 4] & 15) << 4);
    }
}

/* Low nibbles of 256 levels: groups 2k and 2k + 1 of 32 share bytes 32k.. */
static void pack_k_nibbles(uint8_t out[128], const uint8_t levels[BLOCK]) {
    for (int i = 0; i < 128; i++)
        out[i] = (uint8_t)((levels[i / 32 * 64 + i % 32] & 15) | levels[i / 32 * 64 + 32 + i % 32] << 4);
}

float pe_q4_k_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const min_type type = {8, {.lo = 0, .hi = 15}, 63, {-0.07f, 0.009f, 16, 1, false}};
    pe_q4_k_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        min_block found;
        fit_min(&found, block->d, block->dmin, &type, x, w, fits);
        error += found.error;
        pack_kscales(block->scales, &found);
        pack_k_nibbles(block->qs, found.levels);
    }
    return error;
}

float pe_q5_k_encode(void *blocks, const float *x, const float *w, size_t n, const pe_fits *fits) {
    static const min_type type = {8, {.lo = 0, .hi = 31}, 63, {-0.03f, 0.004f, 16, 1, false}};
    pe_q5_k_block *block = blocks;
    float error = 0;
    for (size_t b = 0; b < n / BLOCK; b++, block++, x += BLOCK, w += BLOCK) {
        min_block found;
        fit_min(&found, block->d, block->dmin, &type, x, w, fits);
        error += found.error;
        pack_kscales(block->scales, &found);
        pack_k_nibbles(block->qs, found.levels);
        pack_bits(block->qh, found.levels, 4);
    }
    return error;
}
