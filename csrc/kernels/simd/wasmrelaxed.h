/* WebAssembly SIMD with the relaxed instructions: a multiply-add with one rounding where the processor has it, a table
 * look-up without a check of its indices, and products of unsigned with signed bytes.
 *
 * Those (i16x8.relaxed_dot_i8x16_i7x16_s) take the weights as bytes below 128 and the activations, which have 15 bits,
 * as two signed bytes each: q = 256 * upper + lower. What was to be subtracted from the weights is subtracted from the
 * product: `less` times the sum of the activations. All of it is exact: sums of two products stay below 2^15, whatever
 * the processor does beyond. That is as many multiplications as with int16, but nothing has to be widened. Weights that
 * are signed bytes in the file stay with i32x4.dot_i16x8_s. */
#ifndef PE_KERNELS_SIMD_WASMRELAXED_H
#define PE_KERNELS_SIMD_WASMRELAXED_H

#include <wasm_simd128.h>

#define pe_wasm_fma(a, b, c)           wasm_f32x4_relaxed_madd(a, b, c)
#define pe_wasm_lookup(table, indices) wasm_i8x16_relaxed_swizzle(table, indices)
#define PE_UNSIGNED_DOT                1
#include "kernels/simd/wasm128.h"

typedef struct pe_split { /* a group of activations */
    int8_t upper[32], lower[32];
    int16_t upper_sums[2], lower_sums[2]; /* of 16 each */
    int32_t less;                         /* times the sum of all: what the product is to be lowered by */
    int32_t unused;
} pe_split;

PE_VQ_INLINE v128_t pe_twos(v128_t a) { return wasm_i32x4_dot_i16x8(a, wasm_i16x8_const_splat(1)); }
static inline v128_t pe_upper(v128_t q) { return wasm_i16x8_shr(wasm_i16x8_add(q, wasm_i16x8_const_splat(128)), 8); }
static inline v128_t pe_lower(v128_t q) { return wasm_i16x8_sub(q, wasm_i16x8_shl(pe_upper(q), 8)); }

static inline void pe_split_group(pe_split *out, const int16_t *q, int less) {
    int32_t all = 0;
    for (int h = 0; h < 2; h++, q += 16) {
        const v128_t a = wasm_v128_load(q), b = wasm_v128_load(q + 8);
        const v128_t ua = pe_upper(a), ub = pe_upper(b), la = pe_lower(a), lb = pe_lower(b);
        wasm_v128_store(out->upper + 16 * h, wasm_i8x16_narrow_i16x8(ua, ub));
        wasm_v128_store(out->lower + 16 * h, wasm_i8x16_narrow_i16x8(la, lb));
        const v128_t u = pe_twos(wasm_i16x8_add(ua, ub)), l = pe_twos(wasm_i16x8_add(la, lb));
        v128_t sums = wasm_i32x4_add(pe_low32(u, l), pe_high32(u, l));
        sums = wasm_i32x4_add(sums, pe_high64(sums, sums));
        out->upper_sums[h] = (int16_t)wasm_i32x4_extract_lane(sums, 0);
        out->lower_sums[h] = (int16_t)wasm_i32x4_extract_lane(sums, 1);
        all += 256 * out->upper_sums[h] + out->lower_sums[h];
    }
    out->less = less * all;
}

/* The product of PE_UNSIGNED or PE_SCALED without what is to be subtracted. */
PE_VQ_INLINE vi pe_split_dot(vq w, const pe_split *x) {
    v128_t u[2], l[2];
    PE_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        u[i] = wasm_i16x8_relaxed_dot_i8x16_i7x16(wasm_v128_load(x->upper + 16 * i), w.v[i]);
        l[i] = wasm_i16x8_relaxed_dot_i8x16_i7x16(wasm_v128_load(x->lower + 16 * i), w.v[i]);
    }
    if (w.kind == PE_UNSIGNED)
        return wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_i16x8_add(u[0], u[1]), pe_kept(0x01000100)),
                              wasm_i32x4_dot_i16x8(wasm_i16x8_add(l[0], l[1]), pe_kept(0x00010001)));
    const v128_t a = wasm_i16x8_splat((int16_t)w.c[0]), b = wasm_i16x8_splat((int16_t)w.c[1]);
    const v128_t upper = wasm_i32x4_add(wasm_i32x4_dot_i16x8(u[0], a), wasm_i32x4_dot_i16x8(u[1], b));
    const v128_t lower = wasm_i32x4_add(wasm_i32x4_dot_i16x8(l[0], a), wasm_i32x4_dot_i16x8(l[1], b));
    return wasm_i32x4_add(wasm_i32x4_shl(upper, 8), lower);
}

/* Of PE_ROWS rows, `factors` being their c as pairs of int16 where they are PE_SCALED. */
PE_VQ_INLINE vr vr_split_sum(const vq weights[PE_ROWS], const pe_split *x, v128_t factors) {
    vi partial[PE_ROWS];
    PE_UNROLL(4)
    for (int r = 0; r < PE_ROWS; r++) partial[r] = pe_split_dot(pe_unsigned(weights[r]), x);
    v128_t sum = pe_sum(partial);
    const vq first = pe_unsigned(weights[0]);
    if (first.less && first.kind == PE_UNSIGNED) sum = wasm_i32x4_sub(sum, wasm_v128_load32_splat(&x->less));
    if (first.less && first.kind == PE_SCALED) {
        const v128_t upper = wasm_i32x4_dot_i16x8(factors, wasm_v128_load32_splat(x->upper_sums));
        const v128_t lower = wasm_i32x4_dot_i16x8(factors, wasm_v128_load32_splat(x->lower_sums));
        const v128_t all = wasm_i32x4_add(wasm_i32x4_shl(upper, 8), lower);
        sum = wasm_i32x4_sub(sum, wasm_i32x4_mul(all, wasm_i32x4_splat(first.less)));
    }
    return wasm_f32x4_convert_i32x4(sum);
}
/* Four pairs of signed bytes of each row, as int16: column i holds pair i of each row. */
PE_VQ_INLINE void pe_pairs(v128_t out[4], const uint8_t *const rows[PE_ROWS], size_t offset) {
    int16_t pairs[PE_ROWS][8];
    for (int r = 0; r < PE_ROWS; r++) wasm_v128_store(pairs[r], wasm_i16x8_load8x8(rows[r] + offset));
    vt_columns(out, 4, pairs[0], 8);
}

#endif
