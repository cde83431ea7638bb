/* Tokenizer: text <-> token ids over one memory-pool trie. Built once from the vocabulary, immutable after, shared by
 * threads; a call allocates nothing (it works in the caller's buffers or on a bounded stack area) unless the text is
 * larger than its built-in scratch. */
#ifndef PE_TEXT_TOKENIZER_H
#define PE_TEXT_TOKENIZER_H

#include "base/arena.h"
#include "base/status.h"
#include "base/view.h"

typedef struct pe_tokenizer pe_tokenizer;

/* "gpt2" and "llama" in GGUF; "nano" in no file, but so its reader calls it, and in GGUF made of such a file "t5" with
 * the pre-tokeniser "nano" */
typedef enum pe_vocab_kind { PE_VOCAB_BPE, PE_VOCAB_SPM, PE_VOCAB_NANO } pe_vocab_kind;

typedef struct pe_vocab { /* what the model layer reads from the file; the views must outlive the tokenizer */
    pe_vocab_kind kind;
    pe_view pre;          /* tokenizer.ggml.pre; empty where missing */
    pe_view pre_fallback; /* used in place of one that is unknown or missing; empty: none */
    pe_view model_name;   /* general.name; empty where missing */
    size_t n_tokens;
    const pe_view *tokens; /* [n_tokens] as written in the file (byte-level alphabet for BPE, U+2581 for SPM) */
    const uint8_t *scores; /* f32 little-endian [n_tokens], unaligned; NULL where missing (an error for SPM) */
    const uint8_t *types;  /* i32 little-endian [n_tokens], unaligned; NULL: all normal */
    size_t n_merges;
    const pe_view *merges;                          /* "left right" [n_merges], BPE */
    int32_t bos_id, eos_id, unk_id, eot_id, eom_id; /* -1 where missing; checked by the tokenizer against n_tokens */
    bool add_bos, add_eos, add_space_prefix, ignore_merges;
    bool spaces_escaped;           /* Nano: tokens have U+2581 for a space, as SPM's always have */
    bool remove_extra_whitespaces; /* SPM: spaces at the ends go, and of several in a row one is left */
    /* Not in files, known from the model: white space that follows a special token belongs to it (Phi-3), as does
     * white space before the mask token (some BERTs). */
    bool rstrip_special, lstrip_mask;
} pe_vocab;

/* What files mean where they do not say: ids and flags, by the kind, the three names and n_tokens, which are set
 * before. PE_ERR_UNSUPPORTED where the pre-tokeniser is unknown. */
pe_status pe_vocab_set_defaults(pe_vocab *vocab);
pe_status pe_tokenizer_create(const pe_vocab *vocab, pe_tokenizer **out);
void pe_tokenizer_free(pe_tokenizer *tokenizer);

/* Decoding gives back the bytes that were encoded, valid UTF-8 or not, with two exceptions that lie in the vocabulary:
 * SPM writes a space as U+2581, so that this character comes back as a space; and a byte that a BPE vocabulary has no
 * token for is left out (SmolLM2 lacks 21, most of which no UTF-8 text has). Peers do the same. White space that a
 * flag of the vocabulary takes away is gone, of course. Nano knows characters only: one that it has no token for, or a
 * byte that is no character, comes back as its unknown token.
 *
 * Special tokens in a text: the longest at the earliest place; user-defined ones always, the others (and tokens named
 * like a well-known end of answer) with PE_TOKENIZE_PARSE. A text of more than 1 GiB is PE_ERR_ARG.
 *
 * See pe_tokenize, pe_token_bytes, pe_detokenize, pe_token_attributes in pyedge.h. */
pe_status pe_tokenizer_encode(const pe_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                              int32_t *ids, size_t cap, size_t *n_ids);
pe_status pe_tokenizer_token_bytes(const pe_tokenizer *tokenizer, int32_t id, const char **bytes, size_t *size);
pe_status pe_tokenizer_decode(const pe_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool skip_special,
                              char *text, size_t cap, size_t *n_bytes);
unsigned pe_tokenizer_attributes(const pe_tokenizer *tokenizer, int32_t id);

#endif
