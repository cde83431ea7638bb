/* The expressions that the functions below follow, tried in order at each position:
 *
 *   contraction   's|'t|'re|'ve|'m|'ll|'d
 *   gpt-2         contraction | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ |\s+(?!\S)|\s+
 *   smollm        each \p{N} is a word of its own; the text between follows gpt-2
 *   default       runs of [\p{P}$+<=>^~|] are words; the text between follows gpt-2; its words are cut once more
 *                 around \p{N}+, and these into [0-9]{3} and the rest
 *   llama-bpe     contraction in either case |[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
 *                 |\s*[\r\n]+|\s+(?!\S)|\s+
 *   qwen2         llama-bpe with single \p{N}
 *
 * A regular expression of several stages cuts the text anew in each stage, and a later stage takes the borders of the
 * earlier ones for the end of the text. `edge` is that rule: the class of characters which the first stage has taken
 * away. */
#include "text/pretokenize.h"
#include "text/unicode.h"

#include <string.h>

typedef enum edge { EDGE_NONE, EDGE_NUMBER, EDGE_PUNCTUATION } edge;

static inline bool is_edge(edge edge, pe_class class, char first) {
    if (edge == EDGE_NUMBER) return class == PE_CLASS_NUMBER;
    if (edge == EDGE_PUNCTUATION)
        return class == PE_CLASS_PUNCTUATION ||
               (class == PE_CLASS_SYMBOL && first > 0 && strchr("$+<=>^~|", first) != NULL);
    return false;
}

/* Letters and numbers form runs of their own, white space ends every run, all the rest runs together. */
static inline pe_class run_class(pe_class class) {
    return class == PE_CLASS_LETTER || class == PE_CLASS_NUMBER || class == PE_CLASS_SPACE ? class : PE_CLASS_OTHER;
}

static inline size_t end_of_run(const char *text, size_t at, size_t end, pe_class run, edge edge) {
    size_t length;
    for (; at < end; at += length) {
        pe_class class = pe_utf8_class(text + at, end - at, &length);
        if (run_class(class) != run || is_edge(edge, class, text[at])) break;
    }
    return at;
}

/* \s+(?!\S)|\s+ : white space up to the last character before a word, since that one may belong to the word. */
static inline size_t end_of_space(const char *text, size_t start, size_t end, edge edge) {
    size_t at = start, last = start, length;
    while (at < end) {
        pe_class class = pe_utf8_class(text + at, end - at, &length);
        if (class != PE_CLASS_SPACE) {
            if (is_edge(edge, class, text[at])) break;
            return last > start ? last : at;
        }
        last = at;
        at += length;
    }
    return at;
}

/* Bytes of a contraction that starts at the apostrophe text[start], or 0. */
static inline size_t contraction(const char *text, size_t start, size_t end, bool either_case) {
    size_t size = end - start;
    if (size < 2) return 0;
    char fold = either_case ? 0x20 : 0;
    char a = (char)(text[start + 1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (size < 3) return 0;
    char b = (char)(text[start + 2] | fold);
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

static inline size_t next_gpt2_within(const char *text, size_t start, size_t end, edge edge) {
    size_t at = start, length;
    if (text[at] == '\'') {
        size_t taken = contraction(text, start, end, false);
        if (taken) return start + taken;
    }
    pe_class class = pe_utf8_class(text + at, end - at, &length);
    if (class == PE_CLASS_SPACE) {
        if (text[at] != ' ' || at + 1 == end) return end_of_space(text, start, end, edge);
        at++;
        class = pe_utf8_class(text + at, end - at, &length);
        if (class == PE_CLASS_SPACE || is_edge(edge, class, text[at])) return end_of_space(text, start, end, edge);
    }
    return end_of_run(text, at + length, end, run_class(class), edge);
}

static size_t next_gpt2(const char *text, size_t start, size_t end) {
    return next_gpt2_within(text, start, end, EDGE_NONE);
}

static size_t next_smollm(const char *text, size_t start, size_t end) {
    size_t length;
    if (pe_utf8_class(text + start, end - start, &length) == PE_CLASS_NUMBER) return start + length;
    return next_gpt2_within(text, start, end, EDGE_NUMBER);
}

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

static inline bool three_digits(const char *text, size_t at, size_t end) {
    return end - at >= 3 && is_digit(text[at]) && is_digit(text[at + 1]) && is_digit(text[at + 2]);
}

static size_t next_default(const char *text, size_t start, size_t end) {
    size_t at = start, length;
    pe_class class = pe_utf8_class(text + at, end - at, &length);
    if (is_edge(EDGE_PUNCTUATION, class, text[at])) {
        do {
            at += length;
            if (at < end) class = pe_utf8_class(text + at, end - at, &length);
        } while (at < end && is_edge(EDGE_PUNCTUATION, class, text[at]));
        return at;
    }
    size_t word = next_gpt2_within(text, start, end, EDGE_PUNCTUATION);
    if (class == PE_CLASS_SPACE && start + 1 < word &&
        pe_utf8_class(text + start + 1, word - start - 1, &length) == PE_CLASS_NUMBER)
        return start + 1;
    if (class != PE_CLASS_NUMBER) return word;
    if (three_digits(text, start, word)) return start + 3;
    while (at < word && !three_digits(text, at, word)) at += pe_utf8_length(text + at, word - at);
    return at;
}

static inline bool is_newline(char c) { return c == '\n' || c == '\r'; }

static inline size_t next_llama3(const char *text, size_t start, size_t end, unsigned most_digits) {
    size_t at = start, length, next_length;
    if (text[at] == '\'') {
        size_t taken = contraction(text, start, end, true);
        if (taken) return start + taken;
    }
    pe_class class = pe_utf8_class(text + at, end - at, &length);
    pe_class next = PE_CLASS_SPACE; /* at the end nothing can be joined, as before white space */
    if (at + length < end) next = pe_utf8_class(text + at + length, end - at - length, &next_length);

    if (class == PE_CLASS_LETTER) return end_of_run(text, at + length, end, PE_CLASS_LETTER, EDGE_NONE);
    if (class == PE_CLASS_NUMBER) {
        for (unsigned n = 0; n < most_digits && at < end; n++, at += length)
            if (pe_utf8_class(text + at, end - at, &length) != PE_CLASS_NUMBER) break;
        return at;
    }
    if (next == PE_CLASS_LETTER && !is_newline(text[at]))
        return end_of_run(text, at + length, end, PE_CLASS_LETTER, EDGE_NONE);

    bool joins = text[at] == ' ' && run_class(next) == PE_CLASS_OTHER;
    if (class != PE_CLASS_SPACE || joins) {
        at = end_of_run(text, at + (joins ? 1 : 0), end, PE_CLASS_OTHER, EDGE_NONE);
        while (at < end && is_newline(text[at])) at++;
        return at;
    }
    size_t after_newline = 0;
    for (at = start; at < end; at += length) {
        if (pe_utf8_class(text + at, end - at, &length) != PE_CLASS_SPACE) break;
        if (is_newline(text[at])) after_newline = at + 1;
    }
    return after_newline ? after_newline : end_of_space(text, start, end, EDGE_NONE);
}

static size_t next_llama_bpe(const char *text, size_t start, size_t end) { return next_llama3(text, start, end, 3); }
static size_t next_qwen2(const char *text, size_t start, size_t end) { return next_llama3(text, start, end, 1); }

static const pe_pretokenizer pretokenizers[] = {
    {"gpt-2", next_gpt2, false},         {"smollm", next_smollm, false},    {"starcoder", next_smollm, false},
    {"refact", next_smollm, false},      {"command-r", next_smollm, false}, {"default", next_default, false},
    {"llama-bpe", next_llama_bpe, true}, {"qwen2", next_qwen2, false},
};

enum { N_PRETOKENIZERS = sizeof pretokenizers / sizeof *pretokenizers };

pe_status pe_pretokenizer_find(pe_view name, const pe_pretokenizer **out) {
    if (name.size == 0) name = (pe_view){"default", 7};
    for (size_t i = 0; i < N_PRETOKENIZERS; i++) {
        const pe_pretokenizer *row = &pretokenizers[i];
        if (strlen(row->name) == name.size && memcmp(row->name, name.data, name.size) == 0) {
            *out = row;
            return PE_OK;
        }
    }
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < N_PRETOKENIZERS; i++) {
        size_t size = strlen(pretokenizers[i].name), separator = i ? 2 : 0;
        if (used + separator + size >= sizeof known) break;
        memcpy(known + used, ", ", separator);
        memcpy(known + used + separator, pretokenizers[i].name, size + 1);
        used += separator + size;
    }
    int shown = name.size < 100 ? (int)name.size : 100;
    return pe_fail(PE_ERR_UNSUPPORTED, "tokenizer.ggml.pre is '%.*s', which is not known; known are: %s", shown,
                   name.data, known);
}
