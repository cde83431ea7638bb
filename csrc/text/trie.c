/* Building works from the top: the keys of a node are distributed over its children by their next byte (radix sort),
 * then each child takes the bytes that all of its keys share as its label. A child of one key is complete at once,
 * which is the case for most of them, so that the work stays near to one pass over the keys. */
#include "text/trie.h"

#include <string.h>

enum {
    SMALL_SORT = 24, /* up to here insertion beats counting */
    WORD = 8,        /* children that one comparison covers */
    N_GROUPS = 257,  /* 0: the key ends here; 1 + byte */
};

typedef struct job { /* a node whose keys [low, high) are not distributed yet; its path is `depth` bytes */
    uint32_t node, low, high, depth;
} job;

typedef struct builder {
    pe_trie_node *nodes;
    uint8_t *first, *labels;
    uint32_t n_nodes, n_labels;
    pe_trie_key *keys, *sorted;
    job *jobs;
    size_t n_jobs;
} builder;

static inline unsigned group_of(const pe_trie_key *key, uint32_t depth) {
    return key->size == depth ? 0 : 1 + (unsigned)(uint8_t)key->data[depth];
}

/* Stable in both cases: of equal keys the first given one stays the first. */
static void sort_few(pe_trie_key *keys, uint32_t n, uint32_t depth) {
    uint16_t groups[SMALL_SORT];
    for (uint32_t i = 0; i < n; i++) {
        pe_trie_key key = keys[i];
        uint16_t group = (uint16_t)group_of(&key, depth);
        uint32_t j = i;
        for (; j > 0 && groups[j - 1] > group; j--) {
            groups[j] = groups[j - 1];
            keys[j] = keys[j - 1];
        }
        groups[j] = group;
        keys[j] = key;
    }
}

static void sort_many(pe_trie_key *keys, pe_trie_key *sorted, uint32_t n, uint32_t depth) {
    uint32_t next[N_GROUPS + 1] = {0};
    for (uint32_t i = 0; i < n; i++) next[group_of(&keys[i], depth) + 1]++;
    for (unsigned g = 1; g <= N_GROUPS; g++) next[g] += next[g - 1];
    for (uint32_t i = 0; i < n; i++) sorted[next[group_of(&keys[i], depth)]++] = keys[i];
    memcpy(keys, sorted, n * sizeof *keys);
}

static uint32_t shared_bytes(const pe_trie_key *keys, uint32_t n, uint32_t depth) {
    uint32_t shared = keys[0].size - depth;
    const char *reference = keys[0].data + depth;
    for (uint32_t i = 1; i < n && shared > 0; i++) {
        if (keys[i].size - depth < shared) shared = keys[i].size - depth;
        const char *other = keys[i].data + depth;
        uint32_t j = 0;
        while (j < shared && other[j] == reference[j]) j++;
        shared = j;
    }
    return shared;
}

static void add_child(builder *b, uint32_t low, uint32_t high, uint32_t depth) {
    const pe_trie_key *key = &b->keys[low];
    uint32_t number = b->n_nodes++;
    pe_trie_node *node = &b->nodes[number];
    uint32_t size = shared_bytes(key, high - low, depth + 1);
    b->first[number] = (uint8_t)key->data[depth];
    node->label = b->n_labels;
    node->label_size = (uint16_t)size;
    node->id = -1;
    memcpy(b->labels + b->n_labels, key->data + depth + 1, size);
    b->n_labels += size;
    if (high - low == 1)
        node->id = key->id;
    else
        b->jobs[b->n_jobs++] = (job){number, low, high, depth + 1 + size};
}

static void distribute(builder *b, job j) {
    pe_trie_key *keys = b->keys + j.low;
    uint32_t n = j.high - j.low, i = 0;
    if (n <= SMALL_SORT)
        sort_few(keys, n, j.depth);
    else
        sort_many(keys, b->sorted, n, j.depth);
    if (keys[0].size == j.depth) b->nodes[j.node].id = keys[0].id;
    while (i < n && keys[i].size == j.depth) i++;
    uint32_t child = b->n_nodes;
    while (i < n) {
        uint32_t start = i;
        unsigned group = group_of(&keys[i], j.depth);
        while (i < n && group_of(&keys[i], j.depth) == group) i++;
        add_child(b, j.low + start, j.low + i, j.depth);
    }
    b->nodes[j.node].child = child;
    b->nodes[j.node].n_children = (uint16_t)(b->n_nodes - child);
}

pe_status pe_trie_build(pe_trie *trie, pe_arena *arena, pe_trie_key *keys, size_t n_keys) {
    memset(trie, 0, sizeof *trie);
    if (n_keys == 0) return PE_OK;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_keys; i++) {
        if (keys[i].size == 0 || keys[i].size > PE_TRIE_MAX_KEY)
            return pe_fail(PE_ERR_ARG, "a key of the trie has %u bytes, expected 1 to %d", (unsigned)keys[i].size,
                           PE_TRIE_MAX_KEY);
        bytes += keys[i].size;
    }
    if (n_keys > INT32_MAX / 2 || bytes > INT32_MAX)
        return pe_fail(PE_ERR_UNSUPPORTED, "%zu keys of %llu bytes are more than the trie can number", n_keys,
                       (unsigned long long)bytes);
    builder b = {.keys = keys};
    b.nodes = pe_arena_alloc(arena, 2 * n_keys + 1, sizeof *b.nodes);
    b.first = pe_arena_alloc(arena, 2 * n_keys + 1 + WORD, 1);
    b.labels = pe_arena_alloc(arena, (size_t)bytes, 1);
    b.sorted = pe_mem_alloc(n_keys, sizeof *b.sorted);
    b.jobs = pe_mem_alloc(n_keys / 2 + 1, sizeof *b.jobs); /* pending ranges do not overlap and hold two keys or more */
    if (!b.nodes || !b.first || !b.labels || !b.sorted || !b.jobs) {
        pe_mem_free(b.sorted);
        pe_mem_free(b.jobs);
        return PE_ERR_NOMEM;
    }
    b.nodes[0].id = -1;
    b.n_nodes = 1;
    b.jobs[b.n_jobs++] = (job){0, 0, (uint32_t)n_keys, 0};
    while (b.n_jobs) distribute(&b, b.jobs[--b.n_jobs]);
    pe_mem_free(b.sorted);
    pe_mem_free(b.jobs);

    *trie = (pe_trie){.nodes = b.nodes, .first = b.first, .labels = b.labels, .n_nodes = b.n_nodes};
    for (uint32_t c = 0; c < b.nodes[0].n_children; c++)
        trie->root[b.first[b.nodes[0].child + c]] = b.nodes[0].child + c;
    return PE_OK;
}

/* Eight bytes at once, the one at the lower address in the lower bits. */
static inline uint64_t load_bytes(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* 0 where there is no such child: the root is nobody's child. Most nodes have few children, which one comparison of
 * eight bytes covers; the lowest zero byte of `equal` is exact, whatever follows the children in memory. */
static inline uint32_t child_by_byte(const pe_trie *trie, const pe_trie_node *node, uint8_t byte) {
    const uint8_t *first = trie->first + node->child;
    uint32_t low = 0, high = node->n_children;
    while (high - low > WORD) {
        uint32_t middle = (low + high) / 2;
        bool right = first[middle] <= byte;
        low = right ? middle : low;
        high = right ? high : middle;
    }
    uint64_t equal = load_bytes(first + low) ^ byte * UINT64_C(0x0101010101010101);
    uint64_t zero = (equal - UINT64_C(0x0101010101010101)) & ~equal & UINT64_C(0x8080808080808080);
    if (!zero) return 0;
    low += (uint32_t)__builtin_ctzll(zero) / 8;
    return low < high ? node->child + low : 0;
}

static inline bool has_label(const pe_trie *trie, const pe_trie_node *node, const uint8_t *data) {
    const uint8_t *label = trie->labels + node->label;
    for (uint32_t i = 0; i < node->label_size; i++)
        if (label[i] != data[i]) return false;
    return true;
}

int32_t pe_trie_find(const pe_trie *trie, const char *data, size_t size) {
    if (size == 0) return -1;
    const uint8_t *at = (const uint8_t *)data, *end = at + size;
    uint32_t number = trie->root[*at];
    while (number) {
        const pe_trie_node *node = &trie->nodes[number];
        at++;
        if ((size_t)(end - at) < node->label_size || !has_label(trie, node, at)) return -1;
        at += node->label_size;
        if (at == end) return node->id;
        number = child_by_byte(trie, node, *at);
    }
    return -1;
}

size_t pe_trie_longest(const pe_trie *trie, const char *data, size_t size, int32_t *id) {
    if (size == 0) return 0;
    const uint8_t *start = (const uint8_t *)data, *at = start, *end = at + size;
    size_t longest = 0;
    uint32_t number = trie->root[*at];
    while (number) {
        const pe_trie_node *node = &trie->nodes[number];
        at++;
        if ((size_t)(end - at) < node->label_size || !has_label(trie, node, at)) break;
        at += node->label_size;
        if (node->id >= 0) {
            longest = (size_t)(at - start);
            *id = node->id;
        }
        if (at == end) break;
        number = child_by_byte(trie, node, *at);
    }
    return longest;
}
