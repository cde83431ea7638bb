/* The columns of a panel multiplied with a few tokens. Rows lie in the lanes, so nothing is added up across a vector.
 * The input's rows lie as for gemv, one after the other. */

PE_INLINE void multiply_few(size_t mins, const pe_panel *panel, const pe_act *x, size_t n_rows, size_t g0, size_t count,
                            float (*sums)[PE_PANEL_ROWS]) {
    const size_t groups = x->n / PE_GROUP;
    for (size_t r0 = 0; r0 < n_rows; r0 += PE_VF)
        for (size_t g = 0; g < count; g++) {
            vt_pairs pairs[PE_GROUP / 2];
#pragma GCC unroll 16
            for (size_t i = 0; i < PE_GROUP / 2; i++) pairs[i] = vt_load(panel->columns[g][i][r0]);
            const vf d = vf_load(panel->scale[g] + r0);
            const float *x_scale = x->scale + g0 + g, *x_sum = x->sum + 2 * (g0 + g);
            const int16_t *q = x->q + (g0 + g) * PE_GROUP;
            for (size_t t = 0; t < x->n_tokens; t++, q += x->n, x_scale += groups, x_sum += 2 * groups) {
                vt even = vt_zero(), odd = vt_zero();
#pragma GCC unroll 8
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
}
