/* Counted pages. The count lies in front of the page's data. */
#include "model/kvcache.h"
#include "kernels/kernels.h"

#include <string.h>

enum { HEADER = 64 }; /* keeps the data aligned */

static atomic_int *count_of(void *page) { return (atomic_int *)(void *)((char *)page - HEADER); }

static void *page_create(size_t bytes) {
    char *block = pe_mem_alloc(1, HEADER + bytes);
    if (!block) return NULL;
    atomic_init((atomic_int *)(void *)block, 1);
    return block + HEADER;
}

static void page_release(void *page) {
    if (atomic_fetch_sub(count_of(page), 1) == 1) pe_mem_free((char *)page - HEADER);
}

void pe_kvcache_init(pe_kvcache *cache, const pe_config *config, bool f32) {
    *cache = (pe_kvcache){.n_head_kv = config->n_head_kv,
                          .head_dim = config->head_dim,
                          .n_layer = config->n_layer - config->n_conv_layer,
                          .n_embd = config->n_embd,
                          .f32 = f32};
    cache->page_bytes = pe_kvcache_conv_offset(cache, config->n_conv_layer, PE_PAGE);
}

void pe_kvcache_truncate(pe_kvcache *cache, size_t n_positions) {
    const size_t keep = (n_positions + PE_PAGE - 1) / PE_PAGE;
    while (cache->n_pages > keep) page_release(cache->pages[--cache->n_pages]);
}

void pe_kvcache_free(pe_kvcache *cache) {
    pe_kvcache_truncate(cache, 0);
    pe_mem_free(cache->pages);
    cache->pages = NULL;
    cache->capacity = 0;
}

static pe_status grow_list(pe_kvcache *cache, size_t n_pages) {
    if (n_pages <= cache->capacity) return PE_OK;
    size_t capacity = cache->capacity ? cache->capacity : 16;
    while (capacity < n_pages) capacity *= 2;
    void **pages = pe_mem_grow(cache->pages, cache->capacity, capacity, sizeof *pages);
    if (!pages) return PE_ERR_NOMEM;
    cache->pages = pages;
    cache->capacity = capacity;
    return PE_OK;
}

pe_status pe_kvcache_reserve(pe_kvcache *cache, size_t first, size_t end) {
    const size_t n_pages = (end + PE_PAGE - 1) / PE_PAGE;
    pe_status status = grow_list(cache, n_pages);
    if (status) return status;
    for (size_t i = first / PE_PAGE; i < n_pages; i++) {
        if (i < cache->n_pages && atomic_load(count_of(cache->pages[i])) == 1) continue;
        void *page = page_create(cache->page_bytes);
        if (!page) return PE_ERR_NOMEM;
        if (i < cache->n_pages) { /* shared with a fork: this timeline goes on in a copy */
            memcpy(page, cache->pages[i], cache->page_bytes);
            page_release(cache->pages[i]);
        } else {
            cache->n_pages = i + 1;
        }
        cache->pages[i] = page;
    }
    return PE_OK;
}

pe_status pe_kvcache_share(const pe_kvcache *cache, size_t n_positions, pe_kvcache *out) {
    const size_t n_pages = (n_positions + PE_PAGE - 1) / PE_PAGE;
    pe_status status = grow_list(out, n_pages);
    if (status) return status;
    for (size_t i = 0; i < n_pages; i++) {
        atomic_fetch_add(count_of(cache->pages[i]), 1);
        out->pages[i] = cache->pages[i];
    }
    out->n_pages = n_pages;
    return PE_OK;
}
