/* The float half of the ARM vocabulary, 4 floats a vector, for AArch64 and for ARMv7 with NEON of any kind: there
 * division is no vector instruction, fused multiply-add and half floats come with VFPv4 only, since Cortex-A8 and A9
 * lack some of them, and subnormal floats are zero in vectors. */
#ifndef PE_KERNELS_SIMD_NEON_FLOATS_H
#define PE_KERNELS_SIMD_NEON_FLOATS_H

#include "base/half.h"

#include <arm_neon.h>
#include <stddef.h>

enum { PE_ROWS = 4, PE_VF = 4, PE_TILE_ROWS = 4 };

typedef float32x4_t vf;
typedef float32x4_t vr; /* one float for each of PE_ROWS rows */

static inline vf vf_zero(void) { return vdupq_n_f32(0.0f); }
static inline vf vf_set1(float x) { return vdupq_n_f32(x); }
static inline vf vf_load(const float *p) { return vld1q_f32(p); }
static inline void vf_store(float *p, vf a) { vst1q_f32(p, a); }
static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_max(vf a, vf b) { return vmaxq_f32(a, b); }
static inline vf vf_min(vf a, vf b) { return vminq_f32(a, b); }
static inline vf vf_abs(vf a) { return vabsq_f32(a); }
/* r where x >= limit, else 0 */
static inline vf vf_zero_below(vf r, vf x, float limit) {
    const uint32x4_t below = vcltq_f32(x, vdupq_n_f32(limit));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(r), below));
}
static inline vf vf_load_bf16(const void *p) {
    const uint16x4_t half = vreinterpret_u16_u8(vld1_u8(p));
    return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}
/* a * 2^n for integral n with a normal result */
static inline vf vf_ldexp(vf a, vf n) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vshlq_n_s32(vcvtq_s32_f32(n), 23)));
}

#if defined(__aarch64__)

/* Of the 32 registers, two sets of rows fill most. */
#define PE_ROW_SETS         2
#define PE_ROOM_FOR_24_SUMS 1

static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf vf_round(vf a) { return vrndnq_f32(a); }
static inline float vf_hsum(vf a) { return vaddvq_f32(a); }
static inline float vf_hmax(vf a) { return vmaxvq_f32(a); }
static inline vf pe_from_halves(uint16x4_t h) { return vcvt_f32_f16(vreinterpret_f16_u16(h)); }
static inline void vf_store_f16(void *p, vf a) { vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(a))); }
/* PE_VF floats to int16, rounded to nearest even; the values fit */
static inline void vf_store_s16(int16_t *p, vf a) { vst1_s16(p, vmovn_s32(vcvtnq_s32_f32(a))); }
static inline float vs_f16(const void *p) {
    __fp16 half;
    memcpy(&half, p, sizeof half);
    return half;
}
/* The sum of 16 neighbouring int16. */
static inline int32_t vs_sum16(const int16_t *p) {
    return vaddvq_s32(vpadalq_s16(vpaddlq_s16(vld1q_s16(p)), vld1q_s16(p + 8)));
}
static inline int32x4_t pe_pairwise(int32x4_t a, int32x4_t b) { return vpaddq_s32(a, b); }

#else                          /* ARMv7 */

/* On the scalar unit: estimates and their refinement would not round as a division does. */
static inline vf vf_div(vf a, vf b) {
    float x[PE_VF], y[PE_VF];
    vst1q_f32(x, a);
    vst1q_f32(y, b);
    for (int i = 0; i < PE_VF; i++) x[i] /= y[i];
    return vld1q_f32(x);
}
/* For magnitudes below 2^22: added to 1.5 * 2^23, a float has no bits left for a fraction. */
static inline vf pe_whole(vf a) { return vaddq_f32(a, vdupq_n_f32(0x1.8p23f)); }
static inline vf vf_round(vf a) { return vsubq_f32(pe_whole(a), vdupq_n_f32(0x1.8p23f)); }
/* The low bits of that sum are the integer. */
static inline void vf_store_s16(int16_t *p, vf a) { vst1_s16(p, vmovn_s32(vreinterpretq_s32_f32(pe_whole(a)))); }
static inline float vf_hsum(vf a) {
    float32x2_t s = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(vpadd_f32(s, s), 0);
}
static inline float vf_hmax(vf a) {
    float32x2_t s = vmax_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(vpmax_f32(s, s), 0);
}
#if defined(__ARM_FEATURE_FMA) /* VFPv4, which has half floats too */
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf pe_from_halves(uint16x4_t h) { return vcvt_f32_f16(vreinterpret_f16_u16(h)); }
static inline void vf_store_f16(void *p, vf a) { vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(a))); }
static inline float vs_f16(const void *p) {
    __fp16 half;
    memcpy(&half, p, sizeof half);
    return half;
}
#else
static inline vf vf_fma(vf a, vf b, vf c) { return vmlaq_f32(c, a, b); }
/* Four halves, of which `magnitudes` are all bits but the sign, 13 to the left, and `signs` have theirs on top. With
 * its exponent raised by 224 an infinity or NaN is that as a float too; the rest is 2^112 too large. Below 2^-14, where
 * a half has no leading one but 2^-15 * (1 + f) came out, 2 * 2^-15 * f is meant, and no subnormal float comes up. */
static inline vf pe_from_half_bits(uint32x4_t magnitudes, uint32x4_t signs) {
    const vf large = vreinterpretq_f32_u32(vaddq_u32(magnitudes, vdupq_n_u32(224u << 23)));
    const vf x = vmulq_f32(large, vdupq_n_f32(0x1p-112f));
    const vf below = vminq_f32(vsubq_f32(x, vdupq_n_f32(0x1p-14f)), vdupq_n_f32(0.0f));
    return vbslq_f32(vdupq_n_u32(1u << 31), vreinterpretq_f32_u32(signs), vaddq_f32(x, below));
}
static inline vf pe_from_halves(uint16x4_t h) {
    const uint32x4_t wide = vmovl_u16(h);
    return pe_from_half_bits(vshrq_n_u32(vshlq_n_u32(wide, 17), 4), vshlq_n_u32(wide, 16));
}
static inline void vf_store_f16(void *p, vf a) {
    float value[PE_VF];
    uint16_t half[PE_VF];
    vst1q_f32(value, a);
    for (int i = 0; i < PE_VF; i++) half[i] = pe_float_to_half(value[i]);
    memcpy(p, half, sizeof half);
}
static inline float vs_f16(const void *p) { return pe_half_load(p); }
#endif
static inline int32_t vs_sum16(const int16_t *p) {
    int32x4_t sum = vpadalq_s16(vpaddlq_s16(vld1q_s16(p)), vld1q_s16(p + 8));
    int32x2_t half = vadd_s32(vget_low_s32(sum), vget_high_s32(sum));
    return vget_lane_s32(vpadd_s32(half, half), 0);
}
static inline int32x4_t pe_pairwise(int32x4_t a, int32x4_t b) {
    return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
}

#endif

static inline vf vf_load_f16(const void *p) { return pe_from_halves(vreinterpret_u16_u8(vld1_u8(p))); }

/* ---- vr: rows side by side -------------------------------------------------------------------------------------- */

static inline vr vr_zero(void) { return vf_zero(); }
static inline vr vr_set1(float x) { return vf_set1(x); }
/* p[0], p[stride], ... a row each */
static inline vr vr_column(const float *p, size_t stride) {
    return (vr){p[0], p[stride], p[2 * stride], p[3 * stride]};
}
static inline vr vr_mul(vr a, vr b) { return vf_mul(a, b); }
static inline vr vr_fma(vr a, vr b, vr c) { return vf_fma(a, b, c); }
static inline void vr_store(float *p, vr a) { vst1q_f32(p, a); }
#if defined(__aarch64__)
/* Loads of a lane need a register for each address. So the eight bytes at `offset` are read of each row, which are
 * always in a block, and halves that belong together put side by side: those of two rows, [2, 4] halves. */
static inline uint32x2_t pe_halves_of_two(const uint8_t *a, const uint8_t *b) {
    return vreinterpret_u32_u16(vzip1_u16(vreinterpret_u16_u8(vld1_u8(a)), vreinterpret_u16_u8(vld1_u8(b))));
}
/* The half at `offset` of each row, where a block of more than eight bytes begins. */
static inline vr vr_load_f16(const uint8_t *const p[PE_ROWS], size_t offset) {
    const uint32x2_t low = pe_halves_of_two(p[0] + offset, p[1] + offset);
    const uint32x2_t high = pe_halves_of_two(p[2] + offset, p[3] + offset);
    return pe_from_halves(vreinterpret_u16_u32(vzip1_u32(low, high)));
}
/* Two neighbouring halves of each row: first into a, second into b. */
static inline void vr_load_f16_pair(const uint8_t *const p[PE_ROWS], size_t offset, vr *a, vr *b) {
    const uint32x2_t low = pe_halves_of_two(p[0] + offset, p[1] + offset);
    const uint32x2_t high = pe_halves_of_two(p[2] + offset, p[3] + offset);
    *a = pe_from_halves(vreinterpret_u16_u32(vzip1_u32(low, high)));
    *b = pe_from_halves(vreinterpret_u16_u32(vzip2_u32(low, high)));
}
#else
/* The half at `offset` of each row. */
static inline vr vr_load_f16(const uint8_t *const p[PE_ROWS], size_t offset) {
    uint16x4_t h = vdup_n_u16(0);
    h = vld1_lane_u16((const uint16_t *)(const void *)(p[0] + offset), h, 0);
    h = vld1_lane_u16((const uint16_t *)(const void *)(p[1] + offset), h, 1);
    h = vld1_lane_u16((const uint16_t *)(const void *)(p[2] + offset), h, 2);
    h = vld1_lane_u16((const uint16_t *)(const void *)(p[3] + offset), h, 3);
    return pe_from_halves(h);
}
/* Two neighbouring halves of each row: first into a, second into b. */
static inline void vr_load_f16_pair(const uint8_t *const p[PE_ROWS], size_t offset, vr *a, vr *b) {
    uint32x4_t pairs = vdupq_n_u32(0);
    pairs = vld1q_lane_u32((const uint32_t *)(const void *)(p[0] + offset), pairs, 0);
    pairs = vld1q_lane_u32((const uint32_t *)(const void *)(p[1] + offset), pairs, 1);
    pairs = vld1q_lane_u32((const uint32_t *)(const void *)(p[2] + offset), pairs, 2);
    pairs = vld1q_lane_u32((const uint32_t *)(const void *)(p[3] + offset), pairs, 3);
#if defined(__ARM_FEATURE_FMA)
    *a = pe_from_halves(vmovn_u32(pairs));
    *b = pe_from_halves(vshrn_n_u32(pairs, 16));
#else
    *a = pe_from_half_bits(vshrq_n_u32(vshlq_n_u32(pairs, 17), 4), vshlq_n_u32(pairs, 16));
    *b = pe_from_half_bits(vshrq_n_u32(vandq_u32(pairs, vdupq_n_u32(0x7fffu << 16)), 3), pairs);
#endif
}
#endif
/* Eight unsigned bytes as floats, times a factor. */
static inline void vs_scale_bytes(float out[8], const uint8_t bytes[8], float factor) {
    const uint16x8_t wide = vmovl_u8(vld1_u8(bytes));
    const vf low = vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))), high = vcvtq_f32_u32(vmovl_u16(vget_high_u16(wide)));
    vf_store(out, vmulq_n_f32(low, factor));
    vf_store(out + 4, vmulq_n_f32(high, factor));
}
/* The sums of four vectors of int32, as floats. */
static inline vr pe_sum_rows(const int32x4_t p[PE_ROWS]) {
    return vcvtq_f32_s32(pe_pairwise(pe_pairwise(p[0], p[1]), pe_pairwise(p[2], p[3])));
}
#define vs_prefetch(p) __builtin_prefetch(p)

#endif
