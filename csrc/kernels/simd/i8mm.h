/* ARMv8.2 with the instructions for matrices of bytes: [2, 8] times [8, 2] added to int32 [2, 2]. Two rows of weights
 * are one factor, the upper and lower bytes of a token's activations the other. */
#ifndef PE_KERNELS_SIMD_I8MM_H
#define PE_KERNELS_SIMD_I8MM_H

#define PE_FITS_OF neon

#include "kernels/simd/neon_bytes.h"

/* The 32 activations of a group, in place: [4, upper and lower, 8] bytes. */
static inline void va_arrange(int16_t q[32]) {
    int8x16_t upper[2], lower[2];
    int8_t *to = (int8_t *)q;
    pe_split(upper, lower, q);
    for (int i = 0; i < 2; i++) {
        const int64x2_t a = vreinterpretq_s64_s8(upper[i]), b = vreinterpretq_s64_s8(lower[i]);
        vst1q_s8(to + 32 * i, vreinterpretq_s8_s64(vtrn1q_s64(a, b)));
        vst1q_s8(to + 32 * i + 16, vreinterpretq_s8_s64(vtrn2q_s64(a, b)));
    }
}

/* Sixteen weights of two rows as two matrices. */
static inline void pe_pair(int8x16_t out[2], int8x16_t a, int8x16_t b) {
    const int64x2_t x = vreinterpretq_s64_s8(a), y = vreinterpretq_s64_s8(b);
    out[0] = vreinterpretq_s8_s64(vtrn1q_s64(x, y));
    out[1] = vreinterpretq_s8_s64(vtrn2q_s64(x, y));
}
/* Two matrices [2 rows, upper and lower] to the whole sums of four rows. */
static inline int32x4_t pe_join(int32x4_t a, int32x4_t b) {
    return vmlaq_n_s32(vuzp2q_s32(a, b), vuzp1q_s32(a, b), 128);
}

/* ---- products with one token: two rows at once ------------------------------------------------------------------- */

#define PE_ROW_PAIRS
enum { PE_BLOCK_TOKENS = 4 }; /* that are multiplied at once */
typedef int32x4_t vi;         /* [2 rows, upper and lower] */

static inline vi vq_dot_pair(vq a, vq b, const int16_t *x) {
    const int8_t *q = (const int8_t *)x;
    int8x16_t w[2];
    pe_pair(w, a.v[0], b.v[0]);
    vi first = vmmlaq_s32(vmmlaq_s32(vdupq_n_s32(0), w[0], vld1q_s8(q)), w[1], vld1q_s8(q + 16));
    pe_pair(w, a.v[1], b.v[1]);
    const vi second = vmmlaq_s32(a.scaled ? vdupq_n_s32(0) : first, w[0], vld1q_s8(q + 32));
    const vi last = vmmlaq_s32(second, w[1], vld1q_s8(q + 48));
    if (!a.scaled) return last;
    first = vmulq_s32(first, vcombine_s32(vdup_n_s32(a.factor[0]), vdup_n_s32(b.factor[0])));
    return vmlaq_s32(first, last, vcombine_s32(vdup_n_s32(a.factor[1]), vdup_n_s32(b.factor[1])));
}
static inline vr vr_sum(const vi p[PE_ROWS / 2]) { return vcvtq_f32_s32(pe_join(p[0], p[1])); }

/* ---- products with several tokens: rows in the lanes ------------------------------------------------------------- */

/* Four rows of a group as matrices: [4, 2 pairs of rows, 2, 8]. */
static inline void vq_pack(uint8_t *to, const vq w[4]) {
    PE_UNROLL(2)
    for (int i = 0; i < 2; i++) PE_UNROLL(2)
    for (int pair = 0; pair < 2; pair++) {
        int8x16_t matrices[2];
        pe_pair(matrices, w[2 * pair].v[i], w[2 * pair + 1].v[i]);
        vst1q_u8(to + 64 * i + 16 * pair, vreinterpretq_u8_s8(matrices[0]));
        vst1q_u8(to + 64 * i + 16 * pair + 32, vreinterpretq_u8_s8(matrices[1]));
    }
    if (w[0].scaled) pe_pack_factors(to, w);
}

/* dot [2, T]: eight rows of a group, two packs, times T <= 4 groups of activations; T and scaled are constants. */
static inline __attribute__((always_inline)) void vl_dots(vl dot[2][4], size_t T, bool scaled, const uint8_t *packs,
                                                          const int16_t *const x[4]) {
    int32x4_t acc[4][4]; /* pairs of rows, tokens */
    PE_UNROLL(2)
    for (size_t half = 0; half < 2; half++) {
        if (half == 0 || scaled) {
            PE_UNROLL(4)
            for (size_t t = 0; t < T; t++) acc[0][t] = acc[1][t] = acc[2][t] = acc[3][t] = vdupq_n_s32(0);
        }
        PE_UNROLL(2)
        for (size_t k = 2 * half; k < 2 * half + 2; k++) {
            int8x16_t q[4];
            PE_UNROLL(4)
            for (size_t t = 0; t < T; t++) q[t] = vld1q_s8((const int8_t *)x[t] + 16 * k);
            PE_UNROLL(4)
            for (size_t p = 0; p < 4; p++) {
                const uint8_t *at = packs + p / 2 * PE_PACK_BYTES + 32 * k + 16 * (p % 2);
                const int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(at));
                PE_UNROLL(4)
                for (size_t t = 0; t < T; t++) acc[p][t] = vmmlaq_s32(acc[p][t], w, q[t]);
            }
        }
        if (half == 0 && !scaled) continue;
        PE_UNROLL(2)
        for (size_t h = 0; h < 2; h++) {
            const int32x4_t factors = scaled ? pe_factors(packs + h * PE_PACK_BYTES, half) : vdupq_n_s32(0);
            PE_UNROLL(4)
            for (size_t t = 0; t < T; t++) {
                const int32x4_t sum = pe_join(acc[2 * h][t], acc[2 * h + 1][t]);
                dot[h][t] = !scaled ? sum : half ? vmlaq_s32(dot[h][t], sum, factors) : vmulq_s32(sum, factors);
            }
        }
    }
}

#endif
