/* AVX2 with AVX-VNNI (client processors from Alder Lake, Zen 5 on): vpdpwssd in 256 bits. */
#ifndef PE_KERNELS_SIMD_AVXVNNI_H
#define PE_KERNELS_SIMD_AVXVNNI_H

#define PE_FITS_OF avx2

#define pe_dot_step(acc, a, b) _mm256_dpwssd_avx_epi32(acc, a, b)
#include "kernels/simd/avx2.h"

#endif
