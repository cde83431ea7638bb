/* AVX2 with FMA and F16C: 8 floats a vector. */
#ifndef PE_KERNELS_SIMD_AVX2_H
#define PE_KERNELS_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#ifndef pe_dot_step /* avxvnni.h has one instruction for it */
#define pe_dot_step(acc, a, b) _mm256_add_epi32(acc, _mm256_madd_epi16(a, b))
#endif
#include "kernels/simd/x86_rows.h"

enum { PE_VF = 8, PE_TILE_ROWS = 8 };
#define PE_UNROLL_STEPS _Pragma("GCC unroll 2") /* of the innermost loop of gemm */
typedef __m256 vf;
typedef __m256i vt, vt_pairs; /* int32 sums of PE_VF tokens; int16 pairs of as many */

static inline vf vf_zero(void) { return _mm256_setzero_ps(); }
static inline vf vf_set1(float x) { return _mm256_set1_ps(x); }
static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a * 2^n for integral n with a normal result */
static inline vf vf_ldexp(vf a, vf n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
/* r where x >= limit, else 0 */
static inline vf vf_zero_below(vf r, vf x, float limit) {
    return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_LT_OQ), r);
}
static inline float vf_hsum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_hmax(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
static inline vf vf_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline void vf_store_f16(void *p, vf a) { _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }
static inline vf vf_load_bf16(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
/* PE_VF floats to int16, rounded to nearest even; the values fit */
static inline void vf_store_s16(int16_t *p, vf a) {
    __m256i v = _mm256_cvtps_epi32(a);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

static inline vt vt_zero(void) { return _mm256_setzero_si256(); }
static inline vt vt_add(vt a, vt b) { return _mm256_add_epi32(a, b); }
/* acc[t] += x[t][0] * w[0] + x[t][1] * w[1]; x [PE_VF, 2], w two int16 */
static inline vt vt_dot2(vt acc, vt_pairs x, const int16_t *w) {
    return pe_dot_step(acc, x, _mm256_set1_epi32(pe_load_s32((const uint8_t *)w)));
}
static inline vt_pairs vt_load(const int16_t *x) { return _mm256_loadu_si256((const __m256i *)x); }
static inline void vt_store(int16_t *x, vt_pairs a) { _mm256_storeu_si256((__m256i *)x, a); }
static inline vf vt_float(vt a) { return _mm256_cvtepi32_ps(a); }
/* 16 bytes of rows 0 and 4 from p on */
static inline __m256i pe_halves(const int16_t *p, size_t stride) {
    __m256i a = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p));
    return _mm256_inserti128_si256(a, _mm_loadu_si128((const __m128i *)(p + 4 * stride)), 1);
}
/* The first n pairs of rows 0..7 as columns: out[i] holds pair i of each row. Rows lie `stride` int16 apart; n is a
 * multiple of 4. */
static inline void vt_columns(vt_pairs out[], size_t n, const int16_t *p, size_t stride) {
    for (size_t i = 0; i < n / 4; i++, p += 8) {
        const __m256i r0 = pe_halves(p, stride), r1 = pe_halves(p + stride, stride);
        const __m256i r2 = pe_halves(p + 2 * stride, stride), r3 = pe_halves(p + 3 * stride, stride);
        const __m256i a = _mm256_unpacklo_epi32(r0, r1), b = _mm256_unpackhi_epi32(r0, r1);
        const __m256i c = _mm256_unpacklo_epi32(r2, r3), d = _mm256_unpackhi_epi32(r2, r3);
        out[4 * i] = _mm256_unpacklo_epi64(a, c);
        out[4 * i + 1] = _mm256_unpackhi_epi64(a, c);
        out[4 * i + 2] = _mm256_unpacklo_epi64(b, d);
        out[4 * i + 3] = _mm256_unpackhi_epi64(b, d);
    }
}

#endif
