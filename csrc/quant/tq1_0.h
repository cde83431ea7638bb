/* TQ1_0: 256 weights of -1, 0 or 1, five in a byte as the digits of a number of base 3; weight = d * (digit - 1).
 * A byte is the five digits as a fraction of 256, rounded up: digit k is what byte * 3^k, modulo 256, times 3 has above
 * eight bits. Digit k of 32 bytes makes 32 weights, the same of the next 16 bytes 16, and of the last 4 (four
 * digits) 4. */
#ifndef PE_QUANT_TQ1_0_H
#define PE_QUANT_TQ1_0_H

#include "base/half.h"
#include "quant/vocabulary.h"
#include <stddef.h>

typedef struct pe_tq1_0_block {
    uint8_t qs[48];
    uint8_t qh[4];
    uint8_t d[2]; /* half: scale */
} pe_tq1_0_block;
_Static_assert(sizeof(pe_tq1_0_block) == 54, "a TQ1_0 block is 54 bytes");

static inline float *pe_tq1_0_decode_part(const uint8_t *qs, size_t n, int digits, float d, float *out) {
    for (int k = 0, power = 1; k < digits; k++, power *= 3)
        for (size_t i = 0; i < n; i++) *out++ = d * (float)(((qs[i] * power & 0xff) * 3 >> 8) - 1);
    return out;
}

static inline void pe_tq1_0_decode(const void *blocks, float *out, size_t n) {
    const pe_tq1_0_block *block = blocks;
    for (size_t b = 0; b < n / 256; b++, block++) {
        float d = pe_half_load(block->d);
        out = pe_tq1_0_decode_part(block->qs, 32, 5, d, out);
        out = pe_tq1_0_decode_part(block->qs + 32, 16, 5, d, out);
        out = pe_tq1_0_decode_part(block->qh, 4, 4, d, out);
    }
}

#ifdef PE_VQ
static inline vq pe_tq1_0_weights(const uint8_t *row, size_t g) {
    const pe_tq1_0_block *block = (const pe_tq1_0_block *)row + g / 8;
    const unsigned j = g % 8;
    static const uint8_t low[8] = {1, 3, 9, 27, 81, 1, 9, 81}, high[8] = {1, 3, 9, 27, 81, 3, 27, 1};
    const uint8_t *qs = block->qs;
    uint8_t halves[32]; /* from group 5 on, both halves of a group are of the same 16 bytes, or the last of qh */
    if (j > 4) {
        memcpy(halves, qs + 32, 16);
        memcpy(halves + 16, qs + 32, 16);
        for (int k = 0, power = 1; j == 7 && k < 4; k++, power *= 3)
            for (int i = 0; i < 4; i++) halves[16 + 4 * k + i] = (uint8_t)(block->qh[i] * power);
        qs = halves;
    }
    vq fraction = vq_and(vq_mul(vq_load_u8(qs), vq_set2(low[j], high[j])), 0xff);
    return vq_sub(vq_thirds(fraction), vq_set1(1));
}

static inline void pe_tq1_0_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_tq1_0_block *block = (const pe_tq1_0_block *)row + b;
    const float scale = vs_f16(block->d);
    for (int j = 0; j < 8; j++) d[j] = scale;
    (void)m;
}
#endif

#endif
