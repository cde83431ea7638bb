/* All tensor types, and what each type's header defines.
 *
 * Formats: https://github.com/ggml-org/ggml (block layouts as stored in GGUF files). Blocks are structs of bytes, so
 * that they may lie at any address; halves and wider integers in them are little-endian.
 *
 *   pe_<type>_decode(blocks, out [n], n)   n weights, a multiple of the block, as floats. Bit-exact: at most one
 *                                          rounding happens per weight, since a product of a half, a sub-scale and an
 *                                          integer weight fits into a float's 24 bits.
 *
 * For kind INT, and only where an instruction set's header (kernels/simd) was included before, which defines PE_VQ:
 * the same weights for its kernels, by groups of 32 consecutive weights. `row` is the first block of a row and g the
 * group in it; weight[i] = scale * integer[i] + min.
 *
 *   vq pe_<type>_weights(row, g)           the 32 integers, signed: offsets are subtracted, and where the type has
 *                                          sub-scales for 16 weights, each integer is multiplied by its own
 *   void pe_<type>_scales(row, b, d, m)    of block b: the scale of each group, d [block_elements / 32], and its mins,
 *                                          m [mins * block_elements / 32]; mins == 2: those of integers 0..15 and
 *                                          16..31 side by side
 *
 * Integers stay within +-4096 (reached by Q6_K: sub-scale -128 times -32). Kernels rely on it: with activations of at
 * most 16383 in magnitude, 32 products of a group add up to less than 2^31. */
#ifndef PE_QUANT_QUANTS_H
#define PE_QUANT_QUANTS_H

#include "quant/bf16.h"
#include "quant/f16.h"
#include "quant/f32.h"
#include "quant/f64.h"
#include "quant/i16.h"
#include "quant/i32.h"
#include "quant/i64.h"
#include "quant/i8.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/mxfp4.h"
#include "quant/nano_q4k.h"
#include "quant/nvfp4.h"
#include "quant/q1_0.h"
#include "quant/q2_0.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"
#include "quant/q8_f.h"
#include "quant/q8_k.h"
#include "quant/tq1_0.h"
#include "quant/tq2_0.h"

#endif
