/* Words of the kernels' vocabulary (kernels/simd) that can be said in others. Instruction sets that keep weights as
 * bytes (PE_VQ_BYTES) bring their own. */
#ifndef PE_QUANT_VOCABULARY_H
#define PE_QUANT_VOCABULARY_H

#include <stdbool.h>

/* A vq may say how it is made, which is for nothing unless the words are inlined. */
#define PE_WORD static inline __attribute__((always_inline))

#if defined(PE_VQ) && !defined(PE_VQ_BYTES)

/* Lanes 0..15 times lo, 16..31 times hi, where the products need not fit into a byte. Nothing may be done with the
 * result but multiply it with activations. */
PE_WORD vq vq_scale2(vq a, int lo, int hi) { return vq_mul(a, vq_set2(lo, hi)); }

/* 3 a / 256 of lanes 0..255. */
PE_WORD vq vq_thirds(vq a) { return vq_shr(vq_mul(a, vq_set1(3)), 8); }

#endif

#if defined(PE_VQ) && !defined(PE_VQ_FIELD)
/* ((p >> shift) & mask) << up of 32 bytes; at most 127. */
PE_WORD vq vq_field(const uint8_t *p, int shift, int mask, int up) {
    return vq_shl(vq_and(vq_shrv(vq_load_u8(p), shift), mask), up);
}
#endif

#if defined(PE_VQ) && !defined(PE_VQ_NIBBLES)
/* The low or the high nibbles of 32 bytes. */
PE_WORD vq vq_nibbles(const uint8_t *p, bool high) { return vq_and(vq_shrv(vq_load_u8(p), high ? 4 : 0), 15); }
#endif

#if defined(PE_VQ) && !defined(PE_VQ_SIX)
/* Lane i: c added where bit i of the four bytes at p is clear; c and the lane share no bits. */
PE_WORD vq vq_add_clear(vq a, const uint8_t *p, int c) { return vq_or(a, vq_mask(~pe_load_u32(p), c)); }
/* Six bits less 32: (low >> shift) & 15 and, above it, (high >> high_shift) & 3, of 32 bytes each. */
PE_WORD vq vq_load_six(const uint8_t *low, int shift, const uint8_t *high, int high_shift) {
    vq a = vq_and(vq_shrv(vq_load_u8(low), shift), 15);
    return vq_sub(vq_or(a, vq_field(high, high_shift, 3, 4)), vq_set1(32));
}
/* vq_scale2 with two signed bytes. */
PE_WORD vq vq_scale2_s8(vq a, const uint8_t p[2]) { return vq_scale2(a, (int8_t)p[0], (int8_t)p[1]); }
#endif

#if defined(PE_VQ) && !defined(PE_VR_COLUMNS)
/* The first n floats of each of PE_ROWS rows, `stride` floats apart, as columns. */
PE_WORD void vr_columns(vr out[], size_t n, const float *p, size_t stride) {
    for (size_t i = 0; i < n; i++) out[i] = vr_column(p + i, stride);
}
#endif

#endif
