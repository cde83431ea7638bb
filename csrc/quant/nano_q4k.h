/* Nano's Q4K: 256 weights of 4 bits; sub-scales and mins of 6 bits for 32 weights, packed as in Q4_K, but their own
 * scales are floats. weight = d * scale * q - dmin * min. Weights 2k and 2k + 1 of a block are the low and the high
 * nibble of byte k of qs. Format: https://github.com/bd4sur/Nano (export of Q4K).
 *
 * The first twelve bytes repeat the type, the number of weights (256; fewer only where a whole row is shorter than a
 * block, and such rows are no rows of this type) and 0; the reader of the file checks them. */
#ifndef PE_QUANT_NANO_Q4K_H
#define PE_QUANT_NANO_Q4K_H

#include "base/half.h"
#include "quant/kscales.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_nano_q4k_block {
    uint8_t head[12];
    uint8_t d[4];    /* float: scale of the sub-scales */
    uint8_t dmin[4]; /* float: scale of the mins */
    uint8_t scales[12];
    uint8_t qs[128]; /* nibbles */
} pe_nano_q4k_block;
_Static_assert(sizeof(pe_nano_q4k_block) == 160, "a block of Nano's Q4K is 160 bytes");

static inline void pe_nano_q4k_decode(const void *blocks, float *out, size_t n) {
    const pe_nano_q4k_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_float_from_bits(pe_load_u32(block->d)), dmin = pe_float_from_bits(pe_load_u32(block->dmin));
        for (unsigned j = 0; j < 8; j++, out += 32) {
            const uint8_t *qs = block->qs + j * 16;
            float scale = d * (float)pe_kscales_scale(block->scales, j);
            float min = dmin * (float)pe_kscales_min(block->scales, j);
            for (int i = 0; i < 32; i++) out[i] = scale * (float)(qs[i / 2] >> i % 2 * 4 & 15) - min;
        }
    }
}

#ifdef PE_VQ
/* Eight nibbles as bytes, lowest first. */
static inline uint64_t pe_nano_q4k_spread(const uint8_t *p) {
    uint64_t x = pe_load_u32(p);
    x = (x | x << 16) & UINT64_C(0x0000FFFF0000FFFF);
    x = (x | x << 8) & UINT64_C(0x00FF00FF00FF00FF);
    return (x | x << 4) & UINT64_C(0x0F0F0F0F0F0F0F0F);
}

/* Not inline: a rare type that has mins, which the kernels that rare types share do not know. (matmul_shared.h does.)
 */
#ifdef PE_SHARED_UNPACK
static inline
#else
static __attribute__((noinline, unused))
#endif
    vq pe_nano_q4k_weights(const uint8_t *row, size_t g) {
    const uint8_t *qs = ((const pe_nano_q4k_block *)row + g / 8)->qs + g % 8 * 16;
    return vq_set_s8(pe_nano_q4k_spread(qs), pe_nano_q4k_spread(qs + 4), pe_nano_q4k_spread(qs + 8),
                     pe_nano_q4k_spread(qs + 12));
}

static inline void pe_nano_q4k_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_nano_q4k_block *block = (const pe_nano_q4k_block *)row + b;
    uint8_t scales[8], mins[8];
    pe_kscales_unpack(block->scales, scales, mins);
    vs_scale_bytes(d, scales, pe_float_from_bits(pe_load_u32(block->d)));
    vs_scale_bytes(m, mins, -pe_float_from_bits(pe_load_u32(block->dmin)));
}
#endif

#endif
