/* Weights as bytes, for the instruction sets of 64-bit ARM that multiply bytes and add up in int32: what dotprod.h and
 * i8mm.h share. Integers that do not fit into a byte are kept as bytes and two factors, one for each half of a group.
 *
 * An activation of 15 bits is two bytes, q = 128 * upper + lower with 0 <= lower < 128: the products of both halves are
 * summed apart and put together, which gives exactly the sum of the whole products, modulo 2^32. */
#ifndef PE_KERNELS_SIMD_NEON_BYTES_H
#define PE_KERNELS_SIMD_NEON_BYTES_H

#include "kernels/simd/neon_floats.h"

#define PE_VQ
#define PE_VQ_BYTES
#define PE_ROWS_IN_LANES

/* ---- vq: 32 weights as int8, sixteen a vector -------------------------------------------------------------------- */

typedef struct vq {
    int8x16_t v[2];
    bool scaled; /* then weight i is v[i] * factor[i / 16]; constant wherever the type is */
    int32_t factor[2];
} vq;

static inline vq pe_bytes(int8x16_t a, int8x16_t b) { return (vq){.v = {a, b}}; }
static inline vq pe_unsigned(uint8x16_t a, uint8x16_t b) {
    return pe_bytes(vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b));
}
static inline uint8x16_t pe_part(vq a, int i) { return vreinterpretq_u8_s8(a.v[i]); }

static inline vq vq_load_u8(const uint8_t *p) { return pe_unsigned(vld1q_u8(p), vld1q_u8(p + 16)); }
static inline vq vq_load_s8(const uint8_t *p) { return vq_load_u8(p); }
static inline vq vq_load_nibbles(const uint8_t *p) {
    const uint8x16_t bytes = vld1q_u8(p);
    return pe_unsigned(vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8(bytes, 4));
}
static inline vq vq_load_values(const uint8_t *p, const int8_t values[16]) {
    const vq at = vq_load_nibbles(p);
    const int8x16_t table = vld1q_s8(values);
    return pe_bytes(vqtbl1q_s8(table, pe_part(at, 0)), vqtbl1q_s8(table, pe_part(at, 1)));
}
static inline vq vq_set_s8(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return pe_bytes(vcombine_s8(vcreate_s8(a), vcreate_s8(b)), vcombine_s8(vcreate_s8(c), vcreate_s8(d)));
}
static inline vq vq_set2(int a, int b) { return pe_bytes(vdupq_n_s8((int8_t)a), vdupq_n_s8((int8_t)b)); }
static inline vq vq_set1(int c) { return vq_set2(c, c); }
static inline vq vq_shl(vq a, int n) {
    const int8x16_t count = vdupq_n_s8((int8_t)n);
    return pe_unsigned(vshlq_u8(pe_part(a, 0), count), vshlq_u8(pe_part(a, 1), count));
}
static inline vq vq_shr(vq a, int n) { return vq_shl(a, -n); }
static inline vq vq_shrv(vq a, int n) { return vq_shl(a, -n); }
static inline vq vq_and(vq a, int c) {
    const int8x16_t mask = vdupq_n_s8((int8_t)c);
    return pe_bytes(vandq_s8(a.v[0], mask), vandq_s8(a.v[1], mask));
}
static inline vq vq_or(vq a, vq b) { return pe_bytes(vorrq_s8(a.v[0], b.v[0]), vorrq_s8(a.v[1], b.v[1])); }
static inline vq vq_add(vq a, vq b) { return pe_bytes(vaddq_s8(a.v[0], b.v[0]), vaddq_s8(a.v[1], b.v[1])); }
static inline vq vq_sub(vq a, vq b) { return pe_bytes(vsubq_s8(a.v[0], b.v[0]), vsubq_s8(a.v[1], b.v[1])); }
static inline vq vq_mul(vq a, vq b) { return pe_bytes(vmulq_s8(a.v[0], b.v[0]), vmulq_s8(a.v[1], b.v[1])); }
static inline vq vq_scale2(vq a, int lo, int hi) { return (vq){{a.v[0], a.v[1]}, true, {lo, hi}}; }
/* Bits above eight of 3 a, which are those above seven of a + a / 2. */
static inline vq vq_thirds(vq a) {
    const uint8x16_t x = pe_part(a, 0), y = pe_part(a, 1);
    return pe_unsigned(vshrq_n_u8(vhaddq_u8(x, vshrq_n_u8(x, 1)), 6), vshrq_n_u8(vhaddq_u8(y, vshrq_n_u8(y, 1)), 6));
}
/* Lane i: c where bit i of m is set, else 0. Each lane tests its own bit of its byte of m. */
static inline vq vq_mask(uint32_t m, int c) {
    const uint8x16_t first = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    const uint8x16_t own = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t bytes = vreinterpretq_u8_u32(vdupq_n_u32(m)), second = vaddq_u8(first, vdupq_n_u8(2));
    return vq_and(pe_unsigned(vtstq_u8(vqtbl1q_u8(bytes, first), own), vtstq_u8(vqtbl1q_u8(bytes, second), own)), c);
}
/* Lane i negated where bit i of m is set. */
static inline vq vq_negate(vq a, uint32_t m) {
    const vq minus = vq_mask(m, -1);
    return pe_bytes(vsubq_s8(veorq_s8(a.v[0], minus.v[0]), minus.v[0]),
                    vsubq_s8(veorq_s8(a.v[1], minus.v[1]), minus.v[1]));
}

/* The two bytes of 32 activations: upper [32], lower [32]. */
static inline void pe_split(int8x16_t upper[2], int8x16_t lower[2], const int16_t q[32]) {
    for (int i = 0; i < 2; i++) {
        const int16x8_t a = vld1q_s16(q + 16 * i), b = vld1q_s16(q + 16 * i + 8);
        upper[i] = vcombine_s8(vshrn_n_s16(a, 7), vshrn_n_s16(b, 7));
        lower[i] = vandq_s8(vcombine_s8(vmovn_s16(a), vmovn_s16(b)), vdupq_n_s8(127));
    }
}

/* ---- four rows of a group, packed for products with several tokens ------------------------------------------------
 */

enum { PE_PACK_BYTES = 128 + 2 * 4 * sizeof(int32_t) }; /* weights, then factors [2, 4] where there are any */

static inline void pe_pack_factors(uint8_t *pack, const vq w[4]) {
    for (int i = 0; i < 2; i++) {
        const int32_t factors[4] = {w[0].factor[i], w[1].factor[i], w[2].factor[i], w[3].factor[i]};
        memcpy(pack + 128 + 16 * i, factors, sizeof factors);
    }
}
static inline int32x4_t pe_factors(const uint8_t *pack, size_t half) {
    return vreinterpretq_s32_u8(vld1q_u8(pack + 128 + 16 * half));
}

typedef int32x4_t vl; /* sums of four rows */
static inline vf vl_float(vl a) { return vcvtq_f32_s32(a); }

#endif
