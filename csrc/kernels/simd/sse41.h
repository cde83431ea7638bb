/* SSE4.1: x86-64 processors without AVX2, 4 floats a vector. Neither FMA nor half-float conversion exists here. */
#ifndef PE_KERNELS_SIMD_SSE41_H
#define PE_KERNELS_SIMD_SSE41_H

#include "base/half.h"

#include <smmintrin.h>
#include <stddef.h>

#define PE_VQ

/* ---- vq: 32 weights as int16, eight a vector -------------------------------------------------------------------- */

typedef struct vq {
    __m128i v[4];
} vq;

#define PE_FOUR(expression)                                                                                            \
    do {                                                                                                               \
        vq r;                                                                                                          \
        PE_UNROLL(4) for (int i = 0; i < 4; i++) r.v[i] = (expression);                                                \
        return r;                                                                                                      \
    } while (0)

static inline vq vq_load_u8(const uint8_t *p) {
    PE_FOUR(_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(p + 8 * i))));
}
static inline vq vq_load_s8(const uint8_t *p) {
    PE_FOUR(_mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(p + 8 * i))));
}
#define PE_VQ_NIBBLES
static inline vq vq_nibbles(const uint8_t *p, bool high) {
    const vq bytes = vq_load_u8(p);
    const __m128i mask = _mm_set1_epi16(15);
    if (high) PE_FOUR(_mm_srli_epi16(bytes.v[i], 4));
    PE_FOUR(_mm_and_si128(bytes.v[i], mask));
}
static inline vq vq_load_nibbles(const uint8_t *p) {
    __m128i low = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p));
    __m128i high = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(p + 8)));
    const __m128i mask = _mm_set1_epi16(15);
    return (vq){{_mm_and_si128(low, mask), _mm_and_si128(high, mask), _mm_srli_epi16(low, 4), _mm_srli_epi16(high, 4)}};
}
static inline vq vq_load_values(const uint8_t *p, const int8_t values[16]) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p), table = _mm_loadu_si128((const __m128i *)values);
    const __m128i mask = _mm_set1_epi8(15);
    __m128i low = _mm_shuffle_epi8(table, _mm_and_si128(bytes, mask));
    __m128i high = _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(bytes, 4), mask));
    return (vq){{_mm_cvtepi8_epi16(low), _mm_cvtepi8_epi16(_mm_srli_si128(low, 8)), _mm_cvtepi8_epi16(high),
                 _mm_cvtepi8_epi16(_mm_srli_si128(high, 8))}};
}
static inline vq vq_set_s8(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    const uint64_t words[4] = {a, b, c, d};
    PE_FOUR(_mm_cvtepi8_epi16(_mm_cvtsi64_si128((long long)words[i])));
}
static inline vq vq_set1(int c) { PE_FOUR(_mm_set1_epi16((short)c)); }
static inline vq vq_set2(int a, int b) { PE_FOUR(_mm_set1_epi16((short)(i < 2 ? a : b))); }
static inline vq vq_shr(vq a, int n) { PE_FOUR(_mm_srli_epi16(a.v[i], n)); }
static inline vq vq_shrv(vq a, int n) { PE_FOUR(_mm_srl_epi16(a.v[i], _mm_cvtsi32_si128(n))); }
static inline vq vq_shl(vq a, int n) { PE_FOUR(_mm_slli_epi16(a.v[i], n)); }
static inline vq vq_and(vq a, int c) { PE_FOUR(_mm_and_si128(a.v[i], _mm_set1_epi16((short)c))); }
static inline vq vq_or(vq a, vq b) { PE_FOUR(_mm_or_si128(a.v[i], b.v[i])); }
static inline vq vq_add(vq a, vq b) { PE_FOUR(_mm_add_epi16(a.v[i], b.v[i])); }
static inline vq vq_sub(vq a, vq b) { PE_FOUR(_mm_sub_epi16(a.v[i], b.v[i])); }
static inline vq vq_mul(vq a, vq b) { PE_FOUR(_mm_mullo_epi16(a.v[i], b.v[i])); }
/* Lane i: c where bit i of m is set, else 0. Each lane keeps its own bit of its byte and compares it. */
static inline vq vq_mask(uint32_t m, int c) {
    const __m128i own = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128), value = _mm_set1_epi16((short)c);
    const __m128i bits = _mm_cvtsi32_si128((int)m);
    PE_FOUR(_mm_and_si128(
        _mm_cmpeq_epi16(_mm_and_si128(_mm_shuffle_epi8(bits, _mm_set1_epi16((short)(0x8000 | i))), own), own), value));
}
/* Lane i negated where bit i of m is set. */
static inline vq vq_negate(vq a, uint32_t m) {
    const vq minus = vq_mask(m, -1);
    PE_FOUR(_mm_sub_epi16(_mm_xor_si128(a.v[i], minus.v[i]), minus.v[i]));
}
static inline void vq_store(int16_t *p, vq a) {
    PE_UNROLL(4)
    for (int i = 0; i < 4; i++) _mm_storeu_si128((__m128i *)(p + 8 * i), a.v[i]);
}

/* ---- vi, vr: four rows of a gemv side by side ------------------------------------------------------------------- */

enum { PE_ROWS = 4, PE_VF = 4, PE_TILE_ROWS = 8 };
#define PE_BESIDE
/* A shift by a constant is one instruction less. */
#define PE_GROUPS_AT_ONCE(slot) ((slot) == PE_SLOT_Q4_K || (slot) == PE_SLOT_Q5_K ? 2 : 1)
#define PE_UNROLL_STEPS         _Pragma("GCC unroll 4") /* of the innermost loop of gemm */

typedef __m128i vi; /* partial int32 sums of one row */
typedef __m128 vr;

static inline vi vq_dot(vq w, const int16_t *x) {
    vi acc = _mm_madd_epi16(w.v[0], _mm_loadu_si128((const __m128i *)x));
    PE_UNROLL(3)
    for (int i = 1; i < 4; i++)
        acc = _mm_add_epi32(acc, _mm_madd_epi16(w.v[i], _mm_loadu_si128((const __m128i *)(x + 8 * i))));
    return acc;
}
static inline vr vr_sum(const vi p[PE_ROWS]) {
    vi ab = _mm_add_epi32(_mm_unpacklo_epi32(p[0], p[1]), _mm_unpackhi_epi32(p[0], p[1]));
    vi cd = _mm_add_epi32(_mm_unpacklo_epi32(p[2], p[3]), _mm_unpackhi_epi32(p[2], p[3]));
    return _mm_cvtepi32_ps(_mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd)));
}
static inline vr vr_zero(void) { return _mm_setzero_ps(); }
static inline vr vr_set1(float x) { return _mm_set1_ps(x); }
/* p[0], p[stride], ... a row each */
static inline vr vr_column(const float *p, size_t stride) {
    return _mm_setr_ps(p[0], p[stride], p[2 * stride], p[3 * stride]);
}
static inline vr vr_mul(vr a, vr b) { return _mm_mul_ps(a, b); }
static inline vr vr_fma(vr a, vr b, vr c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
static inline void vr_store(float *p, vr a) { _mm_storeu_ps(p, a); }

/* ---- vf, vt: floats, and int32 sums of as many tokens ----------------------------------------------------------- */

typedef __m128 vf;
typedef __m128i vt, vt_pairs;

static inline vf vf_zero(void) { return _mm_setzero_ps(); }
static inline vf vf_set1(float x) { return _mm_set1_ps(x); }
static inline vf vf_load(const float *p) { return _mm_loadu_ps(p); }
static inline void vf_store(float *p, vf a) { _mm_storeu_ps(p, a); }
static inline vf vf_add(vf a, vf b) { return _mm_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
static inline vf vf_max(vf a, vf b) { return _mm_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm_min_ps(a, b); }
static inline vf vf_abs(vf a) { return _mm_andnot_ps(_mm_set1_ps(-0.0f), a); }
static inline vf vf_round(vf a) { return _mm_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a * 2^n for integral n with a normal result */
static inline vf vf_ldexp(vf a, vf n) {
    return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), _mm_slli_epi32(_mm_cvtps_epi32(n), 23)));
}
/* r where x >= limit, else 0 */
static inline vf vf_zero_below(vf r, vf x, float limit) {
    return _mm_andnot_ps(_mm_cmplt_ps(x, _mm_set1_ps(limit)), r);
}
static inline float vf_hsum(vf a) {
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}
static inline float vf_hmax(vf a) {
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps(a, a, 1)));
}
/* Four halves, in integers: shift the magnitude into place as a float that is 2^112 too small, and scale it up (that
 * makes subnormals right as well); infinity and NaN get a float's exponent. */
static inline vf pe_from_halves(__m128i h) {
    __m128i magnitude = _mm_and_si128(h, _mm_set1_epi32(0x7fff));
    __m128i special = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff)), _mm_set1_epi32(0x7f800000));
    vf value = _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32(magnitude, 13)), _mm_set1_ps(0x1p112f));
    __m128i sign = _mm_slli_epi32(_mm_and_si128(h, _mm_set1_epi32(0x8000)), 16);
    return _mm_or_ps(value, _mm_castsi128_ps(_mm_or_si128(special, sign)));
}
static inline vf vf_load_f16(const void *p) { return pe_from_halves(_mm_cvtepu16_epi32(_mm_loadl_epi64(p))); }
static inline void vf_store_f16(void *p, vf a) {
    float value[PE_VF];
    uint16_t half[PE_VF];
    _mm_storeu_ps(value, a);
    for (int i = 0; i < PE_VF; i++) half[i] = pe_float_to_half(value[i]);
    memcpy(p, half, sizeof half);
}
static inline vf vf_load_bf16(const void *p) {
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64(p)), 16));
}
/* PE_VF floats to int16, rounded to nearest even; the values fit */
static inline void vf_store_s16(int16_t *p, vf a) {
    __m128i v = _mm_cvtps_epi32(a);
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi32(v, v));
}

static inline vt vt_zero(void) { return _mm_setzero_si128(); }
static inline vt vt_add(vt a, vt b) { return _mm_add_epi32(a, b); }
/* acc[t] += x[t][0] * w[0] + x[t][1] * w[1]; x [PE_VF, 2], w two int16 */
static inline vt vt_dot2(vt acc, vt_pairs x, const int16_t *w) {
    int32_t pair;
    memcpy(&pair, w, sizeof pair);
    return _mm_add_epi32(acc, _mm_madd_epi16(x, _mm_set1_epi32(pair)));
}
static inline vt_pairs vt_load(const int16_t *x) { return _mm_loadu_si128((const __m128i *)x); }
static inline void vt_store(int16_t *x, vt_pairs a) { _mm_storeu_si128((__m128i *)x, a); }
static inline vf vt_float(vt a) { return _mm_cvtepi32_ps(a); }
/* The first n pairs of rows 0..3 as columns: out[i] holds pair i of each row. Rows lie `stride` int16 apart; n is a
 * multiple of 4. */
static inline void vt_columns(vt_pairs out[], size_t n, const int16_t *p, size_t stride) {
    for (size_t i = 0; i < n / 4; i++, p += 8) {
        const __m128i r0 = vt_load(p), r1 = vt_load(p + stride), r2 = vt_load(p + 2 * stride);
        const __m128i r3 = vt_load(p + 3 * stride);
        const __m128i a = _mm_unpacklo_epi32(r0, r1), b = _mm_unpackhi_epi32(r0, r1);
        const __m128i c = _mm_unpacklo_epi32(r2, r3), d = _mm_unpackhi_epi32(r2, r3);
        out[4 * i] = _mm_unpacklo_epi64(a, c);
        out[4 * i + 1] = _mm_unpackhi_epi64(a, c);
        out[4 * i + 2] = _mm_unpacklo_epi64(b, d);
        out[4 * i + 3] = _mm_unpackhi_epi64(b, d);
    }
}

/* The sum of 16 neighbouring int16. */
static inline int32_t vs_sum16(const int16_t *p) {
    const __m128i ones = _mm_set1_epi16(1);
    __m128i sum = _mm_add_epi32(_mm_madd_epi16(vt_load(p), ones), _mm_madd_epi16(vt_load(p + 8), ones));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

/* ---- what needs single halves ----------------------------------------------------------------------------------- */

static inline float vs_f16(const void *p) { return _mm_cvtss_f32(pe_from_halves(_mm_cvtsi32_si128(pe_load_u16(p)))); }
/* The half at `offset` of each row. */
static inline vr vr_load_f16(const uint8_t *const p[PE_ROWS], size_t offset) {
    return pe_from_halves(_mm_setr_epi32(pe_load_u16(p[0] + offset), pe_load_u16(p[1] + offset),
                                         pe_load_u16(p[2] + offset), pe_load_u16(p[3] + offset)));
}
/* Two neighbouring halves of each row: first into a, second into b. */
static inline void vr_load_f16_pair(const uint8_t *const p[PE_ROWS], size_t offset, vr *a, vr *b) {
    *a = vr_load_f16(p, offset);
    *b = vr_load_f16(p, offset + 2);
}
/* Eight unsigned bytes as floats, times a factor. */
static inline void vs_scale_bytes(float out[8], const uint8_t bytes[8], float factor) {
    for (int i = 0; i < 8; i += 4) {
        int32_t four;
        memcpy(&four, bytes + i, sizeof four);
        __m128 wide = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
        _mm_storeu_ps(out + i, _mm_mul_ps(wide, _mm_set1_ps(factor)));
    }
}
#define vs_prefetch(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)

#endif
