/* The working memory of an encode call: on the stack for as long as it suffices. */
#include "text/merge.h"

void pe_encoder_begin(pe_encoder *encoder, int32_t *ids, size_t cap) {
    encoder->ids = ids;
    encoder->cap = cap;
    encoder->n_ids = 0;
    encoder->text = encoder->own_text;
    encoder->symbols = encoder->own_symbols;
    encoder->links = encoder->own_links;
    encoder->heap = encoder->own_heap;
    encoder->room = PE_STACK_WORD;
    encoder->block = NULL;
}

void pe_encoder_end(pe_encoder *encoder) { pe_mem_free(encoder->block); }

pe_status pe_encoder_reserve(pe_encoder *encoder, size_t n) {
    if (n <= encoder->room) return PE_OK;
    size_t room = n > 2 * encoder->room ? n : 2 * encoder->room;
    const size_t per_symbol = 2 * sizeof *encoder->heap + sizeof *encoder->links + sizeof *encoder->symbols + 4;
    char *block = pe_mem_alloc(room, per_symbol);
    if (!block) return PE_ERR_NOMEM;
    pe_mem_free(encoder->block);
    encoder->block = block;
    encoder->room = room;
    encoder->heap = (uint64_t *)(void *)block; /* the strictest alignment comes first */
    encoder->links = (pe_link *)(void *)(encoder->heap + 2 * room);
    encoder->symbols = (pe_symbol *)(void *)(encoder->links + room);
    encoder->text = (char *)(encoder->symbols + room);
    return PE_OK;
}
