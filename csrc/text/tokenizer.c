/* The tokenizer: checks the vocabulary of a file once, builds the dictionaries, then splits texts around special tokens
 * and hands what lies between to BPE or SPM.
 *
 *   text -> [special tokens: trie] -> stretches -> BPE: words -> bytes -> merges        -> ids
 *                                               -> SPM: parts -> characters -> merges
 *   text -> Nano: longest tokens                                                        -> ids
 *
 * Everything that a call reads is immutable and in one arena. */
#include "text/tokenizer.h"
#include "text/bpe.h"
#include "text/nano.h"
#include "text/spm.h"
#include "text/trie.h"

#include <string.h>

enum {
    MAX_TOKENS = 1 << 24,
    MAX_TEXT = 1 << 30, /* so that offsets into a text stay below 2^32 in either spelling */
};

enum { /* bits above those of PE_TOKEN_... */
       PUBLIC_ATTRIBUTES = 0x3F,
       TAKES_SPACE_BEFORE = 0x40,
       TAKES_SPACE_AFTER = 0x80,
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
    pe_dictionary pieces; /* what merging can produce */
    pe_trie user;         /* recognised in every text */
    pe_trie special;      /* these and the control tokens: recognised on request */
    pe_bpe bpe;
    pe_spm spm;
    pe_nano nano;
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
    if (vocab->kind != PE_VOCAB_BPE && vocab->kind != PE_VOCAB_SPM && vocab->kind != PE_VOCAB_NANO)
        return pe_fail(PE_ERR_ARG, "the kind of vocabulary is %d, expected PE_VOCAB_BPE, PE_VOCAB_SPM or PE_VOCAB_NANO",
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
#define NAME(literal) {literal, sizeof(literal) - 1}
    static const pe_view names[] = {
        NAME("<|im_end|>"),
        NAME("<|endoftext|>"),
        NAME("<end_of_turn>"),
        NAME("<|eot_id|>"),
        NAME("<|eom_id|>"),
        NAME("</s>"),
        NAME("<|end|>"),
        NAME("<|end_of_text|>"),
        NAME("<eos>"),
        NAME("<|return|>"),
        NAME("<|call|>"),
        NAME("<EOT>"),
        NAME("[EOT]"),
        NAME("[EOS]"),
        NAME("<end_of_utterance>"),
        NAME("<turn|>"),
        NAME("<|fim_pad|>"),
        NAME("<|repo_name|>"),
        NAME("<|file_sep|>"),
        NAME("<\xEF\xBD\x9C"
             "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"), /* DeepSeek: U+FF5C, U+2581 */
    };
#undef NAME
    if (text.size < 4 || (text.data[0] != '<' && text.data[0] != '[')) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].size == text.size && memcmp(names[i].data, text.data, text.size) == 0) return true;
    return false;
}

static bool is_text(pe_view view, const char *text) {
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

/* The three that Phi-3's tokenizer excepts. */
static bool keeps_space(pe_view text) {
    return is_text(text, "<unk>") || is_text(text, "<s>") || is_text(text, "<|endoftext|>");
}

/* Of a token of one of the special types. */
static uint8_t attributes_of(const pe_vocab *vocab, token_type type, pe_view text) {
    uint8_t attributes = type == TYPE_CONTROL ? PE_TOKEN_CONTROL : type == TYPE_USER ? PE_TOKEN_USER : PE_TOKEN_UNKNOWN;
    /* A user-defined </s> is as likely the HTML tag as the end of an answer. */
    if (type == TYPE_CONTROL || (type == TYPE_USER && text.size > 4))
        if (is_end_name(text)) attributes |= PE_TOKEN_END;
    if (vocab->rstrip_special && !keeps_space(text)) attributes |= TAKES_SPACE_AFTER;
    if (vocab->lstrip_mask && (is_text(text, "<mask>") || is_text(text, "[MASK]"))) attributes |= TAKES_SPACE_BEFORE;
    return attributes;
}

/* ---- defaults --------------------------------------------------------------------------------------------------- */

/* Whether `text` has `part`, given in lower case, in either case. */
static bool mentions(pe_view text, const char *part) {
    const size_t size = strlen(part);
    for (size_t start = 0; start + size <= text.size; start++) {
        size_t i = 0;
        while (i < size && (text.data[start + i] | (part[i] & 0x20)) == part[i]) i++;
        if (i == size) return true;
    }
    return false;
}

pe_status pe_vocab_set_defaults(pe_vocab *vocab) {
    const bool spm = vocab->kind == PE_VOCAB_SPM, bpe = vocab->kind == PE_VOCAB_BPE;
    vocab->bos_id = vocab->eos_id = vocab->unk_id = vocab->eot_id = vocab->eom_id = -1;
    if (spm && vocab->n_tokens > 2) { /* where SentencePiece puts them */
        vocab->unk_id = 0;
        vocab->bos_id = 1;
        vocab->eos_id = 2;
    }
    vocab->add_bos = vocab->add_space_prefix = spm;
    vocab->add_eos = vocab->ignore_merges = vocab->remove_extra_whitespaces = false;
    /* No key says which special tokens take white space with them. Peers go by names, and so does this. */
    vocab->rstrip_special = mentions(vocab->model_name, "phi-3") || mentions(vocab->model_name, "phi3");
    vocab->lstrip_mask = mentions(vocab->model_name, "modern-bert") || mentions(vocab->pre, "jina-v2-de") ||
                         mentions(vocab->pre, "jina-v2-es") || mentions(vocab->pre, "jina-v2-code");
    const pe_pretokenizer *pretokenizer;
    pe_status status = pe_pretokenizer_find(bpe ? vocab->pre : (pe_view){0}, vocab->pre_fallback, &pretokenizer);
    if (!status && bpe) vocab->add_bos = pretokenizer->add_bos;
    return status;
}

/* ---- building --------------------------------------------------------------------------------------------------- */

static bool is_special(token_type type) { return type == TYPE_CONTROL || type == TYPE_UNKNOWN || type == TYPE_USER; }

/* What is needed while a tokenizer is built. Untouched memory costs nothing, so the list has room for all. */
typedef struct workshop {
    uint32_t *specials; /* [n_specials] of n_tokens: what `user` and `special` hold */
    size_t n_specials;
    pe_trie_key *keys; /* [n_specials] */
    uint8_t *joins;    /* [256 * 256], see spm.h */
} workshop;

static pe_status add_byte_piece(pe_tokenizer *t, const pe_vocab *vocab, size_t id, char *out) {
    pe_view text = vocab->tokens[id];
    int byte = byte_piece(text);
    if (byte < 0)
        return pe_fail(PE_ERR_FORMAT,
                       "tokenizer.ggml.tokens[%zu] is of type byte and reads '%.*s', expected <0x00> to <0xFF>", id,
                       text.size < 40 ? (int)text.size : 40, text.size ? text.data : "");
    if (t->spm.byte_id[byte] >= 0)
        return pe_fail(PE_ERR_FORMAT,
                       "tokenizer.ggml.tokens[%zu] is <0x%02X>, as token %d is already; expected one piece a byte", id,
                       (unsigned)byte, (int)t->spm.byte_id[byte]);
    out[0] = (char)byte;
    t->attributes[id] |= PE_TOKEN_BYTE;
    t->spm.byte_id[byte] = (int32_t)id;
    return PE_OK;
}

/* Bytes of token `id` to `out`; *size of them. Fills the byte table of SPM. *piece is false where merging cannot
 * produce it, or where that is decided later: see add_user_pieces. */
static pe_status add_token(pe_tokenizer *t, const pe_vocab *vocab, workshop *w, size_t id, char *out, size_t *size,
                           bool *piece) {
    const pe_view text = vocab->tokens[id];
    const token_type type = type_of(vocab, id);
    if (is_special(type)) {
        if (text.size) memcpy(out, text.data, text.size);
        *size = text.size;
        *piece = type == TYPE_USER && t->kind == PE_VOCAB_SPM;
        if (*piece) pe_spm_note_joins(w->joins, out, text.size);
        w->specials[w->n_specials++] = (uint32_t)id;
        t->attributes[id] = attributes_of(vocab, type, text);
        return PE_OK;
    }
    if (type == TYPE_UNUSED) t->attributes[id] = PE_TOKEN_UNUSED;
    if (vocab->types && is_end_name(text)) w->specials[w->n_specials++] = (uint32_t)id;
    if (t->kind == PE_VOCAB_BPE) {
        if (type == TYPE_BYTE) t->attributes[id] = PE_TOKEN_BYTE;
        *size = pe_byte_level_decode(text, out, piece);
        return PE_OK;
    }
    if (t->kind == PE_VOCAB_NANO) {
        if (text.size && !vocab->spaces_escaped) memcpy(out, text.data, text.size);
        *size = vocab->spaces_escaped ? pe_spm_unescape(text, out) : text.size;
        *piece = false; /* found by its own tries */
        return PE_OK;
    }
    if (type == TYPE_BYTE || (!vocab->types && byte_piece(text) >= 0)) {
        *size = 1;
        *piece = false;
        return add_byte_piece(t, vocab, id, out);
    }
    *size = pe_spm_unescape(text, out);
    *piece = true;
    pe_spm_note_joins(w->joins, out, *size);
    return PE_OK;
}

/* User-defined tokens come after the others in BPE: files spell them as plain text, and where that equals the bytes of
 * a normal token, merges mean the normal one. */
static pe_status add_user_pieces(pe_tokenizer *t, const workshop *w) {
    pe_status status = PE_OK;
    for (size_t i = 0; i < w->n_specials && !status; i++) {
        const uint32_t id = w->specials[i];
        const bool user = t->attributes[id] & PE_TOKEN_USER;
        if (user && t->offsets[id] < t->offsets[id + 1]) status = pe_dictionary_add(&t->pieces, (int32_t)id);
    }
    return status;
}

/* Keys of BPE are bytes, keys of SPM are written as in the file. */
static pe_status build_pieces(pe_tokenizer *t, const pe_vocab *vocab, workshop *w) {
    t->pieces.bytes = t->bytes;
    t->pieces.offsets = t->offsets;
    if (t->kind == PE_VOCAB_SPM) t->pieces.views = vocab->tokens;
    pe_status status = pe_dictionary_create(&t->pieces, &t->arena, t->n_tokens);
    for (size_t id = 0, used = 0, size; id < t->n_tokens && !status; id++) {
        bool piece;
        status = add_token(t, vocab, w, id, t->bytes + used, &size, &piece);
        used += size;
        t->offsets[id + 1] = (uint32_t)used;
        if (!status && piece && vocab->tokens[id].size) status = pe_dictionary_add(&t->pieces, (int32_t)id);
    }
    if (!status && t->kind == PE_VOCAB_BPE) status = add_user_pieces(t, w);
    const int32_t ends[] = {vocab->eos_id, vocab->eot_id, vocab->eom_id};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] >= 0) t->attributes[ends[i]] |= PE_TOKEN_END;
    return status;
}

static pe_status build_specials(pe_tokenizer *t, const pe_vocab *vocab, workshop *w) {
    w->keys = pe_mem_alloc(w->n_specials, sizeof *w->keys);
    if (!w->keys) return PE_ERR_NOMEM;
    for (int with_control = 0; with_control < 2; with_control++) {
        size_t n = 0;
        for (size_t i = 0; i < w->n_specials; i++) {
            const uint32_t id = w->specials[i];
            const pe_view text = vocab->tokens[id];
            const bool user = (t->attributes[id] & PE_TOKEN_USER) && !is_end_name(text);
            if (text.size && (with_control || user))
                w->keys[n++] = (pe_trie_key){text.data, (uint32_t)text.size, (int32_t)id};
        }
        pe_status status = pe_trie_build(with_control ? &t->special : &t->user, &t->arena, w->keys, n);
        if (status) return status;
    }
    return PE_OK;
}

static pe_status build_spm(pe_tokenizer *t, const pe_vocab *vocab, const uint8_t *joins) {
    uint32_t *priority = pe_arena_alloc(&t->arena, t->n_tokens, sizeof *priority);
    t->spm.joins = pe_arena_alloc(&t->arena, 256 * 256 / 8, 1);
    if (!priority || !t->spm.joins) return PE_ERR_NOMEM;
    pe_spm_set_joins(&t->spm, joins);
    for (size_t id = 0; id < t->n_tokens; id++) {
        float score = score_of(vocab, id);
        if (score != score) return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.scores[%zu] is not a number", id);
        priority[id] = pe_spm_priority(score);
    }
    t->spm.pieces = &t->pieces;
    t->spm.priority = priority;
    t->spm.unk_id = vocab->unk_id;
    t->spm.add_space_prefix = vocab->add_space_prefix;
    t->spm.remove_extra_whitespaces = vocab->remove_extra_whitespaces;
    for (int byte = 0; byte < 256; byte++)
        if (t->spm.byte_id[byte] < 0 && vocab->unk_id < 0)
            return pe_fail(PE_ERR_FORMAT,
                           "tokenizer.ggml.tokens has neither a piece <0x%02X> nor an unknown token: expected byte "
                           "pieces <0x00> to <0xFF>, or tokenizer.ggml.unknown_token_id",
                           (unsigned)byte);
    return PE_OK;
}

static pe_status build_nano(pe_tokenizer *t, const pe_vocab *vocab) {
    if (vocab->unk_id < 0)
        return pe_fail(PE_ERR_FORMAT,
                       "tokenizer.ggml.unknown_token_id is missing, which this kind of vocabulary needs");
    t->nano.unk_id = vocab->unk_id;
    return pe_nano_create(&t->nano, &t->arena, t->bytes, t->offsets, t->n_tokens, t->attributes,
                          PE_TOKEN_CONTROL | PE_TOKEN_UNKNOWN);
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
    workshop w = {.specials = pe_mem_alloc(t->n_tokens, sizeof *w.specials), .joins = pe_mem_alloc(256 * 256, 1)};
    for (int byte = 0; byte < 256; byte++) t->spm.byte_id[byte] = -1;
    pe_status status = w.specials && w.joins ? build_pieces(t, vocab, &w) : PE_ERR_NOMEM;
    if (!status) status = build_specials(t, vocab, &w);
    if (!status && t->kind == PE_VOCAB_SPM) status = build_spm(t, vocab, w.joins);
    pe_mem_free(w.specials);
    pe_mem_free(w.joins);
    pe_mem_free(w.keys);
    if (!status && t->kind == PE_VOCAB_NANO) status = build_nano(t, vocab);
    if (status || t->kind != PE_VOCAB_BPE) return status;
    const pe_pretokenizer *pretokenizer;
    status = pe_pretokenizer_find(vocab->pre, vocab->pre_fallback, &pretokenizer);
    if (status) return status;
    t->bpe.ignore_merges = vocab->ignore_merges || pretokenizer->ignore_merges;
    return pe_bpe_create(&t->bpe, &t->arena, &t->pieces, pretokenizer, vocab->merges, vocab->n_merges);
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

static inline bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

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
        size_t stop = at;
        if (t->attributes[id] & TAKES_SPACE_BEFORE)
            while (stop > start && is_space(text[stop - 1])) stop--;
        pe_status status = encode_stretch(t, encoder, text + start, stop - start);
        if (status) return status;
        pe_encoder_emit(encoder, id);
        at += length;
        if (t->attributes[id] & TAKES_SPACE_AFTER)
            while (at < size && is_space(text[at])) at++;
        start = at;
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
    const bool parse = flags & PE_TOKENIZE_PARSE;
    pe_status status = PE_OK;
    if (t->kind == PE_VOCAB_NANO)
        pe_nano_encode(&t->nano, &encoder, text, size, parse);
    else
        status = encode_text(t, &encoder, text, size, parse ? &t->special : &t->user);
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
    return tokenizer->attributes[id] & PUBLIC_ATTRIBUTES;
}
