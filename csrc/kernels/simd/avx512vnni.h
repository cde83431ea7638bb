/* AVX-512 F/BW/DQ/VL with VNNI: 16 floats a vector; vpdpwssd multiplies and accumulates int16 pairs in one step. */
#ifndef PE_KERNELS_SIMD_AVX512VNNI_H
#define PE_KERNELS_SIMD_AVX512VNNI_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define pe_dot_step(acc, a, b) _mm256_dpwssd_epi32(acc, a, b)
#include "kernels/simd/x86_rows.h"

enum { PE_VF = 16, PE_TILE_ROWS = 16 };
#define PE_UNROLL_STEPS PE_UNROLL(16) /* of the innermost loop of gemm */
typedef __m512 vf;
typedef __m512i vt, vt_pairs; /* int32 sums of PE_VF tokens; int16 pairs of as many */

static inline vf vf_zero(void) { return _mm512_setzero_ps(); }
static inline vf vf_set1(float x) { return _mm512_set1_ps(x); }
static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf vf_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vf vf_ldexp(vf a, vf n) { return _mm512_scalef_ps(a, n); }
/* r where x >= limit, else 0 */
static inline vf vf_zero_below(vf r, vf x, float limit) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ), r);
}
static inline float vf_hsum(vf a) {
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float vf_hmax(vf a) { return _mm512_reduce_max_ps(a); }
static inline vf vf_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline void vf_store_f16(void *p, vf a) {
    _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline vf vf_load_bf16(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
static inline void vf_store_s16(int16_t *p, vf a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a)));
}

static inline vt vt_zero(void) { return _mm512_setzero_si512(); }
static inline vt vt_add(vt a, vt b) { return _mm512_add_epi32(a, b); }
static inline vt vt_dot2(vt acc, vt_pairs x, const int16_t *w) {
    return _mm512_dpwssd_epi32(acc, x, _mm512_set1_epi32(pe_load_s32((const uint8_t *)w)));
}
static inline vt_pairs vt_load(const int16_t *x) { return _mm512_loadu_si512(x); }
static inline void vt_store(int16_t *x, vt_pairs a) { _mm512_storeu_si512(x, a); }
static inline vf vt_float(vt a) { return _mm512_cvtepi32_ps(a); }
#define PE_TURN /* works on the int16 of columns: */
static inline vt_pairs vt_and16(vt_pairs a, int c) { return _mm512_and_si512(a, _mm512_set1_epi16((short)c)); }
static inline vt_pairs vt_add16(vt_pairs a, int c) { return _mm512_add_epi16(a, _mm512_set1_epi16((short)c)); }
static inline vt_pairs vt_shl16(vt_pairs a, int n) { return _mm512_slli_epi16(a, n); }
static inline vt_pairs vt_shr16(vt_pairs a, int n) { return _mm512_srli_epi16(a, n); }
static inline vt_pairs vt_sar16(vt_pairs a, int n) { return _mm512_srai_epi16(a, n); } /* keeps the sign */
/* of each four int16 the middle ones exchanged */
static inline vt_pairs vt_cross(vt_pairs a) { return _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(a, 0xd8), 0xd8); }
/* int16 with bits of another column: both of a pair get the lower, or the higher one of the other's */
static inline vt_pairs vt_twice_low(vt_pairs a) {
    return _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(a, 0xa0), 0xa0);
}
static inline vt_pairs vt_twice_high(vt_pairs a) {
    return _mm512_shufflehi_epi16(_mm512_shufflelo_epi16(a, 0xf5), 0xf5);
}
/* c added where the bit of `first` (of a pair's first int16) or `second` is clear; c and the lane share no bits */
static inline vt_pairs vt_add_clear(vt_pairs a, vt_pairs bits, int first, int second, int c) {
    const vt_pairs own = _mm512_set1_epi32((int)((unsigned)second << 16 | (unsigned)first));
    return _mm512_mask_add_epi16(a, _mm512_testn_epi16_mask(bits, own), a, _mm512_set1_epi16((short)c));
}
/* 16 bytes of rows 0, 4, 8, 12 from p on */
static inline __m512i pe_quarter(const int16_t *p, size_t stride) {
    __m512i a = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    a = _mm512_inserti32x4(a, _mm_loadu_si128((const __m128i *)(p + 4 * stride)), 1);
    a = _mm512_inserti32x4(a, _mm_loadu_si128((const __m128i *)(p + 8 * stride)), 2);
    return _mm512_inserti32x4(a, _mm_loadu_si128((const __m128i *)(p + 12 * stride)), 3);
}
/* The first n pairs of rows 0..15 as columns: out[i] holds pair i of each row. Rows lie `stride` int16 apart; n is a
 * multiple of 4. */
static inline void vt_columns(vt_pairs out[], size_t n, const int16_t *p, size_t stride) {
    PE_UNROLL(4)
    for (size_t i = 0; i < n / 4; i++, p += 8) {
        const __m512i r0 = pe_quarter(p, stride), r1 = pe_quarter(p + stride, stride);
        const __m512i r2 = pe_quarter(p + 2 * stride, stride), r3 = pe_quarter(p + 3 * stride, stride);
        const __m512i a = _mm512_unpacklo_epi32(r0, r1), b = _mm512_unpackhi_epi32(r0, r1);
        const __m512i c = _mm512_unpacklo_epi32(r2, r3), d = _mm512_unpackhi_epi32(r2, r3);
        out[4 * i] = _mm512_unpacklo_epi64(a, c);
        out[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        out[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        out[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
}

#endif
