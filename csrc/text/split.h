/* Stages of pre-tokenisers: each cuts a stretch of text into pieces, which the next stage cuts again, taking the
 * borders of a piece for the ends of the text. What they know of characters is their class (unicode.h) and lists of
 * characters; which stages a vocabulary wants, and with which settings, is data in pretokenize.c.
 *
 * Each stage takes time linear in the text, whatever the text is. */
#ifndef PE_TEXT_SPLIT_H
#define PE_TEXT_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pe_range { /* of code points, both ends included */
    uint32_t first, last;
} pe_range;

typedef struct pe_stage pe_stage;
struct pe_stage {
    /* The end of the piece that starts at text[start < end]; the text up to `end` is all there is. */
    size_t (*next)(const pe_stage *stage, const char *text, size_t start, size_t end);

    /* pe_split_runs: each match of "prefix? class{least,most}" is a piece, and so is what lies between two of them.
     * The class is a set of pe_class bits, changed by the characters listed: they belong to it, or with `except` not.
     */
    unsigned classes;
    const char *ascii;
    const pe_range *ranges; /* [n_ranges], ascending */
    unsigned n_ranges;
    bool except;
    char prefix;          /* ' ': a space; 's': any white space; 0: none */
    unsigned least, most; /* most 0: any number */

    /* pe_split_words */
    unsigned letters;     /* set of classes: what words are made of */
    unsigned most_digits; /* numbers a piece; 0: any */
    bool contractions;    /* 's 't 're 've 'm 'll 'd in either case, before words, or with `cased` after them */
    bool cased;           /* a lower-case letter before an upper-case one ends a word */
    const char *tail;     /* what follows other characters goes with them */
};

size_t pe_split_runs(const pe_stage *stage, const char *text, size_t start, size_t end);

/* contraction | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ |\s+(?!\S)|\s+ : GPT-2's. */
size_t pe_split_gpt2(const pe_stage *stage, const char *text, size_t start, size_t end);
/* Two stages in one: each \p{N} is a piece, and GPT-2's cuts what lies between. */
size_t pe_split_gpt2_digits(const pe_stage *stage, const char *text, size_t start, size_t end);

/* words |\p{N}{1,most}| ?[^\s\p{L}\p{N}]+tail* |\s*[\r\n]+|\s+(?!\S)|\s+ : the families of cl100k, where words are
 * contraction |[^\r\n\p{L}\p{N}]?letters+, and of o200k, where they are
 * [^\r\n\p{L}\p{N}]?upper*lower+contraction? |[^\r\n\p{L}\p{N}]?upper+lower*contraction?  with upper standing for
 * [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and lower for [\p{Ll}\p{Lm}\p{Lo}\p{M}]. */
size_t pe_split_words(const pe_stage *stage, const char *text, size_t start, size_t end);

/* [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ :
 * DeepSeek V3's last stage. */
size_t pe_split_deepseek3(const pe_stage *stage, const char *text, size_t start, size_t end);

/* \s+$ */
size_t pe_split_trailing_space(const pe_stage *stage, const char *text, size_t start, size_t end);

#endif
