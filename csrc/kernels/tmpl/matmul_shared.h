/* For builds whose size counts: what unpacks integer weights is compiled once, and a type brings two small functions,
 * its weights and its scales. So does gemv, but for the types that most files consist of. The order of roundings is
 * that of kernels.h. */

/* Types with a gemv of their own. */
PE_INLINE bool is_frequent(int slot) {
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
