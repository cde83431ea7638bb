/* Pre-tokenisers: how text is cut into words before byte-pair merging, which never crosses a border between words.
 * Models publish them as regular expressions, one or several in a row; here each is a row of data, chosen by the name
 * that the model file gives (`tokenizer.ggml.pre`): the stages (split.h) with their settings. */
#ifndef PE_TEXT_PRETOKENIZE_H
#define PE_TEXT_PRETOKENIZE_H

#include "base/status.h"
#include "base/view.h"
#include "text/split.h"

enum { PE_MAX_STAGES = 6 };

typedef struct pe_pretokenizer {
    const char *name;
    const pe_stage *stages; /* [n_stages] */
    unsigned n_stages;
    bool ignore_merges; /* a word that is a token as it stands is not merged from bytes */
    bool add_bos;       /* where the file does not say */
} pe_pretokenizer;

/* Where the name is unknown or empty, the one that `fallback` names. Without a fallback an unknown name is
 * PE_ERR_UNSUPPORTED, and an empty one means "default". A fallback that is unknown itself is PE_ERR_ARG. */
pe_status pe_pretokenizer_find(pe_view name, pe_view fallback, const pe_pretokenizer **out);

/* A walk over the words of a text. */
typedef struct pe_words {
    const pe_pretokenizer *pretokenizer;
    const char *text;
    size_t at;                      /* where the next word starts */
    size_t ends[PE_MAX_STAGES + 1]; /* of the pieces around `at`, by stage; the text's own end first */
} pe_words;

void pe_words_begin(pe_words *words, const pe_pretokenizer *pretokenizer, const char *text, size_t size);

/* The end of the word that starts at words->at, which must not be the end of the text. */
size_t pe_words_next(pe_words *words);

#endif
