/* A read-only trie over byte strings, in one memory pool. It answers longest-prefix matches (special tokens) and exact
 * lookups; where these are all that is asked, dictionary.h is built faster.
 *
 * A path without a branch is one node, so that n keys take at most 2n nodes. The children of a node lie side by side,
 * sorted by the byte that leads to them; these bytes have an array of their own, since that is what a search reads.
 *
 *   nodes   [ root | a.. | b.. | c.. | ab.. | ac.. | ... ]
 *   first   [   -  |  a  |  b  |  c  |  b   |  c   | ... ]
 *   labels  what each node adds after its first byte */
#ifndef PE_TEXT_TRIE_H
#define PE_TEXT_TRIE_H

#include "base/arena.h"
#include "base/status.h"

enum { PE_TRIE_MAX_KEY = 65535 };

typedef struct pe_trie_key {
    const char *data;
    uint32_t size; /* 1..PE_TRIE_MAX_KEY */
    int32_t id;    /* >= 0 */
} pe_trie_key;

typedef struct pe_trie_node {
    uint32_t label; /* offset of the first label byte */
    uint32_t child; /* the first child */
    int32_t id;     /* of the key that ends here, or -1 */
    uint16_t label_size, n_children;
} pe_trie_node;

typedef struct pe_trie {
    const pe_trie_node *nodes;
    const uint8_t *first;
    const uint8_t *labels;
    size_t n_nodes;
    uint32_t root[256]; /* child of the root by byte; 0: none */
} pe_trie;              /* zero-initialised is valid and empty */

/* Of equal keys the earliest wins. The order of `keys` [n_keys] is lost; the keys' bytes are not needed afterwards. */
pe_status pe_trie_build(pe_trie *trie, pe_arena *arena, pe_trie_key *keys, size_t n_keys);

/* The id of exactly this key, or -1. */
int32_t pe_trie_find(const pe_trie *trie, const char *data, size_t size);
/* The size of the longest key that `data` starts with and its id; 0 where there is none. */
size_t pe_trie_longest(const pe_trie *trie, const char *data, size_t size, int32_t *id);

#endif
