/* Q8_F: 32 weights of 8 bits, one scale, which is a float; weight = d * q. In no file: what files of Nano and llama2.c
 * become, whose integers and scales lie apart. */
#ifndef PE_QUANT_Q8_F_H
#define PE_QUANT_Q8_F_H

#include "base/half.h"
#include <stddef.h>

typedef struct pe_q8_f_block {
    uint8_t d[4];   /* float: scale */
    uint8_t qs[32]; /* signed */
} pe_q8_f_block;
_Static_assert(sizeof(pe_q8_f_block) == 36, "a Q8_F block is 36 bytes");

static inline void pe_q8_f_decode(const void *blocks, float *out, size_t n) {
    const pe_q8_f_block *block = blocks;
    for (size_t b = 0; b < n / 32; b++, block++, out += 32) {
        float d = pe_float_from_bits(pe_load_u32(block->d));
        for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)block->qs[i];
    }
}

#ifdef PE_VQ
static inline vq pe_q8_f_weights(const uint8_t *row, size_t g) {
    return vq_load_s8(((const pe_q8_f_block *)row + g)->qs);
}

static inline void pe_q8_f_scales(const uint8_t *row, size_t b, float *d, float *m) {
    const pe_q8_f_block *block = (const pe_q8_f_block *)row + b;
    *d = pe_float_from_bits(pe_load_u32(block->d));
    (void)m;
}
#endif

#endif
