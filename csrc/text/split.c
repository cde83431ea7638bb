/* Regular expressions of tokenizers, by hand: their alternatives are told apart by the first one or two characters, so
 * that no general matcher is needed. Each function below tries them in the order of its expression. */
#include "text/split.h"
#include "text/unicode.h"

#include <string.h>

typedef struct character { /* at a place of the text; past the end: of no class, and of no length */
    unsigned class;        /* as a set of one */
    size_t length;
} character;

static inline character look(const char *text, size_t at, size_t end) {
    character c = {0, 0};
    if (at < end) c.class = 1u << pe_utf8_class(text + at, end - at, &c.length);
    return c;
}

static inline bool is_newline(char c) { return c == '\n' || c == '\r'; }

static inline size_t end_of_run(const char *text, size_t at, size_t end, unsigned classes) {
    for (character c; (c = look(text, at, end)).class & classes; at += c.length) {
    }
    return at;
}

/* At most `most` characters; 0: any number. */
static inline size_t end_of_few(const char *text, size_t at, size_t end, unsigned classes, unsigned most) {
    if (most == 0) return end_of_run(text, at, end, classes);
    for (character c; most > 0 && (c = look(text, at, end)).class & classes; at += c.length) most--;
    return at;
}

/* ---- runs of a class -------------------------------------------------------------------------------------------- */

static bool is_listed(const pe_stage *stage, uint32_t code_point) {
    size_t low = 0, high = stage->n_ranges;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code_point > stage->ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < stage->n_ranges && code_point >= stage->ranges[low].first;
}

/* Whether the character at text[at < end] belongs to the stage's class. */
static inline bool in_class(const pe_stage *stage, const char *text, size_t at, size_t end, size_t *length) {
    const uint8_t first = (uint8_t)text[at];
    if (first < 128) {
        *length = 1;
        if (stage->ascii && first && strchr(stage->ascii, first)) return !stage->except;
        return stage->classes >> pe_ascii_class[first] & 1;
    }
    uint32_t code_point;
    *length = pe_utf8_decode(text + at, end - at, &code_point);
    if (stage->n_ranges && is_listed(stage, code_point)) return !stage->except;
    return stage->classes >> pe_unicode_class(code_point) & 1;
}

/* The end of at most `most` characters of the class, or `at` where there are less than `least`. */
static size_t end_of_members(const pe_stage *stage, const char *text, size_t at, size_t end, unsigned most) {
    const size_t start = at;
    unsigned n = 0;
    for (size_t length; at < end && (most == 0 || n < most); at += length, n++)
        if (!in_class(stage, text, at, end, &length)) break;
    return n >= stage->least ? at : start;
}

static size_t prefix_length(const pe_stage *stage, const char *text, size_t at, size_t end) {
    if (stage->prefix == ' ') return text[at] == ' ';
    if (stage->prefix == 0) return 0;
    const character c = look(text, at, end);
    return c.class == PE_SPACES ? c.length : 0;
}

/* The end of the match that starts at text[at < end], or `at` where there is none. */
static size_t end_of_match(const pe_stage *stage, const char *text, size_t at, size_t end, unsigned most) {
    const size_t prefix = prefix_length(stage, text, at, end);
    if (prefix) {
        const size_t match = end_of_members(stage, text, at + prefix, end, most);
        if (match > at + prefix) return match;
    }
    return end_of_members(stage, text, at, end, most);
}

size_t pe_split_runs(const pe_stage *stage, const char *text, size_t start, size_t end) {
    size_t at = end_of_match(stage, text, start, end, stage->most);
    if (at > start) return at;
    do at += pe_utf8_length(text + at, end - at);
    while (at < end && end_of_match(stage, text, at, end, stage->least) == at);
    return at;
}

size_t pe_split_trailing_space(const pe_stage *stage, const char *text, size_t start, size_t end) {
    (void)stage;
    size_t border = start;
    character c;
    for (size_t at = start; (c = look(text, at, end)).length; at += c.length)
        if (c.class != PE_SPACES) border = at + c.length;
    return border > start ? border : end;
}

/* ---- what the families share ------------------------------------------------------------------------------------ */

/* \s+(?!\S)|\s+ : white space up to the last character before a word, since that one may belong to the word. `border`
 * is a set of classes that end the text. */
static inline size_t end_of_space(const char *text, size_t start, size_t end, unsigned border) {
    size_t last = start, at = start;
    character c;
    for (; (c = look(text, at, end)).class == PE_SPACES; at += c.length) last = at;
    return c.length && !(c.class & border) && last > start ? last : at;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static inline size_t end_of_lines(const char *text, size_t start, size_t end) {
    size_t after_newline = 0, at = start;
    for (character c; (c = look(text, at, end)).class == PE_SPACES; at += c.length)
        if (is_newline(text[at])) after_newline = at + 1;
    return after_newline ? after_newline : end_of_space(text, start, end, 0);
}

/* Bytes of a contraction that starts at text[at], or 0. */
static inline size_t contraction(const char *text, size_t at, size_t end, bool either_case) {
    if (end - at < 2 || text[at] != '\'') return 0;
    char fold = either_case ? 0x20 : 0;
    char a = (char)(text[at + 1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (end - at < 3) return 0;
    char b = (char)(text[at + 2] | fold);
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* ---- GPT-2 ------------------------------------------------------------------------------------------------------ */

static inline size_t split_gpt2(const char *text, size_t start, size_t end, unsigned border) {
    size_t at = start;
    const size_t taken = contraction(text, start, end, false);
    if (taken) return start + taken;
    character c = look(text, at, end);
    if (c.class == PE_SPACES) {
        const character next = look(text, at + c.length, end);
        if (text[at] != ' ' || next.length == 0 || next.class & (PE_SPACES | border))
            return end_of_space(text, start, end, border);
        at++;
        c = next;
    }
    const unsigned run = c.class & PE_LETTERS   ? (unsigned)PE_LETTERS
                         : c.class & PE_NUMBERS ? (unsigned)PE_NUMBERS
                                                : PE_ALL_CLASSES & ~(unsigned)(PE_LETTERS | PE_NUMBERS | PE_SPACES);
    return end_of_run(text, at + c.length, end, run);
}

size_t pe_split_gpt2(const pe_stage *stage, const char *text, size_t start, size_t end) {
    (void)stage;
    return split_gpt2(text, start, end, 0);
}

size_t pe_split_gpt2_digits(const pe_stage *stage, const char *text, size_t start, size_t end) {
    (void)stage;
    const character c = look(text, start, end);
    if (c.class == PE_NUMBERS) return start + c.length;
    return split_gpt2(text, start, end, PE_NUMBERS);
}

/* ---- cl100k and o200k ------------------------------------------------------------------------------------------- */

enum { UPPER_LIKE = PE_UPPERS | PE_CASELESS | PE_MARKS, LOWER_LIKE = PE_LOWERS | PE_CASELESS | PE_MARKS };

/* upper*lower+ at `at`, or `at`. What is both gives way: where no lower-case letter follows the run of upper-like
 * characters, the last of them that is lower-like too becomes the end. */
static size_t end_of_lower_word(const char *text, size_t at, size_t end) {
    size_t last = at;
    character c;
    for (; (c = look(text, at, end)).class & UPPER_LIKE; at += c.length)
        if (c.class & LOWER_LIKE) last = at + c.length;
    return c.class & LOWER_LIKE ? end_of_run(text, at, end, LOWER_LIKE) : last;
}

/* Where upper*lower+ does not match, upper+lower* has upper-case letters alone to match. */
static size_t end_of_upper_word(const char *text, size_t at, size_t end) {
    return end_of_run(text, at, end, PE_UPPERS);
}

/* The end of a word, or `start`. `prefix` bytes may precede it. */
static size_t end_of_cased_word(const char *text, size_t start, size_t prefix, size_t end) {
    size_t at = start + prefix, word = at;
    if (prefix) word = end_of_lower_word(text, at, end);
    if (word == at) word = end_of_lower_word(text, at = start, end);
    if (word == at && prefix) word = end_of_upper_word(text, at = start + prefix, end);
    if (word == at) word = end_of_upper_word(text, at = start, end);
    return word == at ? start : word;
}

size_t pe_split_words(const pe_stage *stage, const char *text, size_t start, size_t end) {
    const unsigned letters = stage->letters;
    const unsigned other = PE_ALL_CLASSES & ~(letters | PE_LETTERS | PE_NUMBERS | PE_SPACES);
    const character c = look(text, start, end);
    const size_t second = start + c.length;
    const bool is_prefix = !(c.class & (PE_LETTERS | PE_NUMBERS)) && !is_newline(text[start]);
    if (stage->cased) {
        size_t word = end_of_cased_word(text, start, is_prefix ? c.length : 0, end);
        if (word > start) return stage->contractions ? word + contraction(text, word, end, true) : word;
    } else {
        const size_t taken = stage->contractions ? contraction(text, start, end, true) : 0;
        if (taken) return start + taken;
        if (c.class & letters) return end_of_run(text, second, end, letters);
    }
    if (c.class & PE_NUMBERS) return end_of_few(text, start, end, PE_NUMBERS, stage->most_digits);
    const character next = look(text, second, end);
    if (!stage->cased && is_prefix && next.class & letters) return end_of_run(text, second, end, letters);
    if (c.class != PE_SPACES || (text[start] == ' ' && next.class & other)) {
        size_t at = end_of_run(text, second, end, other);
        while (at < end && text[at] && strchr(stage->tail, text[at])) at++;
        return at;
    }
    return end_of_lines(text, start, end);
}

/* ---- DeepSeek V3 ------------------------------------------------------------------------------------------------ */

static inline bool is_latin(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* The end of the match that starts at text[start < end], or `start`. */
static size_t match_deepseek3(const char *text, size_t start, size_t end) {
    enum { SIGNS = PE_PUNCTUATION | PE_SYMBOLS, WORD = PE_LETTERS | PE_MARKS };
    const character c = look(text, start, end);
    size_t at = start + c.length;
    if (c.class & SIGNS && c.length == 1 && at < end && is_latin(text[at])) {
        while (at < end && is_latin(text[at])) at++;
        return at;
    }
    const character next = look(text, at, end);
    if (c.class & WORD) return end_of_run(text, at, end, WORD);
    if (!(c.class & SIGNS) && !is_newline(text[start]) && next.class & WORD) return end_of_run(text, at, end, WORD);
    if (c.class & SIGNS || (text[start] == ' ' && next.class & SIGNS)) {
        at = end_of_run(text, at, end, SIGNS);
        while (at < end && is_newline(text[at])) at++;
        return at;
    }
    return c.class == PE_SPACES ? end_of_lines(text, start, end) : start;
}

size_t pe_split_deepseek3(const pe_stage *stage, const char *text, size_t start, size_t end) {
    (void)stage;
    size_t at = match_deepseek3(text, start, end);
    if (at > start) return at;
    /* Numbers and characters of no class match nothing and stay together up to the next match. Only the start of a
     * match is wanted: two characters, or as many as are white space, say whether there is one. */
    for (at = start;;) {
        const character c = look(text, at, end);
        at += c.length;
        if (at == end) return at;
        const character next = look(text, at, end), after = look(text, at + next.length, end);
        if (!(next.class & (PE_NUMBERS | PE_OTHERS)) || after.class & (PE_LETTERS | PE_MARKS)) return at;
    }
}
