/* NEON of 32-bit ARM: the vocabulary of neon.h, which knows what ARMv7 lacks. */
#include "kernels/simd/neon.h"
