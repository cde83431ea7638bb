/* The table of tensor types that this build runs, made from the rows of quants.def. */
#ifndef PE_QUANT_TYPES_H
#define PE_QUANT_TYPES_H

#include "base/status.h"

typedef struct pe_quant_type {
    int number;       /* in GGML and GGUF */
    const char *name; /* "Q4_K" */
    uint32_t block_elements, block_bytes;
    bool is_int; /* weights are scale * integer + min; else floats */
    int mins;    /* per 32 weights: 0, 1 or 2 */
    /* n weights, a multiple of the block, from blocks at any address into out [n] */
    void (*decode)(const void *blocks, float *out, size_t n);
} pe_quant_type;

/* NULL where this build does not run the type. */
const pe_quant_type *pe_quant_find(int number);
const pe_quant_type *pe_quant_find_name(const char *name);

/* Bytes of a row of n elements. False where the type is not known, n is no multiple of its block, or the size does not
 * fit into *bytes; then *why is a clause like "type 99 is unknown; known are F32, ...", valid until the thread's next
 * such failure. The signature is that of pe_gguf_row_size. */
bool pe_quant_row_size(int number, uint64_t n, uint64_t *bytes, const char **why);

#endif
