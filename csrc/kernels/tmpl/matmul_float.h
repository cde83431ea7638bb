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
    PE_UNROLL(4)
    for (size_t r = 0; r < R; r++) PE_UNROLL(4)
    for (size_t t = 0; t < T; t++) acc[r][t] = vf_zero();
    for (size_t i = 0; i < whole; i += PE_VF) {
        vf xs[4];
        PE_UNROLL(4)
        for (size_t t = 0; t < T; t++) xs[t] = vf_load(x + t * n + i);
        PE_UNROLL(4)
        for (size_t r = 0; r < R; r++) {
            const vf ws = load_weights(slot, w + r * row_bytes, i);
            PE_UNROLL(4)
            for (size_t t = 0; t < T; t++) acc[r][t] = vf_fma(ws, xs[t], acc[r][t]);
        }
    }
    PE_UNROLL(4)
    for (size_t r = 0; r < R; r++) PE_UNROLL(4)
    for (size_t t = 0; t < T; t++) y[t * y_stride + r] = vf_hsum(acc[r][t]);
    for (size_t i = whole; i < n; i++) /* what is left of the rows */
        for (size_t r = 0; r < R; r++) {
            const float weight = load_weight(slot, w + r * row_bytes, i);
            for (size_t t = 0; t < T; t++) y[t * y_stride + r] += weight * x[t * n + i];
        }
}

/* The types that are rare as matrices share one function: the slot is known at run time, and rows are decoded a vector
 * at a time. */
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

static void decoded_rows(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const float *x,
                         size_t n) {
    void (*const decode)(const void *, float *, size_t) = decode_of(slot);
    const size_t size = row_bytes / n, whole = n / PE_VF * PE_VF;
    float weights[PE_VF];
    for (size_t r = 0; r < n_rows; r++, w += row_bytes) {
        vf acc = vf_zero();
        for (size_t i = 0; i < whole; i += PE_VF) {
            decode(w + i * size, weights, PE_VF);
            acc = vf_fma(vf_load(weights), vf_load(x + i), acc);
        }
        y[r] = vf_hsum(acc);
        decode(w + whole * size, weights, n - whole);
        for (size_t i = whole; i < n; i++) y[r] += weights[i - whole] * x[i];
    }
}

PE_INLINE void gemv_float(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    size_t r = 0;
    if (is_rare_float(slot)) {
        decoded_rows(slot, y, w, row_bytes, n_rows, x->f32, x->n);
        return;
    }
    for (; r + 4 <= n_rows; r += 4) float_block(slot, 4, 1, y + r, 0, w + r * row_bytes, row_bytes, x->f32, x->n);
    for (; r < n_rows; r++) float_block(slot, 1, 1, y + r, 0, w + r * row_bytes, row_bytes, x->f32, x->n);
}

/* Blocks of rows and tokens; what is left of either is for gemv. */
PE_INLINE void gemm_float(int slot, void (*gemv)(float *, const uint8_t *, size_t, size_t, const pe_act *), float *y,
                          size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    enum { T = PE_VF == 16 ? 4 : 2 }; /* as many as sums stay in registers */
    const size_t n = x->n, rows = is_rare_float(slot) ? 0 : n_rows / 4 * 4, tokens = x->n_tokens / T * T;
    for (size_t t = 0; t < tokens; t += T)
        for (size_t r = 0; r < rows; r += 4)
            float_block(slot, 4, T, y + t * y_stride + r, y_stride, w + r * row_bytes, row_bytes, x->f32 + t * n, n);
    for (size_t t = 0; t < x->n_tokens; t++) {
        const size_t done = t < tokens ? rows : 0;
        const pe_act token = {.n_tokens = 1, .n = n, .f32 = x->f32 + t * n};
        if (done < n_rows) gemv(y + t * y_stride + done, w + done * row_bytes, row_bytes, n_rows - done, &token);
    }
}
