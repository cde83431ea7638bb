/* NEON of ARMv8.0 and of ARMv7: weights and activations as int16, multiplied and added up in int32. */
#ifndef PE_KERNELS_SIMD_NEON_H
#define PE_KERNELS_SIMD_NEON_H

#include "kernels/simd/neon_floats.h"

#define PE_VQ
#define PE_ROWS_IN_LANES

/* ---- vq: 32 weights as int16, eight a vector -------------------------------------------------------------------- */

typedef struct vq {
    int16x8_t v[4];
} vq;

#define PE_FOUR(expression)                                                                                            \
    do {                                                                                                               \
        vq r;                                                                                                          \
        PE_UNROLL(4) for (int i = 0; i < 4; i++) r.v[i] = (expression);                                                \
        return r;                                                                                                      \
    } while (0)

static inline int16x8_t pe_widen(uint8x8_t bytes) { return vreinterpretq_s16_u16(vmovl_u8(bytes)); }
static inline vq vq_load_u8(const uint8_t *p) {
    const uint8x16_t a = vld1q_u8(p), b = vld1q_u8(p + 16);
    return (vq){
        {pe_widen(vget_low_u8(a)), pe_widen(vget_high_u8(a)), pe_widen(vget_low_u8(b)), pe_widen(vget_high_u8(b))}};
}
static inline vq vq_load_s8(const uint8_t *p) {
    const int8x16_t a = vreinterpretq_s8_u8(vld1q_u8(p)), b = vreinterpretq_s8_u8(vld1q_u8(p + 16));
    return (vq){
        {vmovl_s8(vget_low_s8(a)), vmovl_s8(vget_high_s8(a)), vmovl_s8(vget_low_s8(b)), vmovl_s8(vget_high_s8(b))}};
}
static inline vq vq_load_nibbles(const uint8_t *p) {
    const uint8x16_t bytes = vld1q_u8(p), low = vandq_u8(bytes, vdupq_n_u8(15)), high = vshrq_n_u8(bytes, 4);
    return (vq){{pe_widen(vget_low_u8(low)), pe_widen(vget_high_u8(low)), pe_widen(vget_low_u8(high)),
                 pe_widen(vget_high_u8(high))}};
}
/* Eight indices of 0..15 into a table. */
static inline int16x8_t pe_look_up(const int8_t values[16], uint8x8_t at) {
#if defined(__aarch64__)
    return vmovl_s8(vqtbl1_s8(vld1q_s8(values), at));
#else
    return vmovl_s8(vtbl2_s8((int8x8x2_t){{vld1_s8(values), vld1_s8(values + 8)}}, vreinterpret_s8_u8(at)));
#endif
}
static inline vq vq_load_values(const uint8_t *p, const int8_t values[16]) {
    const uint8x16_t bytes = vld1q_u8(p), low = vandq_u8(bytes, vdupq_n_u8(15)), high = vshrq_n_u8(bytes, 4);
    return (vq){{pe_look_up(values, vget_low_u8(low)), pe_look_up(values, vget_high_u8(low)),
                 pe_look_up(values, vget_low_u8(high)), pe_look_up(values, vget_high_u8(high))}};
}
static inline vq vq_set_s8(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t words[4] = {a, b, c, d};
    PE_FOUR(vmovl_s8(vcreate_s8(words[i])));
}
static inline vq vq_set1(int c) { PE_FOUR(vdupq_n_s16((int16_t)c)); }
static inline vq vq_set2(int a, int b) { PE_FOUR(vdupq_n_s16((int16_t)(i < 2 ? a : b))); }
/* By a register: also for counts that are known, since constants get lost where a type is not one. */
static inline int16x8_t pe_shift(int16x8_t a, int n) {
    return vreinterpretq_s16_u16(vshlq_u16(vreinterpretq_u16_s16(a), vdupq_n_s16((int16_t)n)));
}
static inline vq vq_shr(vq a, int n) { PE_FOUR(pe_shift(a.v[i], -n)); }
static inline vq vq_shrv(vq a, int n) { PE_FOUR(pe_shift(a.v[i], -n)); }
static inline vq vq_shl(vq a, int n) { PE_FOUR(pe_shift(a.v[i], n)); }
static inline vq vq_and(vq a, int c) { PE_FOUR(vandq_s16(a.v[i], vdupq_n_s16((int16_t)c))); }
static inline vq vq_or(vq a, vq b) { PE_FOUR(vorrq_s16(a.v[i], b.v[i])); }
static inline vq vq_add(vq a, vq b) { PE_FOUR(vaddq_s16(a.v[i], b.v[i])); }
static inline vq vq_sub(vq a, vq b) { PE_FOUR(vsubq_s16(a.v[i], b.v[i])); }
static inline vq vq_mul(vq a, vq b) { PE_FOUR(vmulq_s16(a.v[i], b.v[i])); }
/* All bits of a lane where bit i of m is set: each lane tests its own bit of its byte. */
static inline uint16x8_t pe_lanes_of(uint32_t m, int i) {
    const uint16x8_t own = {1, 2, 4, 8, 16, 32, 64, 128};
    return vtstq_u16(vdupq_n_u16((uint16_t)(m >> 8 * i)), own);
}
static inline vq vq_mask(uint32_t m, int c) {
    PE_FOUR(vandq_s16(vreinterpretq_s16_u16(pe_lanes_of(m, i)), vdupq_n_s16((int16_t)c)));
}
/* Lane i negated where bit i of m is set. */
static inline vq vq_negate(vq a, uint32_t m) {
    const vq minus = vq_mask(m, -1);
    PE_FOUR(vsubq_s16(veorq_s16(a.v[i], minus.v[i]), minus.v[i]));
}

/* ---- products with one token ------------------------------------------------------------------------------------- */

typedef int32x4_t vi; /* partial sums of one row */

static inline vi vq_dot(vq w, const int16_t *x) {
    int16x8_t q = vld1q_s16(x);
    vi acc = vmull_s16(vget_low_s16(w.v[0]), vget_low_s16(q));
    acc = vmlal_s16(acc, vget_high_s16(w.v[0]), vget_high_s16(q));
    PE_UNROLL(4)
    for (int i = 1; i < 4; i++) {
        q = vld1q_s16(x + 8 * i);
        acc = vmlal_s16(acc, vget_low_s16(w.v[i]), vget_low_s16(q));
        acc = vmlal_s16(acc, vget_high_s16(w.v[i]), vget_high_s16(q));
    }
    return acc;
}
static inline vr vr_sum(const vi p[PE_ROWS]) { return pe_sum_rows(p); }

enum { PE_BLOCK_TOKENS = 4 }; /* that are multiplied at once */

/* ---- products with several tokens: rows in the lanes ------------------------------------------------------------- */

enum { PE_PACK_BYTES = 256 };
typedef int32x4_t vl; /* sums of four rows */

/* Activations lie as they are. */
static inline void va_arrange(int16_t q[32]) { (void)q; }

/* Four rows of a group as columns: [32, 4] int16. */
static inline void vq_pack(uint8_t *to, const vq w[4]) {
    int16_t *out = (int16_t *)(void *)to;
    PE_UNROLL(4)
    for (int i = 0; i < 4; i++, out += 32) {
        const int16x8x2_t ac = vzipq_s16(w[0].v[i], w[2].v[i]), bd = vzipq_s16(w[1].v[i], w[3].v[i]);
        const int16x8x2_t first = vzipq_s16(ac.val[0], bd.val[0]), second = vzipq_s16(ac.val[1], bd.val[1]);
        vst1q_s16(out, first.val[0]);
        vst1q_s16(out + 8, first.val[1]);
        vst1q_s16(out + 16, second.val[0]);
        vst1q_s16(out + 24, second.val[1]);
    }
}

/* Columns k and k + 1 of four rows times elements k and k + 1 of x; k is a constant. */
#if defined(__aarch64__)
#define PE_COLUMNS(acc, w, x, k) vmlal_high_laneq_s16(vmlal_laneq_s16(acc, vget_low_s16(w), x, k), w, x, (k) + 1)
#else
#define PE_COLUMNS(acc, w, x, k)                                                                                       \
    vmlal_lane_s16(vmlal_lane_s16(acc, vget_low_s16(w), (k) < 4 ? vget_low_s16(x) : vget_high_s16(x), (k) % 4),        \
                   vget_high_s16(w), (k) < 4 ? vget_low_s16(x) : vget_high_s16(x), (k) % 4 + 1)
#endif

/* dot [2, T]: eight rows of a group, two packs, times T <= 4 groups of activations; T is a constant. */
static inline __attribute__((always_inline)) void vl_dots(vl dot[2][4], size_t T, bool scaled, const uint8_t *packs,
                                                          const int16_t *const x[4]) {
    const int16_t *w = (const int16_t *)(const void *)packs;
    (void)scaled;
    PE_UNROLL(4)
    for (size_t t = 0; t < T; t++) dot[0][t] = dot[1][t] = vdupq_n_s32(0);
#pragma GCC unroll 1
    for (size_t k = 0; k < 32; k += 8, w += 32) {
        int16x8_t q[4];
        PE_UNROLL(4)
        for (size_t t = 0; t < T; t++) q[t] = vld1q_s16(x[t] + k);
#define PE_STEP(k)                                                                                                     \
    PE_UNROLL(2) for (size_t h = 0; h < 2; h++) {                                                                      \
        const int16x8_t columns = vld1q_s16(w + h * (PE_PACK_BYTES / 2) + (k) * 4);                                    \
        PE_UNROLL(4) for (size_t t = 0; t < T; t++) dot[h][t] = PE_COLUMNS(dot[h][t], columns, q[t], k);               \
    }
        PE_STEP(0)
        PE_STEP(2)
        PE_STEP(4)
        PE_STEP(6)
#undef PE_STEP
    }
}
static inline vf vl_float(vl a) { return vcvtq_f32_s32(a); }

#endif
