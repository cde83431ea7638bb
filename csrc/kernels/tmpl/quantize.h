/* Activations to 15-bit integers in groups of 32: x = scale * q with |q| <= 16383 (see kernels.h for why 15).
 * A group whose values are all zero, or so small that the scale would be subnormal, becomes zeros. */

enum { PE_ACT_MAX = 16383 };

static void quantize_row(int16_t *q, float *scale, float *sum, const float *x, size_t n) {
    for (size_t g = 0; g < n / PE_GROUP; g++, x += PE_GROUP, q += PE_GROUP) {
        vf top = vf_abs(vf_load(x));
        for (size_t i = PE_VF; i < PE_GROUP; i += PE_VF) top = vf_max(top, vf_abs(vf_load(x + i)));
        float largest = vf_hmax(top);
        float d = largest / PE_ACT_MAX;
        float inverse = d > 1e-37f ? PE_ACT_MAX / largest : 0.0f;
        if (inverse == 0.0f) d = 0.0f;
        for (size_t i = 0; i < PE_GROUP; i += PE_VF) vf_store_s16(q + i, vf_mul(vf_load(x + i), vf_set1(inverse)));
        int32_t low = 0, high = 0;
        for (size_t i = 0; i < PE_GROUP / 2; i++) low += q[i], high += q[i + PE_GROUP / 2];
        scale[g] = d;
        sum[2 * g] = d * (float)low;
        sum[2 * g + 1] = d * (float)high;
    }
}

static void quantize_tile(int16_t *q, float *scale, float *sum, const float *x, size_t n_tokens, size_t n,
                          float *scratch) {
    int16_t *row_q = (int16_t *)scratch;
    float *row_scale = scratch + n / 2, *row_sum = row_scale + n / PE_GROUP;
    for (size_t t = 0; t < PE_VF; t++) {
        if (t < n_tokens) {
            quantize_row(row_q, row_scale, row_sum, x + t * n, n);
        } else { /* padding */
            memset(row_q, 0, n * sizeof *row_q);
            memset(row_scale, 0, n / PE_GROUP * 3 * sizeof *row_scale);
        }
        for (size_t i = 0; i < n / 2; i++) memcpy(q + (i * PE_VF + t) * 2, row_q + 2 * i, 2 * sizeof *q);
        for (size_t i = 0; i < n / PE_GROUP; i++) scale[i * PE_VF + t] = row_scale[i];
        for (size_t i = 0; i < n / PE_GROUP * 2; i++) sum[i * PE_VF + t] = row_sum[i];
    }
}
