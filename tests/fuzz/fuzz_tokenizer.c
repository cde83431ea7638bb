/* libFuzzer target of the tokenizer. The first byte says what the rest is: a text for one of four fixed vocabularies,
 * which must come back from its ids byte for byte; or a vocabulary, merges and a text.
 *
 *   clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc tests/fuzz/fuzz_tokenizer.c csrc/text/?*.c \
 *         csrc/base/arena.c csrc/base/status.c
 *
 * A broken promise of text/tokenizer.h is a trap here. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) __builtin_trap();                                                                            \
    } while (0)

enum { MAX_TOKENS = 400, MAX_MERGES = 64, MAX_POOL = 1 << 14 };

typedef struct draft { /* a vocabulary in the making */
    char pool[MAX_POOL];
    size_t used;
    pe_view tokens[MAX_TOKENS], merges[MAX_MERGES];
    uint8_t types[4 * MAX_TOKENS], scores[4 * MAX_TOKENS];
    pe_vocab vocab;
} draft;

static pe_view keep(draft *d, const void *text, size_t size) {
    if (size > sizeof d->pool - d->used) size = sizeof d->pool - d->used;
    pe_view view = {d->pool + d->used, size};
    if (size) memcpy(d->pool + d->used, text, size);
    d->used += size;
    return view;
}

static void begin(draft *d, pe_vocab_kind kind) {
    memset(d, 0, sizeof *d);
    d->vocab.kind = kind;
    d->vocab.tokens = d->tokens;
    d->vocab.merges = d->merges;
    d->vocab.types = d->types;
    d->vocab.scores = d->scores;
    d->vocab.bos_id = d->vocab.eos_id = d->vocab.unk_id = d->vocab.eot_id = d->vocab.eom_id = -1;
}

static void add_token(draft *d, const void *text, size_t size, uint8_t type, float score) {
    size_t id = d->vocab.n_tokens;
    if (id == MAX_TOKENS) return;
    d->tokens[id] = keep(d, text, size);
    d->types[4 * id] = type;
    memcpy(d->scores + 4 * id, &score, sizeof score);
    d->vocab.n_tokens++;
}

static void add_text(draft *d, const char *text, uint8_t type, float score) {
    add_token(d, text, strlen(text), type, score);
}

static void add_merge(draft *d, const void *text, size_t size) {
    if (d->vocab.n_merges < MAX_MERGES) d->merges[d->vocab.n_merges++] = keep(d, text, size);
}

/* The byte-level alphabet. */
static void add_bytes(draft *d) {
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        unsigned character = printable ? byte : next++;
        char text[2] = {(char)character, 0};
        if (character >= 0x80) {
            text[0] = (char)(0xC0 | character >> 6);
            text[1] = (char)(0x80 | (character & 0x3F));
        }
        add_token(d, text, character >= 0x80 ? 2 : 1, 1, 0);
    }
}

static void add_byte_pieces(draft *d) {
    static const char digits[] = "0123456789ABCDEF";
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        add_token(d, text, sizeof text, 6, 0);
    }
}

static void add_specials(draft *d) {
    d->vocab.bos_id = (int32_t)d->vocab.n_tokens;
    d->vocab.add_bos = true;
    add_text(d, "<s>", 3, 0);
    add_text(d, "<s>s", 3, 0);
    add_text(d, "##", 4, 0);
    add_text(d, "\n\n", 4, 0);
}

static pe_tokenizer *make_bpe(draft *d, const char *pre) {
    static const char *const merges[] = {"a b", "Ġ a", "ab ab", "Ã ©", "Ġ Ġ", "ĠĠ ĠĠ", "1 2", "12 3", "' s", "Ġa b"};
    begin(d, PE_VOCAB_BPE);
    add_bytes(d);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        char joined[16];
        const char *space = strchr(merges[i], ' ');
        size_t left = (size_t)(space - merges[i]), right = strlen(space + 1);
        memcpy(joined, merges[i], left);
        memcpy(joined + left, space + 1, right);
        add_token(d, joined, left + right, 1, 0);
        add_merge(d, merges[i], strlen(merges[i]));
    }
    add_specials(d);
    d->vocab.pre = (pe_view){pre, strlen(pre)};
    pe_tokenizer *tokenizer;
    PROMISE(pe_tokenizer_create(&d->vocab, &tokenizer) == PE_OK);
    return tokenizer;
}

static pe_tokenizer *make_spm(draft *d, bool add_space_prefix) {
    static const char *const pieces[] = {"▁",    "▁a", "ab",   "▁ab",  "aba", "a▁", "▁▁",
                                         "▁▁▁▁", "é",  "中文", "文中", "a",   "<s"};
    begin(d, PE_VOCAB_SPM);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) add_text(d, pieces[i], 1, (float)(i * 7 % 5));
    add_byte_pieces(d);
    add_specials(d);
    d->vocab.add_space_prefix = add_space_prefix;
    pe_tokenizer *tokenizer;
    PROMISE(pe_tokenizer_create(&d->vocab, &tokenizer) == PE_OK);
    return tokenizer;
}

/* U+2581 is how SPM writes a space: it comes back as one. */
static size_t fold_spaces(char *text, size_t size) {
    size_t kept = 0;
    for (size_t i = 0; i < size;) {
        if (size - i >= 3 && memcmp(text + i, "▁", 3) == 0) {
            text[kept++] = ' ';
            i += 3;
        } else {
            text[kept++] = text[i++];
        }
    }
    return kept;
}

static bool has_twice(const char *text, size_t size, char c) {
    for (size_t i = 1; i < size; i++)
        if (text[i - 1] == c && text[i] == c) return true;
    return false;
}

/* Encode and decode; every buffer is exactly as large as it was said to be. `expected` may be NULL. */
static void there_and_back(const pe_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                           const char *expected, size_t expected_size) {
    size_t n = 0, again = 0, n_bytes = 0;
    PROMISE(pe_tokenizer_encode(tokenizer, text, size, flags, NULL, 0, &n) == PE_OK);
    int32_t *ids = malloc(n * sizeof *ids + 1);
    PROMISE(pe_tokenizer_encode(tokenizer, text, size, flags, ids, n, &again) == PE_OK && again == n);
    PROMISE(pe_tokenizer_decode(tokenizer, ids, n, false, NULL, 0, &n_bytes) == PE_OK);
    char *back = malloc(n_bytes + 1);
    PROMISE(pe_tokenizer_decode(tokenizer, ids, n, false, back, n_bytes, &again) == PE_OK && again == n_bytes);
    if (expected) PROMISE(n_bytes == expected_size && memcmp(back, expected, n_bytes) == 0);
    free(back);
    free(ids);
}

typedef struct reader {
    const uint8_t *data;
    size_t size;
} reader;

static uint8_t take(reader *r) { return r->size ? (r->size--, *r->data++) : 0; }

static pe_view take_text(reader *r) {
    size_t size = take(r) & 15;
    if (size > r->size) size = r->size;
    pe_view view = {(const char *)r->data, size};
    r->data += size;
    r->size -= size;
    return view;
}

static void build_from(reader *r) {
    static draft d;
    static const char *const names[] = {"gpt-2", "smollm", "default", "llama-bpe",    "qwen2",          "",
                                        "gpt-9", "gpt-4o", "bloom",   "deepseek-llm", "deepseek-coder", "deepseek-v3"};
    uint8_t shape = take(r);
    begin(&d, shape & 1 ? PE_VOCAB_SPM : PE_VOCAB_BPE);
    if (shape & 2) (shape & 1 ? add_byte_pieces : add_bytes)(&d);
    if (shape & 4) d.vocab.types = NULL;
    if (shape & 8) d.vocab.add_bos = d.vocab.add_eos = d.vocab.add_space_prefix = d.vocab.ignore_merges = true;
    const char *pre = names[(shape >> 4) % (sizeof names / sizeof *names)];
    d.vocab.pre = (pe_view){pre, strlen(pre)};
    d.vocab.bos_id = (int8_t)take(r);
    d.vocab.eos_id = (int8_t)take(r);
    d.vocab.unk_id = (int8_t)take(r);
    for (unsigned n = take(r) & 63; n; n--) {
        uint8_t type = take(r) & 7;
        uint32_t bits = (uint32_t)take(r) << 24 | (uint32_t)take(r) << 16;
        float score;
        memcpy(&score, &bits, sizeof score);
        pe_view text = take_text(r);
        add_token(&d, text.data, text.size, type, score);
    }
    for (unsigned n = take(r) & 31; n; n--) {
        pe_view text = take_text(r);
        add_merge(&d, text.data, text.size);
    }
    pe_tokenizer *tokenizer;
    if (pe_tokenizer_create(&d.vocab, &tokenizer) != PE_OK) {
        PROMISE(tokenizer == NULL && *pe_last_error());
        return;
    }
    for (unsigned flags = 0; flags < 4; flags++)
        there_and_back(tokenizer, (const char *)r->data, r->size, flags, NULL, 0);
    for (int32_t id = -1; id <= (int32_t)d.vocab.n_tokens; id++) {
        const char *bytes;
        size_t size;
        bool exists = id >= 0 && id < (int32_t)d.vocab.n_tokens;
        PROMISE((pe_tokenizer_token_bytes(tokenizer, id, &bytes, &size) == PE_OK) == exists);
        (void)pe_tokenizer_attributes(tokenizer, id);
    }
    pe_tokenizer_free(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static draft drafts[5];
    static pe_tokenizer *bpe[3], *spm[2];
    if (!bpe[0]) {
        bpe[0] = make_bpe(&drafts[0], "gpt-2");
        bpe[1] = make_bpe(&drafts[1], "smollm");
        bpe[2] = make_bpe(&drafts[2], "default");
        spm[0] = make_spm(&drafts[3], false);
        spm[1] = make_spm(&drafts[4], true);
    }
    reader r = {data, size};
    unsigned mode = take(&r) % 6;
    if (mode == 5) {
        build_from(&r);
        return 0;
    }
    const char *text = (const char *)r.data;
    if (mode < 3) {
        there_and_back(bpe[mode], text, r.size, 0, text, r.size);
        there_and_back(bpe[mode], text, r.size, PE_TOKENIZE_PARSE, text, r.size);
        return 0;
    }
    char *folded = malloc(r.size + 1);
    if (r.size) memcpy(folded, text, r.size);
    size_t n = fold_spaces(folded, r.size);
    /* Text after a special token gets a space of its own in front; only the first one is taken away again. */
    bool exact = mode == 3 || (!has_twice(text, r.size, '#') && !has_twice(text, r.size, '\n'));
    there_and_back(spm[mode - 3], text, r.size, 0, exact ? folded : NULL, n);
    there_and_back(spm[mode - 3], text, r.size, PE_TOKENIZE_PARSE, mode == 3 ? folded : NULL, n);
    free(folded);
    return 0;
}
