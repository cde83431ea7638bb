/* Memory: the only file that calls the heap.
 *
 *   pe_arena    [chunk 0 ......][chunk 1 ..........][chunk 2 ...    ]
 *                ^ allocations are bumped along a chunk, never freed alone; the whole arena goes at once.
 *
 * All sizes are checked; a failed allocation returns NULL and sets the thread's message. */
#ifndef PE_BASE_ARENA_H
#define PE_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Single blocks, zeroed, 64-byte aligned. */
void *pe_mem_alloc(size_t count, size_t size);
void pe_mem_free(void *block);
/* Grow a block from old_count to new_count items (new part zeroed); the old block stays valid on failure. */
void *pe_mem_grow(void *block, size_t old_count, size_t new_count, size_t size);

typedef struct pe_arena {
    struct pe_arena_chunk *head;
    size_t total; /* bytes taken from the heap */
} pe_arena;       /* zero-initialised is valid and empty */

/* count * size bytes, zeroed, aligned to 16 (64 from 64 bytes on). */
void *pe_arena_alloc(pe_arena *arena, size_t count, size_t size);
/* A NUL-terminated copy. */
char *pe_arena_string(pe_arena *arena, const char *text, size_t size);
void pe_arena_free(pe_arena *arena);

/* Overflow-safe arithmetic: false where the result does not fit. */
static inline bool pe_mul_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool pe_add_u64(uint64_t a, uint64_t b, uint64_t *out) { return !__builtin_add_overflow(a, b, out); }

#endif
