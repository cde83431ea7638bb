/* Byte-level BPE: a word's bytes are the first symbols, merges by rank join them. Vocabulary and merges spell bytes in
 * the byte-level alphabet, in which every byte is a printable character (a space is U+0120); they are turned into bytes
 * once at load, so that encoding works on the text as it is. */
#ifndef PE_TEXT_BPE_H
#define PE_TEXT_BPE_H

#include "base/view.h"
#include "text/dictionary.h"
#include "text/merge.h"
#include "text/pretokenize.h"

typedef struct pe_merge_rule { /* token ids */
    int32_t left, right, merged;
} pe_merge_rule;

typedef struct pe_bpe {
    const pe_dictionary *pieces; /* keys are bytes */
    const pe_pretokenizer *pretokenizer;
    pe_merge_rule *rules; /* by rank */
    uint32_t *places;     /* hash table by (left, right), open addressing: rank + 1 below 8 bits of hash; [mask + 1] */
    uint32_t mask, shift;
    uint64_t steps;       /* left before the merges count as chosen to collide */
    bool ignore_merges;   /* a word that is a piece is not merged from bytes */
    int32_t byte_id[256]; /* -1: the vocabulary has no token for this byte */
} pe_bpe;

/* Turn byte-level alphabet into bytes, at out [text.size]. Characters outside of the alphabet stay as they are and
 * clear *pure. Returns the size. */
size_t pe_byte_level_decode(pe_view text, char *out, bool *pure);

/* *bpe is zero but for ignore_merges, which the caller sets. */
pe_status pe_bpe_create(pe_bpe *bpe, pe_arena *arena, const pe_dictionary *pieces, const pe_pretokenizer *pretokenizer,
                        const pe_view *merges, size_t n_merges);
pe_status pe_bpe_encode(const pe_bpe *bpe, pe_encoder *encoder, const char *text, size_t size);

#endif
