/* The vocabulary of kernels in plain C: what every instruction set's header defines, here with loops that a compiler
 * may vectorise. It runs anywhere, and it is what the other headers are tested against. */
#ifndef PE_SIMD_SCALAR_H
#define PE_SIMD_SCALAR_H

#include "base/half.h"

#include <math.h>
#include <stddef.h>

/* ---- vq: 32 lanes of 16-bit integers, one group of weights ------------------------------------------------------- */

#define PE_VQ 1 /* tells the headers in quant/ that they can define their unpack */

typedef struct vq {
    int16_t v[32];
} vq;

/* 32 bytes, unsigned. */
static inline vq vq_load_u8(const uint8_t *p) {
    vq r;
    for (int i = 0; i < 32; i++) r.v[i] = p[i];
    return r;
}

/* 32 bytes, signed. */
static inline vq vq_load_s8(const uint8_t *p) {
    vq r;
    for (int i = 0; i < 32; i++) r.v[i] = (int8_t)p[i];
    return r;
}

/* 16 bytes: the low nibbles to lanes 0..15, the high ones to lanes 16..31. */
static inline vq vq_load_nibbles(const uint8_t *p) {
    vq r;
    for (int i = 0; i < 16; i++) r.v[i] = p[i] & 15;
    for (int i = 0; i < 16; i++) r.v[i + 16] = p[i] >> 4;
    return r;
}

/* The same, each nibble replaced by the value that it numbers. */
static inline vq vq_load_values(const uint8_t *p, const int8_t values[16]) {
    vq r = vq_load_nibbles(p);
    for (int i = 0; i < 32; i++) r.v[i] = values[r.v[i]];
    return r;
}

/* Four times eight signed bytes, lane 0 in the lowest byte of the first. */
static inline vq vq_set_s8(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t words[4] = {a, b, c, d};
    vq r;
    for (int i = 0; i < 32; i++) r.v[i] = (int8_t)(words[i / 8] >> i % 8 * 8 & 0xff);
    return r;
}

static inline vq vq_set1(int c) {
    vq r;
    for (int i = 0; i < 32; i++) r.v[i] = (int16_t)c;
    return r;
}

/* lo in lanes 0..15, hi in lanes 16..31. */
static inline vq vq_set2(int lo, int hi) {
    vq r;
    for (int i = 0; i < 16; i++) r.v[i] = (int16_t)lo;
    for (int i = 16; i < 32; i++) r.v[i] = (int16_t)hi;
    return r;
}

/* Lane i: c where bit i of m is set, else 0. */
static inline vq vq_mask(uint32_t m, int c) {
    vq r;
    for (int i = 0; i < 32; i++) r.v[i] = (int16_t)(m >> i & 1 ? c : 0);
    return r;
}

/* Lane i negated where bit i of m is set. */
static inline vq vq_negate(vq a, uint32_t m) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)(m >> i & 1 ? -a.v[i] : a.v[i]);
    return a;
}

/* Logical shift right by n in 0..15, a constant. */
static inline vq vq_shr(vq a, int n) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)((uint16_t)a.v[i] >> n);
    return a;
}

/* The same for an n that is only known at run time. */
static inline vq vq_shrv(vq a, int n) { return vq_shr(a, n); }

/* Shift left by n in 0..15, a constant. */
static inline vq vq_shl(vq a, int n) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)((uint32_t)(uint16_t)a.v[i] << n);
    return a;
}

static inline vq vq_and(vq a, int c) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)(a.v[i] & c);
    return a;
}

static inline vq vq_or(vq a, vq b) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)(a.v[i] | b.v[i]);
    return a;
}

static inline vq vq_add(vq a, vq b) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)(a.v[i] + b.v[i]);
    return a;
}

static inline vq vq_sub(vq a, vq b) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)(a.v[i] - b.v[i]);
    return a;
}

/* The low 16 bits of each product. */
static inline vq vq_mul(vq a, vq b) {
    for (int i = 0; i < 32; i++) a.v[i] = (int16_t)(a.v[i] * b.v[i]);
    return a;
}

static inline void vq_store(int16_t *p, vq a) { memcpy(p, a.v, sizeof a.v); }

/* ---- vi, vr: rows of a gemv side by side ------------------------------------------------------------------------- */

enum { PE_ROWS = 4, PE_VF = 4, PE_TILE_ROWS = 4 };
#define PE_UNROLL_STEPS _Pragma("GCC unroll 1") /* of the innermost loop of gemm */

typedef int32_t vi; /* int32 sums of one row, to be added up by vr_sum */
typedef struct vr { /* one float for each row */
    float v[PE_ROWS];
} vr;

static inline vi vq_dot(vq w, const int16_t *x) {
    vi sum = 0;
    for (int i = 0; i < 32; i++) sum += w.v[i] * x[i];
    return sum;
}
static inline vr vr_sum(const vi p[PE_ROWS]) {
    vr r;
    for (int i = 0; i < PE_ROWS; i++) r.v[i] = (float)p[i];
    return r;
}
static inline vr vr_set1(float x) {
    vr r;
    for (int i = 0; i < PE_ROWS; i++) r.v[i] = x;
    return r;
}
static inline vr vr_zero(void) { return vr_set1(0.0f); }
/* p[0], p[stride], ... a row each */
static inline vr vr_column(const float *p, size_t stride) {
    vr r;
    for (size_t i = 0; i < PE_ROWS; i++) r.v[i] = p[i * stride];
    return r;
}
static inline void vr_store(float *p, vr a) { memcpy(p, a.v, sizeof a.v); }
static inline vr vr_mul(vr a, vr b) {
    for (int i = 0; i < PE_ROWS; i++) a.v[i] *= b.v[i];
    return a;
}
static inline vr vr_fma(vr a, vr b, vr c) {
    for (int i = 0; i < PE_ROWS; i++) c.v[i] += a.v[i] * b.v[i];
    return c;
}
/* The half at `offset` of each row. */
static inline vr vr_load_f16(const uint8_t *const p[PE_ROWS], size_t offset) {
    vr r;
    for (int i = 0; i < PE_ROWS; i++) r.v[i] = pe_half_load(p[i] + offset);
    return r;
}
/* Two neighbouring halves of each row: first into a, second into b. */
static inline void vr_load_f16_pair(const uint8_t *const p[PE_ROWS], size_t offset, vr *a, vr *b) {
    *a = vr_load_f16(p, offset);
    *b = vr_load_f16(p, offset + 2);
}

/* ---- vf: floats; vt: int32 sums of as many tokens ---------------------------------------------------------------- */

typedef struct vf {
    float v[PE_VF];
} vf;
typedef struct vt {
    int32_t v[PE_VF];
} vt;
typedef struct vt_pairs { /* PE_VF tokens, two int16 each */
    int16_t v[PE_VF][2];
} vt_pairs;

#define PE_LANES(expression)                                                                                           \
    do {                                                                                                               \
        vf r;                                                                                                          \
        for (int i = 0; i < PE_VF; i++) r.v[i] = (expression);                                                         \
        return r;                                                                                                      \
    } while (0)

static inline vf vf_set1(float x) { PE_LANES(x); }
static inline vf vf_zero(void) { PE_LANES(0.0f); }
static inline vf vf_load(const float *p) { PE_LANES(p[i]); }
static inline void vf_store(float *p, vf a) { memcpy(p, a.v, sizeof a.v); }
static inline vf vf_add(vf a, vf b) { PE_LANES(a.v[i] + b.v[i]); }
static inline vf vf_sub(vf a, vf b) { PE_LANES(a.v[i] - b.v[i]); }
static inline vf vf_mul(vf a, vf b) { PE_LANES(a.v[i] * b.v[i]); }
static inline vf vf_div(vf a, vf b) { PE_LANES(a.v[i] / b.v[i]); }
static inline vf vf_fma(vf a, vf b, vf c) { PE_LANES(a.v[i] * b.v[i] + c.v[i]); }
static inline vf vf_max(vf a, vf b) { PE_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
static inline vf vf_min(vf a, vf b) { PE_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
static inline vf vf_abs(vf a) { PE_LANES(fabsf(a.v[i])); }
static inline vf vf_round(vf a) { PE_LANES(nearbyintf(a.v[i])); }
/* a * 2^n for integral n with a normal result */
static inline vf vf_ldexp(vf a, vf n) {
    PE_LANES(pe_float_from_bits(pe_float_bits(a.v[i]) + ((uint32_t)(int32_t)n.v[i] << 23)));
}
/* r where x >= limit, else 0 */
static inline vf vf_zero_below(vf r, vf x, float limit) {
    for (int i = 0; i < PE_VF; i++)
        if (x.v[i] < limit) r.v[i] = 0.0f;
    return r;
}
static inline float vf_hsum(vf a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
static inline float vf_hmax(vf a) {
    float low = a.v[0] > a.v[1] ? a.v[0] : a.v[1], high = a.v[2] > a.v[3] ? a.v[2] : a.v[3];
    return low > high ? low : high;
}
static inline vf vf_load_f16(const void *p) { PE_LANES(pe_half_load((const uint8_t *)p + 2 * i)); }
static inline void vf_store_f16(void *p, vf a) {
    uint16_t half[PE_VF];
    for (int i = 0; i < PE_VF; i++) half[i] = pe_float_to_half(a.v[i]);
    memcpy(p, half, sizeof half);
}
/* One load of all lanes: GCC 12 joins loads of single lanes across rows, and then reads past the last row. */
static inline vf vf_load_bf16(const void *p) {
    uint8_t lanes[2 * PE_VF];
    memcpy(lanes, p, sizeof lanes);
    PE_LANES(pe_bf16_to_float(pe_load_u16(lanes + 2 * i)));
}
/* PE_VF floats to int16, rounded to nearest even; the values fit */
static inline void vf_store_s16(int16_t *p, vf a) {
    for (int i = 0; i < PE_VF; i++) p[i] = (int16_t)nearbyintf(a.v[i]);
}

static inline vt vt_zero(void) { return (vt){{0}}; }
static inline vt vt_add(vt a, vt b) {
    for (int i = 0; i < PE_VF; i++) a.v[i] += b.v[i];
    return a;
}
static inline vt_pairs vt_load(const int16_t *x) {
    vt_pairs r;
    memcpy(r.v, x, sizeof r.v);
    return r;
}
static inline void vt_store(int16_t *x, vt_pairs a) { memcpy(x, a.v, sizeof a.v); }
/* The first n pairs of rows 0..PE_VF-1 as columns: out[i] holds pair i of each row. Rows lie `stride` int16 apart; n is
 * a multiple of 4. */
static inline void vt_columns(vt_pairs out[], size_t n, const int16_t *p, size_t stride) {
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < PE_VF; r++) memcpy(out[i].v[r], p + r * stride + 2 * i, sizeof out[i].v[r]);
}
/* acc[t] += x[t][0] * w[0] + x[t][1] * w[1] */
static inline vt vt_dot2(vt acc, vt_pairs x, const int16_t *w) {
    for (int i = 0; i < PE_VF; i++) acc.v[i] += x.v[i][0] * w[0] + x.v[i][1] * w[1];
    return acc;
}
static inline vf vt_float(vt a) { PE_LANES((float)a.v[i]); }

/* ---- vs: scalars ------------------------------------------------------------------------------------------------- */

/* The sum of 16 neighbouring int16. */
static inline int32_t vs_sum16(const int16_t *p) {
    int32_t sum = 0;
    for (int i = 0; i < 16; i++) sum += p[i];
    return sum;
}
/* The little-endian half at p. */
static inline float vs_f16(const void *p) { return pe_half_load(p); }
/* Eight unsigned bytes as floats, times a factor. */
static inline void vs_scale_bytes(float out[8], const uint8_t bytes[8], float factor) {
    for (int i = 0; i < 8; i++) out[i] = factor * (float)bytes[i];
}
static inline void vs_prefetch(const void *p) { (void)p; }

#endif
