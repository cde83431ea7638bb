/* The tokenizer: checks the vocabulary of a file once, builds the dictionaries, then splits texts around special tokens
 * and hands what lies between to BPE or SPM.
 *
 *   text -> [special tokens: trie] -> stretches -> BPE: words -> bytes -> merges        -> ids
 *                                               -> SPM: parts -> characters -> merges
 *
 * Everything that a call reads is immutable and in one arena. */
#include "text/tokenizer.h"
#include "text/bpe.h"
#include "text/spm.h"
#include "text/trie.h"

#include <string.h>

enum {
    MAX_TOKENS = 1 << 24,
    MAX_TEXT = 1 << 30, /* so that offsets into a text stay below 2^32 in either spelling */
};

typedef enum token_type { /* tokenizer.ggml.token_type */
                          TYPE_UNDEFINED,
                          TYPE_NORMAL,
                          TYPE_UNKNOWN,
                          TYPE_CONTROL,
                          TYPE_USER,
                          TYPE_UNUSED,
                          TYPE_BYTE,
} token_type;

struct pe_tokenizer {
    pe_arena arena;
    pe_vocab_kind kind;
    size_t n_tokens;
    char *bytes;         /* of all tokens, one after the other */
    uint32_t *offsets;   /* [n_tokens + 1] into bytes */
    uint8_t *attributes; /* [n_tokens] */
    int32_t bos_id, eos_id;
    bool add_bos, add_eos;
    pe_trie pieces;  /* what merging can produce */
    pe_trie user;    /* recognised in every text */
    pe_trie special; /* these and the control tokens: recognised on request */
    pe_bpe bpe;
    pe_spm spm;
};

/* ---- reading the vocabulary ------------------------------------------------------------------------------------- */

static token_type type_of(const pe_vocab *vocab, size_t id) {
    if (!vocab->types) return TYPE_NORMAL;
    const uint8_t *item = vocab->types + 4 * id;
    return (token_type)(item[0] | (uint32_t)item[1] << 8 | (uint32_t)item[2] << 16 | (uint32_t)item[3] << 24);
}

static float score_of(const pe_vocab *vocab, size_t id) {
    const uint8_t *item = vocab->scores + 4 * id;
    uint32_t bits = item[0] | (uint32_t)item[1] << 8 | (uint32_t)item[2] << 16 | (uint32_t)item[3] << 24;
    float score;
    memcpy(&score, &bits, sizeof score);
    return score;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of a piece "<0xHH>", or -1. */
static int byte_piece(pe_view text) {
    if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    int high = hex_digit(text.data[3]), low = hex_digit(text.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static pe_status check_id(const char *name, int32_t id, size_t n_tokens) {
    if (id >= -1 && id < (int64_t)n_tokens) return PE_OK;
    return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.%s_token_id is %d, expected a token id from 0 to %zu", name, (int)id,
                   n_tokens - 1);
}

static pe_status check_vocab(const pe_vocab *vocab, size_t *n_bytes) {
    if (vocab->kind != PE_VOCAB_BPE && vocab->kind != PE_VOCAB_SPM)
        return pe_fail(PE_ERR_ARG, "the kind of vocabulary is %d, expected PE_VOCAB_BPE or PE_VOCAB_SPM",
                       (int)vocab->kind);
    if (vocab->n_tokens == 0 || vocab->n_tokens > MAX_TOKENS)
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.tokens has %zu entries, expected 1 to %d", vocab->n_tokens,
                       MAX_TOKENS);
    if (vocab->kind == PE_VOCAB_SPM && !vocab->scores)
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.scores is missing, which this kind of vocabulary needs");
    pe_status status = check_id("bos", vocab->bos_id, vocab->n_tokens);
    if (!status) status = check_id("eos", vocab->eos_id, vocab->n_tokens);
    if (!status) status = check_id("unknown", vocab->unk_id, vocab->n_tokens);
    if (!status) status = check_id("eot", vocab->eot_id, vocab->n_tokens);
    if (!status) status = check_id("eom", vocab->eom_id, vocab->n_tokens);
    if (status) return status;
    uint64_t bytes = 0;
    for (size_t id = 0; id < vocab->n_tokens; id++) {
        size_t size = vocab->tokens[id].size;
        if (size > PE_TRIE_MAX_KEY)
            return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.tokens[%zu] has %zu bytes, expected at most %d", id, size,
                           PE_TRIE_MAX_KEY);
        bytes += size; /* at most 2^24 sizes below 2^16 */
        if ((uint32_t)type_of(vocab, id) > TYPE_BYTE)
            return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.token_type[%zu] is %d, expected 1 to 6", id,
                           (int)type_of(vocab, id));
    }
    if (bytes > INT32_MAX)
        return pe_fail(PE_ERR_UNSUPPORTED, "tokenizer.ggml.tokens holds %llu bytes of text, at most %d are supported",
                       (unsigned long long)bytes, INT32_MAX);
    *n_bytes = (size_t)bytes;
    return PE_OK;
}

/* ---- attributes ------------------------------------------------------------------------------------------------- */

/* Files often name one end token only, while their chat templates use another. Peers take these names for control
 * tokens whatever the file says, that is, they find them in a text on request only; so does this tokenizer. */
static bool is_end_name(pe_view text) {
    static const char *const names[] = {"<|im_end|>", "<|endoftext|>", "<end_of_turn>",   "<|eot_id|>", "<|eom_id|>",
                                        "</s>",       "<|end|>",       "<|end_of_text|>", "<eos>"};
    if (text.size < 4 || text.data[0] != '<') return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == text.size && memcmp(names[i], text.data, text.size) == 0) return true;
    return false;
}

static uint8_t attributes_of(const pe_vocab *vocab, size_t id) {
    static const uint8_t by_type[] = {
        0, 0, PE_TOKEN_UNKNOWN, PE_TOKEN_CONTROL, PE_TOKEN_USER, PE_TOKEN_UNUSED, PE_TOKEN_BYTE};
    token_type type = type_of(vocab, id);
    uint8_t attributes = by_type[type];
    int32_t number = (int32_t)id;
    pe_view text = vocab->tokens[id];
    if (number == vocab->eos_id || number == vocab->eot_id || number == vocab->eom_id) attributes |= PE_TOKEN_END;
    /* A user-defined </s> is as likely the HTML tag as the end of an answer. */
    if (type == TYPE_CONTROL || (type == TYPE_USER && text.size > 4))
        if (is_end_name(text)) attributes |= PE_TOKEN_END;
    return attributes;
}

/* ---- building --------------------------------------------------------------------------------------------------- */

static bool is_special(token_type type) { return type == TYPE_CONTROL || type == TYPE_UNKNOWN || type == TYPE_USER; }

typedef struct key_list {
    pe_trie_key *keys;
    size_t n;
} key_list;

static void add_key(key_list *list, const char *data, size_t size, size_t id) {
    if (size) list->keys[list->n++] = (pe_trie_key){data, (uint32_t)size, (int32_t)id};
}

/* Bytes of token `id`, appended at *used. Fills the byte table of SPM. False where a merge cannot produce it. */
static pe_status add_token(pe_tokenizer *t, const pe_vocab *vocab, size_t id, size_t *used, bool *piece) {
    pe_view text = vocab->tokens[id];
    token_type type = type_of(vocab, id);
    char *out = t->bytes + *used;
    *piece = false;
    if (is_special(type)) {
        if (text.size) memcpy(out, text.data, text.size);
        *used += text.size;
        *piece = type == TYPE_USER;
        if (*piece && t->kind == PE_VOCAB_SPM) pe_spm_note_joins(&t->spm, out, text.size);
    } else if (t->kind == PE_VOCAB_BPE) {
        *used += pe_byte_level_decode(text, out, piece);
    } else if (type == TYPE_BYTE || (!vocab->types && byte_piece(text) >= 0)) {
        int byte = byte_piece(text);
        if (byte < 0)
            return pe_fail(PE_ERR_FORMAT,
                           "tokenizer.ggml.tokens[%zu] is of type byte and reads '%.*s', expected <0x00> to <0xFF>", id,
                           text.size < 40 ? (int)text.size : 40, text.size ? text.data : "");
        out[0] = (char)byte;
        *used += 1;
        t->attributes[id] |= PE_TOKEN_BYTE;
        if (t->spm.byte_id[byte] >= 0)
            return pe_fail(PE_ERR_FORMAT,
                           "tokenizer.ggml.tokens[%zu] is <0x%02X>, as token %d is already; expected one piece a byte",
                           id, (unsigned)byte, (int)t->spm.byte_id[byte]);
        t->spm.byte_id[byte] = (int32_t)id;
    } else {
        size_t size = pe_spm_unescape(text, out);
        pe_spm_note_joins(&t->spm, out, size);
        *used += size;
        *piece = true;
    }
    return PE_OK;
}

/* Keys of BPE are bytes, keys of SPM are written as in the file. User-defined tokens come after the others in BPE:
 * files spell them as plain text, and where that equals the bytes of a normal token, merges mean the normal one. */
static pe_status build_pieces(pe_tokenizer *t, const pe_vocab *vocab, key_list *list) {
    bool bpe = t->kind == PE_VOCAB_BPE, piece;
    size_t used = 0;
    for (size_t id = 0; id < t->n_tokens; id++) {
        t->attributes[id] = attributes_of(vocab, id);
        t->offsets[id] = (uint32_t)used;
        pe_status status = add_token(t, vocab, id, &used, &piece);
        if (status) return status;
        if (!piece || (bpe && type_of(vocab, id) == TYPE_USER)) continue;
        if (bpe)
            add_key(list, t->bytes + t->offsets[id], used - t->offsets[id], id);
        else
            add_key(list, vocab->tokens[id].data, vocab->tokens[id].size, id);
    }
    t->offsets[t->n_tokens] = (uint32_t)used;
    for (size_t id = 0; bpe && vocab->types && id < t->n_tokens; id++)
        if (type_of(vocab, id) == TYPE_USER) add_key(list, vocab->tokens[id].data, vocab->tokens[id].size, id);
    return pe_trie_build(&t->pieces, &t->arena, list->keys, list->n);
}

static pe_status build_specials(pe_tokenizer *t, const pe_vocab *vocab, key_list *list) {
    if (!vocab->types) return PE_OK;
    for (int with_control = 0; with_control < 2; with_control++) {
        list->n = 0;
        for (size_t id = 0; id < t->n_tokens; id++) {
            token_type type = type_of(vocab, id);
            bool end = is_end_name(vocab->tokens[id]);
            if (with_control ? is_special(type) || end : type == TYPE_USER && !end)
                add_key(list, vocab->tokens[id].data, vocab->tokens[id].size, id);
        }
        pe_status status = pe_trie_build(with_control ? &t->special : &t->user, &t->arena, list->keys, list->n);
        if (status) return status;
    }
    return PE_OK;
}

static pe_status build_spm(pe_tokenizer *t, const pe_vocab *vocab) {
    uint32_t *priority = pe_arena_alloc(&t->arena, t->n_tokens, sizeof *priority);
    if (!priority) return PE_ERR_NOMEM;
    for (size_t id = 0; id < t->n_tokens; id++) {
        float score = score_of(vocab, id);
        if (score != score) return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.scores[%zu] is not a number", id);
        priority[id] = pe_spm_priority(score);
    }
    t->spm.pieces = &t->pieces;
    t->spm.priority = priority;
    t->spm.unk_id = vocab->unk_id;
    t->spm.add_space_prefix = vocab->add_space_prefix;
    for (int byte = 0; byte < 256; byte++)
        if (t->spm.byte_id[byte] < 0 && vocab->unk_id < 0)
            return pe_fail(PE_ERR_FORMAT,
                           "tokenizer.ggml.tokens has neither a piece <0x%02X> nor an unknown token: expected byte "
                           "pieces <0x00> to <0xFF>, or tokenizer.ggml.unknown_token_id",
                           (unsigned)byte);
    return PE_OK;
}

static pe_status build(pe_tokenizer *t, const pe_vocab *vocab, size_t n_bytes) {
    t->kind = vocab->kind;
    t->n_tokens = vocab->n_tokens;
    t->bos_id = vocab->bos_id;
    t->eos_id = vocab->eos_id;
    t->add_bos = vocab->add_bos && vocab->bos_id >= 0;
    t->add_eos = vocab->add_eos && vocab->eos_id >= 0;
    t->bytes = pe_arena_alloc(&t->arena, n_bytes + 1, 1);
    t->offsets = pe_arena_alloc(&t->arena, t->n_tokens + 1, sizeof *t->offsets);
    t->attributes = pe_arena_alloc(&t->arena, t->n_tokens, 1);
    if (!t->bytes || !t->offsets || !t->attributes) return PE_ERR_NOMEM;
    if (t->kind == PE_VOCAB_SPM) {
        t->spm.joins = pe_arena_alloc(&t->arena, 256 * 256 / 8, 1);
        if (!t->spm.joins) return PE_ERR_NOMEM;
        for (int byte = 0; byte < 256; byte++) t->spm.byte_id[byte] = -1;
    }
    key_list list = {.keys = pe_mem_alloc(t->n_tokens, sizeof *list.keys)};
    if (!list.keys) return PE_ERR_NOMEM;
    pe_status status = build_pieces(t, vocab, &list);
    if (!status) status = build_specials(t, vocab, &list);
    pe_mem_free(list.keys);
    if (status) return status;
    if (t->kind == PE_VOCAB_SPM) return build_spm(t, vocab);
    return pe_bpe_create(&t->bpe, &t->arena, &t->pieces, vocab->pre, vocab->merges, vocab->n_merges,
                         vocab->ignore_merges);
}

pe_status pe_tokenizer_create(const pe_vocab *vocab, pe_tokenizer **out) {
    *out = NULL;
    size_t n_bytes = 0;
    pe_status status = check_vocab(vocab, &n_bytes);
    if (status) return status;
    pe_tokenizer *t = pe_mem_alloc(1, sizeof *t);
    if (!t) return PE_ERR_NOMEM;
    status = build(t, vocab, n_bytes);
    if (status) {
        pe_tokenizer_free(t);
        return status;
    }
    *out = t;
    return PE_OK;
}

void pe_tokenizer_free(pe_tokenizer *tokenizer) {
    if (!tokenizer) return;
    pe_arena_free(&tokenizer->arena);
    pe_mem_free(tokenizer);
}

/* ---- text to ids ------------------------------------------------------------------------------------------------ */

static pe_status encode_stretch(const pe_tokenizer *t, pe_encoder *encoder, const char *text, size_t size) {
    if (size == 0) return PE_OK;
    return t->kind == PE_VOCAB_BPE ? pe_bpe_encode(&t->bpe, encoder, text, size)
                                   : pe_spm_encode(&t->spm, encoder, text, size);
}

/* Special tokens first: the longest one at the earliest place. */
static pe_status encode_text(const pe_tokenizer *t, pe_encoder *encoder, const char *text, size_t size,
                             const pe_trie *special) {
    size_t start = 0;
    for (size_t at = 0; special->n_nodes && at < size;) {
        int32_t id;
        size_t length = 0;
        if (special->root[(uint8_t)text[at]]) length = pe_trie_longest(special, text + at, size - at, &id);
        if (length == 0) {
            at++;
            continue;
        }
        pe_status status = encode_stretch(t, encoder, text + start, at - start);
        if (status) return status;
        pe_encoder_emit(encoder, id);
        start = at += length;
    }
    return encode_stretch(t, encoder, text + start, size - start);
}

pe_status pe_tokenizer_encode(const pe_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                              int32_t *ids, size_t cap, size_t *n_ids) {
    *n_ids = 0;
    if (size > MAX_TEXT)
        return pe_fail(PE_ERR_ARG, "the text has %zu bytes, at most %d can be tokenized at once", size, MAX_TEXT);
    const pe_tokenizer *t = tokenizer;
    pe_encoder encoder;
    pe_encoder_begin(&encoder, ids, cap);
    if ((flags & PE_TOKENIZE_SPECIAL) && t->add_bos) pe_encoder_emit(&encoder, t->bos_id);
    pe_status status = encode_text(t, &encoder, text, size, flags & PE_TOKENIZE_PARSE ? &t->special : &t->user);
    if ((flags & PE_TOKENIZE_SPECIAL) && t->add_eos) pe_encoder_emit(&encoder, t->eos_id);
    pe_encoder_end(&encoder);
    if (!status) *n_ids = encoder.n_ids;
    return status;
}

/* ---- ids to text ------------------------------------------------------------------------------------------------ */

static pe_status check_token(const pe_tokenizer *t, int32_t id) {
    if (id >= 0 && (size_t)id < t->n_tokens) return PE_OK;
    return pe_fail(PE_ERR_ARG, "token %d does not exist: the vocabulary has tokens 0 to %zu", (int)id, t->n_tokens - 1);
}

pe_status pe_tokenizer_token_bytes(const pe_tokenizer *tokenizer, int32_t id, const char **bytes, size_t *size) {
    pe_status status = check_token(tokenizer, id);
    if (status) return status;
    *bytes = tokenizer->bytes + tokenizer->offsets[id];
    *size = tokenizer->offsets[id + 1] - tokenizer->offsets[id];
    return PE_OK;
}

pe_status pe_tokenizer_decode(const pe_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool skip_special,
                              char *text, size_t cap, size_t *n_bytes) {
    const pe_tokenizer *t = tokenizer;
    /* Encoding put a space before the first stretch of text, which may come after special tokens. */
    bool drop_space = t->kind == PE_VOCAB_SPM && t->spm.add_space_prefix;
    size_t used = 0;
    *n_bytes = 0;
    for (size_t i = 0; i < n_ids; i++) {
        const char *bytes;
        size_t size;
        pe_status status = pe_tokenizer_token_bytes(t, ids[i], &bytes, &size);
        if (status) return status;
        unsigned attributes = t->attributes[ids[i]];
        if (skip_special && (attributes & (PE_TOKEN_CONTROL | PE_TOKEN_UNKNOWN))) continue;
        if (drop_space && !(attributes & (PE_TOKEN_CONTROL | PE_TOKEN_UNKNOWN | PE_TOKEN_USER))) {
            drop_space = false;
            if (size && *bytes == ' ') {
                bytes++;
                size--;
            }
        }
        if (used < cap && size) memcpy(text + used, bytes, size < cap - used ? size : cap - used);
        used += size;
    }
    *n_bytes = used;
    return PE_OK;
}

unsigned pe_tokenizer_attributes(const pe_tokenizer *tokenizer, int32_t id) {
    if (id < 0 || (size_t)id >= tokenizer->n_tokens) return 0;
    return tokenizer->attributes[id];
}
