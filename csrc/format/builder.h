/* Building a directory (see source.h) for formats whose files have none: tensors back to back, without names.
 *
 * A reader describes the file twice with the same calls: first to measure it, so that its length can be compared with
 * what its header implies before anything is allocated, then to list the tensors. The first failure stays; steps after
 * it do nothing. */
#ifndef PE_FORMAT_BUILDER_H
#define PE_FORMAT_BUILDER_H

#include "format/gguf.h"

/* The types of tensors in such files; rows of quant/quants.def. */
enum { PE_BUILD_F32 = 0, PE_BUILD_Q8_F = 1000, PE_BUILD_NANO_Q4K = 1001 };
enum { PE_BUILD_MAX_LAYERS = 1024, PE_BUILD_MAX_DIM = 1 << 24, PE_BUILD_MAX_TOKENS = 1 << 24 };

typedef struct pe_builder {
    pe_gguf *out; /* NULL: measure only */
    size_t max_kv, max_tensors;
    uint64_t at; /* offset of the next tensor; while measuring it may pass the end of the file */
    pe_status status;
} pe_builder;

/* Measure from offset `at` on. */
pe_builder pe_builder_measure(uint64_t at);
/* List into *out: a file of `size` bytes, at most so many keys and tensors, the first tensor at `at`. */
pe_builder pe_builder_begin(const void *data, size_t size, uint64_t at, size_t max_kv, size_t max_tensors,
                            pe_gguf *out);

/* Keys. Texts and arrays are not copied; `bytes` are little-endian items of 4 bytes. */
void pe_builder_u32(pe_builder *b, const char *key, uint32_t value);
void pe_builder_f32(pe_builder *b, const char *key, float value);
void pe_builder_bool(pe_builder *b, const char *key, bool value);
void pe_builder_text(pe_builder *b, const char *key, const char *text);
void pe_builder_texts(pe_builder *b, const char *key, const pe_view *texts, size_t n);
void pe_builder_array(pe_builder *b, const char *key, pe_meta_type item, const uint8_t *bytes, size_t n);
/* An array that the caller fills, n items of 4 bytes; NULL on failure and while measuring. */
uint8_t *pe_builder_fill(pe_builder *b, const char *key, pe_meta_type item, size_t n);

/* Weights of the kinds that these formats have. group 0: floats; else 8-bit integers, then their scales. */
typedef struct pe_shape {
    uint32_t n_in, n_out; /* n_out 1: a vector */
    uint32_t group;
} pe_shape;

/* n_layers tensors, one after the other, named by `name` with the layer for %u; or one (name without %u). */
void pe_builder_tensors(pe_builder *b, const char *name, uint32_t n_layers, pe_shape shape);
/* One tensor at the current offset, which does not move. */
void pe_builder_place(pe_builder *b, const char *name, uint32_t layer, const pe_gguf_tensor *tensor);
/* Bytes that hold no tensor. */
void pe_builder_skip(pe_builder *b, uint64_t bytes);

/* Finish the directory; on failure it is freed. */
pe_status pe_builder_finish(pe_builder *b);

/* Heads, widths and depth that both formats have. */
typedef struct pe_plain_config {
    uint32_t n_layer, n_embd, n_head, n_head_kv, n_ff, n_vocab, n_ctx;
    bool tied; /* the output is the embeddings */
} pe_plain_config;

/* Whether the numbers can be a model's; `why` says what is wrong with them. */
bool pe_plain_check(const pe_plain_config *config, const char **why);
/* The keys that follow from them. `source` is the format's name and version. */
void pe_plain_keys(pe_builder *b, const pe_plain_config *config, const char *source);

#endif
