/* The integer half of the x86 vocabulary in 256-bit vectors, shared by avx2.h and its relatives: 32 weights as int16
 * (vq), and eight rows side by side (vr). 256 bits also serve the AVX-512 rows: decoding is bound by unpacking, and
 * these run on one more port than 512-bit ones. The including header defines pe_dot_step(acc, a, b): acc += the int32
 * sums of neighbouring int16 products. */
#ifndef PE_KERNELS_SIMD_X86_ROWS_H
#define PE_KERNELS_SIMD_X86_ROWS_H

#include "base/half.h"

#include <immintrin.h>

#define PE_VQ

typedef struct vq { /* lanes 0..15, 16..31 */
    __m256i lo, hi;
} vq;
typedef __m256i vi; /* partial int32 sums of one row */
typedef __m256 vr;  /* one float for each of PE_ROWS rows */

enum { PE_ROWS = 8 };
#define PE_BESIDE
/* A shift by a constant is one instruction less. */
#define PE_GROUPS_AT_ONCE(slot) ((slot) == PE_SLOT_Q4_K || (slot) == PE_SLOT_Q5_K ? 2 : 1)

static inline vq vq_load_u8(const uint8_t *p) {
    return (vq){_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)),
                _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)))};
}
static inline vq vq_load_s8(const uint8_t *p) {
    return (vq){_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)),
                _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)))};
}
#define PE_VQ_NIBBLES
/* The low or the high nibbles of 32 bytes. */
static inline vq vq_nibbles(const uint8_t *p, bool high) {
    const vq bytes = vq_load_u8(p);
    const __m256i mask = _mm256_set1_epi16(15);
    if (high) return (vq){_mm256_srli_epi16(bytes.lo, 4), _mm256_srli_epi16(bytes.hi, 4)};
    return (vq){_mm256_and_si256(bytes.lo, mask), _mm256_and_si256(bytes.hi, mask)};
}
static inline vq vq_load_nibbles(const uint8_t *p) {
    __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
    return (vq){_mm256_and_si256(bytes, _mm256_set1_epi16(15)), _mm256_srli_epi16(bytes, 4)};
}
/* The same, each nibble replaced by the value that it numbers. */
static inline vq vq_load_values(const uint8_t *p, const int8_t values[16]) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p), table = _mm_loadu_si128((const __m128i *)values);
    const __m128i mask = _mm_set1_epi8(15);
    return (vq){_mm256_cvtepi8_epi16(_mm_shuffle_epi8(table, _mm_and_si128(bytes, mask))),
                _mm256_cvtepi8_epi16(_mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(bytes, 4), mask)))};
}
/* Four times eight signed bytes, lane 0 in the lowest byte of the first. */
static inline vq vq_set_s8(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (vq){_mm256_cvtepi8_epi16(_mm_set_epi64x((long long)b, (long long)a)),
                _mm256_cvtepi8_epi16(_mm_set_epi64x((long long)d, (long long)c))};
}
static inline vq vq_set1(int c) { return (vq){_mm256_set1_epi16((short)c), _mm256_set1_epi16((short)c)}; }
static inline vq vq_set2(int a, int b) { return (vq){_mm256_set1_epi16((short)a), _mm256_set1_epi16((short)b)}; }
static inline vq vq_shr(vq a, int n) { return (vq){_mm256_srli_epi16(a.lo, n), _mm256_srli_epi16(a.hi, n)}; }
static inline vq vq_shl(vq a, int n) { return (vq){_mm256_slli_epi16(a.lo, n), _mm256_slli_epi16(a.hi, n)}; }
/* by a count known at run time only */
static inline vq vq_shrv(vq a, int n) {
    __m128i count = _mm_cvtsi32_si128(n);
    return (vq){_mm256_srl_epi16(a.lo, count), _mm256_srl_epi16(a.hi, count)};
}
static inline vq vq_and(vq a, int c) {
    __m256i mask = _mm256_set1_epi16((short)c);
    return (vq){_mm256_and_si256(a.lo, mask), _mm256_and_si256(a.hi, mask)};
}
static inline vq vq_or(vq a, vq b) { return (vq){_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
static inline vq vq_add(vq a, vq b) { return (vq){_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)}; }
static inline vq vq_sub(vq a, vq b) { return (vq){_mm256_sub_epi16(a.lo, b.lo), _mm256_sub_epi16(a.hi, b.hi)}; }
static inline vq vq_mul(vq a, vq b) { return (vq){_mm256_mullo_epi16(a.lo, b.lo), _mm256_mullo_epi16(a.hi, b.hi)}; }
/* Lane i: c where bit i of m is set, else 0. */
static inline vq vq_mask(uint32_t m, int c) {
    const __m256i value = _mm256_set1_epi16((short)c);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    return (vq){_mm256_maskz_mov_epi16((__mmask16)m, value), _mm256_maskz_mov_epi16((__mmask16)(m >> 16), value)};
#else /* each lane keeps its own bit of its half and compares it */
    const __m256i own = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, -32768);
    __m256i lo = _mm256_and_si256(_mm256_set1_epi16((short)m), own);
    __m256i hi = _mm256_and_si256(_mm256_set1_epi16((short)(m >> 16)), own);
    return (vq){_mm256_and_si256(_mm256_cmpeq_epi16(lo, own), value),
                _mm256_and_si256(_mm256_cmpeq_epi16(hi, own), value)};
#endif
}
#define PE_VQ_SIX /* words of quant/vocabulary.h that take less than what they are said in there: */
static inline vq vq_add_clear(vq a, const uint8_t *p, int c) {
    const __m256i value = _mm256_set1_epi16((short)c);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    const uint32_t m = ~pe_load_u32(p);
    return (vq){_mm256_mask_add_epi16(a.lo, (__mmask16)m, a.lo, value),
                _mm256_mask_add_epi16(a.hi, (__mmask16)(m >> 16), a.hi, value)};
#else
    const __m256i own = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, -32768);
    const __m256i lo = _mm256_and_si256(_mm256_set1_epi16((short)pe_load_u16(p)), own);
    const __m256i hi = _mm256_and_si256(_mm256_set1_epi16((short)pe_load_u16(p + 2)), own);
    return (vq){_mm256_or_si256(a.lo, _mm256_andnot_si256(_mm256_cmpeq_epi16(lo, own), value)),
                _mm256_or_si256(a.hi, _mm256_andnot_si256(_mm256_cmpeq_epi16(hi, own), value))};
#endif
}
/* As bytes, which are widened at the end. */
static inline vq vq_load_six(const uint8_t *low, int shift, const uint8_t *high, int high_shift) {
    const __m256i two = _mm256_set1_epi8(3);
    __m256i a = _mm256_srl_epi16(_mm256_loadu_si256((const __m256i *)low), _mm_cvtsi32_si128(shift));
    __m256i b = _mm256_srl_epi16(_mm256_loadu_si256((const __m256i *)high), _mm_cvtsi32_si128(high_shift));
    a = _mm256_and_si256(a, _mm256_set1_epi8(15));
    b = _mm256_slli_epi16(_mm256_and_si256(b, two), 4);
    a = _mm256_sub_epi8(_mm256_or_si256(a, b), _mm256_set1_epi8(32));
    return (vq){_mm256_cvtepi8_epi16(_mm256_castsi256_si128(a)), _mm256_cvtepi8_epi16(_mm256_extracti128_si256(a, 1))};
}
/* A byte beside itself, shifted, is that byte widened. */
static inline vq vq_scale2_s8(vq a, const uint8_t p[2]) {
    const __m256i lo = _mm256_srai_epi16(_mm256_set1_epi8((char)p[0]), 8);
    const __m256i hi = _mm256_srai_epi16(_mm256_set1_epi8((char)p[1]), 8);
    return (vq){_mm256_mullo_epi16(a.lo, lo), _mm256_mullo_epi16(a.hi, hi)};
}
/* Lane i negated where bit i of m is set. */
static inline vq vq_negate(vq a, uint32_t m) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    const __m256i zero = _mm256_setzero_si256();
    return (vq){_mm256_mask_sub_epi16(a.lo, (__mmask16)m, zero, a.lo),
                _mm256_mask_sub_epi16(a.hi, (__mmask16)(m >> 16), zero, a.hi)};
#else
    const vq minus = vq_mask(m, -1);
    return (vq){_mm256_sub_epi16(_mm256_xor_si256(a.lo, minus.lo), minus.lo),
                _mm256_sub_epi16(_mm256_xor_si256(a.hi, minus.hi), minus.hi)};
#endif
}
static inline void vq_store(int16_t *p, vq a) {
    _mm256_storeu_si256((__m256i *)p, a.lo);
    _mm256_storeu_si256((__m256i *)(p + 16), a.hi);
}

static inline vi vq_dot(vq w, const int16_t *x) {
    vi acc = _mm256_madd_epi16(w.lo, _mm256_loadu_si256((const __m256i *)x)); /* needs no zero to start from */
    return pe_dot_step(acc, w.hi, _mm256_loadu_si256((const __m256i *)(x + 16)));
}

/* Sums of four rows within each 128-bit half: [a b c d | a b c d]. */
static inline vi pe_sum4(vi a, vi b, vi c, vi d) {
    vi ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    vi cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

/* Horizontal sums of PE_ROWS partial vectors, one a lane. */
static inline vi pe_sum8(const vi p[PE_ROWS]) {
    const vi low = pe_sum4(p[0], p[1], p[2], p[3]), high = pe_sum4(p[4], p[5], p[6], p[7]);
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31));
}
static inline vr vr_sum(const vi p[PE_ROWS]) { return _mm256_cvtepi32_ps(pe_sum8(p)); } /* as float */

#define PE_VR_SUM_SCALED
/* The products of a row's halves apart. */
static inline void vq_dot_halves(vq w, const int16_t *x, vi *low, vi *high) {
    *low = _mm256_madd_epi16(w.lo, _mm256_loadu_si256((const __m256i *)x));
    *high = _mm256_madd_epi16(w.hi, _mm256_loadu_si256((const __m256i *)(x + 16)));
}
/* The two bytes at `offset` of each row. */
static inline __m128i pe_row_words(const uint8_t *const p[PE_ROWS], size_t offset) {
    __m128i h = _mm_cvtsi32_si128(pe_load_u16(p[0] + offset));
    h = _mm_insert_epi16(h, pe_load_u16(p[1] + offset), 1);
    h = _mm_insert_epi16(h, pe_load_u16(p[2] + offset), 2);
    h = _mm_insert_epi16(h, pe_load_u16(p[3] + offset), 3);
    h = _mm_insert_epi16(h, pe_load_u16(p[4] + offset), 4);
    h = _mm_insert_epi16(h, pe_load_u16(p[5] + offset), 5);
    h = _mm_insert_epi16(h, pe_load_u16(p[6] + offset), 6);
    return _mm_insert_epi16(h, pe_load_u16(p[7] + offset), 7);
}
/* As vr_sum, each half times a signed byte of its row, two of which lie at `offset`. */
static inline vr vr_sum_scaled(const vi low[PE_ROWS], const vi high[PE_ROWS], const uint8_t *const p[PE_ROWS],
                               size_t offset) {
    const vi both = _mm256_cvtepi16_epi32(pe_row_words(p, offset)), second = _mm256_srai_epi32(both, 8);
    const vi first = _mm256_srai_epi32(_mm256_slli_epi32(both, 24), 24);
    return _mm256_cvtepi32_ps(
        _mm256_add_epi32(_mm256_mullo_epi32(pe_sum8(low), first), _mm256_mullo_epi32(pe_sum8(high), second)));
}

static inline vr vr_zero(void) { return _mm256_setzero_ps(); }
static inline vr vr_set1(float x) { return _mm256_set1_ps(x); }
#define PE_VR_COLUMNS
/* Four neighbouring floats of rows 0 and 4 from p on. */
static inline vr pe_row_halves(const float *p, size_t stride) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
}
/* The first n floats of each of PE_ROWS rows, `stride` floats apart, as columns; n up to the next multiple of 4 are
 * read and written. Called from every type's kernels, so not a part of them. */
static __attribute__((noinline)) void vr_columns(vr out[], size_t n, const float *p, size_t stride) {
    for (size_t i = 0; i < n; i += 4, p += 4) {
        const vr r0 = pe_row_halves(p, stride), r1 = pe_row_halves(p + stride, stride);
        const vr r2 = pe_row_halves(p + 2 * stride, stride), r3 = pe_row_halves(p + 3 * stride, stride);
        const vr a = _mm256_unpacklo_ps(r0, r1), b = _mm256_unpackhi_ps(r0, r1);
        const vr c = _mm256_unpacklo_ps(r2, r3), d = _mm256_unpackhi_ps(r2, r3);
        out[i] = _mm256_shuffle_ps(a, c, 0x44);
        out[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        out[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        out[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
}
static inline vr vr_mul(vr a, vr b) { return _mm256_mul_ps(a, b); }
static inline vr vr_fma(vr a, vr b, vr c) { return _mm256_fmadd_ps(a, b, c); }
static inline void vr_store(float *p, vr a) { _mm256_storeu_ps(p, a); }

#define PE_VR_EXACT_F16 /* reads the halves alone, so that they may end a block; others read more */
/* The half at `offset` of each row. */
static inline vr vr_load_f16(const uint8_t *const p[PE_ROWS], size_t offset) {
    return _mm256_cvtph_ps(pe_row_words(p, offset));
}
static inline int pe_load_s32(const uint8_t *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}
/* Two neighbouring halves of each row: first into a, second into b. */
static inline void vr_load_f16_pair(const uint8_t *const p[PE_ROWS], size_t offset, vr *a, vr *b) {
    const __m128i split = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m128i low = _mm_cvtsi32_si128(pe_load_s32(p[0] + offset)), high = _mm_cvtsi32_si128(pe_load_s32(p[4] + offset));
    low = _mm_insert_epi32(low, pe_load_s32(p[1] + offset), 1);
    low = _mm_insert_epi32(low, pe_load_s32(p[2] + offset), 2);
    low = _mm_insert_epi32(low, pe_load_s32(p[3] + offset), 3);
    high = _mm_insert_epi32(high, pe_load_s32(p[5] + offset), 1);
    high = _mm_insert_epi32(high, pe_load_s32(p[6] + offset), 2);
    high = _mm_insert_epi32(high, pe_load_s32(p[7] + offset), 3);
    low = _mm_shuffle_epi8(low, split);
    high = _mm_shuffle_epi8(high, split);
    *a = _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high));
    *b = _mm256_cvtph_ps(_mm_unpackhi_epi64(low, high));
}

#define PE_VR_KSCALES
/* Byte i of each dword, times a factor. */
static inline vr pe_scaled_byte(__m256i words, int i, vr factor) {
    const __m256i alone = _mm256_setr_epi32(i | ~0xff, (i + 4) | ~0xff, (i + 8) | ~0xff, (i + 12) | ~0xff, i | ~0xff,
                                            (i + 4) | ~0xff, (i + 8) | ~0xff, (i + 12) | ~0xff);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_shuffle_epi8(words, alone)), factor);
}
/* Scales d and negative mins m of blocks, one a row, that begin as those of Q4_K and Q5_K do: two halves, then what
 * quant/kscales.h tells of, here in columns of dwords. */
static __attribute__((noinline)) void vr_load_kscales(const uint8_t *const p[PE_ROWS], size_t offset, vr d[8],
                                                      vr m[8]) {
    __m256i rows[4];
    PE_UNROLL(4)
    for (size_t r = 0; r < 4; r++)
        rows[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(p[r] + offset))),
                                          _mm_loadu_si128((const __m128i *)(p[r + 4] + offset)), 1);
    const __m256i ab = _mm256_unpacklo_epi32(rows[0], rows[1]), cd = _mm256_unpacklo_epi32(rows[2], rows[3]);
    const __m256i ef = _mm256_unpackhi_epi32(rows[0], rows[1]), gh = _mm256_unpackhi_epi32(rows[2], rows[3]);
    const __m256i halves = _mm256_unpacklo_epi64(ab, cd), a = _mm256_unpackhi_epi64(ab, cd);
    const __m256i b = _mm256_unpacklo_epi64(ef, gh), c = _mm256_unpackhi_epi64(ef, gh);
    const __m256i six = _mm256_set1_epi8(0x3f), four = _mm256_set1_epi8(0x0f), upper = _mm256_set1_epi8(0x30);
    const __m256i words[4] = {
        _mm256_and_si256(a, six),
        _mm256_or_si256(_mm256_and_si256(c, four), _mm256_and_si256(_mm256_srli_epi32(a, 2), upper)),
        _mm256_and_si256(b, six),
        _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(c, 4), four),
                        _mm256_and_si256(_mm256_srli_epi32(b, 2), upper)),
    };
    const __m256i packed = /* halves of d and of dmin, rows 0 to 3, and then the others */
        _mm256_packus_epi32(_mm256_and_si256(halves, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32(halves, 16));
    const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(packed, 1));
    const vr scale = _mm256_permute2f128_ps(low, high, 0x20);
    const vr min = _mm256_xor_ps(_mm256_permute2f128_ps(low, high, 0x31), _mm256_set1_ps(-0.0f));
    PE_UNROLL(8)
    for (int j = 0; j < 8; j++) {
        d[j] = pe_scaled_byte(words[j / 4], j % 4, scale);
        m[j] = pe_scaled_byte(words[2 + j / 4], j % 4, min);
    }
}

/* The sum of 16 neighbouring int16. */
static inline int32_t vs_sum16(const int16_t *p) {
    const __m256i pairs = _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)p), _mm256_set1_epi16(1));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}
static inline float vs_f16(const void *p) { return _cvtsh_ss(pe_load_u16(p)); }
/* Eight unsigned bytes as floats, times a factor. */
static inline void vs_scale_bytes(float out[8], const uint8_t bytes[8], float factor) {
    __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes));
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(factor)));
}
/* A macro: GCC takes a function that only prefetches for one without effect and drops its calls. */
#define vs_prefetch(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)

#endif
