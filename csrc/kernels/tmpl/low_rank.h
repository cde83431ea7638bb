/* The second half of a low-rank product: columns of halves, each times one number of a token, added to its outputs.
 * Outputs lie in the lanes; an output is one chain of fused additions, in the order of the rank, however many tokens
 * and rows there are at once. */

enum { LOW_TERMS = 4, LOW_VECTORS = 2 }; /* terms and vectors whose weights stay in registers */

/* Lanes i.. of halves or floats [n]; past the end zeros. */
PE_INLINE vf load_low(const uint8_t *p, bool f32) {
    return f32 ? vf_load((const float *)(const void *)p) : vf_load_f16(p);
}
PE_INLINE vf take_low(const uint8_t *b, bool f32, size_t i, size_t n) {
    const size_t size = f32 ? sizeof(float) : sizeof(uint16_t);
    if (i + PE_VF <= n) return load_low(b + i * size, f32);
    _Alignas(64) uint8_t whole[PE_VF * sizeof(float)] = {0};
    memcpy(whole, b + i * size, (n - i) * size);
    return load_low(whole, f32);
}

/* K terms of V vectors from column i on, for all tokens; K and V are constants. */
PE_INLINE void add_terms(size_t K, size_t V, float *y, size_t y_stride, const uint8_t *b, bool f32, size_t row_bytes,
                         size_t i, size_t n, const float *u, size_t u_stride, size_t n_tokens) {
    vf w[LOW_TERMS][LOW_VECTORS];
    for (size_t k = 0; k < K; k++)
        for (size_t v = 0; v < V; v++) w[k][v] = take_low(b + k * row_bytes, f32, i + v * PE_VF, n);
    for (size_t t = 0; t < n_tokens; t++, y += y_stride, u += u_stride)
        for (size_t v = 0; v < V; v++) {
            vf sum = take(y, i + v * PE_VF, n, 0);
            for (size_t k = 0; k < K; k++) sum = vf_fma(w[k][v], vf_set1(u[k]), sum);
            put(y, i + v * PE_VF, n, sum);
        }
}

/* Whole blocks of columns and terms, and what is left of either. */
PE_ONCE void add_block(float *y, size_t y_stride, const uint8_t *b, bool f32, size_t row_bytes, const float *u,
                       size_t u_stride, size_t n_tokens) {
    add_terms(LOW_TERMS, LOW_VECTORS, y, y_stride, b, f32, row_bytes, 0, LOW_VECTORS * PE_VF, u, u_stride, n_tokens);
}
PE_ONCE void add_rest(float *y, size_t y_stride, const uint8_t *b, bool f32, size_t i, size_t n, const float *u,
                      size_t u_stride, size_t n_tokens) {
    for (; i < n; i += PE_VF) add_terms(1, 1, y, y_stride, b, f32, 0, i, n, u, u_stride, n_tokens);
}

static void add_low(float *y, size_t y_stride, const void *b, bool f32, size_t b_stride, size_t n, const float *u,
                    size_t u_stride, size_t rank, size_t n_tokens) {
    const size_t size = f32 ? sizeof(float) : sizeof(uint16_t), row_bytes = b_stride * size;
    const size_t width = LOW_VECTORS * PE_VF, whole = n / width * width, terms = rank / LOW_TERMS * LOW_TERMS;
    for (size_t i = 0; i < whole; i += width)
        for (size_t k = 0; k < terms; k += LOW_TERMS)
            add_block(y + i, y_stride, (const uint8_t *)b + k * row_bytes + i * size, f32, row_bytes, u + k, u_stride,
                      n_tokens);
    for (size_t k = 0; k < rank; k++)
        add_rest(y, y_stride, (const uint8_t *)b + k * row_bytes, f32, k < terms ? whole : 0, n, u + k, u_stride,
                 n_tokens);
}
