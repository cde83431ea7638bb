/* WebAssembly SIMD: 4 floats a vector. Engines turn these into the processor's own 128-bit instructions; what they
 * emulate in several (shifts of bytes, saturating conversions, swizzles on x86) is avoided on the hot paths. There is
 * neither a fused multiply-add nor a conversion of halves. wasmrelaxed.h has better steps for some, and includes this
 * header. */
#ifndef PE_KERNELS_SIMD_WASM128_H
#define PE_KERNELS_SIMD_WASM128_H

#include "base/half.h"

#include <stddef.h>
#include <wasm_simd128.h>

#ifndef pe_wasm_fma
#define pe_wasm_fma(a, b, c)           wasm_f32x4_add(wasm_f32x4_mul(a, b), c)
#define pe_wasm_lookup(table, indices) wasm_i8x16_swizzle(table, indices) /* of indices below 16 */
#define PE_UNSIGNED_DOT                0                                  /* whether unsigned bytes are multiplied */
#endif

/* A constant that engines would otherwise make anew, in three instructions, wherever it is used: what depends on
 * something in memory is made once, before the loop, and is kept. The compiler does not see the load, and moves it. */
static const uint32_t pe_zero = 0;
static inline uint32_t pe_kept32(uint32_t word) {
    uint32_t zero;
    __asm__("local.get %1\n\ti32.load 0\n\tlocal.set %0" : "=r"(zero) : "r"(&pe_zero));
    return word | zero;
}
static inline uint64_t pe_kept64(uint64_t word) { return word | pe_kept32(0); }
static inline v128_t pe_kept(uint32_t word) { return wasm_u32x4_splat(pe_kept32(word)); }

#define PE_VQ
#define PE_SHARED_UNPACK
#define PE_INLINE_CALL [[clang::always_inline]]

/* ---- vq: 32 weights ----------------------------------------------------------------------------------------------
 *
 * They are multiplied as int16, eight a vector, or as unsigned bytes. Unpacking takes half the instructions on bytes,
 * sixteen a vector, but loading bytes as int16 is one instruction for eight, while widening a vector is three. So a vq
 * may be any of these, and turns into what the next step does with the least; which it is, is constant wherever the
 * type is. */

enum {
    PE_WIDE,     /* v[0..3]: int16 */
    PE_BYTES,    /* v[0..1]: int8 */
    PE_UNSIGNED, /* v[0..1]: bytes of at most `top` < 128, from which `less` is to be subtracted */
    PE_SCALED,   /* the same, and then multiplied: lanes 0..15 by c[0], 16..31 by c[1] */
    PE_U8,       /* at p: unsigned bytes, to be shifted right by c[0] */
    PE_NIBBLES,  /* at p: 16 bytes, the low nibbles first, from which `less` is to be subtracted */
    PE_SPLAT,    /* c[0] in lanes 0..15, c[1] in 16..31 */
    PE_MASK,     /* c[0] in the lanes whose bit in c[1] is set, else 0 */
};

typedef struct vq {
    v128_t v[4];
    const uint8_t *p;
    int kind, c[2], less, top;
} vq;

#define PE_ALL(n, becomes, expression, ...)                                                                            \
    do {                                                                                                               \
        vq r = {.kind = becomes, __VA_ARGS__};                                                                         \
        PE_UNROLL(4)                                                                                                   \
        for (int i = 0; i < (n); i++) r.v[i] = (expression);                                                           \
        return r;                                                                                                      \
    } while (0)
#define PE_FOUR(expression)              PE_ALL(4, PE_WIDE, expression, .less = 0)
#define PE_TWO(expression)               PE_ALL(2, PE_BYTES, expression, .less = 0)
#define PE_TWO_UNSIGNED(expression, ...) PE_ALL(2, PE_UNSIGNED, expression, __VA_ARGS__)

#define PE_VQ_INLINE static inline __attribute__((always_inline))

PE_VQ_INLINE v128_t pe_splat8(int c) { return pe_kept((uint32_t)(c & 0xff) * 0x01010101); }

/* Half i of: c in the lanes whose bit of m is set, else 0. Each lane keeps its own bit of its byte and compares it. */
PE_VQ_INLINE v128_t pe_mask(uint32_t m, int c, int i) {
    const uint64_t one = pe_kept64(0x0101010101010101);
    const v128_t bits = wasm_u32x4_splat(m), own = wasm_u64x2_splat(pe_kept64(0x8040201008040201));
    const v128_t byte = i ? wasm_u64x2_make(one + one, 3 * one) : wasm_u64x2_make(0, one);
    return wasm_v128_and(wasm_i8x16_eq(wasm_v128_and(pe_wasm_lookup(bits, byte), own), own), pe_splat8(c));
}

/* PE_NIBBLES as PE_UNSIGNED. */
PE_VQ_INLINE vq pe_unsigned(vq a) {
    if (a.kind != PE_NIBBLES) return a;
    const v128_t bytes = wasm_v128_load(a.p), mask = pe_kept(0x0f0f0f0f);
    return (vq){{wasm_v128_and(bytes, mask), wasm_v128_and(wasm_u16x8_shr(bytes, 4), mask)},
                .kind = PE_UNSIGNED,
                .less = a.less,
                .top = 15};
}
/* Not of what may not fit: PE_WIDE, PE_SCALED and PE_U8. */
PE_VQ_INLINE vq pe_bytes(vq a) {
    a = pe_unsigned(a);
    if (a.kind == PE_UNSIGNED && a.less) PE_TWO(wasm_i8x16_sub(a.v[i], pe_splat8(a.less)));
    if (a.kind == PE_SPLAT) PE_TWO(pe_splat8(a.c[i]));
    if (a.kind == PE_MASK) PE_TWO(pe_mask((uint32_t)a.c[1], a.c[0], i));
    a.kind = PE_BYTES;
    return a;
}
PE_VQ_INLINE vq pe_wide(vq a) {
    if (a.kind == PE_WIDE) return a;
    if (a.kind == PE_U8) PE_FOUR(wasm_u16x8_shr(wasm_u16x8_load8x8(a.p + 8 * i), (uint32_t)a.c[0]));
    if (a.kind == PE_NIBBLES) {
        const v128_t low = wasm_u16x8_load8x8(a.p), high = wasm_u16x8_load8x8(a.p + 8), mask = pe_kept(0x000f000f);
        const v128_t v[4] = {wasm_v128_and(low, mask), wasm_v128_and(high, mask), wasm_u16x8_shr(low, 4),
                             wasm_u16x8_shr(high, 4)};
        PE_FOUR(a.less ? wasm_i16x8_sub(v[i], wasm_i16x8_splat((int16_t)a.less)) : v[i]);
    }
    if (a.kind == PE_SPLAT) PE_FOUR(wasm_i16x8_splat((int16_t)a.c[i / 2]));
    const bool scaled = a.kind == PE_SCALED;
    if (scaled) a.kind = PE_UNSIGNED;
    const vq b = pe_bytes(a);
    const v128_t v[4] = {wasm_i16x8_extend_low_i8x16(b.v[0]), wasm_i16x8_extend_high_i8x16(b.v[0]),
                         wasm_i16x8_extend_low_i8x16(b.v[1]), wasm_i16x8_extend_high_i8x16(b.v[1])};
    PE_FOUR(scaled ? wasm_i16x8_mul(v[i], wasm_i16x8_splat((int16_t)a.c[i / 2])) : v[i]);
}
PE_VQ_INLINE bool pe_fits(vq a) { return a.kind != PE_WIDE && a.kind != PE_SCALED && a.kind != PE_U8; }
PE_VQ_INLINE bool pe_in_bytes(vq a) { return a.kind == PE_BYTES || a.kind == PE_UNSIGNED || a.kind == PE_MASK; }
#define PE_STEP(on_wide, on_bytes)                                                                                     \
    do {                                                                                                               \
        const bool both_bytes = pe_fits(a) && pe_fits(b) && (pe_in_bytes(a) || pe_in_bytes(b));                        \
        a = both_bytes ? pe_bytes(a) : pe_wide(a), b = both_bytes ? pe_bytes(b) : pe_wide(b);                          \
        if (both_bytes) PE_TWO(on_bytes(a.v[i], b.v[i]));                                                              \
        PE_FOUR(on_wide(a.v[i], b.v[i]));                                                                              \
    } while (0)

PE_VQ_INLINE vq vq_load_u8(const uint8_t *p) { return (vq){.p = p, .kind = PE_U8}; }
PE_VQ_INLINE vq vq_load_s8(const uint8_t *p) { PE_FOUR(wasm_i16x8_load8x8(p + 8 * i)); }
PE_VQ_INLINE vq vq_load_s16(const int16_t *p) { PE_FOUR(wasm_v128_load(p + 8 * i)); }
PE_VQ_INLINE vq vq_load_nibbles(const uint8_t *p) { return (vq){.p = p, .kind = PE_NIBBLES}; }
PE_VQ_INLINE vq vq_load_values(const uint8_t *p, const int8_t values[16]) {
    const vq at = pe_unsigned(vq_load_nibbles(p));
    const v128_t table = wasm_v128_load(values);
    PE_TWO(pe_wasm_lookup(table, at.v[i]));
}
PE_VQ_INLINE vq vq_set_s8(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (vq){{wasm_u64x2_make(a, b), wasm_u64x2_make(c, d)}, .kind = PE_BYTES};
}
PE_VQ_INLINE vq vq_set2(int a, int b) { return (vq){.kind = PE_SPLAT, .c = {a, b}}; }
PE_VQ_INLINE vq vq_set1(int c) { return vq_set2(c, c); }
PE_VQ_INLINE vq vq_shr(vq a, int n) {
    if (a.kind == PE_U8) return (vq){.p = a.p, .kind = PE_U8, .c = {a.c[0] + n}};
    a = pe_wide(a);
    PE_FOUR(wasm_u16x8_shr(a.v[i], (uint32_t)n));
}
PE_VQ_INLINE vq vq_shrv(vq a, int n) { return vq_shr(a, n); }
PE_VQ_INLINE vq vq_shl(vq a, int n) {
    if (a.kind == PE_UNSIGNED && !a.less && a.top << n < 128)
        PE_TWO_UNSIGNED(wasm_i16x8_shl(a.v[i], (uint32_t)n), .top = a.top << n);
    if (pe_in_bytes(a)) {
        a = pe_bytes(a);
        PE_TWO(wasm_v128_and(wasm_i16x8_shl(a.v[i], (uint32_t)n), wasm_i8x16_splat((int8_t)(0xff << n))));
    }
    a = pe_wide(a);
    PE_FOUR(wasm_i16x8_shl(a.v[i], (uint32_t)n));
}
/* c has no bits that a shift brings in from above. */
PE_VQ_INLINE vq vq_and(vq a, int c) {
    const v128_t mask = pe_splat8(c);
    if (a.kind == PE_U8 && c < 128)
        PE_TWO_UNSIGNED(wasm_v128_and(wasm_u16x8_shr(wasm_v128_load(a.p + 16 * i), (uint32_t)a.c[0]), mask), .top = c);
    if (pe_in_bytes(a)) {
        a = pe_bytes(a);
        PE_TWO(wasm_v128_and(a.v[i], mask));
    }
    a = pe_wide(a);
    PE_FOUR(wasm_v128_and(a.v[i], wasm_i16x8_splat((int16_t)c)));
}
/* ((p >> shift) & mask) << up of bytes: one shift, if it is known which way. */
#define PE_VQ_FIELD
PE_VQ_INLINE vq vq_field(const uint8_t *p, int shift, int mask, int up) {
    const v128_t kept = pe_splat8(mask << up);
    if (shift >= up)
        PE_TWO_UNSIGNED(wasm_v128_and(wasm_u16x8_shr(wasm_v128_load(p + 16 * i), (uint32_t)(shift - up)), kept),
                        .top = mask << up);
    PE_TWO_UNSIGNED(wasm_v128_and(wasm_i16x8_shl(wasm_v128_load(p + 16 * i), (uint32_t)(up - shift)), kept),
                    .top = mask << up);
}
PE_VQ_INLINE vq vq_or(vq a, vq b) {
    if (PE_UNSIGNED_DOT && a.kind == PE_NIBBLES && b.kind == PE_MASK && b.c[0] < 0) { /* x | -c = (x | 0) - c */
        a = pe_unsigned(a);
        PE_TWO_UNSIGNED(wasm_v128_or(a.v[i], pe_mask(~(uint32_t)b.c[1], -b.c[0], i)), .less = -b.c[0],
                        .top = a.top - b.c[0]);
    }
    if (a.kind == PE_UNSIGNED && b.kind == PE_UNSIGNED && !a.less && !b.less)
        PE_TWO_UNSIGNED(wasm_v128_or(a.v[i], b.v[i]), .top = a.top | b.top);
    PE_STEP(wasm_v128_or, wasm_v128_or);
}
PE_VQ_INLINE vq vq_add(vq a, vq b) { PE_STEP(wasm_i16x8_add, wasm_i8x16_add); }
PE_VQ_INLINE vq vq_sub(vq a, vq b) {
    if ((a.kind == PE_UNSIGNED || a.kind == PE_NIBBLES) && b.kind == PE_SPLAT && b.c[0] == b.c[1]) {
        a.less += b.c[0];
        return a;
    }
    PE_STEP(wasm_i16x8_sub, wasm_i8x16_sub);
}
PE_VQ_INLINE vq vq_mul(vq a, vq b) {
    if (a.kind == PE_UNSIGNED && b.kind == PE_SPLAT) {
        a.kind = PE_SCALED, a.c[0] = b.c[0], a.c[1] = b.c[1];
        return a;
    }
    a = pe_wide(a), b = pe_wide(b);
    PE_FOUR(wasm_i16x8_mul(a.v[i], b.v[i]));
}
PE_VQ_INLINE vq vq_mask(uint32_t m, int c) { return (vq){.kind = PE_MASK, .c = {c, (int)m}}; }
/* Lane i negated where bit i of m is set. */
PE_VQ_INLINE vq vq_negate(vq a, uint32_t m) {
    const vq minus = pe_bytes(vq_mask(m, -1));
    a = pe_bytes(a);
    PE_TWO(wasm_i8x16_sub(wasm_v128_xor(a.v[i], minus.v[i]), minus.v[i]));
}
PE_VQ_INLINE void vq_store(int16_t *p, vq a) {
    a = pe_wide(a);
    for (int i = 0; i < 4; i++) wasm_v128_store(p + 8 * i, a.v[i]);
}

/* ---- vi, vr: four rows of a gemv side by side ------------------------------------------------------------------- */

enum { PE_ROWS = 4, PE_VF = 4, PE_TILE_ROWS = 8 };
#define PE_GROUPS_AT_ONCE(slot) ((slot) == PE_SLOT_Q6_K ? 4 : (slot) == PE_SLOT_Q4_K ? 2 : 1)
#define PE_UNROLL_STEPS         _Pragma("GCC unroll 2") /* of the innermost loop of gemm */

typedef v128_t vi; /* partial int32 sums of one row */
typedef v128_t vr;

PE_VQ_INLINE vi vq_dot(vq w, const int16_t *x) {
    w = pe_wide(w);
    vi acc = wasm_i32x4_dot_i16x8(w.v[0], wasm_v128_load(x));
    PE_UNROLL(4)
    for (int i = 1; i < 4; i++) acc = wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(w.v[i], wasm_v128_load(x + 8 * i)));
    return acc;
}
/* The same of PE_ROWS rows; a quarter of all of them after the other, so that less has to be kept. */
PE_VQ_INLINE void vq_dots(vi out[PE_ROWS], const vq w[PE_ROWS], const int16_t *x) {
    PE_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        const v128_t part = wasm_v128_load(x + 8 * i);
        PE_UNROLL(4)
        for (int r = 0; r < PE_ROWS; r++) {
            const v128_t product = wasm_i32x4_dot_i16x8(pe_wide(w[r]).v[i], part);
            out[r] = i ? wasm_i32x4_add(out[r], product) : product;
        }
    }
}
static inline v128_t pe_low32(v128_t a, v128_t b) { return wasm_i32x4_shuffle(a, b, 0, 4, 1, 5); }
static inline v128_t pe_high32(v128_t a, v128_t b) { return wasm_i32x4_shuffle(a, b, 2, 6, 3, 7); }
static inline v128_t pe_low64(v128_t a, v128_t b) { return wasm_i64x2_shuffle(a, b, 0, 2); }
static inline v128_t pe_high64(v128_t a, v128_t b) { return wasm_i64x2_shuffle(a, b, 1, 3); }
static inline v128_t pe_sum(const vi p[PE_ROWS]) {
    const vi ab = wasm_i32x4_add(pe_low32(p[0], p[1]), pe_high32(p[0], p[1]));
    const vi cd = wasm_i32x4_add(pe_low32(p[2], p[3]), pe_high32(p[2], p[3]));
    return wasm_i32x4_add(pe_low64(ab, cd), pe_high64(ab, cd));
}
static inline vr vr_sum(const vi p[PE_ROWS]) { return wasm_f32x4_convert_i32x4(pe_sum(p)); }
static inline vr vr_zero(void) { return wasm_f32x4_const_splat(0.0f); }
static inline vr vr_set1(float x) { return wasm_f32x4_splat(x); }
static inline vr vr_mul(vr a, vr b) { return wasm_f32x4_mul(a, b); }
static inline vr vr_fma(vr a, vr b, vr c) { return pe_wasm_fma(a, b, c); }
static inline void vr_store(float *p, vr a) { wasm_v128_store(p, a); }

/* ---- vf, vt: floats, and int32 sums of as many tokens ----------------------------------------------------------- */

typedef v128_t vf;
typedef v128_t vt, vt_pairs;

/* 1.5 * 2^23: adding it rounds a small float to an integer, to nearest even, which is left in the low bits. */
#define PE_ROUND_BITS 12582912.0f

static inline vf vf_zero(void) { return wasm_f32x4_const_splat(0.0f); }
static inline vf vf_set1(float x) { return wasm_f32x4_splat(x); }
static inline vf vf_load(const float *p) { return wasm_v128_load(p); }
static inline void vf_store(float *p, vf a) { wasm_v128_store(p, a); }
static inline vf vf_add(vf a, vf b) { return wasm_f32x4_add(a, b); }
static inline vf vf_sub(vf a, vf b) { return wasm_f32x4_sub(a, b); }
static inline vf vf_mul(vf a, vf b) { return wasm_f32x4_mul(a, b); }
static inline vf vf_div(vf a, vf b) { return wasm_f32x4_div(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return pe_wasm_fma(a, b, c); }
static inline vf vf_max(vf a, vf b) { return wasm_f32x4_pmax(b, a); }
static inline vf vf_min(vf a, vf b) { return wasm_f32x4_pmin(b, a); }
static inline vf vf_abs(vf a) { return wasm_f32x4_abs(a); }
static inline vf vf_round(vf a) { return wasm_f32x4_nearest(a); }
/* a * 2^n for integral n with a normal result */
static inline vf vf_ldexp(vf a, vf n) {
    return wasm_i32x4_add(a, wasm_i32x4_shl(wasm_f32x4_add(n, wasm_f32x4_const_splat(PE_ROUND_BITS)), 23));
}
/* r where x >= limit, else 0 */
static inline vf vf_zero_below(vf r, vf x, float limit) {
    return wasm_v128_andnot(r, wasm_f32x4_lt(x, wasm_f32x4_splat(limit)));
}
static inline float vf_hsum(vf a) {
    const vf pairs = wasm_f32x4_add(a, pe_high64(a, a));
    return wasm_f32x4_extract_lane(pairs, 0) + wasm_f32x4_extract_lane(pairs, 1);
}
static inline float vf_hmax(vf a) {
    const vf pairs = vf_max(a, pe_high64(a, a));
    const float x = wasm_f32x4_extract_lane(pairs, 0), y = wasm_f32x4_extract_lane(pairs, 1);
    return x > y ? x : y;
}
/* Halves in the upper 16 bits of each lane, the lower ones are ignored: an arithmetic shift brings exponent and
 * mantissa to their places in a float that is 2^112 too small (which makes subnormals right as well), and leaves copies
 * of the sign between. Infinity and NaN come out as 65536 and more. */
static inline vf pe_from_upper_halves(v128_t h) {
    const v128_t bits = wasm_v128_and(wasm_i32x4_shr(h, 3), pe_kept(0x8fffe000));
    return wasm_f32x4_mul(bits, pe_kept(0x77800000));
}
static inline vf vf_load_f16(const void *p) {
    const vf value = pe_from_upper_halves(wasm_i32x4_shl(wasm_u32x4_load16x4(p), 16));
    const v128_t special = wasm_f32x4_ge(wasm_f32x4_abs(value), wasm_f32x4_const_splat(65536.0f));
    return wasm_v128_or(value, wasm_v128_and(special, wasm_i32x4_const_splat(0x7f800000)));
}
static inline void vf_store_f16(void *p, vf a) {
    float value[PE_VF];
    uint16_t half[PE_VF];
    wasm_v128_store(value, a);
    for (int i = 0; i < PE_VF; i++) half[i] = pe_float_to_half(value[i]);
    memcpy(p, half, sizeof half);
}
static inline vf vf_load_bf16(const void *p) { return wasm_i32x4_shl(wasm_u32x4_load16x4(p), 16); }
/* PE_VF floats to int16, rounded to nearest even; the values fit */
static inline void vf_store_s16(int16_t *p, vf a) {
    const v128_t bits = wasm_f32x4_add(a, wasm_f32x4_const_splat(PE_ROUND_BITS));
    wasm_v128_store64_lane(p, wasm_i16x8_shuffle(bits, bits, 0, 2, 4, 6, 0, 2, 4, 6), 0);
}

static inline vt vt_zero(void) { return wasm_i32x4_const_splat(0); }
static inline vt vt_add(vt a, vt b) { return wasm_i32x4_add(a, b); }
/* acc[t] += x[t][0] * w[0] + x[t][1] * w[1]; x [PE_VF, 2], w two int16 */
static inline vt vt_dot2(vt acc, vt_pairs x, const int16_t *w) {
    return wasm_i32x4_add(acc, wasm_i32x4_dot_i16x8(x, wasm_v128_load32_splat(w)));
}
static inline vt_pairs vt_load(const int16_t *x) { return wasm_v128_load(x); }
static inline void vt_store(int16_t *x, vt_pairs a) { wasm_v128_store(x, a); }
static inline vf vt_float(vt a) { return wasm_f32x4_convert_i32x4(a); }
/* The first n pairs of rows 0..3 as columns: out[i] holds pair i of each row. Rows lie `stride` int16 apart; n is a
 * multiple of 4. */
static inline void vt_columns(vt_pairs out[], size_t n, const int16_t *p, size_t stride) {
    for (size_t i = 0; i < n / 4; i++, p += 8) {
        const v128_t r0 = vt_load(p), r1 = vt_load(p + stride), r2 = vt_load(p + 2 * stride);
        const v128_t r3 = vt_load(p + 3 * stride);
        const v128_t a = pe_low32(r0, r1), b = pe_high32(r0, r1), c = pe_low32(r2, r3), d = pe_high32(r2, r3);
        out[4 * i] = pe_low64(a, c);
        out[4 * i + 1] = pe_high64(a, c);
        out[4 * i + 2] = pe_low64(b, d);
        out[4 * i + 3] = pe_high64(b, d);
    }
}

/* The first n floats of each of PE_ROWS rows, `stride` floats apart, as columns; in fours, so
 * that out and the rows have room for a multiple of 4. */
#define PE_VR_COLUMNS
static inline void vr_columns(vr out[], size_t n, const float *p, size_t stride) {
    for (size_t i = 0; i < n; i += 4) vt_columns(out + i, 4, (const int16_t *)(const void *)(p + i), 2 * stride);
}

/* The sum of 16 neighbouring int16. */
static inline int32_t vs_sum16(const int16_t *p) {
    const v128_t ones = wasm_i16x8_const_splat(1);
    v128_t sum = wasm_i32x4_add(wasm_i32x4_dot_i16x8(vt_load(p), ones), wasm_i32x4_dot_i16x8(vt_load(p + 8), ones));
    sum = wasm_i32x4_add(sum, pe_high64(sum, sum));
    return wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1);
}

/* ---- what needs single halves ----------------------------------------------------------------------------------- */

static inline float vs_f16(const void *p) {
    const uint32_t h = pe_load_u16(p), bits = (h & 0x7fff) << 13 | (h & 0x8000) << 16;
    const float value = pe_float_from_bits(bits) * 0x1p112f;
    return (h & 0x7c00) == 0x7c00 ? pe_float_from_bits(pe_float_bits(value) | 0x7f800000) : value;
}
/* The half at `offset` of each row: a scale, which is finite in any sound file. */
static inline vr vr_load_f16(const uint8_t *const p[PE_ROWS], size_t offset) {
    v128_t h = wasm_i32x4_const_splat(0);
    h = wasm_v128_load16_lane(p[0] + offset, h, 1);
    h = wasm_v128_load16_lane(p[1] + offset, h, 3);
    h = wasm_v128_load16_lane(p[2] + offset, h, 5);
    h = wasm_v128_load16_lane(p[3] + offset, h, 7);
    return pe_from_upper_halves(h);
}
/* Two neighbouring halves of each row: first into a, second into b. */
static inline void vr_load_f16_pair(const uint8_t *const p[PE_ROWS], size_t offset, vr *a, vr *b) {
    v128_t h = wasm_v128_load32_zero(p[0] + offset);
    h = wasm_v128_load32_lane(p[1] + offset, h, 1);
    h = wasm_v128_load32_lane(p[2] + offset, h, 2);
    h = wasm_v128_load32_lane(p[3] + offset, h, 3);
    *a = pe_from_upper_halves(wasm_i32x4_shl(h, 16));
    *b = pe_from_upper_halves(h);
}
/* Eight unsigned bytes as floats, times a factor. */
static inline void vs_scale_bytes(float out[8], const uint8_t bytes[8], float factor) {
    const v128_t wide = wasm_u16x8_load8x8(bytes), f = wasm_f32x4_splat(factor);
    wasm_v128_store(out, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_u32x4_extend_low_u16x8(wide)), f));
    wasm_v128_store(out + 4, wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_u32x4_extend_high_u16x8(wide)), f));
}
static inline void vs_prefetch(const void *p) { (void)p; } /* there is no such instruction */
#define vs_touch(p) __asm__ volatile("" : : "r"(*(const uint8_t *)(p)))

#endif
