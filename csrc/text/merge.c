/* The working memory of an encode call: on the stack for as long as it suffices. */
#include "text/merge.h"

#include <stdbool.h>

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

/* How many of the merged symbols [n] end early enough not to depend on what follows the window of `most` symbols, by
 * all experience; pe_merge_windows sees whether they did. */
static size_t count_certain(const pe_symbol *symbols, size_t n) {
    const uint32_t size = symbols[n - 1].end, certain = size - size / 8;
    while (n > 0 && symbols[n - 1].end > certain) n--;
    return n;
}

pe_status pe_merge_windows(const pe_long_word *word, pe_encoder *encoder) {
    const size_t n_ids = encoder->n_ids;
    size_t most = PE_STACK_WORD, at = 0, end;
    pe_symbol expected = {0};
    while (at < word->size) {
        pe_status status = pe_encoder_reserve(encoder, most);
        if (status) return status;
        const pe_symbol *symbols = encoder->symbols;
        const size_t n = word->merge(word, encoder, word->fill(word, encoder, at, most, &end));
        const bool as_expected = at == 0 || (symbols[0].id == expected.id && symbols[0].end == expected.end);
        const size_t certain = end < word->size ? count_certain(symbols, n) : n;
        const size_t next = end < word->size ? word->place(word, at, symbols[certain].start) : end;
        if (!as_expected || next == at) {
            most *= 4;
            at = 0;
            encoder->n_ids = n_ids;
            continue;
        }
        word->emit(word, encoder, certain);
        if (certain < n) {
            expected = symbols[certain];
            expected.end -= expected.start;
        }
        at = next;
    }
    return PE_OK;
}
