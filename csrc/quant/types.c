/* Tensor types by number and name, the size of a row, and the public doors to both. */
#include "quant/types.h"

#include "base/arena.h"
#include "quant/quants.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    _Static_assert(sizeof(pe_##lower##_block) == (bytes), #NAME ": the row and the struct differ in size");            \
    _Static_assert((elements) == 1 || (elements) % 32 == 0, #NAME ": groups of 32 must not cross blocks");
#include "quant/quants.def"
#undef PE_QUANT

#define KIND_IS_INT_FLOAT false
#define KIND_IS_INT_INT   true

static const pe_quant_type types[] = {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    {number, #NAME, elements, bytes, KIND_IS_INT_##kind, mins, pe_##lower##_decode},
#include "quant/quants.def"
#undef PE_QUANT
};
enum { N_TYPES = sizeof types / sizeof types[0] };

/* ", F32, F16, ...": messages skip the first comma. */
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) ", " #NAME
static const char known_names[] =
#include "quant/quants.def"
    ;
#undef PE_QUANT

/* Types that GGML has and this build does not run, so that a message can call them by name. */
static const struct {
    int number;
    const char *name;
} foreign_types[] = {{9, "Q8_1"}};

const pe_quant_type *pe_quant_find(int number) {
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].number == number) return &types[i];
    return NULL;
}

const pe_quant_type *pe_quant_find_name(const char *name) {
    for (size_t i = 0; i < N_TYPES; i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

bool pe_quant_row_size(int number, uint64_t n, uint64_t *bytes, const char **why) {
    static _Thread_local char message[512];
    const pe_quant_type *type = pe_quant_find(number);
    *why = message;
    if (type == NULL) {
        for (size_t i = 0; i < sizeof foreign_types / sizeof foreign_types[0]; i++) {
            if (foreign_types[i].number != number) continue;
            snprintf(message, sizeof message, "type %d (%s) is not supported; supported are %s", number,
                     foreign_types[i].name, known_names + 2);
            return false;
        }
        snprintf(message, sizeof message, "type %d is unknown; known are %s", number, known_names + 2);
        return false;
    }
    if (n % type->block_elements != 0) {
        snprintf(message, sizeof message,
                 "a row of %" PRIu64 " elements is no multiple of the %" PRIu32 " that a block of %s holds", n,
                 type->block_elements, type->name);
        return false;
    }
    if (!pe_mul_u64(n / type->block_elements, type->block_bytes, bytes)) {
        snprintf(message, sizeof message, "a row of %" PRIu64 " elements of %s takes more than 2^64 bytes", n,
                 type->name);
        return false;
    }
    *why = NULL;
    return true;
}

bool pe_type_get(size_t index, pe_type_info *out) {
    if (index >= N_TYPES) return false;
    const pe_quant_type *type = &types[index];
    *out = (pe_type_info){type->number, type->name, type->block_elements, type->block_bytes};
    return true;
}

pe_status pe_dequantize(int number, const void *data, size_t size, float *out, size_t n) {
    uint64_t bytes;
    const char *why;
    if (!pe_quant_row_size(number, n, &bytes, &why))
        return pe_fail(pe_quant_find(number) == NULL ? PE_ERR_UNSUPPORTED : PE_ERR_ARG, "dequantize: %s", why);
    if (size < bytes)
        return pe_fail(PE_ERR_ARG, "dequantize: %zu elements of %s take %" PRIu64 " bytes, but only %zu are given", n,
                       pe_quant_find(number)->name, bytes, size);
    if (n == 0) return PE_OK;
    if (data == NULL || out == NULL)
        return pe_fail(PE_ERR_ARG, "dequantize: %s is NULL", data == NULL ? "data" : "out");
    pe_quant_find(number)->decode(data, out, n);
    return PE_OK;
}
