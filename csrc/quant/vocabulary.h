/* Words of the kernels' vocabulary (kernels/simd) that can be said in others. Instruction sets that keep weights as
 * bytes (PE_VQ_BYTES) bring their own. */
#ifndef PE_QUANT_VOCABULARY_H
#define PE_QUANT_VOCABULARY_H

#if defined(PE_VQ) && !defined(PE_VQ_BYTES)

/* Lanes 0..15 times lo, 16..31 times hi, where the products need not fit into a byte. Nothing may be done with the
 * result but multiply it with activations. */
static inline vq vq_scale2(vq a, int lo, int hi) { return vq_mul(a, vq_set2(lo, hi)); }

/* 3 a / 256 of lanes 0..255. */
static inline vq vq_thirds(vq a) { return vq_shr(vq_mul(a, vq_set1(3)), 8); }

#endif

#if defined(PE_VQ) && !defined(PE_VQ_FIELD)
/* ((p >> shift) & mask) << up of 32 bytes; at most 127. */
static inline vq vq_field(const uint8_t *p, int shift, int mask, int up) {
    return vq_shl(vq_and(vq_shrv(vq_load_u8(p), shift), mask), up);
}
#endif

#if defined(PE_VQ) && !defined(PE_VR_COLUMNS)
/* The first n floats of each of PE_ROWS rows, `stride` floats apart, as columns. */
static inline void vr_columns(vr out[], size_t n, const float *p, size_t stride) {
    for (size_t i = 0; i < n; i++) out[i] = vr_column(p + i, stride);
}
#endif

#endif
