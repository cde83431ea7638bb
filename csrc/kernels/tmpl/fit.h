/* The fits of quant/fits.h over the vocabulary. In a search a lane is a candidate, and the weights of a group pass by
 * one after the other: no sums across lanes, whatever the width. Weights are brought to a range of about 1 first, so
 * that neither tiny nor huge ones leave the range of a float in a sum of squares. */

/* Inlined whatever the compiler thinks of their size, so that the kind of levels is known in the loops. */
#define FIT_INLINE static inline __attribute__((always_inline))

/* What is called from several places, and is large. */
#define FIT_ONCE static __attribute__((noinline))

enum { FIT_MAX = 256, FIT_NEAR = 16, FIT_LONE = 24, FIT_LONE_SIGNS = 40 };

/* To whole numbers, ties to even, for magnitudes below 2^22: as quick as vf_round where that is one instruction, and
 * much quicker where it is a call. */
static inline vf fit_round(vf x) { return vf_sub(vf_add(x, vf_set1(0x1.8p23f)), vf_set1(0x1.8p23f)); }

/* The nearest levels, as values. */
FIT_INLINE vf fit_snap(vf x, const pe_levels *l) {
    if (!l->values) return fit_round(vf_min(vf_max(x, vf_set1(l->lo)), vf_set1(l->hi)));
    vf value = vf_set1(l->values[0]);
    for (size_t i = 0; i + 1 < l->n; i++)
        value = vf_add(value, vf_zero_below(vf_set1(l->values[i + 1] - l->values[i]), x, l->limits[i]));
    return value;
}

typedef struct fit_lanes {
    vf q, xq, qq;
} fit_lanes;

/* The nearest levels of x * inverse, a multiplication and a rounding in one. `positive`: x is, and the lowest level 0.
 */
FIT_INLINE vf fit_snap_product(vf x, vf inverse, bool positive, const pe_levels *l) {
    if (l->values) return fit_snap(vf_mul(x, inverse), l);
    const vf whole = vf_set1(0x1.8p23f); /* as in fit_round; up there the levels are exact, too */
    vf sum = vf_fma(x, inverse, whole);
    if (!positive) sum = vf_max(sum, vf_set1(0x1.8p23f + l->lo));
    return vf_sub(vf_min(sum, vf_set1(0x1.8p23f + l->hi)), whole);
}

typedef enum fit_min { FIT_NO_MIN, FIT_MIN_ZERO, FIT_MIN } fit_min;

/* Sums of a group for as many (inverse scale, min) as there are lanes. FIT_NO_MIN: levels of both signs, and m is 0.
 * FIT_MIN_ZERO: m is 0, and no x below it. */
FIT_INLINE fit_lanes fit_try(const float *x, const float *w, size_t n, vf inverse, fit_min kind, vf m,
                             const pe_levels *levels) {
    fit_lanes s = {vf_zero(), vf_zero(), vf_zero()};
    const vf offset = vf_mul(vf_sub(vf_zero(), m), inverse);
    for (size_t i = 0; i < n; i++) {
        const vf v = vf_set1(x[i]);
        const vf q = kind == FIT_MIN ? fit_snap(vf_fma(v, inverse, offset), levels)
                                     : fit_snap_product(v, inverse, kind == FIT_MIN_ZERO, levels);
        const vf wq = vf_mul(vf_set1(w[i]), q);
        if (kind != FIT_NO_MIN) s.q = vf_add(s.q, wq);
        s.xq = vf_fma(wq, v, s.xq);
        s.qq = vf_fma(wq, q, s.qq);
    }
    return s;
}

/* first, first + step, ... in the lanes of block b. */
static inline vf fit_steps(float first, float step, int b) {
    static const float counts[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return vf_fma(vf_load(counts), vf_set1(step), vf_set1(first + step * (float)(b * PE_VF)));
}

static inline float fit_lane(vf v, int lane) {
    float lanes[PE_VF];
    vf_store(lanes, v);
    return lanes[lane];
}

/* The lane with the largest gain (of equal ones the last), if it is more than *most, which it becomes; else -1. */
static inline int fit_best(vf gain, float *most) {
    const float top = vf_hmax(gain);
    if (!(top > *most)) return -1;
    *most = top;
    return (int)vf_hmax(vf_zero_below(fit_steps(1, 1, 0), gain, top)) - 1;
}

static void fit_range(const float *x, size_t n, float *least, float *most) {
    *least = *most = x[0];
    size_t i = 1;
    if (n % PE_VF == 0) {
        vf low = vf_load(x), high = low;
        for (i = PE_VF; i < n; i += PE_VF) {
            low = vf_min(low, vf_load(x + i));
            high = vf_max(high, vf_load(x + i));
        }
        *least = -vf_hmax(vf_sub(vf_zero(), low));
        *most = vf_hmax(high);
    }
    for (; i < n; i++) {
        *least = x[i] < *least ? x[i] : *least;
        *most = x[i] > *most ? x[i] : *most;
    }
}

/* (x - offset) * factor: scaled [n]. */
static inline void fit_rescale(float *scaled, const float *x, size_t n, float offset, float factor) {
    const size_t whole = n - n % PE_VF;
    for (size_t i = 0; i < whole; i += PE_VF)
        vf_store(scaled + i, vf_mul(vf_sub(vf_load(x + i), vf_set1(offset)), vf_set1(factor)));
    for (size_t i = whole; i < n; i++) scaled[i] = (x[i] - offset) * factor;
}

/* Weighted sums of 1, x and x * x; n is a multiple of 16. */
typedef struct fit_totals {
    float w, x, xx;
} fit_totals;

static inline fit_totals fit_total(const float *x, const float *w, size_t n) {
    vf sum_w = vf_zero(), sum_x = vf_zero(), sum_xx = vf_zero();
    for (size_t i = 0; i < n; i += PE_VF) {
        const vf v = vf_load(x + i), wi = vf_load(w + i), wx = vf_mul(wi, v);
        sum_w = vf_add(sum_w, wi);
        sum_x = vf_add(sum_x, wx);
        sum_xx = vf_fma(wx, v, sum_xx);
    }
    return (fit_totals){vf_hsum(sum_w), vf_hsum(sum_x), vf_hsum(sum_xx)};
}

/* ---- x = d * q -------------------------------------------------------------------------------------------------- */

FIT_INLINE void fit_scale_pass(pe_line *best, float *gain, const float *x, const float *w, size_t n,
                               const pe_levels *levels, float first, float step, int tries) {
    for (int b = 0; b < tries / PE_VF; b++) {
        const fit_lanes s = fit_try(x, w, n, fit_steps(first, step, b), FIT_NO_MIN, vf_zero(), levels);
        const vf d = vf_div(s.xq, vf_max(s.qq, vf_set1(1e-30f)));
        const int lane = fit_best(vf_mul(s.xq, d), gain);
        if (lane >= 0) *best = (pe_line){.d = fit_lane(d, lane), .qq = fit_lane(s.qq, lane)};
    }
}

/* Once for whole numbers, once for tables: the choice is made outside of the loops. */
FIT_ONCE void fit_scale_search(pe_line *best, float *gain, const float *x, const float *w, size_t n,
                               const pe_levels *levels, float first, float step, int tries) {
    const pe_levels whole = {.lo = levels->lo, .hi = levels->hi};
    if (levels->values)
        fit_scale_pass(best, gain, x, w, n, levels, first, step, tries);
    else
        fit_scale_pass(best, gain, x, w, n, &whole, first, step, tries);
}

static pe_line fit_scale(const float *x, const float *w, size_t n, const pe_levels *levels, const pe_search *search) {
    float least, most, scaled[FIT_MAX], gain = 0;
    fit_range(x, n, &least, &most);
    const float extreme = -least > most ? least : most, end = -levels->lo > levels->hi ? levels->lo : levels->hi;
    const float inverse = pe_inverse(extreme);
    pe_line best = {0};
    if (inverse == 0) return best;
    fit_rescale(scaled, x, n, 0, inverse);
    fit_scale_search(&best, &gain, scaled, w, n, levels, end * (1 + search->first), end * search->step, search->tries);
    if (search->both) {
        const float other = end < 0 ? levels->hi : levels->lo;
        fit_scale_search(&best, &gain, scaled, w, n, levels, other * (1 + search->first), other * search->step,
                         search->tries);
    }
    float step = search->step;
    for (int r = 0; r < search->rounds && best.d != 0; r++, step /= FIT_NEAR / 2) {
        const float centre = 1 / best.d, near = centre * step / (FIT_NEAR / 2);
        fit_scale_search(&best, &gain, scaled, w, n, levels, centre - near * FIT_NEAR / 2, near, FIT_NEAR);
    }
    best.d *= extreme;
    return best;
}

/* ---- x = d * q + m ---------------------------------------------------------------------------------------------- */

typedef struct fit_lines {
    vf d, m, gain;
} fit_lines;

/* The best d and m <= m_max for the sums at some levels, w1 and x1 those of 1 and of x, and what they gain. */
FIT_INLINE fit_lines fit_solve(fit_lanes s, vf w1, vf x1, vf m_max) {
    const vf qq = vf_max(s.qq, vf_set1(1e-30f)), wqq = vf_mul(w1, qq), two = vf_set1(2);
    const vf determinant = vf_max(vf_sub(wqq, vf_mul(s.q, s.q)), vf_mul(wqq, vf_set1(1e-6f)));
    const vf solved = vf_div(vf_sub(vf_mul(s.qq, x1), vf_mul(s.q, s.xq)), determinant);
    const vf m = vf_min(solved, m_max), d = vf_div(vf_sub(s.xq, vf_mul(m, s.q)), qq);
    /* 2 d xq + 2 m x1 - d^2 qq - 2 d m q - m^2 w */
    const vf of_d = vf_mul(d, vf_sub(vf_mul(two, vf_sub(s.xq, vf_mul(m, s.q))), vf_mul(d, s.qq)));
    const vf of_m = vf_mul(m, vf_sub(vf_mul(two, x1), vf_mul(m, w1)));
    return (fit_lines){d, m, vf_add(of_d, of_m)};
}

FIT_INLINE void fit_line_pass(pe_line *best, float *gain, const float *x, const float *w, size_t n, fit_totals g,
                              float m_max, float hi, float first, float step, fit_min kind, float m, int tries) {
    const pe_levels levels = {.lo = 0, .hi = hi};
    for (int b = 0; b < tries / PE_VF; b++) {
        const fit_lanes s = fit_try(x, w, n, fit_steps(first, step, b), kind, vf_set1(m), &levels);
        const fit_lines line = fit_solve(s, vf_set1(g.w), vf_set1(g.x), vf_set1(m_max));
        const int lane = fit_best(vf_zero_below(line.gain, line.d, 0), gain);
        if (lane >= 0)
            *best = (pe_line){fit_lane(line.d, lane), fit_lane(line.m, lane), g.w, fit_lane(s.q, lane),
                              fit_lane(s.qq, lane)};
    }
}

/* The passes with a min, which are few. */
FIT_ONCE void fit_line_again(pe_line *best, float *gain, const float *x, const float *w, size_t n, fit_totals g,
                             float m_max, float hi, float first, float step, float m, int tries) {
    fit_line_pass(best, gain, x, w, n, g, m_max, hi, first, step, FIT_MIN, m, tries);
}

FIT_ONCE pe_line fit_line(const float *x, const float *w, size_t n, float hi, bool signs, const pe_search *search) {
    float least, most, scaled[FIT_MAX];
    fit_range(x, n, &least, &most);
    if (least > 0 && !signs) least = 0;
    const float range = most - least, inverse = pe_inverse(range);
    const float m_max = signs ? 3e38f : -least * inverse;
    fit_rescale(scaled, x, n, least, inverse);
    const fit_totals g = fit_total(scaled, w, n);
    pe_line best = {0, g.x / g.w, g.w, 0, 0}; /* no levels, only a constant */
    if (best.m > m_max) best.m = m_max;
    float gain = best.m * (2 * g.x - best.m * g.w), step = search->step;
    if (inverse == 0) best.m = 0;
    if (inverse != 0)
        fit_line_pass(&best, &gain, scaled, w, n, g, m_max, hi, hi * (1 + search->first), hi * step, FIT_MIN_ZERO, 0,
                      search->tries);
    /* Where one weight is far above all others, these share a few of the lowest levels, and where the first one lies
     * decides: try it above the least weight, too. The range of 1 is compared with the standard deviation. Blocks with
     * mins of either sign, the quick types, gain less by it and ask for more. */
    const bool lone = g.w > (float)(signs ? FIT_LONE_SIGNS : FIT_LONE) * (g.xx - g.x * g.x / g.w);
    for (int k = 1; k <= 4 && lone && inverse != 0; k++)
        fit_line_again(&best, &gain, scaled, w, n, g, m_max, hi, hi * (1 + search->first), hi * step,
                       (float)k / (4 * hi), search->tries);
    for (int r = 0; r < search->rounds && best.d > 0; r++, step /= FIT_NEAR / 2) {
        const float centre = 1 / best.d, near = centre * step / (FIT_NEAR / 2);
        fit_line_again(&best, &gain, scaled, w, n, g, m_max, hi, centre - near * FIT_NEAR / 2, near, best.m, FIT_NEAR);
    }
    best.d *= range;
    best.m = least + range * best.m;
    return best;
}

/* ---- blocks of groups ------------------------------------------------------------------------------------------- */

static pe_sums fit_sums(const float *x, const float *w, size_t n, float d, float m, const pe_levels *levels) {
    const vf inverse = vf_set1(pe_inverse(d)), min = vf_set1(m);
    vf w1 = vf_zero(), x1 = vf_zero(), q1 = vf_zero(), xq = vf_zero(), qq = vf_zero();
    for (size_t i = 0; i < n; i += PE_VF) {
        const vf v = vf_load(x + i), wi = vf_load(w + i);
        const vf q = fit_snap(vf_mul(vf_sub(v, min), inverse), levels), wq = vf_mul(wi, q);
        w1 = vf_add(w1, wi);
        x1 = vf_fma(wi, v, x1);
        q1 = vf_add(q1, wq);
        xq = vf_fma(wq, v, xq);
        qq = vf_fma(wq, q, qq);
    }
    return (pe_sums){vf_hsum(w1), vf_hsum(x1), vf_hsum(q1), vf_hsum(xq), vf_hsum(qq)};
}

/* Whole sub-scales of `values` in units of d. */
static inline vf fit_subs(vf values, vf d, const pe_groups *g) {
    return fit_round(vf_min(vf_max(vf_div(values, d), vf_set1((float)g->sub_lo)), vf_set1((float)g->sub_hi)));
}

/* What group i adds to the gain of each lane's block scale d. */
FIT_INLINE vf fit_group_gain(const pe_groups *g, const pe_levels *levels, size_t i, vf d, float scale, float min) {
    const float *x = g->x + i * g->size, *w = g->w + i * g->size;
    const vf zero = vf_zero(), wanted = vf_mul(d, fit_subs(vf_set1(scale), d, g)), magnitude = vf_abs(wanted);
    vf inverse =
        vf_div(vf_set1(1), vf_max(magnitude, vf_set1(1e-30f))); /* 0 for a sub-scale of 0; else wanted's sign */
    inverse = vf_zero_below(inverse, magnitude, 1e-30f);
    inverse = vf_sub(vf_zero_below(vf_add(inverse, inverse), wanted, 0), inverse);
    const fit_lanes s = fit_try(x, w, g->size, inverse, FIT_MIN, vf_set1(min), levels);
    vf xq = s.xq, qq = s.qq, constant = zero;
    if (g->mins) { /* min = (x - d q) / w, if that is at most 0: then what is left of the sums */
        const fit_totals total = fit_total(x, w, g->size);
        const float w1 = total.w, x1 = total.x;
        const vf m = vf_div(vf_sub(vf_set1(x1), vf_mul(wanted, s.q)), vf_set1(w1)), one = vf_set1(1);
        const vf has_min = vf_sub(one, vf_zero_below(one, m, 0)), share = vf_div(has_min, vf_set1(w1));
        xq = vf_sub(xq, vf_mul(share, vf_mul(s.q, vf_set1(x1))));
        qq = vf_sub(qq, vf_mul(share, vf_mul(s.q, s.q)));
        constant = vf_mul(share, vf_set1(x1 * x1));
    }
    /* The sub-scale may follow the levels. */
    const vf best = vf_mul(d, fit_subs(vf_div(xq, vf_max(qq, vf_set1(1e-30f))), d, g));
    return vf_add(constant, vf_mul(best, vf_sub(vf_add(xq, xq), vf_mul(best, qq))));
}

FIT_INLINE float fit_block_scale_of(const pe_groups *g, const pe_levels *levels, const float *scales, const float *mins,
                                    float d) {
    const float step = 1.0f / (float)(FIT_NEAR * 2);
    float best = d, most = 0;
    for (int b = 0; b < FIT_NEAR / PE_VF; b++) {
        const vf lanes = fit_steps(d * (1 - step * FIT_NEAR / 2), d * step, b);
        vf gain = vf_zero();
        for (size_t i = 0; i < g->n; i++)
            gain = vf_add(gain, fit_group_gain(g, levels, i, lanes, scales[i], mins ? mins[i] : 0));
        const int lane = fit_best(gain, &most);
        if (lane >= 0) best = fit_lane(lanes, lane);
    }
    return best;
}

static float fit_block_scale(const pe_groups *g, const float *scales, const float *mins, float d) {
    if (d == 0) return 0;
    if (g->levels->values) return fit_block_scale_of(g, g->levels, scales, mins, d);
    const pe_levels whole = {.lo = g->levels->lo, .hi = g->levels->hi};
    return fit_block_scale_of(g, &whole, scales, mins, d);
}

/* ---- levels and errors ------------------------------------------------------------------------------------------ */

FIT_INLINE float fit_levels_of(uint8_t *out, const float *x, size_t n, float d, float m, const pe_levels *levels) {
    const vf inverse = vf_set1(pe_inverse(d)), scale = vf_set1(d), min = vf_set1(m);
    const vf one = vf_set1(1), lowest = vf_set1(levels->lo);
    vf error = vf_zero();
    for (size_t i = 0; i < n; i += PE_VF) {
        const vf v = vf_load(x + i), t = vf_mul(vf_sub(v, min), inverse), value = fit_snap(t, levels);
        vf index = vf_sub(value, lowest);
        if (levels->values) {
            index = vf_zero();
            for (size_t k = 0; k + 1 < levels->n; k++) index = vf_add(index, vf_zero_below(one, t, levels->limits[k]));
        }
        const vf off = vf_sub(v, vf_add(vf_mul(scale, value), min));
        error = vf_fma(off, off, error);
        int16_t lanes[PE_VF];
        vf_store_s16(lanes, index);
        for (int l = 0; l < PE_VF; l += 4) { /* four at a time, the lower halves moved together */
            uint64_t four;
            memcpy(&four, lanes + l, sizeof four);
            four = (four | four >> 8) & 0x0000ffff0000ffff;
            const uint32_t bytes = (uint32_t)(four | four >> 16);
            memcpy(out + i + l, &bytes, sizeof bytes);
        }
    }
    return vf_hsum(error);
}

static float fit_levels(uint8_t *out, const float *x, size_t n, float d, float m, const pe_levels *levels) {
    if (levels->values) return fit_levels_of(out, x, n, d, m, levels);
    const pe_levels whole = {.lo = levels->lo, .hi = levels->hi};
    return fit_levels_of(out, x, n, d, m, &whole);
}

/* The row with the smallest sum of a * g^2 - b * g over the coordinates g. */
FIT_INLINE size_t fit_row(const float *a, const float *b, const pe_grid *grid, size_t dims) {
    float scores[2048], lanes[PE_VF];
    vf best = vf_set1(3e38f);
    for (size_t r = 0; r < grid->n; r += PE_VF) {
        vf score = vf_zero();
        for (size_t i = 0; i < dims; i++) {
            const vf g = vf_load(grid->values + i * grid->n + r);
            score = vf_fma(vf_sub(vf_mul(vf_set1(a[i]), g), vf_set1(b[i])), g, score);
        }
        vf_store(scores + r, score);
        best = vf_min(best, score);
    }
    vf_store(lanes, best);
    size_t row = 0;
    for (size_t l = 1; l < PE_VF; l++) row = lanes[l] < lanes[row] ? l : row;
    const float least = lanes[row];
    while (row + PE_VF < grid->n && scores[row] != least) row += PE_VF;
    return row;
}

static pe_sums fit_rows(uint16_t *rows, const float *x, const float *w, size_t n, float d, const pe_grid *grid) {
    pe_sums sums = {0};
    for (size_t at = 0; at < n; at += grid->dims, x += grid->dims, w += grid->dims) {
        float a[8], b[8];
        for (size_t i = 0; i < grid->dims; i++) {
            a[i] = w[i] * d;
            b[i] = 2 * w[i] * x[i];
        }
        const size_t row = grid->dims == 4 ? fit_row(a, b, grid, 4) : fit_row(a, b, grid, 8);
        rows[at / grid->dims] = (uint16_t)row;
        for (size_t i = 0; i < grid->dims; i++) {
            const float q = grid->values[i * grid->n + row];
            sums.xq += w[i] * x[i] * q;
            sums.qq += w[i] * q * q;
        }
    }
    return sums;
}

static float fit_squared_sum(const float *x, size_t n) {
    vf sum = vf_zero();
    size_t i = 0;
    for (; i + PE_VF <= n; i += PE_VF) sum = vf_fma(vf_load(x + i), vf_load(x + i), sum);
    float rest = 0;
    for (; i < n; i++) rest += x[i] * x[i];
    return vf_hsum(sum) + rest;
}

static void fit_load_f16(float *out, const void *in, size_t n) {
    const uint8_t *p = in;
    size_t i = 0;
    for (; i + PE_VF <= n; i += PE_VF) vf_store(out + i, vf_load_f16(p + 2 * i));
    for (; i < n; i++) out[i] = vs_f16(p + 2 * i);
}

static float fit_store_f16(void *out, const float *x, size_t n) {
    uint8_t *p = out;
    vf error = vf_zero();
    float rest = 0;
    size_t i = 0;
    for (; i + PE_VF <= n; i += PE_VF) {
        const vf v = vf_load(x + i);
        vf_store_f16(p + 2 * i, v);
        const vf off = vf_sub(v, vf_load_f16(p + 2 * i));
        error = vf_fma(off, off, error);
    }
    for (; i < n; i++) {
        const uint16_t half = pe_float_to_half(x[i]);
        memcpy(p + 2 * i, &half, sizeof half);
        rest += (x[i] - pe_half_to_float(half)) * (x[i] - pe_half_to_float(half));
    }
    return vf_hsum(error) + rest;
}

#include "kernels/tmpl/fit_side.h"

const pe_fits PE_FITS = {
    .side = fit_side,
    .scale = fit_scale,
    .line = fit_line,
    .sums = fit_sums,
    .block_scale = fit_block_scale,
    .levels = fit_levels,
    .rows = fit_rows,
    .squared_sum = fit_squared_sum,
    .load_f16 = fit_load_f16,
    .store_f16 = fit_store_f16,
};
