/* Sub-scales and mins of Q4_K and Q5_K: eight of each, 6 bits wide, in 12 bytes.
 *
 *   bytes      low bits                    upper bits
 *   0..3       0..5: all of scales 0..3    6..7: the upper two of scales 4..7
 *   4..7       0..5: all of mins 0..3      6..7: the upper two of mins 4..7
 *   8..11      0..3: scales 4..7           4..7: mins 4..7, the low four of each */
#ifndef PE_QUANT_KSCALES_H
#define PE_QUANT_KSCALES_H

#include "base/half.h"

#include <stdint.h>

static inline int pe_kscales_scale(const uint8_t *scales, unsigned j) {
    return j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | scales[j - 4] >> 6 << 4;
}

static inline int pe_kscales_min(const uint8_t *scales, unsigned j) {
    return j < 4 ? scales[j + 4] & 63 : scales[j + 4] >> 4 | scales[j] >> 6 << 4;
}

/* All eight of each, four bytes at a time (on little-endian machines, as all that this runs on are). */
static inline void pe_kscales_unpack(const uint8_t *packed, uint8_t scales[8], uint8_t mins[8]) {
    const uint32_t a = pe_load_u32(packed), b = pe_load_u32(packed + 4), c = pe_load_u32(packed + 8);
    /* in whole registers: stores of halves could not be forwarded to the load of both */
    const uint64_t low = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), high = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
    const uint64_t words[2] = {(a & 0x3f3f3f3f) | low << 32, (b & 0x3f3f3f3f) | high << 32};
    memcpy(scales, words, 8);
    memcpy(mins, words + 1, 8);
}

#endif
