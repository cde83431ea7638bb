/* For builds whose size counts: what unpacks integer weights is compiled once, and a type brings two small functions,
 * its weights and its scales. So does gemv, but for the types that most files consist of. The order of roundings is
 * that of kernels.h. */

enum { LONGEST_ROW = 16384 };

/* Types with a gemv of their own, for rows of n. */
PE_INLINE bool is_frequent(int slot, size_t n) {
    if (n > LONGEST_ROW) return false;
    return slot == PE_SLOT_Q4_0 || slot == PE_SLOT_Q4_1 || slot == PE_SLOT_Q5_0 || slot == PE_SLOT_Q8_0 ||
           slot == PE_SLOT_Q4_K || slot == PE_SLOT_Q5_K || slot == PE_SLOT_Q6_K;
}

/* Groups of PE_ROWS rows in blocks of one group that begin with scale and minimum as halves, or row by row. */
PE_ONCE void shared_scales(const pe_type_kernels *type, const uint8_t *const rows[], size_t b, vr d[], vr m[]) {
    const size_t groups = type->block_elements / PE_GROUP, at = b * type->block_bytes;
    if (!type->scales) {
        if (type->mins)
            vr_load_f16_pair(rows, at, d, m);
        else
            *d = vr_load_f16(rows, at);
        return;
    }
    float scales[PE_ROWS][MAX_BLOCK_GROUPS], mins[PE_ROWS][2 * MAX_BLOCK_GROUPS];
    for (size_t r = 0; r < PE_ROWS; r++) type->scales(rows[r], b, scales[r], mins[r]);
    vr_columns(d, groups, scales[0], MAX_BLOCK_GROUPS);
    vr_columns(m, type->mins * groups, mins[0], 2 * MAX_BLOCK_GROUPS);
}

PE_ONCE void unpack_shared(const pe_type_kernels *type, pe_panel *panel, const uint8_t *w, size_t row_bytes,
                           size_t n_rows, size_t g0, size_t count) {
    const size_t block_groups = type->block_elements / PE_GROUP, mins = type->mins;
    const size_t padded = (n_rows + PE_ROW_UNIT - 1) / PE_ROW_UNIT * PE_ROW_UNIT;
    for (size_t r0 = 0; r0 < padded; r0 += PE_ROWS) {
        const uint8_t *rows[PE_ROWS];
        for (size_t r = 0; r < PE_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        for (size_t g = 0; g < count; g += block_groups) {
            vr d[MAX_BLOCK_GROUPS], m[2 * MAX_BLOCK_GROUPS];
            shared_scales(type, rows, (g0 + g) / block_groups, d, m);
            for (size_t j = 0; j < block_groups; j++) {
                vr_store(panel->scale[g + j] + r0, d[j]);
                for (size_t k = 0; k < mins; k++) vr_store(panel->min[g + j][k] + r0, m[j * mins + k]);
            }
        }
        for (size_t r = 0; r < PE_ROWS; r++) type->weights(panel->weights[r0 + r], rows[r], g0, count);
    }
}

PE_ONCE void gemv_shared(const pe_type_kernels *type, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows,
                         const pe_act *x) {
    const size_t mins = type->mins, block_groups = type->block_elements / PE_GROUP, groups = x->n / PE_GROUP;
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_ROWS) {
        const uint8_t *rows[PE_ROWS]; /* past the end: the last row again, its result is dropped */
        for (size_t r = 0; r < PE_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        vr acc = vr_zero();
        for (size_t g0 = 0; g0 < groups; g0 += PE_AT_ONCE) {
            const size_t count = groups - g0 < PE_AT_ONCE ? groups - g0 : PE_AT_ONCE;
            int16_t weights[PE_ROWS][PE_AT_ONCE * PE_GROUP];
            vr d[2 * PE_AT_ONCE], m[4 * PE_AT_ONCE]; /* what is stored in fours may go past the last group */
            for (size_t r = 0; r < PE_ROWS; r++) type->weights(weights[r], rows[r], g0, count);
            for (size_t g = 0; g < count; g += block_groups)
                shared_scales(type, rows, (g0 + g) / block_groups, d + g, m + g * mins);
            for (size_t j = 0; j < count; j++) {
                const size_t g = g0 + j;
                const float s0 = x->sum[2 * g], s1 = x->sum[2 * g + 1];
                vi partial[PE_ROWS];
                PE_UNROLL(8)
                for (size_t r = 0; r < PE_ROWS; r++)
                    partial[r] = vq_dot(vq_load_s16(weights[r] + j * PE_GROUP), x->q + g * PE_GROUP);
                acc = vr_fma(vr_sum(partial), vr_mul(d[j], vr_set1(x->scale[g])), acc);
                if (mins == 1) acc = vr_fma(m[j], vr_set1(s0 + s1), acc);
                if (mins == 2) acc = vr_fma(m[2 * j + 1], vr_set1(s1), vr_fma(m[2 * j], vr_set1(s0), acc));
            }
        }
        float results[PE_ROWS];
        vr_store(results, acc);
        memcpy(y + r0, results, (n_rows - r0 < PE_ROWS ? n_rows - r0 : PE_ROWS) * sizeof *y);
    }
}

/* ---- gemv of the types with one of their own ------------------------------------------------------------------- */

enum { TOUCHED_AHEAD = 4096 }; /* of more at once would be waited for */

/* Some bytes from p on, if all of them lie before `end`: without an instruction that asks and cannot fail, they are
 * touched. */
PE_INLINE void touch(const uint8_t *p, size_t bytes, const uint8_t *end) {
    if (p + bytes > end) return;
    PE_UNROLL(8)
    for (size_t i = 0; i < bytes; i += CACHE_LINE) vs_touch(p + i);
}

#if PE_UNSIGNED_DOT
PE_ONCE void split_input(pe_split *parts, const pe_act *x, int less) {
    for (size_t g = 0; g < x->n / PE_GROUP; g++) pe_split_group(parts + g, x->q + g * PE_GROUP, less);
}
PE_INLINE bool is_split(int slot) { return slot != PE_SLOT_Q8_0; }
PE_INLINE int less_of(int slot) { return slot == PE_SLOT_Q4_0 ? 8 : slot == PE_SLOT_Q5_0 ? 16 : 0; }
#endif

PE_INLINE void gemv_frequent(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    const type_facts facts = facts_of(slot);
    const size_t mins = facts.mins, block_groups = facts.block_elements / PE_GROUP;
    const size_t blocks = x->n / facts.block_elements;
    const size_t step_bytes = PE_ROWS * PE_GROUP * facts.block_bytes / facts.block_elements;
#if PE_UNSIGNED_DOT
    pe_split parts[LONGEST_ROW / PE_GROUP]; /* 40 KB */
    if (is_split(slot)) split_input(parts, x, less_of(slot));
#endif
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_ROWS) {
        const uint8_t *rows[PE_ROWS]; /* past the end: the last row again, its result is dropped */
        PE_UNROLL(4)
        for (size_t r = 0; r < PE_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        vr acc = vr_zero();
        const uint8_t *later = rows[0] + TOUCHED_AHEAD;
        const int16_t *q = x->q;
        const float *scale = x->scale, *sum = x->sum;
#if PE_UNSIGNED_DOT
        const pe_split *part = parts;
#endif
        for (size_t b = 0; b < blocks; b++) {
            vr d[MAX_BLOCK_GROUPS], m[2 * MAX_BLOCK_GROUPS];
            row_scales_of(slot, rows, 0, d, m);
            for (size_t j0 = 0; j0 < block_groups; j0 += PE_GROUPS_AT_ONCE(slot)) {
#if PE_UNSIGNED_DOT
                v128_t factors[4];
                if (slot == PE_SLOT_Q6_K) pe_pairs(factors, rows, offsetof(pe_q6_k_block, scales) + 2 * j0);
#endif
                PE_UNROLL(4)
                for (size_t j = j0; j < j0 + PE_GROUPS_AT_ONCE(slot); j++) {
                    touch(later, step_bytes, w + n_rows * row_bytes);
                    later += step_bytes;
                    vq weights[PE_ROWS];
                    PE_UNROLL(4)
                    for (size_t r = 0; r < PE_ROWS; r++) weights[r] = weights_of(slot, rows[r], j);
                    vr dot;
#if PE_UNSIGNED_DOT
                    if (is_split(slot)) {
                        dot = vr_split_sum(weights, part++, factors[j % 4]);
                    } else
#endif
                    {
                        vi partial[PE_ROWS];
                        vq_dots(partial, weights, q);
                        dot = vr_sum(partial);
                    }
                    acc = vr_fma(dot, vr_mul(d[j], vr_set1(*scale)), acc);
                    if (mins == 1) acc = vr_fma(m[j], vr_set1(sum[0] + sum[1]), acc);
                    q += PE_GROUP, scale++, sum += 2;
                }
            }
            PE_UNROLL(4)
            for (size_t r = 0; r < PE_ROWS; r++) {
                rows[r] += facts.block_bytes;
                __asm__("" : "+r"(rows[r]));
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
