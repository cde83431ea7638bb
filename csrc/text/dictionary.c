/* Building the table. It is half empty at least, so that a lookup ends after a few places. */
#include "text/dictionary.h"

uint32_t *pe_table_alloc(pe_arena *arena, size_t n) {
    enum { SMALL_PAGE = 4096 / sizeof(uint32_t) };
    uint32_t *places = pe_arena_alloc(arena, n, sizeof *places);
    for (size_t i = 0; places && i < n; i += SMALL_PAGE) places[i] = 0;
    return places;
}

pe_status pe_dictionary_create(pe_dictionary *dictionary, pe_arena *arena, size_t n_keys) {
    unsigned bits = 4;
    while (((size_t)1 << bits) < 2 * n_keys) bits++;
    dictionary->mask = (uint32_t)(((uint64_t)1 << bits) - 1);
    dictionary->shift = 64 - bits;
    dictionary->longest = 0;
    dictionary->steps = 64 * (uint64_t)n_keys + 4096; /* one or two a key are usual */
    dictionary->places = pe_table_alloc(arena, (size_t)dictionary->mask + 1);
    return dictionary->places ? PE_OK : PE_ERR_NOMEM;
}

pe_status pe_dictionary_add(pe_dictionary *dictionary, int32_t id) {
    const pe_view key = pe_dictionary_key(dictionary, (uint32_t)id);
    const uint64_t hash = pe_hash_bytes(key.data, key.size);
    const uint32_t tag = pe_dictionary_tag(dictionary, hash);
    uint32_t place = (uint32_t)(hash >> dictionary->shift), entry;
    for (; (entry = dictionary->places[place]) != 0; place = (place + 1) & dictionary->mask) {
        if (dictionary->steps-- == 0)
            return pe_fail(
                PE_ERR_UNSUPPORTED,
                "tokenizer.ggml.tokens holds too many texts with the same hash, as if chosen to make loading "
                "slow; such a vocabulary is not read");
        if (entry >> 24 != tag) continue;
        const pe_view other = pe_dictionary_key(dictionary, entry & 0xFFFFFF);
        if (other.size == key.size && memcmp(other.data, key.data, key.size) == 0) return PE_OK;
    }
    dictionary->places[place] = tag << 24 | (uint32_t)id;
    if (key.size > dictionary->longest) dictionary->longest = key.size;
    return PE_OK;
}
