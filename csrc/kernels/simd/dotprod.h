/* ARMv8.2 with the dot product instructions: four products of bytes added to each int32. */
#ifndef PE_KERNELS_SIMD_DOTPROD_H
#define PE_KERNELS_SIMD_DOTPROD_H

#define PE_FITS_OF neon

#include "kernels/simd/neon_bytes.h"

/* The 32 activations of a group, in place: upper bytes [32], lower bytes [32]. */
static inline void va_arrange(int16_t q[32]) {
    int8x16_t upper[2], lower[2];
    int8_t *to = (int8_t *)q;
    pe_split(upper, lower, q);
    vst1q_s8(to, upper[0]);
    vst1q_s8(to + 16, upper[1]);
    vst1q_s8(to + 32, lower[0]);
    vst1q_s8(to + 48, lower[1]);
}

/* ---- products with one token ------------------------------------------------------------------------------------- */

typedef int32x4_t vi; /* partial sums of one row */

static inline vi vq_dot(vq w, const int16_t *x) {
    const int8_t *q = (const int8_t *)x;
    vi acc = vdotq_s32(vdupq_n_s32(0), w.v[0], vld1q_s8(q));
    if (!w.scaled) acc = vdotq_s32(acc, w.v[1], vld1q_s8(q + 16));
    acc = vdotq_s32(vshlq_n_s32(acc, 7), w.v[0], vld1q_s8(q + 32));
    if (!w.scaled) return vdotq_s32(acc, w.v[1], vld1q_s8(q + 48));
    vi second = vdotq_s32(vdupq_n_s32(0), w.v[1], vld1q_s8(q + 16));
    second = vdotq_s32(vshlq_n_s32(second, 7), w.v[1], vld1q_s8(q + 48));
    return vmlaq_n_s32(vmulq_n_s32(acc, w.factor[0]), second, w.factor[1]);
}
static inline vr vr_sum(const vi p[PE_ROWS]) { return pe_sum_rows(p); }

enum { PE_BLOCK_TOKENS = 4 }; /* that are multiplied at once */

/* ---- products with several tokens: rows in the lanes ------------------------------------------------------------- */

/* Four rows of a group as columns of four bytes: [8, 4, 4]. */
static inline void vq_pack(uint8_t *to, const vq w[4]) {
    PE_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        const int32x4_t a = vreinterpretq_s32_s8(w[0].v[i]), b = vreinterpretq_s32_s8(w[1].v[i]);
        const int32x4_t c = vreinterpretq_s32_s8(w[2].v[i]), d = vreinterpretq_s32_s8(w[3].v[i]);
        const int64x2_t ab02 = vreinterpretq_s64_s32(vtrn1q_s32(a, b)), cd02 = vreinterpretq_s64_s32(vtrn1q_s32(c, d));
        const int64x2_t ab13 = vreinterpretq_s64_s32(vtrn2q_s32(a, b)), cd13 = vreinterpretq_s64_s32(vtrn2q_s32(c, d));
        vst1q_u8(to + 64 * i, vreinterpretq_u8_s64(vtrn1q_s64(ab02, cd02)));
        vst1q_u8(to + 64 * i + 16, vreinterpretq_u8_s64(vtrn1q_s64(ab13, cd13)));
        vst1q_u8(to + 64 * i + 32, vreinterpretq_u8_s64(vtrn2q_s64(ab02, cd02)));
        vst1q_u8(to + 64 * i + 48, vreinterpretq_u8_s64(vtrn2q_s64(ab13, cd13)));
    }
    if (w[0].scaled) pe_pack_factors(to, w);
}

/* dot [2, T]: eight rows of a group, two packs, times T <= 4 groups of activations; T and scaled are constants. */
static inline __attribute__((always_inline)) void vl_dots(vl dot[2][4], size_t T, bool scaled, const uint8_t *packs,
                                                          const int16_t *const x[4]) {
    int32x4_t upper[2][4], lower[2][4];
    PE_UNROLL(2)
    for (size_t half = 0; half < 2; half++) {
        if (half == 0 || scaled) {
            PE_UNROLL(4)
            for (size_t t = 0; t < T; t++) upper[0][t] = upper[1][t] = lower[0][t] = lower[1][t] = vdupq_n_s32(0);
        }
        int8x16_t up[4], low[4];
        PE_UNROLL(4)
        for (size_t t = 0; t < T; t++) {
            up[t] = vld1q_s8((const int8_t *)x[t] + 16 * half);
            low[t] = vld1q_s8((const int8_t *)x[t] + 16 * half + 32);
        }
#define PE_STEP(k)                                                                                                     \
    PE_UNROLL(2) for (size_t h = 0; h < 2; h++) {                                                                      \
        const int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(packs + h * PE_PACK_BYTES + 64 * half + 16 * (k)));           \
        PE_UNROLL(4) for (size_t t = 0; t < T; t++) {                                                                  \
            upper[h][t] = vdotq_laneq_s32(upper[h][t], w, up[t], k);                                                   \
            lower[h][t] = vdotq_laneq_s32(lower[h][t], w, low[t], k);                                                  \
        }                                                                                                              \
    }
        PE_STEP(0)
        PE_STEP(1)
        PE_STEP(2)
        PE_STEP(3)
#undef PE_STEP
        if (half == 0 && !scaled) continue;
        PE_UNROLL(2)
        for (size_t h = 0; h < 2; h++) {
            const int32x4_t factors = scaled ? pe_factors(packs + h * PE_PACK_BYTES, half) : vdupq_n_s32(0);
            PE_UNROLL(4)
            for (size_t t = 0; t < T; t++) {
                const int32x4_t sum = vmlaq_n_s32(lower[h][t], upper[h][t], 128);
                dot[h][t] = !scaled ? sum : half ? vmlaq_s32(dot[h][t], sum, factors) : vmulq_s32(sum, factors);
            }
        }
    }
}

#endif
