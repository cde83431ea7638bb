#include "text/nano.h"
#include "text/unicode.h"

/* Whether Nano would ever try the token. */
static bool is_reachable(pe_view text) {
    size_t n = 0;
    for (size_t at = 0; at < text.size && n <= PE_NANO_LONGEST; n++)
        at += pe_utf8_length(text.data + at, text.size - at);
    return n >= 1 && n <= PE_NANO_LONGEST;
}

pe_status pe_nano_create(pe_nano *nano, pe_arena *arena, const char *bytes, const uint32_t *offsets, size_t n_tokens,
                         const uint8_t *attributes, uint8_t mask) {
    pe_trie_key *keys = pe_mem_alloc(n_tokens, sizeof *keys);
    if (!keys) return PE_ERR_NOMEM;
    pe_status status = PE_OK;
    for (int with_special = 0; with_special < 2 && !status; with_special++) {
        size_t n = 0;
        for (size_t id = 0; id < n_tokens; id++) {
            const pe_view text = {bytes + offsets[id], offsets[id + 1] - offsets[id]};
            if ((with_special || !(attributes[id] & mask)) && is_reachable(text))
                keys[n++] = (pe_trie_key){text.data, (uint32_t)text.size, (int32_t)id};
        }
        status = pe_trie_build(with_special ? &nano->all : &nano->plain, arena, keys, n);
    }
    pe_mem_free(keys);
    return status;
}

void pe_nano_encode(const pe_nano *nano, pe_encoder *encoder, const char *text, size_t size, bool parse_special) {
    const pe_trie *trie = parse_special ? &nano->all : &nano->plain;
    for (size_t at = 0; at < size;) {
        int32_t id = nano->unk_id;
        size_t length = trie->n_nodes ? pe_trie_longest(trie, text + at, size - at, &id) : 0;
        if (length == 0) length = pe_utf8_length(text + at, size - at);
        pe_encoder_emit(encoder, id);
        at += length;
    }
}
