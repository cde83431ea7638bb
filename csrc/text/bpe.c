/* Merge rules are kept by token ids, not by text: a pair is found with one probe of a hash table whatever the length
 * of its two sides. */
#include "text/bpe.h"

#include <string.h>

/* The byte that a character of the alphabet stands for, or -1. Printable Latin-1 stands for itself; the other 68 bytes
 * follow in order from U+0100 on. */
static int byte_of(uint32_t character) {
    if ((character >= 0x21 && character <= 0x7E) || (character >= 0xA1 && character <= 0xAC) ||
        (character >= 0xAE && character <= 0xFF))
        return (int)character;
    if (character < 0x100 || character > 0x143) return -1;
    uint32_t i = character - 0x100;
    if (i <= 0x20) return (int)i;
    return i < 0x43 ? (int)(0x7F + (i - 0x21)) : 0xAD;
}

size_t pe_byte_level_decode(pe_view text, char *out, bool *pure) {
    const uint8_t *in = (const uint8_t *)text.data;
    size_t size = 0, i = 0;
    *pure = true;
    while (i < text.size) {
        uint32_t character = in[i];
        size_t length = 1;
        if (character >= 0x21 && character <= 0x7E) { /* most characters, without a further look */
            out[size++] = text.data[i++];
            continue;
        }
        if (character >= 0xC2 && character <= 0xC5 && i + 1 < text.size && (in[i + 1] & 0xC0) == 0x80) {
            character = (character & 0x1F) << 6 | (in[i + 1] & 0x3F);
            length = 2;
        } else if (character >= 0x80) {
            character = UINT32_MAX;
        }
        int byte = byte_of(character);
        if (byte >= 0) {
            out[size++] = (char)byte;
        } else {
            *pure = false;
            for (size_t j = 0; j < length; j++) out[size++] = text.data[i + j];
        }
        i += length;
    }
    return size;
}

static inline uint32_t place_of(const pe_bpe *bpe, uint32_t left, uint32_t right) {
    uint64_t key = (uint64_t)left << 32 | right;
    return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> bpe->shift);
}

static inline pe_pair find_pair(const void *context, const pe_symbol *left, const pe_symbol *right) {
    const pe_bpe *bpe = context;
    pe_pair none = {PE_NO_PAIR, -1};
    if (left->id < 0 || right->id < 0) return none;
    uint32_t a = (uint32_t)left->id + 1, b = (uint32_t)right->id + 1;
    for (uint32_t place = place_of(bpe, a, b);; place = (place + 1) & bpe->mask) {
        const pe_merge_rule *rule = &bpe->rules[place];
        if (rule->left == a && rule->right == b) return rule->pair;
        if (rule->left == 0) return none;
    }
}

/* The first rule for a pair has the best rank: a later one for the same pair changes nothing. */
static void add_rule(const pe_bpe *bpe, pe_merge_rule *rules, uint32_t left, uint32_t right, pe_pair pair) {
    uint32_t place = place_of(bpe, left, right);
    for (; rules[place].left; place = (place + 1) & bpe->mask)
        if (rules[place].left == left && rules[place].right == right) return;
    rules[place] = (pe_merge_rule){left, right, pair};
}

static pe_status unknown_token(size_t merge, const char *which, pe_view text) {
    int shown = text.size < 100 ? (int)text.size : 100;
    return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.merges[%zu]: %s '%.*s' is not a token of the vocabulary", merge,
                   which, shown, text.data);
}

/* `bytes` has room for the longest merge. */
static pe_status read_merge(const pe_bpe *bpe, pe_merge_rule *rules, const pe_view *merges, size_t i, char *bytes) {
    pe_view merge = merges[i];
    const char *space = merge.size > 2 ? memchr(merge.data + 1, ' ', merge.size - 2) : NULL;
    if (!space) {
        int shown = merge.size < 100 ? (int)merge.size : 100;
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.merges[%zu] is '%.*s', expected two tokens with a space between",
                       i, shown, merge.data ? merge.data : "");
    }
    pe_view left = {merge.data, (size_t)(space - merge.data)};
    pe_view right = {space + 1, merge.size - left.size - 1};
    bool left_pure, right_pure;
    size_t left_size = pe_byte_level_decode(left, bytes, &left_pure);
    size_t right_size = pe_byte_level_decode(right, bytes + left_size, &right_pure);
    int32_t left_id, right_id = pe_trie_find(bpe->pieces, bytes + left_size, right_size);
    int32_t merged_id = pe_trie_find_both(bpe->pieces, bytes, left_size, left_size + right_size, &left_id);
    if (!left_pure || !right_pure || left_id < 0 || right_id < 0 || merged_id < 0) {
        if (!left_pure || pe_trie_find(bpe->pieces, bytes, left_size) < 0)
            return unknown_token(i, "the left side", left);
        return right_pure && right_id >= 0 ? unknown_token(i, "the result of", merge)
                                           : unknown_token(i, "the right side", right);
    }
    add_rule(bpe, rules, (uint32_t)left_id + 1, (uint32_t)right_id + 1, (pe_pair){(uint32_t)i, merged_id});
    return PE_OK;
}

pe_status pe_bpe_create(pe_bpe *bpe, pe_arena *arena, const pe_trie *pieces, pe_view pre, const pe_view *merges,
                        size_t n_merges, bool ignore_merges) {
    memset(bpe, 0, sizeof *bpe);
    bpe->pieces = pieces;
    pe_status status = pe_pretokenizer_find(pre, &bpe->pretokenizer);
    if (status) return status;
    bpe->ignore_merges = ignore_merges || bpe->pretokenizer->ignore_merges;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        bpe->byte_id[byte] = pe_trie_find(pieces, &text, 1);
    }
    if (n_merges > INT32_MAX / 2)
        return pe_fail(PE_ERR_UNSUPPORTED, "tokenizer.ggml.merges has %zu entries, at most %d are supported", n_merges,
                       INT32_MAX / 2);
    unsigned bits = 4;
    while (((size_t)1 << bits) < 2 * n_merges) bits++;
    bpe->mask = (uint32_t)(((uint64_t)1 << bits) - 1);
    bpe->shift = 64 - bits;
    size_t longest = 1;
    for (size_t i = 0; i < n_merges; i++)
        if (merges[i].size > longest) longest = merges[i].size;
    pe_merge_rule *rules = pe_arena_alloc(arena, (size_t)bpe->mask + 1, sizeof *rules);
    char *bytes = pe_mem_alloc(longest, 1);
    if (!rules || !bytes) status = PE_ERR_NOMEM;
    bpe->rules = rules;
    for (size_t i = 0; i < n_merges && !status; i++) status = read_merge(bpe, rules, merges, i, bytes);
    pe_mem_free(bytes);
    return status;
}

static pe_status encode_word(const pe_bpe *bpe, pe_encoder *encoder, const char *word, size_t size) {
    if (bpe->ignore_merges && size > 1) {
        int32_t id = pe_trie_find(bpe->pieces, word, size);
        if (id >= 0) {
            pe_encoder_emit(encoder, id);
            return PE_OK;
        }
    }
    pe_status status = pe_encoder_reserve(encoder, size);
    if (status) return status;
    pe_symbol *symbols = encoder->symbols;
    for (size_t i = 0; i < size; i++) symbols[i].id = bpe->byte_id[(uint8_t)word[i]];
    size_t n = pe_merge(encoder, size, find_pair, bpe);
    for (size_t i = 0; i < n; i++)
        if (symbols[i].id >= 0) pe_encoder_emit(encoder, symbols[i].id);
    return PE_OK;
}

pe_status pe_bpe_encode(const pe_bpe *bpe, pe_encoder *encoder, const char *text, size_t size) {
    pe_splitter next = bpe->pretokenizer->next;
    pe_status status = PE_OK;
    for (size_t start = 0, end; start < size && !status; start = end) {
        end = next(text, start, size);
        status = encode_word(bpe, encoder, text + start, end - start);
    }
    return status;
}
