/* In principle the whole text is one word here. But a merge cannot cross a border whose two bytes no piece has side by
 * side, so the text falls into short parts there (before most spaces, in practice), each merged on its own with the
 * same result. */
#include "text/spm.h"
#include "text/unicode.h"

#include <string.h>

const char pe_spm_space[3] = {'\xE2', '\x96', '\x81'};

static inline bool is_space_mark(const char *text, size_t size) {
    return size >= sizeof pe_spm_space && memcmp(text, pe_spm_space, sizeof pe_spm_space) == 0;
}

size_t pe_spm_unescape(pe_view text, char *out) {
    const char *in = text.data, *end = in + text.size;
    char *start = out;
    for (const char *mark; in < end; in = mark) { /* what lies before a mark is copied at once */
        if (is_space_mark(in, (size_t)(end - in))) {
            *out++ = ' ';
            mark = in + sizeof pe_spm_space;
            continue;
        }
        mark = memchr(in + 1, pe_spm_space[0], (size_t)(end - in - 1));
        if (!mark) mark = end;
        memcpy(out, in, (size_t)(mark - in));
        out += mark - in;
    }
    return (size_t)(out - start);
}

static inline unsigned join_of(uint8_t left, uint8_t right) { return (unsigned)left << 8 | right; }

void pe_spm_set_joins(pe_spm *spm, const uint8_t *seen) {
    for (unsigned join = 0; join < 256 * 256; join++) spm->joins[join >> 3] |= (uint8_t)(seen[join] << (join & 7));
}

typedef struct part { /* what find_pair needs */
    const pe_spm *spm;
    const char *text;
} part;

static inline pe_pair find_pair(const void *context, const pe_symbol *left, const pe_symbol *right) {
    const part *part = context;
    int32_t id = pe_dictionary_find(part->spm->pieces, part->text + left->start, right->end - left->start);
    return id < 0 ? (pe_pair){PE_NO_PAIR, -1} : (pe_pair){part->spm->priority[id], id};
}

static void emit_bytes(const pe_spm *spm, pe_encoder *encoder, const char *text, size_t size) {
    if (is_space_mark(text, size)) {
        text = " ";
        size = 1;
    }
    for (size_t i = 0; i < size; i++) {
        if (spm->byte_id[(uint8_t)text[i]] < 0) {
            pe_encoder_emit(encoder, spm->unk_id);
            return;
        }
    }
    for (size_t i = 0; i < size; i++) pe_encoder_emit(encoder, spm->byte_id[(uint8_t)text[i]]);
}

/* Merge encoder->symbols [n] of encoder->text: how many are left. */
static size_t merge(const pe_spm *spm, pe_encoder *encoder, size_t n) {
    const part part = {spm, encoder->text};
    pe_symbol *symbols = encoder->symbols;
    for (size_t i = 0; i < n; i++)
        symbols[i].id =
            pe_dictionary_find(spm->pieces, part.text + symbols[i].start, symbols[i].end - symbols[i].start);
    return pe_merge(encoder, n, find_pair, &part);
}

static void emit(const pe_spm *spm, pe_encoder *encoder, size_t n) {
    const pe_symbol *symbols = encoder->symbols;
    for (size_t i = 0; i < n; i++) {
        if (symbols[i].id >= 0)
            pe_encoder_emit(encoder, symbols[i].id);
        else
            emit_bytes(spm, encoder, encoder->text + symbols[i].start, symbols[i].end - symbols[i].start);
    }
}

/* The character at text [size > 0] and the byte that stands for it in `joins` on each side: a space, however it is
 * spelled, counts as ' '. */
static inline size_t next_character(const char *text, size_t size, uint8_t *first, uint8_t *last) {
    size_t length = pe_utf8_length(text, size);
    *first = (uint8_t)text[0];
    *last = (uint8_t)text[length - 1];
    if (length == 3 && is_space_mark(text, size)) *first = *last = ' ';
    return length;
}

/* Bytes of text [size > 0] up to the first border that no piece crosses; *n_symbols characters. A space that precedes
 * the text has its own border with it. */
static size_t size_of_part(const pe_spm *spm, const char *text, size_t size, bool has_left, size_t *n_symbols) {
    size_t at = 0;
    uint8_t previous = ' ', first, last;
    *n_symbols = 0;
    while (at < size) {
        size_t length = next_character(text + at, size - at, &first, &last);
        unsigned join = join_of(previous, first);
        if (has_left && !(spm->joins[join >> 3] >> (join & 7) & 1)) break;
        has_left = true;
        previous = last;
        at += length;
        ++*n_symbols;
    }
    return at;
}

static size_t add_symbol(pe_encoder *encoder, size_t n, const char *text, size_t size) {
    uint32_t start = n ? encoder->symbols[n - 1].end : 0;
    memcpy(encoder->text + start, text, size);
    encoder->symbols[n].start = start;
    encoder->symbols[n].end = start + (uint32_t)size;
    return n + 1;
}

/* A stretch of text that is merged as one; with `prefix`, a space that is not in the text comes first. */
typedef struct long_part {
    pe_long_word base;
    const pe_spm *spm;
    const char *text; /* [base.size] */
    bool prefix;
} long_part;

static size_t fill(const pe_long_word *word, pe_encoder *encoder, size_t at, size_t most, size_t *end) {
    const long_part *p = (const long_part *)word;
    size_t n = 0;
    if (p->prefix && at == 0) n = add_symbol(encoder, n, pe_spm_space, sizeof pe_spm_space);
    for (size_t length; at < word->size && n < most; at += length) {
        length = pe_utf8_length(p->text + at, word->size - at);
        if (p->text[at] == ' ')
            n = add_symbol(encoder, n, pe_spm_space, sizeof pe_spm_space);
        else
            n = add_symbol(encoder, n, p->text + at, length);
    }
    *end = at;
    return n;
}

static size_t merge_window(const pe_long_word *word, pe_encoder *encoder, size_t n) {
    return merge(((const long_part *)word)->spm, encoder, n);
}

/* Spaces are longer where they are merged than they are in the text. */
static size_t place_in_part(const pe_long_word *word, size_t at, size_t start) {
    const long_part *p = (const long_part *)word;
    size_t merged = p->prefix && at == 0 ? sizeof pe_spm_space : 0;
    for (; merged < start; at++) merged += p->text[at] == ' ' ? sizeof pe_spm_space : 1;
    return at;
}

static void emit_window(const pe_long_word *word, pe_encoder *encoder, size_t n) {
    emit(((const long_part *)word)->spm, encoder, n);
}

static pe_status encode(const pe_spm *spm, pe_encoder *encoder, const char *text, size_t size) {
    bool prefix = spm->add_space_prefix;
    for (size_t start = 0; start < size;) {
        size_t n, end;
        const size_t part = size_of_part(spm, text + start, size - start, prefix, &n);
        const pe_long_word base = {part, fill, merge_window, place_in_part, emit_window};
        const long_part word = {base, spm, text + start, prefix};
        if (n < PE_STACK_WORD) {
            emit(spm, encoder, merge(spm, encoder, fill(&word.base, encoder, 0, PE_STACK_WORD, &end)));
        } else {
            const pe_status status = pe_merge_windows(&word.base, encoder);
            if (status) return status;
        }
        prefix = false;
        start += part;
    }
    return PE_OK;
}

/* Spaces at the ends go, of several in a row one is left: to out [size]. Returns the size. */
static size_t remove_extra_spaces(const char *text, size_t size, char *out) {
    size_t used = 0;
    for (size_t i = 0; i < size; i++)
        if (text[i] != ' ' || (used && out[used - 1] != ' ')) out[used++] = text[i];
    return used && out[used - 1] == ' ' ? used - 1 : used;
}

pe_status pe_spm_encode(const pe_spm *spm, pe_encoder *encoder, const char *text, size_t size) {
    if (!spm->remove_extra_whitespaces || size == 0) return encode(spm, encoder, text, size);
    char *copy = pe_mem_alloc(size, 1);
    if (!copy) return PE_ERR_NOMEM;
    pe_status status = encode(spm, encoder, copy, remove_extra_spaces(text, size, copy));
    pe_mem_free(copy);
    return status;
}
