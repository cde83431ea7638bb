/* Pre-tokenisers: how text is cut into words before byte-pair merging, which never crosses a border between words.
 * Models publish them as regular expressions; here each is a hand-written function, chosen by the name that the model
 * file gives (`tokenizer.ggml.pre`). A new name is a row of the table, a new way of cutting one more function. */
#ifndef PE_TEXT_PRETOKENIZE_H
#define PE_TEXT_PRETOKENIZE_H

#include "base/status.h"
#include "base/view.h"

/* The end of the word that starts at text[start < end]; the text up to `end` is all there is. */
typedef size_t (*pe_splitter)(const char *text, size_t start, size_t end);

typedef struct pe_pretokenizer {
    const char *name;
    pe_splitter next;
    bool ignore_merges; /* a word that is a token as it stands is not merged from bytes */
} pe_pretokenizer;

/* An empty name means "default". PE_ERR_UNSUPPORTED where the name is unknown. */
pe_status pe_pretokenizer_find(pe_view name, const pe_pretokenizer **out);

#endif
