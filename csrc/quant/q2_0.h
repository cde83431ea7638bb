/* Q2_0: 64 weights of 2 bits, one scale; weight = d * (q - 1). Byte i holds weights 4i to 4i + 3, low bits first. */
#ifndef PE_QUANT_Q2_0_H
#define PE_QUANT_Q2_0_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_q2_0_block {
    uint8_t d[2]; /* half: scale */
    uint8_t qs[16];
} pe_q2_0_block;
_Static_assert(sizeof(pe_q2_0_block) == 18, "a Q2_0 block is 18 bytes");

static inline void pe_q2_0_decode(const void *blocks, float *out, size_t n) {
    const pe_q2_0_block *block = blocks;
    for (size_t b = 0; b < n / 64; b++, block++, out += 64) {
        float d = pe_half_load(block->d);
        for (int i = 0; i < 64; i++) out[i] = d * (float)((block->qs[i / 4] >> i % 4 * 2 & 3) - 1);
    }
}

/* Two bytes to eight of 2 bits each: halves of what is left move apart three times. */
static inline uint64_t pe_q2_0_spread(const uint8_t *p) {
    uint64_t x = pe_load_u16(p);
    x = (x | x << 24) & 0x000000ff000000ff;
    x = (x | x << 12) & 0x000f000f000f000f;
    return (x | x << 6) & 0x0303030303030303;
}

#ifdef PE_VQ
static inline vq pe_q2_0_weights(const uint8_t *row, size_t g) {
    const uint8_t *qs = ((const pe_q2_0_block *)row + g / 2)->qs + g % 2 * 8;
    vq q = vq_set_s8(pe_q2_0_spread(qs), pe_q2_0_spread(qs + 2), pe_q2_0_spread(qs + 4), pe_q2_0_spread(qs + 6));
    return vq_sub(q, vq_set1(1));
}

static inline void pe_q2_0_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q2_0_block *block = (const pe_q2_0_block *)row + b;
    d[0] = d[1] = vs_f16(block->d);
    (void)m;
}
#endif

#endif
