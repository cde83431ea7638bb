/* What the IQ types share: grids of small integers, and signs in seven bits.
 *
 * A grid row holds signed bytes, the first in the lowest bits. The tables are data, so they exist once and not once for
 * each instruction set. */
#ifndef PE_QUANT_IQ_GRIDS_H
#define PE_QUANT_IQ_GRIDS_H

#include "base/half.h"

#include <stddef.h>

/* Made when the library is loaded, and never changed after. */
extern uint64_t pe_iq1s_grid[2048];                                          /* IQ1_S, IQ1_M: -1, 0, 1 */
extern uint64_t pe_iq2xxs_grid[256], pe_iq2xs_grid[512], pe_iq2s_grid[1024]; /* 8, 25, 43 */
extern uint32_t pe_iq3xxs_grid[256], pe_iq3s_grid[512];                      /* 4 to 62, 1 to 15 */

static inline uint64_t pe_iq_load_u64(const void *p) {
    return (uint64_t)pe_load_u32(p) | (uint64_t)pe_load_u32((const uint8_t *)p + 4) << 32;
}

/* The number of minus signs among eight weights is even: seven bits a byte give the eighth. */
static inline uint32_t pe_iq_even_signs(uint32_t bits) {
    uint32_t odd = bits ^ bits >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return bits | (odd & 0x01010101) << 7;
}

/* The signs of 32 weights from the four times seven low bits of a word. */
static inline uint32_t pe_iq_signs(uint32_t word) {
    uint32_t pairs = (word & 0x3fff) | (word & 0x0fffc000) << 2;
    return pe_iq_even_signs((pairs & 0x007f007f) | (pairs & 0x3f803f80) << 1);
}

/* n <= 8 weights: scale * byte i of the row, negative where bit i of signs is set. */
static inline void pe_iq_decode(float *out, size_t n, uint64_t row, uint32_t signs, float scale) {
    for (size_t i = 0; i < n; i++) {
        float weight = scale * (float)(int8_t)(row >> 8 * i & 0xff);
        out[i] = signs >> i & 1 ? -weight : weight;
    }
}

#endif
