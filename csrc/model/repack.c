#include "model/repack.h"
#include "base/half.h"
#include "format/builder.h"
#include "quant/quants.h"
#include "quant/types.h"

#include <string.h>

enum { /* what the readers of files call the types */
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) NUMBER_##NAME = (number),
#include "quant/quants.def"
#undef PE_QUANT
};
_Static_assert((int)PE_BUILD_F32 == NUMBER_F32 && (int)PE_BUILD_Q8_F == NUMBER_Q8_F &&
                   (int)PE_BUILD_NANO_Q4K == NUMBER_NANO_Q4K,
               "format/builder.h and quant/quants.def disagree on numbers");

enum { Q4K_WEIGHTS = 256 };

/* n weights of Q80, a multiple of `group`. */
static void join_q8_f(pe_q8_f_block *out, const uint8_t *q, uint64_t n, uint32_t group) {
    const uint8_t *scales = q + n;
    for (uint64_t i = 0; i < n; i += sizeof out->qs, out++) {
        memcpy(out->d, scales + i / group * sizeof out->d, sizeof out->d);
        memcpy(out->qs, q + i, sizeof out->qs);
    }
}

static void decode_split(float *out, const uint8_t *q, uint64_t n, uint32_t group) {
    const uint8_t *scales = q + n;
    for (uint64_t i = 0; i < n; i++)
        out[i] = pe_float_from_bits(pe_load_u32(scales + i / group * sizeof *out)) * (float)(int8_t)q[i];
}

static void decode_short_rows(float *out, const uint8_t *blocks, uint64_t n_rows, size_t n_in) {
    for (uint64_t r = 0; r < n_rows; r++, blocks += sizeof(pe_nano_q4k_block), out += n_in) {
        float row[Q4K_WEIGHTS];
        pe_nano_q4k_decode(blocks, row, Q4K_WEIGHTS);
        memcpy(out, row, n_in * sizeof *row);
    }
}

pe_status pe_repack(pe_arena *arena, const pe_gguf_tensor *tensor, const uint8_t **data) {
    const uint64_t n = tensor->dims[0] * tensor->dims[1]; /* checked with the file's length */
    const bool blocks = tensor->type == NUMBER_Q8_F;
    if (n > SIZE_MAX / sizeof(float)) return pe_fail(PE_ERR_NOMEM, "tensor '%s' is too large for memory", tensor->name);
    uint8_t *out = blocks ? pe_arena_alloc(arena, (size_t)(n / 32), sizeof(pe_q8_f_block))
                          : pe_arena_alloc(arena, (size_t)n, sizeof(float));
    if (!out) return PE_ERR_NOMEM;
    if (tensor->layout == PE_LAYOUT_NANO_Q4K)
        decode_short_rows((float *)(void *)out, tensor->data, tensor->dims[1], (size_t)tensor->dims[0]);
    else if (blocks)
        join_q8_f((pe_q8_f_block *)(void *)out, tensor->data, n, tensor->group);
    else
        decode_split((float *)(void *)out, tensor->data, n, tensor->group);
    *data = out;
    return PE_OK;
}
