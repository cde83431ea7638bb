/* gemv_<type> and gemm_<type> of each row of quants.def, the functions of the table: which of the templates a type
 * takes on an instruction set. */

#include "kernels/tmpl/matmul_int.h"

#ifdef PE_ROWS_IN_LANES
#include "kernels/tmpl/matmul_rows.h"
#else
#include "kernels/tmpl/matmul_panel.h"
#endif

#ifdef PE_BESIDE
#include "kernels/tmpl/matmul_beside.h"
#endif

#ifdef PE_FEW_OF /* differs from that row in its tiles only */
extern const pe_kernels PE_JOIN(pe_kernels_, PE_FEW_OF);
#define PE_FEW_KERNELS                  PE_JOIN(pe_kernels_, PE_FEW_OF)
#define PE_CALL_FLOAT_gemv(slot, lower) PE_FEW_KERNELS.gemv[slot](y, w, row_bytes, n_rows, x)
#define PE_CALL_FLOAT_gemm(slot, lower) PE_FEW_KERNELS.gemm[slot](y, y_stride, w, row_bytes, n_rows, x, scratch)
#else
#include "kernels/tmpl/matmul_float.h"
#define PE_CALL_FLOAT_gemv(slot, lower) gemv_float(slot, y, w, row_bytes, n_rows, x)
#define PE_CALL_FLOAT_gemm(slot, lower)                                                                                \
    ((void)scratch, gemm_float(slot, gemv_##lower, y, y_stride, w, row_bytes, n_rows, x))
#endif
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
#ifdef PE_FEW_OF
#define PE_CALL_INT_gemv PE_CALL_FLOAT_gemv
#define PE_CALL_FEW(slot, lower)                                                                                       \
    if (x->n_tokens <= PE_FEW)                                                                                         \
        PE_CALL_FLOAT_gemm(slot, lower);                                                                               \
    else
#else
PE_SMALL void gemv_rare(int slot, float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x) {
    if (is_rare(slot)) gemv_int(slot, y, w, row_bytes, n_rows, x);
}
#define PE_CALL_INT_gemv(slot, lower)                                                                                  \
    if (is_rare(slot))                                                                                                 \
        gemv_rare(slot, y, w, row_bytes, n_rows, x);                                                                   \
    else                                                                                                               \
        gemv_int(slot, y, w, row_bytes, n_rows, x)
#ifdef PE_BESIDE /* known to be 0 where a type is not multiplied so: it gets no code then */
#define PE_CALL_FEW(slot, lower)                                                                                       \
    if (beside_tokens(slot) && x->n_tokens <= beside_tokens(slot))                                                     \
        gemm_beside(slot, y, y_stride, w, row_bytes, n_rows, x);                                                       \
    else
#else
#define PE_CALL_FEW(slot, lower)
#endif
#endif
#define PE_CALL_INT_gemm(slot, lower)                                                                                  \
    PE_CALL_FEW(slot, lower)                                                                                           \
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
