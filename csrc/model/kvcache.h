/* Keys and values of one session, in pages of PE_PAGE positions that are added as the session grows. A page holds all
 * layers: [layer][K, V][KV head], K as [head_dim, PE_PAGE], V as [PE_PAGE, head_dim]. Pages are counted, so that a fork
 * shares them; a shared page is copied before it is written. After these, a page has [short convolution][PE_PAGE,
 * n_embd] of what each of them reads, for architectures that have some: rewinding and forking find their state where it
 * was. */
#ifndef PE_MODEL_KVCACHE_H
#define PE_MODEL_KVCACHE_H

#include "model/model.h"

typedef struct pe_kvcache {
    uint32_t n_head_kv, head_dim, n_layer; /* n_layer: those with attention */
    uint32_t n_embd;
    bool f32; /* else f16 */
    size_t page_bytes;
    size_t n_pages, capacity;
    void **pages; /* [n_pages] page data */
} pe_kvcache;

void pe_kvcache_init(pe_kvcache *cache, const pe_config *config, bool f32);
void pe_kvcache_free(pe_kvcache *cache);
/* Make positions first..end-1 writable. On failure nothing that was readable is lost. */
pe_status pe_kvcache_reserve(pe_kvcache *cache, size_t first, size_t end);
/* Give back pages past the first `n_positions`. */
void pe_kvcache_truncate(pe_kvcache *cache, size_t n_positions);
/* `out` (initialised, empty) shares the first n_positions. */
pe_status pe_kvcache_share(const pe_kvcache *cache, size_t n_positions, pe_kvcache *out);

/* Bytes from the start of a page to K (value = false) or V of one head. */
static inline size_t pe_kvcache_offset(const pe_kvcache *c, uint32_t layer, bool value, uint32_t head, size_t page) {
    return (((size_t)layer * 2 + value) * c->n_head_kv + head) * page * c->head_dim * (c->f32 ? 4 : 2);
}

/* Bytes from the start of a page to the inputs of a short convolution. */
static inline size_t pe_kvcache_conv_offset(const pe_kvcache *c, uint32_t conv, size_t page) {
    return pe_kvcache_offset(c, c->n_layer, false, 0, page) + (size_t)conv * page * c->n_embd * (c->f32 ? 4 : 2);
}

#endif
