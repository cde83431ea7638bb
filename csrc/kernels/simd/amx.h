/* AMX beside AVX-512: tiles of 16 rows x 64 bytes, and a unit that multiplies two of them into a third
 * (Intel SDM volume 1, chapter 18). A product takes 16 cycles whatever its inner dimension, so with one scale per 32
 * weights the bytes of AMX-INT8 (up to 64) gain nothing over bf16 (up to 32), whose float sums need no conversion. */
#ifndef PE_KERNELS_SIMD_AMX_H
#define PE_KERNELS_SIMD_AMX_H

#define PE_FITS_OF avx512vnni
#define PE_FEW_OF  avx512vnni

#include "kernels/simd/avx512vnni.h"
#undef PE_TURN
#undef PE_BESIDE

#define PE_MATRIX_UNIT

static inline __m512 pe_float16(__m256i a) { return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(a)); }
/* 32 int16 of at most eight bits as bf16, exactly */
static inline void pe_store_bf16(void *p, __m256i low, __m256i high) {
    _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(pe_float16(high), pe_float16(low)));
}
static inline vq vq_load(const int16_t *p) {
    return (vq){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 16))};
}
static inline void vq_store_bf16(void *p, vq a) { pe_store_bf16(p, a.lo, a.hi); }
/* |a| <= 4096 as a multiple of 64 and a rest within -32..31 */
static inline void vq_store_parts(void *upper, void *lower, vq a) {
    const __m256i half = _mm256_set1_epi16(32), mask = _mm256_set1_epi16(-64);
    const __m256i lo = _mm256_and_si256(_mm256_add_epi16(a.lo, half), mask);
    const __m256i hi = _mm256_and_si256(_mm256_add_epi16(a.hi, half), mask);
    pe_store_bf16(upper, lo, hi);
    pe_store_bf16(lower, _mm256_sub_epi16(a.lo, lo), _mm256_sub_epi16(a.hi, hi));
}
/* A column of activations as a multiple of 128 and a rest within -64..63 */
static inline void vt_store_parts(void *upper, void *lower, vt_pairs a) {
    const __m512i high = _mm512_and_si512(_mm512_add_epi16(a, _mm512_set1_epi16(64)), _mm512_set1_epi16(-128));
    const __m512i low = _mm512_sub_epi16(a, high);
    pe_store_bf16(upper, _mm512_castsi512_si256(high), _mm512_extracti64x4_epi64(high, 1));
    pe_store_bf16(lower, _mm512_castsi512_si256(low), _mm512_extracti64x4_epi64(low, 1));
}

/* Eight tiles of 16 rows x 64 bytes. Static: GCC 12 does not see that the load reads all 64 bytes, and drops
 * stores to a local configuration. */
static inline void pe_tile_begin(void) {
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
}
static inline void pe_tile_end(void) { _tile_release(); }

/* Products of one group of weights [halves * 16 rows, 32], upper and (for three sums) lower parts, with activations
 * [16, 16 tokens, 2], upper parts and then lower; out [halves, sums, 16 rows, 16 tokens]. Tiles 6 and 7 hold the
 * activations, 4 and 5 the weights of each half, 0..3 the sums. */
static inline __attribute__((always_inline)) void pe_tile_dot(size_t sums, size_t halves, float *out, const void *upper,
                                                              const void *lower, const uint8_t *x) {
    enum { STRIDE = 64, TILE = 16 * STRIDE, SUMS = 256 };
    _tile_loadd(6, x, STRIDE);
    _tile_loadd(7, x + TILE, STRIDE);
    _tile_loadd(4, upper, STRIDE);
    if (halves == 2) _tile_loadd(5, (const uint8_t *)upper + TILE, STRIDE);
    _tile_zero(0);
    _tile_dpbf16ps(0, 4, 6);
    if (sums == 1) {
        _tile_dpbf16ps(0, 4, 7);
        _tile_stored(0, out, STRIDE);
        if (halves == 1) return;
        _tile_zero(1);
        _tile_dpbf16ps(1, 5, 6);
        _tile_dpbf16ps(1, 5, 7);
        _tile_stored(1, out + SUMS, STRIDE);
        return;
    }
    _tile_zero(1);
    _tile_dpbf16ps(1, 4, 7);
    _tile_stored(0, out, STRIDE);
    if (sums == 3) {
        _tile_loadd(4, lower, STRIDE);
        _tile_dpbf16ps(1, 4, 6);
        _tile_zero(0);
        _tile_dpbf16ps(0, 4, 7);
        _tile_stored(0, out + 2 * SUMS, STRIDE);
    }
    _tile_stored(1, out + SUMS, STRIDE);
    if (halves == 1) return;
    out += sums * SUMS;
    _tile_zero(2);
    _tile_dpbf16ps(2, 5, 6);
    _tile_zero(3);
    _tile_dpbf16ps(3, 5, 7);
    _tile_stored(2, out, STRIDE);
    if (sums == 3) {
        _tile_loadd(5, (const uint8_t *)lower + TILE, STRIDE);
        _tile_dpbf16ps(3, 5, 6);
        _tile_zero(2);
        _tile_dpbf16ps(2, 5, 7);
        _tile_stored(2, out + 2 * SUMS, STRIDE);
    }
    _tile_stored(3, out + SUMS, STRIDE);
}

/* The dot products of one weight row with 16 tokens, from its row of the first sum: rounded once, where they do not fit
 * a float. */
static inline vf pe_tile_row(size_t sums, const float *p) {
    const vf a = _mm512_load_ps(p);
    if (sums == 1) return a;
    const vf b = _mm512_load_ps(p + 256);
    if (sums == 2) return _mm512_add_ps(a, b);
    const vf c = _mm512_load_ps(p + 512);
    return _mm512_cvtepi32_ps(
        _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_add_epi32(_mm512_cvtps_epi32(b), _mm512_cvtps_epi32(c))));
}

#endif
