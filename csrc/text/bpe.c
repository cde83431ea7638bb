/* Merge rules are kept by token ids, not by text: a pair is found with one probe of a hash table whatever the length
 * of its two sides. */
#include "text/bpe.h"

#include <string.h>

enum { MAX_MERGES = 1 << 24 };

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

/* The two bytes of a character U+0080..U+017F, or 0. */
static inline uint32_t two_byte_character(const uint8_t *in, size_t left) {
    if (left < 2 || in[0] < 0xC2 || in[0] > 0xC5 || (in[1] & 0xC0) != 0x80) return 0;
    return (uint32_t)(in[0] & 0x1F) << 6 | (in[1] & 0x3F);
}

size_t pe_byte_level_decode(pe_view text, char *out, bool *pure) {
    const uint8_t *in = (const uint8_t *)text.data;
    size_t size = 0, i = 0;
    *pure = true;
    while (i < text.size) {
        if (in[i] >= 0x21 && in[i] <= 0x7E) { /* most characters, without a further look */
            out[size++] = text.data[i++];
            continue;
        }
        const uint32_t character = two_byte_character(in + i, text.size - i);
        if (character == 0x120) { /* and most of the others */
            out[size++] = ' ';
            i += 2;
            continue;
        }
        const int byte = character ? byte_of(character) : -1;
        if (byte >= 0) {
            out[size++] = (char)byte;
            i += 2;
        } else {
            *pure = false;
            out[size++] = text.data[i++];
            if (character) out[size++] = text.data[i++];
        }
    }
    return size;
}

static inline uint64_t hash_of(int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return key * UINT64_C(0x9E3779B97F4A7C15);
}

static inline uint32_t tag_of(const pe_bpe *bpe, uint64_t hash) { return (uint32_t)(hash >> (bpe->shift - 8)) << 24; }

/* Most pairs are not merged: that is mostly known from the table of places alone, which stays in the cache. */
static inline pe_pair find_pair(const void *context, const pe_symbol *left, const pe_symbol *right) {
    const pe_bpe *bpe = context;
    const pe_pair none = {PE_NO_PAIR, -1};
    if (left->id < 0 || right->id < 0) return none;
    const uint64_t hash = hash_of(left->id, right->id);
    const uint32_t tag = tag_of(bpe, hash);
    for (uint32_t place = (uint32_t)(hash >> bpe->shift), entry; (entry = bpe->places[place]) != 0;
         place = (place + 1) & bpe->mask) {
        if ((entry & 0xFF000000u) != tag) continue;
        const uint32_t rank = (entry & 0xFFFFFF) - 1;
        const pe_merge_rule *rule = &bpe->rules[rank];
        if (rule->left == left->id && rule->right == right->id) return (pe_pair){rank, rule->merged};
    }
    return none;
}

/* The first rule for a pair has the best rank: a later one for the same pair changes nothing. */
static pe_status add_rule(pe_bpe *bpe, uint32_t rank, pe_merge_rule rule) {
    const uint64_t hash = hash_of(rule.left, rule.right);
    const uint32_t tag = tag_of(bpe, hash);
    uint32_t place = (uint32_t)(hash >> bpe->shift), entry;
    for (; (entry = bpe->places[place]) != 0; place = (place + 1) & bpe->mask) {
        if (bpe->steps-- == 0)
            return pe_fail(PE_ERR_UNSUPPORTED, "tokenizer.ggml.merges holds too many pairs with the same hash, as if "
                                               "chosen to make loading slow; such a vocabulary is not read");
        const pe_merge_rule *other = &bpe->rules[(entry & 0xFFFFFF) - 1];
        if (other->left == rule.left && other->right == rule.right) return PE_OK;
    }
    bpe->rules[rank] = rule;
    bpe->places[place] = tag | (rank + 1);
    return PE_OK;
}

static pe_status unknown_token(size_t merge, const char *which, pe_view text) {
    int shown = text.size < 100 ? (int)text.size : 100;
    return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.merges[%zu]: %s '%.*s' is not a token of the vocabulary", merge,
                   which, shown, text.data);
}

/* `bytes` has room for the longest merge. */
static pe_status read_merge(pe_bpe *bpe, const pe_view *merges, size_t i, char *bytes) {
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
    int32_t left_id = pe_dictionary_find(bpe->pieces, bytes, left_size);
    int32_t right_id = pe_dictionary_find(bpe->pieces, bytes + left_size, right_size);
    int32_t merged_id = pe_dictionary_find(bpe->pieces, bytes, left_size + right_size);
    if (!left_pure || !right_pure || left_id < 0 || right_id < 0 || merged_id < 0) {
        if (!left_pure || left_id < 0) return unknown_token(i, "the left side", left);
        return right_pure && right_id >= 0 ? unknown_token(i, "the result of", merge)
                                           : unknown_token(i, "the right side", right);
    }
    return add_rule(bpe, (uint32_t)i, (pe_merge_rule){left_id, right_id, merged_id});
}

pe_status pe_bpe_create(pe_bpe *bpe, pe_arena *arena, const pe_dictionary *pieces, const pe_pretokenizer *pretokenizer,
                        const pe_view *merges, size_t n_merges) {
    bpe->pieces = pieces;
    bpe->pretokenizer = pretokenizer;
    pe_status status = PE_OK;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        bpe->byte_id[byte] = pe_dictionary_find(pieces, &text, 1);
    }
    if (n_merges >= MAX_MERGES)
        return pe_fail(PE_ERR_UNSUPPORTED, "tokenizer.ggml.merges has %zu entries, less than %d are supported",
                       n_merges, MAX_MERGES);
    unsigned bits = 4;
    while (((size_t)1 << bits) < 2 * n_merges) bits++;
    bpe->mask = (uint32_t)(((uint64_t)1 << bits) - 1);
    bpe->shift = 64 - bits;
    bpe->steps = 64 * (uint64_t)n_merges + 4096;
    size_t longest = 1;
    for (size_t i = 0; i < n_merges; i++)
        if (merges[i].size > longest) longest = merges[i].size;
    bpe->places = pe_table_alloc(arena, (size_t)bpe->mask + 1);
    bpe->rules = pe_arena_alloc(arena, n_merges, sizeof *bpe->rules);
    char *bytes = pe_mem_alloc(longest, 1);
    if (!bpe->places || !bpe->rules || !bytes) status = PE_ERR_NOMEM;
    for (size_t i = 0; i < n_merges && !status; i++) status = read_merge(bpe, merges, i, bytes);
    pe_mem_free(bytes);
    return status;
}

static void fill(const pe_bpe *bpe, pe_symbol *symbols, const char *word, size_t size) {
    for (size_t i = 0; i < size; i++) symbols[i].id = bpe->byte_id[(uint8_t)word[i]];
}

static void emit(pe_encoder *encoder, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (encoder->symbols[i].id >= 0) pe_encoder_emit(encoder, encoder->symbols[i].id);
}

typedef struct long_word {
    pe_long_word base;
    const pe_bpe *bpe;
    const char *text;
} long_word;

static size_t fill_window(const pe_long_word *word, pe_encoder *encoder, size_t at, size_t most, size_t *end) {
    const long_word *w = (const long_word *)word;
    const size_t n = word->size - at < most ? word->size - at : most;
    fill(w->bpe, encoder->symbols, w->text + at, n);
    for (size_t i = 0; i < n; i++) encoder->symbols[i].start = (uint32_t)i;
    for (size_t i = 0; i < n; i++) encoder->symbols[i].end = (uint32_t)i + 1;
    *end = at + n;
    return n;
}

static size_t merge_window(const pe_long_word *word, pe_encoder *encoder, size_t n) {
    return pe_merge(encoder, n, find_pair, ((const long_word *)word)->bpe);
}

static size_t place_in_word(const pe_long_word *word, size_t at, size_t start) {
    (void)word;
    return at + start;
}

static void emit_window(const pe_long_word *word, pe_encoder *encoder, size_t n) {
    (void)word;
    emit(encoder, n);
}

static pe_status encode_word(const pe_bpe *bpe, pe_encoder *encoder, const char *text, size_t size) {
    if (bpe->ignore_merges && size > 1) {
        int32_t id = pe_dictionary_find(bpe->pieces, text, size);
        if (id >= 0) {
            pe_encoder_emit(encoder, id);
            return PE_OK;
        }
    }
    if (size > PE_STACK_WORD) {
        const pe_long_word base = {size, fill_window, merge_window, place_in_word, emit_window};
        const long_word word = {base, bpe, text};
        return pe_merge_windows(&word.base, encoder);
    }
    fill(bpe, encoder->symbols, text, size);
    emit(encoder, pe_merge(encoder, size, find_pair, bpe));
    return PE_OK;
}

pe_status pe_bpe_encode(const pe_bpe *bpe, pe_encoder *encoder, const char *text, size_t size) {
    pe_words words;
    pe_words_begin(&words, bpe->pretokenizer, text, size);
    pe_status status = PE_OK;
    for (size_t start = 0, end; start < size && !status; start = end) {
        end = pe_words_next(&words);
        status = encode_word(bpe, encoder, text + start, end - start);
    }
    return status;
}
