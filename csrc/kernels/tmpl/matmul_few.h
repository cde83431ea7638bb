/* Panels multiplied with a few tokens. Rows lie in the lanes, so nothing is added up across a vector. The input's rows
 * lie as for gemv, one after the other. */

/* One group of PE_VF rows, in columns of pairs, with all tokens, whose q lie q_stride apart. */
PE_INLINE void multiply_group(size_t mins, const vt_pairs pairs[PE_GROUP / 2], const pe_panel *panel, size_t g,
                              size_t r0, const int16_t *q, size_t q_stride, const pe_act *x, size_t at,
                              float (*sums)[PE_PANEL_ROWS]) {
    const size_t groups = x->n / PE_GROUP;
    const vf d = vf_load(panel->scale[g] + r0);
    const float *x_scale = x->scale + at, *x_sum = x->sum + 2 * at;
    for (size_t t = 0; t < x->n_tokens; t++, q += q_stride, x_scale += groups, x_sum += 2 * groups) {
        vt even = vt_zero(), odd = vt_zero();
        PE_UNROLL(8)
        for (size_t i = 0; i < PE_GROUP / 2; i += 2) {
            even = vt_dot2(even, pairs[i], q + 2 * i);
            odd = vt_dot2(odd, pairs[i + 1], q + 2 * i + 2);
        }
        vf a = vf_fma(vt_float(vt_add(even, odd)), vf_mul(d, vf_set1(*x_scale)), vf_load(sums[t] + r0));
        if (mins == 1) a = vf_fma(vf_load(panel->min[g][0] + r0), vf_set1(x_sum[0] + x_sum[1]), a);
        if (mins == 2)
            a = vf_fma(vf_load(panel->min[g][1] + r0), vf_set1(x_sum[1]),
                       vf_fma(vf_load(panel->min[g][0] + r0), vf_set1(x_sum[0]), a));
        vf_store(sums[t] + r0, a);
    }
}

PE_INLINE void multiply_few(size_t mins, const pe_panel *panel, const pe_act *x, size_t n_rows, size_t g0, size_t count,
                            float (*sums)[PE_PANEL_ROWS]) {
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_VF)
        for (size_t g = 0; g < count; g++) {
            vt_pairs pairs[PE_GROUP / 2];
            PE_UNROLL(16)
            for (size_t i = 0; i < PE_GROUP / 2; i++) pairs[i] = vt_load(panel->columns[g][i][r0]);
            multiply_group(mins, pairs, panel, g, r0, x->q + (g0 + g) * PE_GROUP, x->n, x, g0 + g, sums);
        }
}

#define FOR_MINS(mins)                                                                                                 \
    PE_ONCE void multiply_few_##mins(const pe_panel *panel, const pe_act *x, size_t n_rows, size_t g0, size_t count,   \
                                     float (*sums)[PE_PANEL_ROWS]) {                                                   \
        multiply_few(mins, panel, x, n_rows, g0, count, sums);                                                         \
    }
FOR_MINS(0)
FOR_MINS(1)
FOR_MINS(2)
#undef FOR_MINS

/* ---- rows turned as they lie in the file -------------------------------------------------------------------------
 *
 * Where the integers of a group are bytes or nibbles side by side, the words of PE_VF rows are turned into columns
 * first, and unpacked for all rows at once. A word holds weights 4i to 4i + 3 of a row, or twice as many nibbles, so
 * its pairs are of weights 4i and 4i + 2, and 4i + 1 and 4i + 3: the activations are put in the same order. Only where
 * the vocabulary works on int16 of columns (PE_TURN). */

#ifdef PE_TURN
PE_INLINE bool is_turned(int slot) {
    return slot == PE_SLOT_Q4_0 || slot == PE_SLOT_Q4_1 || slot == PE_SLOT_Q4_K || slot == PE_SLOT_Q5_0 ||
           slot == PE_SLOT_Q8_0;
}

/* Of each row from p on, `bytes` bytes as columns of words. */
PE_INLINE void turn_words(vt_pairs *out, size_t bytes, const uint8_t *p, size_t row_bytes) {
    vt_columns(out, bytes / 4, (const int16_t *)(const void *)p, row_bytes / 2);
}

/* Eight columns of words to columns of pairs; nibbles: bits shift..shift + 3 of each byte, less `offset`. */
PE_INLINE void split_bytes(vt_pairs *out, const vt_pairs *words, size_t n) {
    PE_UNROLL(8)
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = vt_sar16(vt_shl16(words[i], 8), 8);
        out[2 * i + 1] = vt_sar16(words[i], 8);
    }
}
PE_INLINE void split_nibbles(vt_pairs *out, const vt_pairs *words, size_t n, int shift, int offset) {
    PE_UNROLL(8)
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = vt_and16(shift ? vt_shr16(words[i], 4) : words[i], 15);
        out[2 * i + 1] = shift ? vt_shr16(words[i], 12) : vt_and16(vt_shr16(words[i], 8), 15);
        if (offset) out[2 * i] = vt_add16(out[2 * i], -offset), out[2 * i + 1] = vt_add16(out[2 * i + 1], -offset);
    }
}

/* Of Q5_0's nibbles in columns of pairs, 16 less where the fifth bit is clear; `bits` holds those of each row. */
PE_INLINE void add_fifth_bits(vt_pairs pairs[PE_GROUP / 2], vt_pairs bits) {
    const vt_pairs halves[2] = {vt_twice_low(bits), vt_twice_high(bits)};
    PE_UNROLL(16)
    for (size_t i = 0; i < PE_GROUP / 2; i++) {
        const size_t first = i % 8 / 2 * 4 + i % 2; /* weight of the half; the second of the pair is two further on */
        pairs[i] = vt_add_clear(pairs[i], halves[i / 8], 1 << first, 4 << first, -16);
    }
}

/* Groups g0..g0+count-1 of n_rows rows, a multiple of PE_VF, with all tokens; their scales are in the panel, and q
 * [n_tokens, PE_AT_ONCE * PE_GROUP] holds the activations in the order told above. What lies `ahead` bytes from here is
 * asked for on the way, as many bytes as are read. */
PE_INLINE void multiply_turned(int slot, const pe_panel *panel, const uint8_t *w, size_t row_bytes, size_t n_rows,
                               const int16_t *q, const pe_act *x, size_t g0, size_t count, size_t ahead,
                               float (*sums)[PE_PANEL_ROWS]) {
    enum { HALF = PE_GROUP / 4, STRIDE = PE_AT_ONCE * PE_GROUP };
    const type_facts facts = facts_of(slot);
    const size_t step = PE_VF * facts.block_bytes * PE_GROUP / facts.block_elements;
    const uint8_t *later = w + ahead + n_rows / PE_VF * step * g0;
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_VF, w += PE_VF * row_bytes)
        for (size_t g = 0; g < count; g++, later += step) {
            for (size_t i = 0; i < step; i += CACHE_LINE) vs_prefetch(later + i);
            const uint8_t *block = w + (g0 + g) * PE_GROUP / facts.block_elements * facts.block_bytes;
            vt_pairs words[8], pairs[PE_GROUP / 2];
            if (slot == PE_SLOT_Q8_0) {
                turn_words(words, 32, block + offsetof(pe_q8_0_block, qs), row_bytes);
                split_bytes(pairs, words, 8);
            } else if (slot == PE_SLOT_Q4_K) { /* two groups share their bytes */
                turn_words(words, 32, block + offsetof(pe_q4_k_block, qs) + g % 8 / 2 * 32, row_bytes);
                split_nibbles(pairs, words, 8, 0, 0);
                multiply_group(facts.mins, pairs, panel, g, r0, q + g * PE_GROUP, STRIDE, x, g0 + g, sums);
                split_nibbles(pairs, words, 8, 4, 0);
                g++, later += step;
            } else if (slot == PE_SLOT_Q5_0) {
                vt_pairs bits[4]; /* and what follows them */
                turn_words(bits, 16, block + offsetof(pe_q5_0_block, qh), row_bytes);
                turn_words(words, 16, block + offsetof(pe_q5_0_block, qs), row_bytes);
                split_nibbles(pairs, words, 4, 0, 0);
                split_nibbles(pairs + HALF, words, 4, 4, 0);
                add_fifth_bits(pairs, bits[0]);
            } else {
                const bool q4_1 = slot == PE_SLOT_Q4_1;
                turn_words(words, 16, block + (q4_1 ? offsetof(pe_q4_1_block, qs) : offsetof(pe_q4_0_block, qs)),
                           row_bytes);
                split_nibbles(pairs, words, 4, 0, q4_1 ? 0 : 8);
                split_nibbles(pairs + HALF, words, 4, 4, q4_1 ? 0 : 8);
            }
            multiply_group(facts.mins, pairs, panel, g, r0, q + g * PE_GROUP, STRIDE, x, g0 + g, sums);
        }
}

/* Those groups of the activations, each four of them in the order 0, 2, 1, 3. */
static void cross_input(int16_t *to, const pe_act *x, size_t g0, size_t count) {
    for (size_t t = 0; t < x->n_tokens; t++, to += PE_AT_ONCE * PE_GROUP)
        for (size_t i = 0; i < count * PE_GROUP; i += 2 * PE_VF)
            vt_store(to + i, vt_cross(vt_load(x->q + t * x->n + g0 * PE_GROUP + i)));
}
#endif
