/* Doors for the tests to what kernels.h defines inline or by expanding rows, and to the scales of integer weights. */
#include "kernels/kernels.h"
#include "kernels/simd/scalar.h"

#include "quant/quants.h"

size_t pe_test_gemm_scratch(size_t n);
size_t pe_test_attend_scratch(size_t head_dim);
size_t pe_test_kernels_size(void);
bool pe_test_scales(int type, const uint8_t *row, size_t n, float *scale, float *min);

size_t pe_test_gemm_scratch(size_t n) { return pe_gemm_scratch(n); }
size_t pe_test_attend_scratch(size_t head_dim) { return pe_attend_scratch(head_dim); }

/* What the compiler makes of the table, against what a test thinks of its layout. */
size_t pe_test_kernels_size(void) { return sizeof(pe_kernels); }

#define SCALES_FLOAT(number, lower, elements, mins)
#define SCALES_INT(number, lower, elements, mins)                                                                      \
    case number:                                                                                                       \
        for (size_t b = 0; b < n / elements; b++, scale += elements / PE_GROUP, min += mins * (elements / PE_GROUP))   \
            pe_##lower##_scales(row, b, scale, min);                                                                   \
        return true;

/* Scales [n / 32] and mins [mins * n / 32] of a row. False for a type that has no integer weights. */
bool pe_test_scales(int type, const uint8_t *row, size_t n, float *scale, float *min) {
    switch (type) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) SCALES_##kind(number, lower, elements, mins)
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return false;
    }
}
