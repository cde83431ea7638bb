/* A loop for the bench: a call of each panel from Python would cost as much as the panel. */
#include "kernels/kernels.h"

void pe_test_gemm_panels(const pe_kernels *kernels, int slot, float *y, const uint8_t *w, size_t row_bytes,
                         size_t n_rows, const pe_act *x, void *scratch);

/* y [n_tokens, n_rows] = x w^T, panel after panel. */
void pe_test_gemm_panels(const pe_kernels *kernels, int slot, float *y, const uint8_t *w, size_t row_bytes,
                         size_t n_rows, const pe_act *x, void *scratch) {
    for (size_t r = 0; r < n_rows; r += PE_PANEL_ROWS)
        kernels->gemm[slot](y + r, n_rows, w + r * row_bytes, row_bytes,
                            n_rows - r < PE_PANEL_ROWS ? n_rows - r : PE_PANEL_ROWS, x, scratch);
}
