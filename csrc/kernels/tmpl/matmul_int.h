/* What the products with integer weights share, and gemv, the product for one token. The order of roundings is told in
 * kernels.h: all of them keep it. A type is a compile-time constant here, unless it is rare, so the switches fold away.
 */

#define PE_KIND_INT(code) code
#define PE_KIND_FLOAT(code)

enum { MAX_BLOCK_GROUPS = 8 }; /* groups of 32 in the largest block */

/* What has one copy for all types: without the attributes compilers make one for each of them again. */
#ifdef __clang__
#define PE_ONCE static __attribute__((noinline))
#else
#define PE_ONCE static __attribute__((noinline, noclone))
#endif
/* Where a module is fetched by each visitor, what is not called for every token is made small. */
#ifdef __wasm__
#define PE_SMALL PE_ONCE __attribute__((minsize))
#else
#define PE_SMALL PE_ONCE
#endif

/* Types that few files have share one copy of each kernel, in which the switches are taken at run time. None of them
 * has mins. */
PE_INLINE bool is_rare(int slot) { return slot >= PE_SLOT_Q8_K; }
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    _Static_assert(PE_SLOT_##NAME < PE_SLOT_Q8_K || (mins) == 0, #NAME ": rare types have no mins");
#include "quant/quants.def"
#undef PE_QUANT

typedef struct type_facts {
    size_t block_elements, block_bytes;
    size_t mins, largest;
} type_facts;

PE_INLINE type_facts facts_of(int slot) {
    type_facts facts = {PE_GROUP, 1, 0, 1};
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    case PE_SLOT_##NAME:                                                                                               \
        facts = (type_facts){elements, bytes, mins, largest};                                                          \
        break;
#include "quant/quants.def"
#undef PE_QUANT
    }
    if (is_rare(slot)) facts.mins = 0; /* known, but not to every compiler */
    return facts;
}

#ifndef PE_INLINE_CALL /* before a statement whose calls must become part of the caller */
#define PE_INLINE_CALL
#endif

PE_INLINE vq weights_of(int slot, const uint8_t *row, size_t g) {
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    PE_KIND_##kind(case PE_SLOT_##NAME : PE_INLINE_CALL return pe_##lower##_weights(row, g);)
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return vq_set1(0);
    }
}

/* Of PE_ROWS rows the products of group g with q [32]: the switch is outside of the loop, for types that are rare. */
PE_INLINE void rare_dots(int slot, vi out[PE_ROWS], const uint8_t *const rows[], size_t g, const int16_t *q) {
    switch (slot) {
#ifdef PE_ROW_PAIRS
#define ROW_DOTS(lower)                                                                                                \
    _Pragma("GCC unroll 1") for (size_t r = 0; r < PE_ROWS; r += 2) out[r / 2] =                                       \
        vq_dot_pair(pe_##lower##_weights(rows[r], g), pe_##lower##_weights(rows[r + 1], g), q)
#else
#define ROW_DOTS(lower)                                                                                                \
    _Pragma("GCC unroll 1") for (size_t r = 0; r < PE_ROWS; r++) out[r] = vq_dot(pe_##lower##_weights(rows[r], g), q)
#endif
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    PE_KIND_##kind(case PE_SLOT_##NAME : ROW_DOTS(lower); break;)
#include "quant/quants.def"
#undef PE_QUANT
#undef ROW_DOTS
    }
}

/* Scales d [groups of the block] and mins m [mins * groups of the block] of block b. */
PE_INLINE void scales_of(int slot, const uint8_t *row, size_t b, float *d, float *m) {
    switch (slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    PE_KIND_##kind(case PE_SLOT_##NAME : pe_##lower##_scales(row, b, d, m); break;)
#include "quant/quants.def"
#undef PE_QUANT
    }
}

/* The same for PE_ROWS rows at once, a row of lanes for each entry. Types whose block is one group of 32 begin with the
 * scale as a half (rare ones may not), then the minimum as a half where they have one: those are loaded side by side.
 * The others go through plain C, row by row. */
PE_INLINE void row_scales_of(int slot, const uint8_t *const rows[], size_t b, vr d[], vr m[]) {
    const type_facts facts = facts_of(slot);
    const size_t groups = facts.block_elements / PE_GROUP;
    if (groups == 1 && !is_rare(slot)) {
        if (facts.mins)
            vr_load_f16_pair(rows, b * facts.block_bytes, d, m);
        else
            *d = vr_load_f16(rows, b * facts.block_bytes);
        return;
    }
#ifdef PE_VR_KSCALES
    if (slot == PE_SLOT_Q4_K || slot == PE_SLOT_Q5_K) {
        vr_load_kscales(rows, b * facts.block_bytes, d, m);
        return;
    }
#endif
#ifdef PE_VR_EXACT_F16
    if (slot == PE_SLOT_Q6_K) { /* one for all groups, whose own are within the integers; it ends the block */
        d[0] = vr_load_f16(rows, b * facts.block_bytes + offsetof(pe_q6_k_block, d));
        PE_UNROLL(8)
        for (size_t j = 1; j < MAX_BLOCK_GROUPS; j++) d[j] = d[0];
        return;
    }
#endif
    float scales[PE_ROWS][MAX_BLOCK_GROUPS], mins[PE_ROWS][2 * MAX_BLOCK_GROUPS];
    if (is_rare(slot)) {
#pragma GCC unroll 1
        for (size_t r = 0; r < PE_ROWS; r++) scales_of(slot, rows[r], b, scales[r], mins[r]);
    } else {
        for (size_t r = 0; r < PE_ROWS; r++) scales_of(slot, rows[r], b, scales[r], mins[r]);
    }
    vr_columns(d, groups, scales[0], MAX_BLOCK_GROUPS);
    if (facts.mins) vr_columns(m, facts.mins * groups, mins[0], 2 * MAX_BLOCK_GROUPS);
}

/* What gemm needs of a type; the functions are compiled for each. */
typedef struct pe_panel pe_panel;
typedef struct pe_type_kernels {
    size_t mins, largest;
#ifdef PE_SHARED_UNPACK /* see matmul_shared.h */
    size_t block_elements, block_bytes;
    /* groups g0.. of a row, out [count, PE_GROUP] */
    void (*weights)(int16_t *out, const uint8_t *row, size_t g0, size_t count);
    /* those of quants.h; NULL where a block is one group and begins with its scale and minimum as halves */
    void (*scales)(const uint8_t *row, size_t b, float *d, float *m);
#else
    void (*unpack)(pe_panel *panel, const uint8_t *w, size_t row_bytes, size_t n_rows, size_t g0, size_t count);
#endif
    /* for a few tokens; NULL where they take what is unpacked. See matmul_few.h */
    void (*turned)(pe_panel *panel, const uint8_t *w, size_t row_bytes, size_t n_rows, const int16_t *q,
                   const pe_act *x, size_t g0, size_t count, size_t ahead, float (*sums)[PE_PANEL_ROWS]);
} pe_type_kernels;

/* The rows of a step are as many streams to the memory system, too many for the prefetchers of small cores to follow:
 * what comes PREFETCH_BYTES later is asked for by hand, in the order of addresses, evenly over the groups. */
enum { PREFETCH_BYTES = 16384, CACHE_LINE = 64 };

/* PE_ROW_SETS: how many times PE_ROWS rows are taken at once, so that they share what is loaded of the activations. */
#ifndef PE_ROW_SETS
#define PE_ROW_SETS 1
#endif
#ifndef PE_GROUPS_AT_ONCE /* 1 or 2 groups of a block, whose shifts become constants */
#define PE_GROUPS_AT_ONCE(slot) 1
#endif
/* Where gemv is: what comes next of the activations, and what is to be asked for. */
typedef struct gemv_place {
    const int16_t *q;
    const float *scale, *sum;
    const uint8_t *later;
} gemv_place;

/* The products of group j of block b of PE_ROWS rows with q [32]. */
PE_INLINE vr group_dots(int slot, const uint8_t *const rows[], size_t b, size_t j, const int16_t *q) {
    const type_facts facts = facts_of(slot);
    const size_t block = b * facts.block_bytes;
    vi partial[PE_ROWS];
#ifdef PE_VR_SUM_SCALED
    if (slot == PE_SLOT_Q6_K) { /* two scales for eight rows are fewer products than one for each weight */
        vi high[PE_ROWS];
        PE_UNROLL(8)
        for (size_t r = 0; r < PE_ROWS; r++)
            vq_dot_halves(pe_q6_k_integers(rows[r] + block, j), q, &partial[r], &high[r]);
        return vr_sum_scaled(partial, high, rows, block + offsetof(pe_q6_k_block, scales) + 2 * j);
    }
#endif
    if (is_rare(slot)) {
        rare_dots(slot, partial, rows, b * facts.block_elements / PE_GROUP + j, q);
    } else {
#ifdef PE_ROW_PAIRS
        PE_UNROLL(8)
        for (size_t r = 0; r < PE_ROWS; r += 2)
            partial[r / 2] =
                vq_dot_pair(weights_of(slot, rows[r] + block, j), weights_of(slot, rows[r + 1] + block, j), q);
#else
        PE_UNROLL(8)
        for (size_t r = 0; r < PE_ROWS; r++) partial[r] = vq_dot(weights_of(slot, rows[r] + block, j), q);
#endif
    }
    return vr_sum(partial);
}

/* acc and what a group adds to it: its products, then the part of its mins; sum [2] is that of the activations. */
PE_INLINE vr add_group(size_t mins, vr acc, vr dots, vr d, const vr m[], float scale, const float *sum) {
    acc = vr_fma(dots, vr_mul(d, vr_set1(scale)), acc);
    if (mins == 1) acc = vr_fma(m[0], vr_set1(sum[0] + sum[1]), acc);
    if (mins == 2) acc = vr_fma(m[1], vr_set1(sum[1]), vr_fma(m[0], vr_set1(sum[0]), acc));
    return acc;
}

/* The first `left` of PE_ROWS results: all but for the last rows, which are no part of each kernel. */
PE_ONCE __attribute__((unused)) void store_some_rows(float *y, vr results, size_t left) {
    float all[PE_ROWS];
    vr_store(all, results);
    memcpy(y, all, left * sizeof *y);
}
PE_INLINE void store_rows(float *y, vr results, size_t left) {
    if (left >= PE_ROWS)
        vr_store(y, results);
    else
        store_some_rows(y, results, left);
}

/* Group j of block b of the rows at hand. */
PE_INLINE void gemv_group(int slot, vr acc[PE_ROW_SETS], gemv_place *at, const uint8_t *const rows[], size_t b,
                          size_t j, vr d[][MAX_BLOCK_GROUPS], vr m[][2 * MAX_BLOCK_GROUPS]) {
    const type_facts facts = facts_of(slot);
    const size_t step_bytes = PE_ROWS * PE_ROW_SETS * PE_GROUP * facts.block_bytes / facts.block_elements;
    for (size_t i = 0; i < step_bytes; i += CACHE_LINE) vs_prefetch(at->later + i);
    PE_UNROLL(2)
    for (size_t s = 0; s < PE_ROW_SETS; s++) {
        const vr dots = group_dots(slot, rows + s * PE_ROWS, b, j, at->q);
        acc[s] = add_group(facts.mins, acc[s], dots, d[s][j], m[s] + facts.mins * j, *at->scale, at->sum);
    }
    at->later += step_bytes, at->q += PE_GROUP, at->scale++, at->sum += 2;
}

PE_INLINE void gemv_int(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    enum { STEP_ROWS = PE_ROWS * PE_ROW_SETS };
    const type_facts facts = facts_of(slot);
    const size_t block_groups = facts.block_elements / PE_GROUP, blocks = x->n / facts.block_elements;
    for (size_t i = 0; i < PREFETCH_BYTES && i < n_rows * row_bytes; i += CACHE_LINE) vs_prefetch(w + i);
    for (size_t r0 = 0; r0 < n_rows; r0 += STEP_ROWS) {
        const uint8_t *rows[STEP_ROWS]; /* past the end: the last row again, its result is dropped */
        for (size_t r = 0; r < STEP_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        vr acc[PE_ROW_SETS];
        PE_UNROLL(2)
        for (size_t s = 0; s < PE_ROW_SETS; s++) acc[s] = vr_zero();
        gemv_place at = {x->q, x->scale, x->sum, rows[0] + PREFETCH_BYTES};
        for (size_t b = 0; b < blocks; b++) {
            vr d[PE_ROW_SETS][MAX_BLOCK_GROUPS], m[PE_ROW_SETS][2 * MAX_BLOCK_GROUPS];
            PE_UNROLL(2)
            for (size_t s = 0; s < PE_ROW_SETS; s++) row_scales_of(slot, rows + s * PE_ROWS, b, d[s], m[s]);
            /* by hand: compilers leave a loop of this size rolled */
            for (size_t j = 0; j < block_groups; j += PE_GROUPS_AT_ONCE(slot)) {
                gemv_group(slot, acc, &at, rows, b, j, d, m);
                if (PE_GROUPS_AT_ONCE(slot) > 1) gemv_group(slot, acc, &at, rows, b, j + 1, d, m);
            }
        }
        PE_UNROLL(2)
        for (size_t s = 0; s < PE_ROW_SETS; s++) {
            const size_t r = r0 + s * PE_ROWS;
            if (r < n_rows) store_rows(y + r, acc[s], n_rows - r);
        }
    }
}
