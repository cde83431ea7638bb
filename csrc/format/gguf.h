/* GGUF v2/v3 reader over bytes that stay where they are.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 *
 * pe_gguf_parse checks every count, length, offset and alignment before it is used: after it succeeds, each tensor's
 * [data, data + size) lies in the file, is aligned, does not overlap another one, and its size follows from type and
 * shape. Key and tensor names are unique. The reader allocates no more than a small multiple of what the file's own
 * directory takes, and never in proportion to a number that it has not checked against the file's size. */
#ifndef PE_FORMAT_GGUF_H
#define PE_FORMAT_GGUF_H

#include "base/arena.h"
#include "base/status.h"
#include "base/view.h"

typedef struct pe_gguf_kv {
    const char *key; /* NUL-terminated, in the arena */
    pe_meta_type type, item_type;
    uint64_t n_items;
    const uint8_t *data;    /* first byte of the value (arrays: of the first item); may be unaligned */
    const pe_view *strings; /* arrays of strings: [n_items]; a lone string: [1]; else NULL */
} pe_gguf_kv;

/* How a tensor lies in its file. In GGUF: rows of blocks. Other formats (see source.h) have layouts that are none;
 * `type` is then the one to make of them. */
typedef enum pe_layout {
    PE_LAYOUT_ROWS,     /* rows of blocks of `type` */
    PE_LAYOUT_SPLIT,    /* all integers (int8) in order, then a float scale for each `group` of them */
    PE_LAYOUT_NANO_Q4K, /* a row is one block of Nano's Q4K, of which the first dims[0] weights count */
} pe_layout;

typedef struct pe_gguf_tensor {
    const char *name; /* NUL-terminated, in the arena */
    int type;         /* GGML type number */
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] contiguous; 1 past n_dims */
    const uint8_t *data;
    uint64_t offset, size; /* bytes; offset from the start of its file */
    pe_layout layout;
    uint32_t group;
} pe_gguf_tensor;

typedef struct pe_gguf {
    const uint8_t *data;
    size_t size;
    uint32_t version, alignment;
    size_t n_kv, n_tensors;
    pe_gguf_kv *kv;
    pe_gguf_tensor *tensors;
    struct pe_gguf_index *keys, *names; /* sorted; see gguf_internal.h */
    pe_arena arena;
} pe_gguf;

/* Size of a row of `n` elements of a type; false where the type is unknown or n is no multiple of its block.
 * Given by the caller, since this layer does not know the types. */
typedef bool (*pe_gguf_row_size)(int type, uint64_t n, uint64_t *bytes, const char **why);

pe_status pe_gguf_parse(const void *data, size_t size, pe_gguf_row_size row_size, pe_gguf *out);
void pe_gguf_free(pe_gguf *gguf);

/* A model may be split into files. Which part this is, from 0, and how many there are: 0 and 1 for a whole model. */
pe_status pe_gguf_split(const pe_gguf *gguf, uint32_t *no, uint32_t *count);
/* Where part `no` lies, beside the first: <stem>-00002-of-00003.gguf for no = 1 and count = 3. */
pe_status pe_gguf_part_path(pe_arena *arena, const char *first, uint32_t no, uint32_t count, const char **out);
/* Add the tensors of the other parts to those of the first; names must be unique, and the total be that of the key
 * split.tensors.count. The parts may be freed afterwards, their bytes must stay. */
pe_status pe_gguf_merge(pe_gguf *first, const pe_gguf *parts, size_t n_parts);

const pe_gguf_kv *pe_gguf_find(const pe_gguf *gguf, const char *key);
const pe_gguf_tensor *pe_gguf_tensor_find(const pe_gguf *gguf, const char *name);
/* Array item i (< n_items) or the scalar itself (i = 0) as a public value. */
void pe_gguf_value(const pe_gguf_kv *kv, uint64_t i, pe_meta *out);

/* Typed lookups. A missing key leaves *out alone and returns PE_OK when `required` is false; a wrong type, a negative
 * or non-finite number, or a value past the target's range is PE_ERR_FORMAT and names the key. Integer widths convert
 * where the value fits; pe_gguf_f32 takes f32 and f64 only. */
pe_status pe_gguf_u32(const pe_gguf *gguf, const char *key, bool required, uint32_t *out);
pe_status pe_gguf_f32(const pe_gguf *gguf, const char *key, bool required, float *out);
pe_status pe_gguf_bool(const pe_gguf *gguf, const char *key, bool required, bool *out);
pe_status pe_gguf_string(const pe_gguf *gguf, const char *key, bool required, pe_view *out);

#endif
