/* Fits of sixteen blocks side by side: a lane is a block. Nothing is summed across lanes, and what is done once a
 * block, its range, its divisions, its halves, is done for all lanes at once. */

enum { FIT_SIDE_TRIES = PE_VF == 16 ? 4 : 2 }; /* at once: as many as have sums in registers */

/* A vector of the blocks. */
typedef struct fit_column {
    const float *x, *w; /* rows PE_SIDE apart, and w_step */
    size_t w_step;
    vf sum_w, sum_x; /* of lines, weighted */
    vf unit;         /* 1 / range */
    vf gain, d, m;   /* the best so far */
} fit_column;

/* a where `take` is 1, b where it is 0. */
static inline vf fit_pick(vf take, vf a, vf b) { return vf_fma(take, a, vf_mul(vf_sub(vf_set1(1), take), b)); }

/* 1 / d; 0 where d is far below what a half can say. */
static inline vf fit_inverses(vf d) { return vf_zero_below(vf_div(vf_set1(1), d), vf_abs(d), 1e-37f); }

static inline void fit_keep(fit_column *c, vf gain, vf d, vf m) {
    const vf take = vf_zero_below(vf_set1(1), vf_sub(gain, c->gain), 1e-37f);
    c->gain = fit_pick(take, gain, c->gain);
    c->d = fit_pick(take, d, c->d);
    c->m = fit_pick(take, m, c->m);
}

FIT_INLINE void fit_judge(fit_column *c, fit_lanes s, bool line) {
    if (line) {
        const fit_lines solved = fit_solve(s, c->sum_w, c->sum_x, vf_set1(3e38f));
        fit_keep(c, solved.gain, solved.d, solved.m);
    } else {
        const vf d = vf_div(s.xq, vf_max(s.qq, vf_set1(1e-30f)));
        fit_keep(c, vf_mul(s.xq, d), d, vf_zero());
    }
}

FIT_INLINE void fit_side_search(fit_column *c, const pe_levels *levels, const pe_search *search, float end, bool line) {
    for (int t = 0; t < search->tries; t += FIT_SIDE_TRIES) {
        vf inverse[FIT_SIDE_TRIES];
        fit_lanes sums[FIT_SIDE_TRIES];
        PE_UNROLL(4)
        for (int k = 0; k < FIT_SIDE_TRIES; k++) {
            inverse[k] = vf_mul(c->unit, vf_set1(end * (1 + search->first + search->step * (float)(t + k))));
            sums[k] = (fit_lanes){vf_zero(), vf_zero(), vf_zero()};
        }
        for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) {
            const vf x = vf_load(c->x + i * PE_SIDE), w = vf_load(c->w + i * c->w_step);
            PE_UNROLL(4)
            for (int k = 0; k < FIT_SIDE_TRIES; k++) {
                fit_lanes *s = &sums[k];
                const vf q = fit_snap_product(x, inverse[k], line, levels), wq = vf_mul(w, q);
                if (line) s->q = vf_add(s->q, wq);
                s->xq = vf_fma(wq, x, s->xq);
                s->qq = vf_fma(wq, q, s->qq);
            }
        }
        PE_UNROLL(4)
        for (int k = 0; k < FIT_SIDE_TRIES; k++) fit_judge(c, sums[k], line);
    }
}

/* Blocks [PE_SIDE, 32] side by side. */
static void fit_turn(float *turned, const float *x) {
#ifdef PE_ROWS_IN_LANES
    for (size_t b = 0; b < PE_SIDE; b++)
        for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) turned[i * PE_SIDE + b] = x[b * PE_SIDE_WEIGHTS + i];
#else
    for (size_t b = 0; b < PE_SIDE; b += PE_VF) {
        vt_pairs columns[PE_SIDE_WEIGHTS]; /* as good for floats as for pairs of int16 */
        vt_columns(columns, PE_SIDE_WEIGHTS, (const int16_t *)(x + b * PE_SIDE_WEIGHTS), 2 * PE_SIDE_WEIGHTS);
        for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) vt_store((int16_t *)(turned + i * PE_SIDE + b), columns[i]);
    }
#endif
}

/* The extreme of each block, of either sign; lines: x counted from the least, that, and the range as the result. */
FIT_INLINE vf fit_side_range(float *x, vf *least, bool line) {
    vf low = vf_load(x), high = low;
    for (size_t i = 1; i < PE_SIDE_WEIGHTS; i++) {
        low = vf_min(low, vf_load(x + i * PE_SIDE));
        high = vf_max(high, vf_load(x + i * PE_SIDE));
    }
    *least = vf_zero();
    if (!line) return fit_pick(vf_zero_below(vf_set1(1), vf_add(low, high), 0), high, low);
    for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) vf_store(x + i * PE_SIDE, vf_sub(vf_load(x + i * PE_SIDE), low));
    *least = low;
    return vf_sub(high, low);
}

/* The weighted sums that lines need, and 1 in `lone` for blocks of which fit_line would try other mins. */
FIT_INLINE void fit_side_totals(fit_column *c, vf range, float lone[PE_VF]) {
    vf sum_w = vf_zero(), sum_x = vf_zero(), sum_xx = vf_zero();
    for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) {
        const vf x = vf_load(c->x + i * PE_SIDE), w = vf_load(c->w + i * c->w_step);
        const vf wx = vf_mul(w, x);
        sum_w = vf_add(sum_w, w);
        sum_x = vf_add(sum_x, wx);
        sum_xx = vf_fma(wx, x, sum_xx);
    }
    c->sum_w = sum_w;
    c->sum_x = sum_x;
    c->m = vf_div(sum_x, sum_w); /* no levels, only a constant */
    c->gain = vf_mul(c->m, sum_x);
    const vf spread = vf_mul(vf_sub(sum_xx, c->gain), vf_set1(FIT_LONE_SIGNS));
    vf_store(lone, vf_zero_below(vf_set1(1), vf_sub(vf_mul(vf_mul(range, range), sum_w), spread), 1e-37f));
}

/* Such a block. */
FIT_ONCE pe_line fit_side_alone(const fit_column *c, size_t lane, float hi, const pe_search *search) {
    const pe_search finer = {search->first, search->step / 2, 2 * search->tries, 0, false};
    float block[PE_SIDE_WEIGHTS], weights[PE_SIDE_WEIGHTS];
    for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) {
        block[i] = c->x[i * PE_SIDE + lane];
        weights[i] = c->w[i * c->w_step + lane];
    }
    return fit_line(block, weights, PE_SIDE_WEIGHTS, hi, true, &finer);
}

/* Levels and errors, with the scales as a reader will find them; x counted from `least`. */
FIT_INLINE void fit_side_levels(pe_side *out, size_t l, const float *x, vf d, vf m, vf least, const pe_levels *levels) {
    vf_store_f16(&out->d[l], d);
    vf_store_f16(&out->m[l], m);
    const vf scale = vf_load_f16(&out->d[l]), min = vf_sub(vf_load_f16(&out->m[l]), least);
    const vf inverse = fit_inverses(scale), lowest = vf_set1(levels->lo);
    vf error = vf_zero();
    for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) {
        const vf v = vf_sub(vf_load(x + i * PE_SIDE), min), q = fit_snap(vf_mul(v, inverse), levels);
        const vf off = vf_sub(v, vf_mul(scale, q));
        error = vf_fma(off, off, error);
        vf_store_s16((int16_t *)&out->levels[i][l], vf_sub(q, lowest));
    }
    vf_store(&out->error[l], error);
}

/* x, w: the columns from block l on; w NULL: all 1. */
FIT_INLINE void fit_side_column(pe_side *out, size_t l, float *x, const float *w, const pe_levels *levels,
                                const pe_search *search, bool line) {
    vf least;
    float ones[PE_VF], lone[PE_VF], d[PE_VF], m[PE_VF];
    const float end = -levels->lo > levels->hi ? levels->lo : levels->hi;
    const vf range = fit_side_range(x, &least, line);
    vf_store(ones, vf_set1(1));
    fit_column c = {.x = x, .w = w ? w : ones, .w_step = w ? PE_SIDE : 0, .unit = fit_inverses(range)};
    c.gain = c.d = c.m = vf_zero();
    if (line) fit_side_totals(&c, range, lone);
    if (search->tries)
        fit_side_search(&c, levels, search, end, line);
    else
        c.d = vf_mul(range, vf_set1(1 / end));
    if (line) {
        vf_store(d, c.d);
        vf_store(m, c.m);
        for (size_t i = 0; i < PE_VF; i++) {
            if (lone[i] == 0) continue;
            const pe_line alone = fit_side_alone(&c, i, levels->hi, search);
            d[i] = alone.d;
            m[i] = alone.m;
        }
        c.d = vf_load(d);
        c.m = vf_add(vf_load(m), least);
    }
    fit_side_levels(out, l, x, c.d, c.m, least, levels);
}

static void fit_side(pe_side *out, const float *x, const float *w, const pe_levels *levels, const pe_search *search,
                     bool line) {
    const pe_levels whole = {.lo = levels->lo, .hi = levels->hi}, from_0 = {.lo = 0, .hi = levels->hi};
    float turned[PE_SIDE_WEIGHTS * PE_SIDE], weights[PE_SIDE_WEIGHTS * PE_SIDE];
    fit_turn(turned, x);
    if (w) fit_turn(weights, w);
    for (size_t l = 0; l < PE_SIDE; l += PE_VF) /* each kind by itself: the choice is made outside of the loops */
        if (line)
            fit_side_column(out, l, turned + l, w ? weights + l : NULL, &from_0, search, true);
        else
            fit_side_column(out, l, turned + l, w ? weights + l : NULL, &whole, search, false);
}
