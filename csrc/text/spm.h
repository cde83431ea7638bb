/* SentencePiece-style BPE: the symbols are characters, a space is spelled U+2581, and of two neighbours those are
 * merged first whose text is the piece with the best score. A character without a piece becomes byte pieces. */
#ifndef PE_TEXT_SPM_H
#define PE_TEXT_SPM_H

#include "base/view.h"
#include "text/dictionary.h"
#include "text/merge.h"

typedef struct pe_spm {
    const pe_dictionary *pieces; /* keys as in the file */
    const uint32_t *priority;    /* [n_tokens]: order of the scores, best first */
    uint8_t *joins;              /* bits [256][256]: whether some piece has these two bytes side by side */
    int32_t byte_id[256];        /* -1: no byte piece */
    int32_t unk_id;              /* used where a byte piece is missing */
    bool add_space_prefix, remove_extra_whitespaces;
} pe_spm;

extern const char pe_spm_space[3]; /* U+2581 in UTF-8 */

/* Order of scores as an integer: smaller for better ones, equal for equal ones, never PE_NO_PAIR for a number. */
static inline uint32_t pe_spm_priority(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 becomes 0: both are the same score */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}
/* Bytes of a piece, U+2581 turned into a space, at out [text.size]. Returns the size. */
size_t pe_spm_unescape(pe_view text, char *out);
/* Note in seen [256 * 256] which bytes stand side by side in a piece, given as pe_spm_unescape writes it. */
static inline void pe_spm_note_joins(uint8_t *seen, const char *bytes, size_t size) {
    if (size == 0) return;
    unsigned join = (uint8_t)bytes[0];
    for (size_t i = 1; i < size; i++) seen[join = (join << 8 & 0xFF00) | (uint8_t)bytes[i]] = 1;
}
/* Take over what was noted. */
void pe_spm_set_joins(pe_spm *spm, const uint8_t *seen);

/* A stretch of text between special tokens. */
pe_status pe_spm_encode(const pe_spm *spm, pe_encoder *encoder, const char *text, size_t size);

#endif
