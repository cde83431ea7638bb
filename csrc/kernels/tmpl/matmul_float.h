/* Products with float weights (F32, F16, BF16) and float activations. The inner dimension lies in the lanes: one vector
 * accumulator per output, summed at the end, then what is left of the row past the last whole vector, in order. */

PE_INLINE vf load_weights(int slot, const uint8_t *row, size_t i) {
    switch (slot) {
    case PE_SLOT_F16:
        return vf_load_f16(row + 2 * i);
    case PE_SLOT_BF16:
        return vf_load_bf16(row + 2 * i);
    default:
        return vf_load((const float *)(const void *)row + i);
    }
}

PE_INLINE float load_weight(int slot, const uint8_t *row, size_t i) {
    float w = 0;
    switch (slot) {
    case PE_SLOT_F16:
        pe_f16_decode(row + 2 * i, &w, 1);
        break;
    case PE_SLOT_BF16:
        pe_bf16_decode(row + 2 * i, &w, 1);
        break;
    default:
        memcpy(&w, row + 4 * i, sizeof w);
    }
    return w;
}

/* y[t, r] for R rows and T tokens; R and T are compile-time constants */
PE_INLINE void float_block(int slot, size_t R, size_t T, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes,
                           const float *x, size_t n) {
    vf acc[4][4];
    const size_t whole = n / PE_VF * PE_VF;
    for (size_t r = 0; r < R; r++)
        for (size_t t = 0; t < T; t++) acc[r][t] = vf_zero();
    for (size_t i = 0; i < whole; i += PE_VF) {
        vf xs[4];
        for (size_t t = 0; t < T; t++) xs[t] = vf_load(x + t * n + i);
        for (size_t r = 0; r < R; r++) {
            vf ws = load_weights(slot, w + r * row_bytes, i);
            for (size_t t = 0; t < T; t++) acc[r][t] = vf_fma(ws, xs[t], acc[r][t]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t t = 0; t < T; t++) {
            float sum = vf_hsum(acc[r][t]);
            for (size_t i = whole; i < n; i++) sum += load_weight(slot, w + r * row_bytes, i) * x[t * n + i];
            y[t * y_stride + r] = sum;
        }
}

PE_INLINE void float_rows(int slot, size_t T, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes,
                          size_t n_rows, const float *x, size_t n) {
    size_t r = 0;
    for (; r + 4 <= n_rows; r += 4) float_block(slot, 4, T, y + r, y_stride, w + r * row_bytes, row_bytes, x, n);
    for (; r < n_rows; r++) float_block(slot, 1, T, y + r, y_stride, w + r * row_bytes, row_bytes, x, n);
}

/* The types that are rare as matrices share one function: the slot is known at run time, and rows are decoded a vector
 * at a time, for each token anew. */
static void (*decode_of(int slot))(const void *, float *, size_t) {
    switch (slot) {
    case PE_SLOT_F64:
        return pe_f64_decode;
    case PE_SLOT_I8:
        return pe_i8_decode;
    case PE_SLOT_I16:
        return pe_i16_decode;
    case PE_SLOT_I32:
        return pe_i32_decode;
    default:
        return pe_i64_decode;
    }
}

static bool is_rare_float(int slot) { return slot != PE_SLOT_F32 && slot != PE_SLOT_F16 && slot != PE_SLOT_BF16; }

static void decoded_rows(int slot, size_t n_tokens, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes,
                         size_t n_rows, const float *x, size_t n) {
    void (*const decode)(const void *, float *, size_t) = decode_of(slot);
    const size_t size = row_bytes / n, whole = n / PE_VF * PE_VF;
    float weights[PE_VF];
    for (size_t r = 0; r < n_rows; r++, w += row_bytes)
        for (size_t t = 0; t < n_tokens; t++) {
            vf acc = vf_zero();
            for (size_t i = 0; i < whole; i += PE_VF) {
                decode(w + i * size, weights, PE_VF);
                acc = vf_fma(vf_load(weights), vf_load(x + t * n + i), acc);
            }
            float sum = vf_hsum(acc);
            decode(w + whole * size, weights, n - whole);
            for (size_t i = whole; i < n; i++) sum += weights[i - whole] * x[t * n + i];
            y[t * y_stride + r] = sum;
        }
}

PE_INLINE void gemv_float(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    if (is_rare_float(slot))
        decoded_rows(slot, 1, y, 0, w, row_bytes, n_rows, x->f32, x->n);
    else
        float_rows(slot, 1, y, 0, w, row_bytes, n_rows, x->f32, x->n);
}

PE_INLINE void gemm_float(int slot, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows,
                          const pe_act *x) {
    size_t t = 0, n = x->n;
    if (is_rare_float(slot)) {
        decoded_rows(slot, x->n_tokens, y, y_stride, w, row_bytes, n_rows, x->f32, n);
        return;
    }
    for (; t + 4 <= x->n_tokens; t += 4)
        float_rows(slot, 4, y + t * y_stride, y_stride, w, row_bytes, n_rows, x->f32 + t * n, n);
    for (; t < x->n_tokens; t++)
        float_rows(slot, 1, y + t * y_stride, y_stride, w, row_bytes, n_rows, x->f32 + t * n, n);
}
