/* The only file that calls the heap.
 *
 * Blocks come from calloc, so that large ones are the system's own zero pages and cost nothing until they are touched.
 * calloc does not align to 64 bytes, hence a block lies behind a short gap that ends with the address to free:
 *
 *   raw [gap ...... | raw pointer][block, 64-byte aligned ......][slack]
 *
 * Under AddressSanitizer the slack, and what an arena has not given out yet, are poisoned: an access past the end of
 * an allocation is reported although the heap's own borders are elsewhere. */
#include "base/arena.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define PE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PE_ASAN 1
#endif
#endif

#ifdef PE_ASAN
#include <sanitizer/asan_interface.h>
#define HIDE(block, size)   ASAN_POISON_MEMORY_REGION(block, size)
#define REVEAL(block, size) ASAN_UNPOISON_MEMORY_REGION(block, size)
enum { RED_ZONE = 16 };
#else
#define HIDE(block, size)   ((void)(block), (void)(size))
#define REVEAL(block, size) ((void)(block), (void)(size))
enum { RED_ZONE = 0 };
#endif

enum {
    BLOCK_ALIGN = 64,
    SMALL_ALIGN = 16,
    FIRST_CHUNK = 64 * 1024,
    LAST_CHUNK = 1024 * 1024, /* chunks double up to this; anything past a quarter of it gets a chunk of its own */
};

/* ---- single blocks ---------------------------------------------------------------------------------------------- */

void *pe_mem_alloc(size_t count, size_t size) {
    const size_t overhead = BLOCK_ALIGN - 1 + sizeof(void *);
    size_t bytes, total;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, overhead, &total)) {
        pe_fail(PE_ERR_NOMEM, "cannot allocate %zu items of %zu bytes: more than this system can address", count, size);
        return NULL;
    }
    unsigned char *raw = calloc(1, total);
    if (!raw) {
        pe_fail(PE_ERR_NOMEM, "out of memory: the system refused %zu bytes", total);
        return NULL;
    }
    size_t gap = overhead - (((uintptr_t)raw + overhead) & (BLOCK_ALIGN - 1));
    unsigned char *block = raw + gap;
    memcpy(block - sizeof(void *), &raw, sizeof raw);
    HIDE(block + bytes, total - gap - bytes);
    return block;
}

void pe_mem_free(void *block) {
    if (!block) return;
    void *raw;
    memcpy(&raw, (unsigned char *)block - sizeof(void *), sizeof raw);
    free(raw);
}

void *pe_mem_grow(void *block, size_t old_count, size_t new_count, size_t size) {
    void *grown = pe_mem_alloc(new_count, size);
    if (!grown) return NULL;
    size_t kept = old_count < new_count ? old_count : new_count;
    if (block && kept) memcpy(grown, block, kept * size);
    pe_mem_free(block);
    return grown;
}

/* ---- arena ------------------------------------------------------------------------------------------------------ */

struct pe_arena_chunk {
    struct pe_arena_chunk *next;
    size_t size; /* bytes of data */
    size_t used;
    _Alignas(BLOCK_ALIGN) unsigned char data[];
};

static struct pe_arena_chunk *chunk_add(pe_arena *arena, size_t size) {
    size_t total;
    if (__builtin_add_overflow(sizeof(struct pe_arena_chunk), size, &total)) {
        pe_fail(PE_ERR_NOMEM, "cannot allocate %zu bytes: more than this system can address", size);
        return NULL;
    }
    struct pe_arena_chunk *chunk = pe_mem_alloc(1, total);
    if (!chunk) return NULL;
    chunk->size = size;
    HIDE(chunk->data, size);
    arena->total += total;
    return chunk;
}

void *pe_arena_alloc(pe_arena *arena, size_t count, size_t size) {
    size_t bytes, padded;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(bytes, BLOCK_ALIGN + RED_ZONE, &padded)) {
        pe_fail(PE_ERR_NOMEM, "cannot allocate %zu items of %zu bytes: more than this system can address", count, size);
        return NULL;
    }
    const size_t align = bytes >= BLOCK_ALIGN ? BLOCK_ALIGN : SMALL_ALIGN;
    struct pe_arena_chunk *chunk = arena->head;
    size_t start = chunk ? (chunk->used + align - 1) & ~(align - 1) : 0;
    /* `padded` leaves room for the alignment, so a fresh chunk always fits. */
    if (!chunk || start > chunk->size || bytes + RED_ZONE > chunk->size - start) {
        bool alone = padded > LAST_CHUNK / 4;
        size_t next_size = chunk ? 2 * chunk->size : FIRST_CHUNK;
        if (next_size > LAST_CHUNK) next_size = LAST_CHUNK;
        if (next_size < padded || alone) next_size = padded;
        struct pe_arena_chunk *fresh = chunk_add(arena, next_size);
        if (!fresh) return NULL;
        if (alone && chunk) { /* behind the head, whose free rest stays in use */
            fresh->next = chunk->next;
            chunk->next = fresh;
        } else {
            fresh->next = chunk;
            arena->head = fresh;
        }
        chunk = fresh;
        start = 0;
    }
    chunk->used = start + bytes + RED_ZONE;
    unsigned char *block = chunk->data + start;
    REVEAL(block, bytes);
    return block;
}

char *pe_arena_string(pe_arena *arena, const char *text, size_t size) {
    size_t with_nul;
    if (__builtin_add_overflow(size, 1, &with_nul)) {
        pe_fail(PE_ERR_NOMEM, "cannot allocate %zu bytes: more than this system can address", size);
        return NULL;
    }
    char *copy = pe_arena_alloc(arena, with_nul, 1);
    if (copy && size) memcpy(copy, text, size);
    return copy; /* the memory was zero: the NUL is there */
}

void pe_arena_free(pe_arena *arena) {
    for (struct pe_arena_chunk *chunk = arena->head, *next; chunk; chunk = next) {
        next = chunk->next;
        pe_mem_free(chunk);
    }
    *arena = (pe_arena){0};
}
