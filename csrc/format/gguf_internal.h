/* What the two halves of the GGUF reader share: reading numbers, and the name index.
 *
 * The index is a sorted list with binary search rather than a hash table: lookups happen a few hundred times a load,
 * and no choice of names in a hostile file can make sorting slow. */
#ifndef PE_FORMAT_GGUF_INTERNAL_H
#define PE_FORMAT_GGUF_INTERNAL_H

#include "format/gguf.h"

typedef struct pe_gguf_entry {
    const char *name;
    uint64_t offset;
    size_t item; /* position in the file's own list */
} pe_gguf_entry;

typedef struct pe_gguf_index {
    size_t n;
    pe_gguf_entry *entries; /* [n] */
} pe_gguf_index;

typedef bool (*pe_gguf_before)(const pe_gguf_entry *a, const pe_gguf_entry *b);

/* Sort in place, in O(n log n) for any input and without memory of its own. Not stable. */
void pe_gguf_sort(pe_gguf_entry *entries, size_t n, pe_gguf_before before);
/* Room for n entries; NULL without memory. */
pe_gguf_index *pe_gguf_index_create(pe_arena *arena, size_t n);
/* Sort by name and refuse two equal ones; `kind` is "key" or "tensor". */
pe_status pe_gguf_index_build(pe_gguf_index *index, const char *kind);

/* Bytes of a scalar; 0 for strings, arrays and unknown types. */
size_t pe_gguf_scalar_size(uint32_t type);
const char *pe_gguf_type_name(pe_meta_type type);

static inline uint32_t pe_gguf_read_u32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t pe_gguf_read_u64(const uint8_t *p) {
    return (uint64_t)pe_gguf_read_u32(p) | (uint64_t)pe_gguf_read_u32(p + 4) << 32;
}

#endif
