/* Nano's vocabulary: at each place of a text the longest token that it begins with, then on behind it. No words, no
 * merges. What no token begins with is one unknown character. Where special tokens are to be recognised, they take part
 * like all others. */
#ifndef PE_TEXT_NANO_H
#define PE_TEXT_NANO_H

#include "base/view.h"
#include "text/merge.h"
#include "text/trie.h"

enum { PE_NANO_LONGEST = 17 }; /* characters; Nano tries no longer ones */

typedef struct pe_nano {
    pe_trie plain; /* tokens that are not special */
    pe_trie all;
    int32_t unk_id;
} pe_nano;

/* Token i is bytes[offsets[i] .. offsets[i + 1]); attributes [n_tokens] have a bit of `mask` for special ones. */
pe_status pe_nano_create(pe_nano *nano, pe_arena *arena, const char *bytes, const uint32_t *offsets, size_t n_tokens,
                         const uint8_t *attributes, uint8_t mask);
void pe_nano_encode(const pe_nano *nano, pe_encoder *encoder, const char *text, size_t size, bool parse_special);

#endif
