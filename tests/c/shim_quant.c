/* Doors for the tests to what is inline in the core: the unpack of the quantised types over the scalar vocabulary,
 * and the conversions of half floats. */
#include "kernels/simd/scalar.h"

#include "quant/quants.h"

#include <stdbool.h>

bool pe_test_unpack(int type, const uint8_t *row, size_t n, float *out);
bool pe_test_integers(int type, const uint8_t *row, size_t n, int16_t *out);
void pe_test_half_to_float(const uint16_t *in, float *out, size_t n);
void pe_test_float_to_half(const float *in, uint16_t *out, size_t n);

#define UNPACK_FLOAT(number, lower, elements, mins)
#define UNPACK_INT(number, lower, elements, mins)                                                                      \
    case number:                                                                                                       \
        for (size_t g = 0; g < n / 32; g++, out += 32) {                                                               \
            vq weights = pe_##lower##_weights(row, g);                                                                 \
            float scale[elements / 32], m[2 * elements / 32] = {0};                                                    \
            pe_##lower##_scales(row, g / (elements / 32), scale, m);                                                   \
            size_t j = g % (elements / 32);                                                                            \
            for (int i = 0; i < 32; i++) {                                                                             \
                float min = mins == 2 ? m[2 * j + i / 16] : m[j];                                                      \
                out[i] = scale[j] * (float)weights.v[i] + min;                                                         \
            }                                                                                                          \
        }                                                                                                              \
        return true;

/* n weights of a row as scale * integer + min. False for a type that has no integer weights. */
bool pe_test_unpack(int type, const uint8_t *row, size_t n, float *out) {
    switch (type) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) UNPACK_##kind(number, lower, elements, mins)
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return false;
    }
}

#define INTEGERS_FLOAT(number, lower)
#define INTEGERS_INT(number, lower)                                                                                    \
    case number:                                                                                                       \
        for (size_t g = 0; g < n / 32; g++) {                                                                          \
            vq weights = pe_##lower##_weights(row, g);                                                                 \
            memcpy(out + g * 32, weights.v, sizeof weights.v);                                                         \
        }                                                                                                              \
        return true;

/* The integers of the same weights. */
bool pe_test_integers(int type, const uint8_t *row, size_t n, int16_t *out) {
    switch (type) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) INTEGERS_##kind(number, lower)
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return false;
    }
}

void pe_test_half_to_float(const uint16_t *in, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = pe_half_to_float(in[i]);
}

void pe_test_float_to_half(const float *in, uint16_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = pe_float_to_half(in[i]);
}
