/* NEON of 32-bit ARM with VFPv4 (Cortex-A5, A7, A15, A17): as neon32, with half floats and fused multiply-add. */
#include "kernels/simd/neon.h"
