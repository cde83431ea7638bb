/* Norms, activations, rope and the small reductions. The last, partial vector of a length that is no multiple of PE_VF
 * goes through a padded copy, so that an element's bits do not depend on where it stands. */

/* e^x for x <= 88; below -87 the result is 0. Degree-6 polynomial on [-ln2/2, ln2/2] (coefficients of Cephes expf),
 * relative error below 2e-7. */
static inline vf vf_exp(vf x) {
    vf clamped = vf_max(vf_min(x, vf_set1(88.0f)), vf_set1(-87.0f));
    vf n = vf_round(vf_mul(clamped, vf_set1(1.44269504088896341f)));
    vf r = vf_fma(n, vf_set1(-0.693359375f), clamped);
    r = vf_fma(n, vf_set1(2.12194440e-4f), r);
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    p = vf_fma(vf_mul(p, r), r, vf_add(r, vf_set1(1.0f)));
    return vf_zero_below(vf_ldexp(p, n), x, -87.0f);
}

/* Lanes i.. of x [n]; past the end `fill`. */
static inline vf take(const float *x, size_t i, size_t n, float fill) {
    if (i + PE_VF <= n) return vf_load(x + i);
    float whole[PE_VF];
    for (size_t j = 0; j < PE_VF; j++) whole[j] = i + j < n ? x[i + j] : fill;
    return vf_load(whole);
}
static inline void put(float *y, size_t i, size_t n, vf a) {
    if (i + PE_VF <= n) {
        vf_store(y + i, a);
        return;
    }
    float whole[PE_VF];
    vf_store(whole, a);
    for (size_t j = 0; i + j < n; j++) y[i + j] = whole[j];
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += PE_VF) put(y, i, n, vf_add(take(y, i, n, 0), take(x, i, n, 0)));
}

static void scale_by(float *y, float factor, size_t n) {
    for (size_t i = 0; i < n; i += PE_VF) put(y, i, n, vf_mul(take(y, i, n, 0), vf_set1(factor)));
}

static float max_of(const float *x, size_t n) {
    vf top = vf_set1(-INFINITY);
    for (size_t i = 0; i < n; i += PE_VF) top = vf_max(top, take(x, i, n, -INFINITY));
    return vf_hmax(top);
}

/* Anything but a NaN times 0 is 0 once it is clamped; the clamps hand on their second operand where one is a NaN. */
static bool any_nan(const float *x, size_t n) {
    vf zeros = vf_zero();
    for (size_t i = 0; i < n; i += PE_VF) {
        const vf clamped = vf_min(vf_set1(1e30f), vf_max(vf_set1(-1e30f), take(x, i, n, 0)));
        zeros = vf_fma(clamped, vf_zero(), zeros);
    }
    return isnan(vf_hsum(zeros));
}

/* In blocks, so that the small terms of a long vocabulary are not lost in a large sum. */
static double sum_exp(const float *x, size_t n, float max) {
    enum { BLOCK = 1024 };
    double sum = 0;
    for (size_t start = 0; start < n; start += BLOCK) {
        const size_t end = start + BLOCK < n ? start + BLOCK : n;
        vf part = vf_zero();
        for (size_t i = start; i < end; i += PE_VF)
            part = vf_add(part, vf_exp(vf_sub(take(x, i, end, -INFINITY), vf_set1(max))));
        sum += vf_hsum(part);
    }
    return sum;
}

static void rms_norm(float *out, const float *x, const float *weight, size_t n, float eps) {
    vf squares = vf_zero();
    for (size_t i = 0; i < n; i += PE_VF) {
        vf v = take(x, i, n, 0);
        squares = vf_fma(v, v, squares);
    }
    const vf s = vf_set1(1.0f / sqrtf(vf_hsum(squares) / (float)n + eps));
    for (size_t i = 0; i < n; i += PE_VF) put(out, i, n, vf_mul(vf_mul(take(x, i, n, 0), s), take(weight, i, n, 0)));
}

/* weight * (x - mean) / deviation + bias; bias NULL: 0 */
static void layer_norm(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps) {
    vf sum = vf_zero(), squares = vf_zero();
    for (size_t i = 0; i < n; i += PE_VF) sum = vf_add(sum, take(x, i, n, 0));
    const float mean = vf_hsum(sum) / (float)n;
    for (size_t i = 0; i < n; i += PE_VF) {
        const vf v = vf_sub(take(x, i, n, mean), vf_set1(mean));
        squares = vf_fma(v, v, squares);
    }
    const vf s = vf_set1(1.0f / sqrtf(vf_hsum(squares) / (float)n + eps));
    for (size_t i = 0; i < n; i += PE_VF) {
        const vf scaled = vf_mul(vf_mul(vf_sub(take(x, i, n, 0), vf_set1(mean)), s), take(weight, i, n, 0));
        put(out, i, n, bias ? vf_add(scaled, take(bias, i, n, 0)) : scaled);
    }
}

/* cap * tanh(x / cap), tanh(u) = 1 - 2 / (1 + e^(2u)) */
static inline vf capped(vf x, float cap) {
    const vf e = vf_exp(vf_mul(x, vf_set1(2.0f / cap)));
    return vf_mul(vf_sub(vf_set1(1.0f), vf_div(vf_set1(2.0f), vf_add(vf_set1(1.0f), e))), vf_set1(cap));
}

static void soft_cap(float *y, float cap, size_t n) {
    for (size_t i = 0; i < n; i += PE_VF) put(y, i, n, capped(take(y, i, n, 0), cap));
}

static inline vf silu(vf x) { return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_sub(vf_zero(), x)))); }

/* 0.5 x (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3); https://arxiv.org/abs/1606.08415 */
static inline vf gelu_tanh(vf x) {
    vf cubic = vf_fma(vf_mul(vf_mul(x, x), x), vf_set1(0.044715f), x);
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_mul(cubic, vf_set1(-2.0f * 0.7978845608028654f)))));
}

/* x Phi(x) = max(x, 0) - |x| / 2 * erfc(|x| / sqrt(2)); erfc by Abramowitz and Stegun 7.1.26, within 1.5e-7. */
static inline vf gelu_erf(vf x) {
    const vf size = vf_abs(x), one = vf_set1(1.0f);
    const vf t = vf_div(one, vf_fma(size, vf_set1(0.3275911f * 0.70710678f), one));
    vf p = vf_set1(1.061405429f);
    p = vf_fma(p, t, vf_set1(-1.453152027f));
    p = vf_fma(p, t, vf_set1(1.421413741f));
    p = vf_fma(p, t, vf_set1(-0.284496736f));
    p = vf_fma(p, t, vf_set1(0.254829592f));
    const vf tail = vf_mul(vf_mul(p, t), vf_exp(vf_mul(vf_mul(x, x), vf_set1(-0.5f))));
    return vf_sub(vf_max(x, vf_zero()), vf_mul(vf_mul(size, vf_set1(0.5f)), tail));
}

#define PE_GATE(activation)                                                                                            \
    static void activation##_mul(float *gate, const float *up, size_t n) {                                             \
        for (size_t i = 0; i < n; i += PE_VF) {                                                                        \
            const vf a = activation(take(gate, i, n, 0));                                                              \
            put(gate, i, n, up ? vf_mul(a, take(up, i, n, 0)) : a);                                                    \
        }                                                                                                              \
    }
PE_GATE(silu)
PE_GATE(gelu_tanh)
PE_GATE(gelu_erf)

static void rope(float *x, size_t n_heads, size_t head_dim, size_t n_rot, const float *cosines, const float *sines,
                 bool split) {
    const size_t half = n_rot / 2, step = split ? 1 : 2, apart = split ? half : 1;
    for (size_t h = 0; h < n_heads; h++, x += head_dim)
        for (size_t i = 0; i < half; i++) {
            float a = x[i * step], b = x[i * step + apart];
            x[i * step] = a * cosines[i] - b * sines[i];
            x[i * step + apart] = a * sines[i] + b * cosines[i];
        }
}

/* Vectors of the compiler, as wide as the row's own. The prefetch reaches over the end of a page, where the processor's
 * own stops. */
static uint64_t read_sum(const void *p, size_t bytes) {
    typedef uint64_t words __attribute__((vector_size(PE_VF * sizeof(float))));
    enum { WIDE = sizeof(words), STEP = 4 * WIDE, AHEAD = 2048 };
    const uint8_t *data = p;
    words sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0}, a, b, c, d;
    size_t i = 0;
    for (; i + STEP <= bytes; i += STEP) {
        memcpy(&a, data + i, WIDE);
        memcpy(&b, data + i + WIDE, WIDE);
        memcpy(&c, data + i + 2 * WIDE, WIDE);
        memcpy(&d, data + i + 3 * WIDE, WIDE);
        for (size_t line = 0; line < STEP; line += 64) __builtin_prefetch(data + i + line + AHEAD);
        sum0 += a, sum1 += b, sum2 += c, sum3 += d;
    }
    sum0 = (sum0 + sum1) + (sum2 + sum3);
    uint64_t sum = 0;
    for (size_t k = 0; k < WIDE / 8; k++) sum += sum0[k];
    for (; i < bytes; i += 8) {
        uint64_t word = 0;
        memcpy(&word, data + i, bytes - i < 8 ? bytes - i : 8);
        sum += word;
    }
    return sum;
}
