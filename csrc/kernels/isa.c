/* Compiled once per row of isas.def, with that row's flags: the templates over one vocabulary, and the table of what
 * they make. Everything but the table is static: nothing compiled for a newer processor can be linked into another
 * row's code. */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#include PE_ISA_HEADER

#include "quant/quants.h"

_Static_assert(PE_PANEL_ROWS % PE_TILE_ROWS == 0 && PE_PAGE % (2 * PE_VF) == 0 && PE_MAX_LANES % PE_VF == 0,
               "vector widths that the templates cannot tile");

#include "kernels/tmpl/quantize.h"

#include "kernels/tmpl/matmul_int.h"

#include "kernels/tmpl/matmul_float.h"

#include "kernels/tmpl/elementwise.h"

#include "kernels/tmpl/attention.h"

#define PE_CALL_INT_gemv(slot)   gemv_int(slot, y, w, row_bytes, n_rows, x)
#define PE_CALL_FLOAT_gemv(slot) gemv_float(slot, y, w, row_bytes, n_rows, x)
#define PE_CALL_INT_gemm(slot)   gemm_int(slot, y, y_stride, w, row_bytes, n_rows, x, scratch)
#define PE_CALL_FLOAT_gemm(slot) ((void)scratch, gemm_float(slot, y, y_stride, w, row_bytes, n_rows, x))

#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins)                                                     \
    static void gemv_##lower(float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {           \
        PE_CALL_##kind##_gemv(PE_SLOT_##NAME);                                                                         \
    }                                                                                                                  \
    static void gemm_##lower(float *y, size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows,             \
                             const pe_act *x, void *scratch) {                                                         \
        PE_CALL_##kind##_gemm(PE_SLOT_##NAME);                                                                         \
    }
#include "quant/quants.def"
#undef PE_QUANT

#define PE_TABLE_NAME(isa)  PE_TABLE_JOIN(pe_kernels_, isa)
#define PE_TABLE_JOIN(a, b) a##b
#define PE_TEXT(name)       PE_TEXT_OF(name)
#define PE_TEXT_OF(name)    #name

extern const pe_kernels PE_TABLE_NAME(PE_ISA);
const pe_kernels PE_TABLE_NAME(PE_ISA) = {
    .name = PE_TEXT(PE_ISA),
    .tile_tokens = PE_VF,
    .quantize_row = quantize_row,
    .quantize_tile = quantize_tile,
    .gemv =
        {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins) gemv_##lower,
#include "quant/quants.def"
#undef PE_QUANT
        },
    .gemm =
        {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins) gemm_##lower,
#include "quant/quants.def"
#undef PE_QUANT
        },
    .rms_norm = rms_norm,
    .add = add,
    .scale = scale_by,
    .silu_mul = silu_mul,
    .gelu_tanh_mul = gelu_tanh_mul,
    .rope = rope,
    .kv_store = kv_store,
    .attend = attend,
    .max = max_of,
    .sum_exp = sum_exp,
};
