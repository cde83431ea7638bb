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

#include "kernels/tmpl/matmul_int.h"

#ifdef PE_ROWS_IN_LANES
#include "kernels/tmpl/matmul_rows.h"
#else
#include "kernels/tmpl/matmul_panel.h"
#endif

#include "kernels/tmpl/quantize.h"

#include "kernels/tmpl/matmul_float.h"

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

#define PE_CALL_FLOAT_gemv(slot, lower) gemv_float(slot, y, w, row_bytes, n_rows, x)
#define PE_UNPACK_FLOAT(slot, lower, elements, bytes, mins, largest)
#ifdef PE_SHARED_UNPACK
#define PE_CALL_INT_gemv(slot, lower)                                                                                  \
    if (is_frequent(slot, x->n))                                                                                       \
        gemv_frequent(slot, y, w, row_bytes, n_rows, x);                                                               \
    else                                                                                                               \
        gemv_shared(&type_##lower, y, w, row_bytes, n_rows, x)
#define PE_CALL_INT_gemm(slot, lower) gemm_unpacked(&type_##lower, y, y_stride, w, row_bytes, n_rows, x, scratch)
#define PE_UNPACK_INT(slot, lower, elements, bytes, mins, largest)                                                     \
    PE_ONCE void weights_##lower(int16_t *out, const uint8_t *row, size_t g0, size_t count) {                          \
        for (size_t g = 0; g < count; g++) vq_store(out + g * PE_GROUP, weights_of(slot, row, g0 + g));                \
    }                                                                                                                  \
    static const pe_type_kernels type_##lower = {                                                                      \
        mins,  largest,         elements,                                                                              \
        bytes, weights_##lower, (elements) == PE_GROUP && (slot) < PE_SLOT_Q8_K ? NULL : pe_##lower##_scales,          \
        NULL};
#else
PE_SMALL void gemv_rare(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    if (is_rare(slot)) gemv_int(slot, y, w, row_bytes, n_rows, x);
}
#define PE_CALL_INT_gemv(slot, lower)                                                                                  \
    if (is_rare(slot))                                                                                                 \
        gemv_rare(slot, y, w, row_bytes, n_rows, x);                                                                   \
    else                                                                                                               \
        gemv_int(slot, y, w, row_bytes, n_rows, x)
#define PE_CALL_INT_gemm(slot, lower)                                                                                  \
    gemm_unpacked(                                                                                                     \
        &(const pe_type_kernels){facts_of(slot).mins, facts_of(slot).largest, unpack_##lower, PE_TURNED(slot, lower)}, \
        y, y_stride, w, row_bytes, n_rows, x, scratch)
#define PE_UNPACK_INT(slot, lower, elements, bytes, mins, largest)                                                     \
    PE_SMALL void unpack_##lower(pe_panel *panel, const uint8_t *w, size_t row_bytes, size_t n_rows, size_t g0,        \
                                 size_t count) {                                                                       \
        unpack_groups(slot, true, panel, w, row_bytes, n_rows, g0, count);                                             \
    }                                                                                                                  \
    PE_TURN_ROWS(slot, lower)
#endif
#ifdef PE_TURN
#define PE_TURN_ROWS(slot, lower)                                                                                      \
    PE_ONCE void turned_##lower(pe_panel *panel, const uint8_t *w, size_t row_bytes, size_t n_rows, const int16_t *q,  \
                                const pe_act *x, size_t g0, size_t count, size_t ahead,                                \
                                float (*sums)[PE_PANEL_ROWS]) {                                                        \
        if (!is_turned(slot)) return;                                                                                  \
        unpack_groups(slot, false, panel, w, row_bytes, n_rows, g0, count);                                            \
        multiply_turned(slot, panel, w, row_bytes, n_rows, q, x, g0, count, ahead, sums);                              \
    }
#define PE_TURNED(slot, lower) is_turned(slot) ? turned_##lower : NULL
#else
#define PE_TURN_ROWS(slot, lower)
#define PE_TURNED(slot, lower) NULL
#endif
#define PE_CALL_FLOAT_gemm(slot, lower)                                                                                \
    ((void)scratch, gemm_float(slot, gemv_##lower, y, y_stride, w, row_bytes, n_rows, x))

#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    PE_UNPACK_##kind(PE_SLOT_##NAME, lower, elements, bytes, mins, largest) static void gemv_##lower(                  \
        float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {                                \
        PE_CALL_##kind##_gemv(PE_SLOT_##NAME, lower);                                                                  \
    }                                                                                                                  \
    static void gemm_##lower(float *y, size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows,             \
                             const pe_act *x, void *scratch) {                                                         \
        PE_CALL_##kind##_gemm(PE_SLOT_##NAME, lower);                                                                  \
    }
#include "quant/quants.def"
#undef PE_QUANT

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
