/* Activations to 15-bit integers in groups of 32: x = scale * q with |q| <= 16383 (see kernels.h for why 15).
 * A group whose values are all zero, or so small that the scale would be subnormal, becomes zeros. */

enum { GROUPS_AT_ONCE = 32 };

static void quantize_row(int16_t *q, float *scale, float *sum, const float *x, size_t n) {
    for (size_t g = 0; g < n / PE_GROUP; g++, x += PE_GROUP, q += PE_GROUP) {
        vf top = vf_abs(vf_load(x));
        for (size_t i = PE_VF; i < PE_GROUP; i += PE_VF) top = vf_max(top, vf_abs(vf_load(x + i)));
        float largest = vf_hmax(top);
        float d = largest / PE_ACT_MAX;
        float inverse = d > 1e-37f ? PE_ACT_MAX / largest : 0.0f;
        if (inverse == 0.0f) d = 0.0f;
        for (size_t i = 0; i < PE_GROUP; i += PE_VF) vf_store_s16(q + i, vf_mul(vf_load(x + i), vf_set1(inverse)));
        const int32_t low = vs_sum16(q), high = vs_sum16(q + PE_GROUP / 2);
        scale[g] = d;
        sum[2 * g] = d * (float)low;
        sum[2 * g + 1] = d * (float)high;
#ifdef PE_ROWS_IN_LANES
        va_arrange(q);
#endif
    }
}

#ifdef PE_ROWS_IN_LANES /* a tile is one token */
static void quantize_tile(const pe_act *act, size_t first, size_t n_tokens, int16_t *scratch) {
    const size_t n = act->n, groups = n / PE_GROUP;
    (void)n_tokens, (void)scratch;
    quantize_row(act->q + first * n, act->scale + first * groups, act->sum + first * groups * 2, act->f32 + first * n,
                 n);
}
#else
/* Rows of one tile, the missing ones zeros, into the layout of gemm; scratch [PE_VF * n] int16. */
static void quantize_tile(const pe_act *act, size_t first, size_t n_tokens, int16_t *scratch) {
    const size_t n = act->n, groups = n / PE_GROUP;
    int16_t *q = act->q + first * n * PE_ACT_PARTS;
    float *scale = act->scale + first * groups, *sum = act->sum + first * groups * 2;
    for (size_t t = 0; t < PE_VF; t++) {
        float row_scale[GROUPS_AT_ONCE], row_sum[2 * GROUPS_AT_ONCE];
        for (size_t g = 0; g < groups; g += GROUPS_AT_ONCE) {
            const size_t some = groups - g < GROUPS_AT_ONCE ? groups - g : GROUPS_AT_ONCE;
            if (t < n_tokens) {
                quantize_row(scratch + t * n + g * PE_GROUP, row_scale, row_sum,
                             act->f32 + (first + t) * n + g * PE_GROUP, some * PE_GROUP);
            } else {
                memset(scratch + t * n + g * PE_GROUP, 0, some * PE_GROUP * sizeof *scratch);
                memset(row_scale, 0, sizeof row_scale);
                memset(row_sum, 0, sizeof row_sum);
            }
            for (size_t i = 0; i < some; i++) scale[(g + i) * PE_VF + t] = row_scale[i];
            for (size_t i = 0; i < 2 * some; i++) sum[(2 * g + i) * PE_VF + t] = row_sum[i];
        }
    }
    for (size_t g = 0; g < groups; g++, q += PE_GROUP * PE_VF * PE_ACT_PARTS) {
        vt_pairs columns[PE_GROUP / 2];
        vt_columns(columns, PE_GROUP / 2, scratch + g * PE_GROUP, n);
        store_columns(q, columns);
    }
}

#endif

static void quantize(const pe_act *act, size_t first, size_t end, void *scratch) {
    const size_t n = act->n, groups = n / PE_GROUP;
    if (act->n_tokens > PE_FEW) {
        for (size_t t = first; t < end; t += PE_TILE_TOKENS)
            quantize_tile(act, t, end - t < PE_TILE_TOKENS ? end - t : PE_TILE_TOKENS, scratch);
        return;
    }
    for (size_t t = first; t < end; t++)
        quantize_row(act->q + t * n, act->scale + t * groups, act->sum + t * groups * 2, act->f32 + t * n, n);
}
