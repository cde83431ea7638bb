/* Products of a few tokens as gemv does them: PE_ROWS rows in the file's layout, whose integers are unpacked once and
 * multiplied with each token in turn, so that a token more costs its dot products alone. Nothing waits in scratch. The
 * order of roundings is that of kernels.h. For instruction sets whose header defines PE_BESIDE. */

/* Tokens up to which this is the fastest way for a type: turned rows (matmul_few.h) cost more to prepare, and less for
 * each token. */
PE_INLINE size_t beside_tokens(int slot) {
    if (is_rare(slot) || slot == PE_SLOT_NANO_Q4K) return 0; /* not worth code of their own */
#ifdef PE_TURN
    if (slot == PE_SLOT_Q4_K) return 0;
    if (is_turned(slot)) return 3;
#endif
    return PE_FEW;
}

/* acc [n_tokens] += the products of a group; d and m are its scales and mins, `at` its index in a row. */
PE_INLINE void multiply_group_beside(size_t mins, vr acc[], const vq weights[PE_ROWS], vr d, const vr m[],
                                     const pe_act *x, size_t at) {
    const size_t groups = x->n / PE_GROUP;
    const int16_t *q = x->q + at * PE_GROUP;
    const float *scale = x->scale + at, *sum = x->sum + 2 * at;
#pragma GCC unroll 1
    for (size_t t = 0; t < x->n_tokens; t++, q += x->n, scale += groups, sum += 2 * groups) {
        vi partial[PE_ROWS];
        PE_UNROLL(8)
        for (size_t r = 0; r < PE_ROWS; r++) partial[r] = vq_dot(weights[r], q);
        acc[t] = add_group(mins, acc[t], vr_sum(partial), d, m, *scale, sum);
    }
}

PE_INLINE void gemm_beside(int slot, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows,
                           const pe_act *x) {
    const type_facts facts = facts_of(slot);
    const size_t block_groups = facts.block_elements / PE_GROUP, blocks = x->n / facts.block_elements;
    const size_t step_bytes = PE_ROWS * PE_GROUP * facts.block_bytes / facts.block_elements;
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_ROWS) {
        const uint8_t *rows[PE_ROWS]; /* past the end: the last row again, its results are dropped */
        for (size_t r = 0; r < PE_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        const uint8_t *later = rows[0] + PREFETCH_BYTES;
        vr acc[PE_FEW];
        for (size_t t = 0; t < x->n_tokens; t++) acc[t] = vr_zero();
        for (size_t b = 0; b < blocks; b++) {
            vr d[MAX_BLOCK_GROUPS], m[2 * MAX_BLOCK_GROUPS];
            row_scales_of(slot, rows, b, d, m);
            for (size_t j = 0; j < block_groups; j++, later += step_bytes) {
                for (size_t i = 0; i < step_bytes; i += CACHE_LINE) vs_prefetch(later + i);
                vq weights[PE_ROWS];
                PE_UNROLL(8)
                for (size_t r = 0; r < PE_ROWS; r++) weights[r] = weights_of(slot, rows[r] + b * facts.block_bytes, j);
                multiply_group_beside(facts.mins, acc, weights, d[j], m + facts.mins * j, x, b * block_groups + j);
            }
        }
        for (size_t t = 0; t < x->n_tokens; t++) store_rows(y + t * y_stride + r0, acc[t], n_rows - r0);
    }
}
