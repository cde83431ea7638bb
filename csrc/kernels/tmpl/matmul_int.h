/* Products with integer weights: gemv for one token, gemm for tiles of tokens. The order of roundings is told in
 * kernels.h: both must keep it. A type is a compile-time constant here, so the switches fold away. */

#define PE_INLINE static inline __attribute__((always_inline))

#define PE_KIND_INT(code) code
#define PE_KIND_FLOAT(code)

enum { MAX_BLOCK_GROUPS = 8 }; /* groups of 32 in the largest block */

typedef struct type_facts {
    size_t block_elements, block_bytes;
    size_t mins;
} type_facts;

PE_INLINE type_facts facts_of(int slot) {
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins)                                                     \
    case PE_SLOT_##NAME:                                                                                               \
        return (type_facts){elements, bytes, mins};
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return (type_facts){PE_GROUP, 1, 0};
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

/* Scales d [groups of the block] and mins m [mins * groups of the block] of block b. */
PE_INLINE void scales_of(int slot, const uint8_t *row, size_t b, float *d, float *m) {
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins)                                                     \
    PE_KIND_##kind(case PE_SLOT_##NAME : pe_##lower##_scales(row, b, d, m); break;)
#include "quant/quants.def"
#undef PE_QUANT
    }
}

/* The same for PE_ROWS rows at once, a row of lanes for each entry. Types whose block is one group of 32 all begin with
 * the scale as a half, then the minimum as a half where they have one: those are loaded side by side. The others go
 * through plain C, row by row. */
PE_INLINE void row_scales_of(int slot, const uint8_t *const rows[], size_t b, vr d[], vr m[]) {
    const type_facts facts = facts_of(slot);
    const size_t groups = facts.block_elements / PE_GROUP;
    if (groups == 1) {
        if (facts.mins)
            vr_load_f16_pair(rows, b * facts.block_bytes, d, m);
        else
            *d = vr_load_f16(rows, b * facts.block_bytes);
        return;
    }
    float scales[PE_ROWS][MAX_BLOCK_GROUPS], mins[PE_ROWS][2 * MAX_BLOCK_GROUPS];
    for (size_t r = 0; r < PE_ROWS; r++) scales_of(slot, rows[r], b, scales[r], mins[r]);
    for (size_t j = 0; j < groups; j++) d[j] = vr_column(scales[0] + j, MAX_BLOCK_GROUPS);
    for (size_t j = 0; j < facts.mins * groups; j++) m[j] = vr_column(mins[0] + j, 2 * MAX_BLOCK_GROUPS);
}

/* The rows of a step are as many streams to the memory system, too many for the prefetchers of small cores to follow:
 * what comes PREFETCH_BYTES later is asked for by hand, in the order of addresses, evenly over the groups. */
enum { PREFETCH_BYTES = 8192, CACHE_LINE = 64 };

PE_INLINE void gemv_int(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    const type_facts facts = facts_of(slot);
    const size_t mins = facts.mins;
    const size_t block_groups = facts.block_elements / PE_GROUP, blocks = x->n / facts.block_elements;
    const size_t step_bytes = PE_ROWS * PE_GROUP * facts.block_bytes / facts.block_elements;
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_ROWS) {
        const uint8_t *rows[PE_ROWS]; /* past the end: the last row again, its result is dropped */
        for (size_t r = 0; r < PE_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        vr acc = vr_zero();
        const uint8_t *later = rows[0] + PREFETCH_BYTES;
        for (size_t b = 0; b < blocks; b++) {
            vr d[MAX_BLOCK_GROUPS], m[2 * MAX_BLOCK_GROUPS];
            row_scales_of(slot, rows, b, d, m);
            for (size_t j = 0; j < block_groups; j++, later += step_bytes) {
                const size_t g = b * block_groups + j;
                for (size_t i = 0; i < step_bytes; i += CACHE_LINE) vs_prefetch(later + i);
                const int16_t *q = x->q + g * PE_GROUP;
                vi partial[PE_ROWS];
#pragma GCC unroll 8
                for (size_t r = 0; r < PE_ROWS; r++) partial[r] = vq_dot(weights_of(slot, rows[r], g), q);
                acc = vr_fma(vr_sum(partial), vr_mul(d[j], vr_set1(x->scale[g])), acc);
                if (mins == 1) acc = vr_fma(m[j], vr_set1(x->sum[2 * g] + x->sum[2 * g + 1]), acc);
                if (mins == 2)
                    acc =
                        vr_fma(m[2 * j + 1], vr_set1(x->sum[2 * g + 1]), vr_fma(m[2 * j], vr_set1(x->sum[2 * g]), acc));
            }
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
    const type_facts facts = facts_of(slot);
    const size_t mins = facts.mins, n = x->n, groups = n / PE_GROUP;
    int16_t *panel = scratch;                            /* [PE_PANEL_ROWS, n] */
    float *scale = (float *)(panel + PE_PANEL_ROWS * n); /* [PE_PANEL_ROWS, groups] */
    float *min = scale + PE_PANEL_ROWS * groups;         /* [PE_PANEL_ROWS, groups, mins] */
    const size_t padded = (n_rows + PE_TILE_ROWS - 1) / PE_TILE_ROWS * PE_TILE_ROWS;
    for (size_t r = 0; r < padded; r++) {
        const uint8_t *row = w + (r < n_rows ? r : n_rows - 1) * row_bytes;
        for (size_t g = 0; g < groups; g++) vq_store(panel + r * n + g * PE_GROUP, weights_of(slot, row, g));
        for (size_t b = 0, g = r * groups; b < n / facts.block_elements; b++, g += facts.block_elements / PE_GROUP)
            scales_of(slot, row, b, scale + g, min + g * mins);
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
                    if (mins) acc[r] = vf_fma(vf_set1(min[at * mins]), s0, acc[r]);
                    if (mins == 2) acc[r] = vf_fma(vf_set1(min[at * mins + 1]), s1, acc[r]);
                }
            }
            for (size_t r = 0; r < PE_TILE_ROWS; r++) vf_store(out[r0 + r], acc[r]);
        }
        size_t n_tokens = x->n_tokens - t0 < PE_VF ? x->n_tokens - t0 : PE_VF;
        for (size_t t = 0; t < n_tokens; t++)
            for (size_t r = 0; r < n_rows; r++) y[(t0 + t) * y_stride + r] = out[r][t];
    }
}
