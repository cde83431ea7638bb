/* WebAssembly SIMD with the relaxed instructions: a multiply-add with one rounding where the processor has it, and a
 * table look-up without a check of its indices.
 *
 * Integer products stay with i32x4.dot_i16x8_s, which is exact and one instruction on x86. The relaxed products of
 * bytes take activations of 7 bits: ours have 15, so that two would be needed, and without VNNI or sdot each is three
 * instructions. */
#ifndef PE_KERNELS_SIMD_WASMRELAXED_H
#define PE_KERNELS_SIMD_WASMRELAXED_H

#include <wasm_simd128.h>

#define pe_wasm_fma(a, b, c)           wasm_f32x4_relaxed_madd(a, b, c)
#define pe_wasm_lookup(table, indices) wasm_i8x16_relaxed_swizzle(table, indices)
#include "kernels/simd/wasm128.h"

#endif
