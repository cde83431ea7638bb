/* Compiled once per row of isas.def, with that row's flags: the templates over one vocabulary, and the table of what
 * they make. Everything but the table, and that of the fits within it, is static: nothing compiled for a newer
 * processor can be linked into another row's code. */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* Of a loop whose n rounds are known when it is compiled, before what it indexes is given registers: clang does so for
 * whole loops only, and a count would have it leave sums in memory. */
#ifdef __clang__
#define PE_UNROLL(n) _Pragma("clang loop unroll(full)")
#else
#define PE_UNROLL(n)       PE_UNROLL_TEXT(GCC unroll n)
#define PE_UNROLL_TEXT(of) _Pragma(#of)
#endif

#define PE_JOIN(a, b)    PE_JOIN_TO(a, b)
#define PE_JOIN_TO(a, b) a##b
#define PE_TEXT(name)    PE_TEXT_OF(name)
#define PE_TEXT_OF(name) #name

#include PE_ISA_HEADER

#ifndef PE_NO_QUANTIZE
#include "quant/fits.h"
#endif
#include "quant/quants.h"

_Static_assert(PE_PANEL_ROWS % PE_TILE_ROWS == 0 && PE_PAGE % (2 * PE_VF) == 0 && PE_MAX_LANES % PE_VF == 0,
               "vector widths that the templates cannot tile");

#define PE_INLINE static inline __attribute__((always_inline))

#include "kernels/tmpl/products.h"

#include "kernels/tmpl/quantize.h"

#include "kernels/tmpl/elementwise.h"

#include "kernels/tmpl/low_rank.h"

#include "kernels/tmpl/attention.h"

#ifndef PE_NO_QUANTIZE /* for builds that read models and write none */
#ifdef PE_FITS_OF      /* a row whose floats are those of another one takes what that one made */
extern const pe_fits PE_JOIN(pe_fits_, PE_FITS_OF);
#define PE_FITS PE_JOIN(pe_fits_, PE_FITS_OF)
#else
extern const pe_fits PE_JOIN(pe_fits_, PE_ISA);
#define PE_FITS PE_JOIN(pe_fits_, PE_ISA)
#include "kernels/tmpl/fit.h"
#endif
#endif

extern const pe_kernels PE_JOIN(pe_kernels_, PE_ISA);
const pe_kernels PE_JOIN(pe_kernels_, PE_ISA) = {
    .name = PE_TEXT(PE_ISA),
    .tile_tokens = PE_TILE_TOKENS,
    .act_parts = PE_ACT_PARTS,
    .quantize = quantize,
    .gemv =
        {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) gemv_##lower,
#include "quant/quants.def"
#undef PE_QUANT
        },
    .gemm =
        {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) gemm_##lower,
#include "quant/quants.def"
#undef PE_QUANT
        },
    .add_low = add_low,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .scale = scale_by,
    .soft_cap = soft_cap,
    .silu_mul = silu_mul,
    .gelu_tanh_mul = gelu_tanh_mul,
    .gelu_erf_mul = gelu_erf_mul,
    .rope = rope,
    .kv_store = kv_store,
    .attend = attend,
    .attend_join = attend_join,
    .max = max_of,
    .any_nan = any_nan,
    .sum_exp = sum_exp,
    .read_sum = read_sum,
#ifndef PE_NO_QUANTIZE
    .fits = &PE_FITS,
#endif
};
