/* The second half of a low-rank product: columns of halves or floats, each times one number of a token, added to its
 * outputs. Outputs lie in the lanes; an output is one chain of fused additions, in the order of the rank, however many
 * tokens and columns there are at once. */

enum { LOW_TOKENS = 4, LOW_VECTORS = PE_VF == 16 ? 4 : 2 }; /* whose sums stay in registers */

/* Lanes i.. of halves or floats [n]; past the end zeros. */
PE_INLINE vf take_low(bool f32, const uint8_t *b, size_t i, size_t n) {
    const size_t size = f32 ? sizeof(float) : sizeof(uint16_t);
    _Alignas(64) uint8_t part[PE_VF * sizeof(float)];
    const uint8_t *from = b + i * size;
    if (i + PE_VF > n) {
        memset(part, 0, sizeof part);
        memcpy(part, from, (n - i) * size);
        from = part;
    }
    return f32 ? vf_load((const float *)(const void *)from) : vf_load_f16(from);
}

/* V vectors of n columns, for T tokens; T and V are constants, and but for V = 1, so is n. */
PE_INLINE void low_block(size_t T, size_t V, bool f32, float *y, size_t y_stride, const uint8_t *b, size_t row_bytes,
                         size_t n, const float *u, size_t u_stride, size_t rank) {
    vf sum[LOW_TOKENS][LOW_VECTORS];
    PE_UNROLL(4)
    for (size_t t = 0; t < T; t++) PE_UNROLL(4)
    for (size_t v = 0; v < V; v++) sum[t][v] = take(y + t * y_stride, v * PE_VF, n, 0);
    for (size_t k = 0; k < rank; k++, b += row_bytes) {
        vf w[LOW_VECTORS];
        PE_UNROLL(4)
        for (size_t v = 0; v < V; v++) w[v] = take_low(f32, b, v * PE_VF, n);
        PE_UNROLL(4)
        for (size_t t = 0; t < T; t++) {
            const vf factor = vf_set1(u[t * u_stride + k]);
            PE_UNROLL(4)
            for (size_t v = 0; v < V; v++) sum[t][v] = vf_fma(w[v], factor, sum[t][v]);
        }
    }
    PE_UNROLL(4)
    for (size_t t = 0; t < T; t++) PE_UNROLL(4)
    for (size_t v = 0; v < V; v++) put(y + t * y_stride, v * PE_VF, n, sum[t][v]);
}

PE_ONCE void low_tokens(float *y, size_t y_stride, const uint8_t *b, size_t row_bytes, const float *u, size_t u_stride,
                        size_t rank) {
    low_block(LOW_TOKENS, LOW_VECTORS, false, y, y_stride, b, row_bytes, LOW_VECTORS * PE_VF, u, u_stride, rank);
}
PE_ONCE void low_token(float *y, const uint8_t *b, size_t row_bytes, const float *u, size_t rank) {
    low_block(1, LOW_VECTORS, false, y, 0, b, row_bytes, LOW_VECTORS * PE_VF, u, 0, rank);
}
PE_SMALL void low_vector(bool f32, float *y, const uint8_t *b, size_t row_bytes, size_t n, const float *u,
                         size_t rank) {
    low_block(1, 1, f32, y, 0, b, row_bytes, n, u, 0, rank);
}

static void add_low(float *y, size_t y_stride, const void *b, bool f32, size_t b_stride, size_t n, const float *u,
                    size_t u_stride, size_t rank, size_t n_tokens) {
    const size_t size = f32 ? sizeof(float) : sizeof(uint16_t), row_bytes = b_stride * size;
    const size_t width = LOW_VECTORS * PE_VF, whole = f32 ? 0 : n / width * width;
    size_t i = 0;
    for (; i < whole; i += width) {
        const uint8_t *columns = (const uint8_t *)b + i * size;
        size_t t = 0;
        for (; t + LOW_TOKENS <= n_tokens; t += LOW_TOKENS)
            low_tokens(y + t * y_stride + i, y_stride, columns, row_bytes, u + t * u_stride, u_stride, rank);
        for (; t < n_tokens; t++) low_token(y + t * y_stride + i, columns, row_bytes, u + t * u_stride, rank);
    }
    for (; i < n; i += PE_VF)
        for (size_t t = 0; t < n_tokens; t++)
            low_vector(f32, y + t * y_stride + i, (const uint8_t *)b + i * size, row_bytes, n - i, u + t * u_stride,
                       rank);
}
