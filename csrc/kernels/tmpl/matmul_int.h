/* Products with integer weights: gemv for one token, gemm for tiles of tokens. The order of roundings is told in
 * kernels.h: both must keep it. A type is a compile-time constant here, so the switches fold away. */

#define PE_INLINE static inline __attribute__((always_inline))

#define PE_KIND_INT(code) code
#define PE_KIND_FLOAT(code)
#define PE_MINS_0(code0, code1, code2) code0
#define PE_MINS_1(code0, code1, code2) code1
#define PE_MINS_2(code0, code1, code2) code2

typedef struct type_facts {
    size_t block_elements, block_bytes;
    int mins;
} type_facts;

PE_INLINE type_facts facts_of(int slot) {
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins)                                                     \
    case PE_SLOT_##NAME:                                                                                               \
        return (type_facts){elements, bytes, mins};
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return (type_facts){1, 1, 0};
    }
}

PE_INLINE vq weights_of(int slot, const uint8_t *row, size_t g) {
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins)                                                     \
    PE_KIND_##kind(case PE_SLOT_##NAME : return pe_##lower##_weights(row, g);)
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return vq_set1(0);
    }
}

/* Scale of a group and its minima: none, one for all 32 (in m0), or one for each half. */
PE_INLINE void scales_of(int slot, const uint8_t *row, size_t g, float *d, float *m0, float *m1) {
    *m0 = *m1 = 0.0f;
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins)                                                     \
    PE_KIND_##kind(case PE_SLOT_##NAME : *d = pe_##lower##_scale(row, g);                                              \
                   PE_MINS_##mins(, *m0 = pe_##lower##_min(row, g);, pe_##lower##_min2(row, g, m0, m1);) break;)
#include "quant/quants.def"
#undef PE_QUANT
    default:
        *d = 0.0f;
    }
}

/* The same for PE_ROWS rows at once. Types whose block is one group of 32 all begin with the scale as a half, then the
 * minimum as a half where they have one: those are loaded side by side. */
PE_INLINE void row_scales_of(int slot, const uint8_t *const rows[], size_t g, vr *d, vr *m0, vr *m1) {
    const type_facts facts = facts_of(slot);
    *m0 = *m1 = vr_zero();
    if (facts.block_elements == PE_GROUP) {
        if (facts.mins)
            vr_load_f16_pair(rows, g * facts.block_bytes, d, m0);
        else
            *d = vr_load_f16(rows, g * facts.block_bytes);
        return;
    }
    float scale[PE_ROWS], low[PE_ROWS], high[PE_ROWS];
    for (size_t r = 0; r < PE_ROWS; r++) scales_of(slot, rows[r], g, &scale[r], &low[r], &high[r]);
    *d = vr_load(scale);
    if (facts.mins) *m0 = vr_load(low);
    if (facts.mins == 2) *m1 = vr_load(high);
}

/* The rows of a step are as many streams to the memory system, too many for the prefetchers of small cores to follow:
 * what comes PREFETCH_BYTES later is asked for by hand, in the order of addresses, evenly over the groups. */
enum { PREFETCH_BYTES = 8192, CACHE_LINE = 64 };

PE_INLINE void gemv_int(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    const type_facts facts = facts_of(slot);
    const int mins = facts.mins;
    const size_t groups = x->n / PE_GROUP;
    const size_t step_bytes = PE_ROWS * PE_GROUP * facts.block_bytes / facts.block_elements;
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_ROWS) {
        const uint8_t *rows[PE_ROWS]; /* past the end: the last row again, its result is dropped */
        for (size_t r = 0; r < PE_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        vr acc = vr_zero();
        const uint8_t *later = rows[0] + PREFETCH_BYTES;
        for (size_t g = 0; g < groups; g++, later += step_bytes) {
            for (size_t i = 0; i < step_bytes; i += CACHE_LINE) vs_prefetch(later + i);
            vi partial[PE_ROWS];
#pragma GCC unroll 8
            for (size_t r = 0; r < PE_ROWS; r++) partial[r] = vq_dot(weights_of(slot, rows[r], g), x->q + g * PE_GROUP);
            vr d, m0, m1;
            row_scales_of(slot, rows, g, &d, &m0, &m1);
            acc = vr_fma(vr_sum(partial), vr_mul(d, vr_set1(x->scale[g])), acc);
            if (mins == 1) acc = vr_fma(m0, vr_set1(x->sum[2 * g] + x->sum[2 * g + 1]), acc);
            if (mins == 2) acc = vr_fma(m1, vr_set1(x->sum[2 * g + 1]), vr_fma(m0, vr_set1(x->sum[2 * g]), acc));
        }
        if (r0 + PE_ROWS <= n_rows) {
            vr_store(y + r0, acc);
        } else {
            float tail[PE_ROWS];
            vr_store(tail, acc);
            memcpy(y + r0, tail, (n_rows - r0) * sizeof *y);
        }
    }
}

/* A panel of rows unpacked to int16, its scales beside it, then multiplied with tile after tile of tokens. */
PE_INLINE void gemm_int(int slot, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows,
                        const pe_act *x, void *scratch) {
    const int mins = facts_of(slot).mins;
    const size_t n = x->n, groups = n / PE_GROUP;
    int16_t *panel = scratch;                            /* [PE_PANEL_ROWS, n] */
    float *scale = (float *)(panel + PE_PANEL_ROWS * n); /* [PE_PANEL_ROWS, groups] */
    float *low = scale + PE_PANEL_ROWS * groups, *high = low + PE_PANEL_ROWS * groups;
    const size_t padded = (n_rows + PE_TILE_ROWS - 1) / PE_TILE_ROWS * PE_TILE_ROWS;
    for (size_t r = 0; r < padded; r++) {
        const uint8_t *row = w + (r < n_rows ? r : n_rows - 1) * row_bytes;
        for (size_t g = 0; g < groups; g++) {
            vq_store(panel + r * n + g * PE_GROUP, weights_of(slot, row, g));
            size_t at = r * groups + g;
            scales_of(slot, row, g, &scale[at], &low[at], &high[at]);
        }
    }
    for (size_t t0 = 0; t0 < x->n_tokens; t0 += PE_VF) {
        const int16_t *q = x->q + t0 * n;
        const float *x_scale = x->scale + t0 * groups, *x_sum = x->sum + t0 * groups * 2;
        _Alignas(64) float out[PE_PANEL_ROWS][PE_VF];
        for (size_t r0 = 0; r0 < padded; r0 += PE_TILE_ROWS) {
            vf acc[PE_TILE_ROWS];
            for (size_t r = 0; r < PE_TILE_ROWS; r++) acc[r] = vf_zero();
            for (size_t g = 0; g < groups; g++) {
                vt dot[PE_TILE_ROWS];
                for (size_t r = 0; r < PE_TILE_ROWS; r++) dot[r] = vt_zero();
                const int16_t *xg = q + g * PE_GROUP * PE_VF, *wg = panel + r0 * n + g * PE_GROUP;
                for (size_t i = 0; i < PE_GROUP / 2; i++) {
                    vt_pairs pair = vt_load(xg + i * 2 * PE_VF);
                    for (size_t r = 0; r < PE_TILE_ROWS; r++) dot[r] = vt_dot2(dot[r], pair, wg + r * n + 2 * i);
                }
                vf xs = vf_load(x_scale + g * PE_VF), s0 = vf_zero(), s1 = vf_zero();
                if (mins) s0 = vf_load(x_sum + 2 * g * PE_VF), s1 = vf_load(x_sum + (2 * g + 1) * PE_VF);
                if (mins == 1) s0 = vf_add(s0, s1);
                for (size_t r = 0; r < PE_TILE_ROWS; r++) {
                    size_t at = (r0 + r) * groups + g;
                    acc[r] = vf_fma(vt_float(dot[r]), vf_mul(vf_set1(scale[at]), xs), acc[r]);
                    if (mins) acc[r] = vf_fma(vf_set1(low[at]), s0, acc[r]);
                    if (mins == 2) acc[r] = vf_fma(vf_set1(high[at]), s1, acc[r]);
                }
            }
            for (size_t r = 0; r < PE_TILE_ROWS; r++) vf_store(out[r0 + r], acc[r]);
        }
        size_t n_tokens = x->n_tokens - t0 < PE_VF ? x->n_tokens - t0 : PE_VF;
        for (size_t t = 0; t < n_tokens; t++)
            for (size_t r = 0; r < n_rows; r++) y[(t0 + t) * y_stride + r] = out[r][t];
    }
}
