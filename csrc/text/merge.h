/* The loop that byte-level BPE and SentencePiece-style BPE share: merge the adjacent pair with the best priority,
 * leftmost first, until no pair can be merged. The two differ only in how a pair is looked up, so the loop is inline
 * and the lookup a constant argument.
 *
 * A short word keeps its symbols in small arrays and is scanned for each merge. A longer one keeps them in a linked
 * list and the pairs in a binary heap. Beyond PE_STACK_WORD symbols it is merged by windows (pe_long_word), so that
 * time grows linearly with the length and memory does not grow. */
#ifndef PE_TEXT_MERGE_H
#define PE_TEXT_MERGE_H

#include "base/arena.h"
#include "base/status.h"

#include <string.h>

typedef struct pe_pair {
    uint32_t priority; /* the smallest is merged first; PE_NO_PAIR: cannot be merged */
    int32_t id;        /* of the merged symbol */
} pe_pair;

enum { PE_SHORT_WORD = 48, PE_STACK_WORD = 512 };
#define PE_NO_PAIR   UINT32_MAX
#define PE_NO_SYMBOL UINT32_MAX

typedef struct pe_symbol { /* text [start, end) */
    uint32_t start, end;
    int32_t id;   /* -1: no token of its own */
    pe_pair pair; /* with the symbol to its right */
} pe_symbol;

typedef struct pe_link {
    uint32_t previous, next;
} pe_link;

/* Working memory of one call, and where its ids go. The caller has it on its stack, and with it the room for words of
 * up to PE_STACK_WORD symbols; longer ones move it to the heap. */
typedef struct pe_encoder {
    int32_t *ids; /* [cap] */
    size_t cap, n_ids;
    char *text;         /* [4 * room]: a word in another spelling than the caller's */
    pe_symbol *symbols; /* [room] */
    pe_link *links;     /* [room] */
    uint64_t *heap;     /* [2 * room] */
    size_t room;
    void *block; /* on the heap, or NULL: see pe_encoder_reserve */
    char own_text[4 * PE_STACK_WORD];
    pe_symbol own_symbols[PE_STACK_WORD];
    pe_link own_links[PE_STACK_WORD];
    uint64_t own_heap[2 * PE_STACK_WORD];
} pe_encoder;

static inline void pe_encoder_emit(pe_encoder *encoder, int32_t id) {
    if (encoder->n_ids < encoder->cap) encoder->ids[encoder->n_ids] = id;
    encoder->n_ids++;
}

void pe_encoder_begin(pe_encoder *encoder, int32_t *ids, size_t cap);
void pe_encoder_end(pe_encoder *encoder);
/* Room for a word of n symbols; what the arrays held is lost. */
pe_status pe_encoder_reserve(pe_encoder *encoder, size_t n);

/* The pair of two neighbours. */
typedef pe_pair (*pe_pair_lookup)(const void *context, const pe_symbol *left, const pe_symbol *right);

static inline size_t pe_merge_short(pe_symbol *symbols, size_t n, pe_pair_lookup lookup, const void *context) {
    for (;;) {
        uint32_t best = PE_NO_PAIR;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            if (symbols[i].pair.priority < best) {
                best = symbols[i].pair.priority;
                at = i;
            }
        }
        if (best == PE_NO_PAIR) return n;
        symbols[at].id = symbols[at].pair.id;
        symbols[at].end = symbols[at + 1].end;
        n--;
        memmove(&symbols[at + 1], &symbols[at + 2], (n - at - 1) * sizeof *symbols);
        if (at + 1 < n) symbols[at].pair = lookup(context, &symbols[at], &symbols[at + 1]);
        if (at > 0) symbols[at - 1].pair = lookup(context, &symbols[at - 1], &symbols[at]);
    }
}

/* A heap entry is priority and place in one number: equal priorities come out from left to right. */
static inline void pe_heap_push(uint64_t *heap, size_t *size, uint64_t entry) {
    size_t at = (*size)++;
    while (at > 0 && heap[(at - 1) / 2] > entry) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = entry;
}

static inline uint64_t pe_heap_pop(uint64_t *heap, size_t *size) {
    uint64_t top = heap[0], last = heap[--*size];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= *size) break;
        if (child + 1 < *size && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

/* Every merge takes one entry out and puts two in at most, so 2n entries suffice. An entry whose pair has changed
 * since is recognised by its priority, which belongs to one pair only or to one that gives the same result. */
static inline size_t pe_merge_long(pe_encoder *encoder, size_t n, pe_pair_lookup lookup, const void *context) {
    pe_symbol *symbols = encoder->symbols;
    pe_link *links = encoder->links;
    uint64_t *heap = encoder->heap;
    size_t heap_size = 0;
    for (uint32_t i = 0; i < n; i++) {
        links[i].previous = i ? i - 1 : PE_NO_SYMBOL;
        links[i].next = i + 1 < n ? i + 1 : PE_NO_SYMBOL;
        if (symbols[i].pair.priority != PE_NO_PAIR)
            pe_heap_push(heap, &heap_size, (uint64_t)symbols[i].pair.priority << 32 | i);
    }
    while (heap_size) {
        uint64_t entry = pe_heap_pop(heap, &heap_size);
        uint32_t at = (uint32_t)entry;
        if (symbols[at].pair.priority != entry >> 32) continue;
        uint32_t right = links[at].next, next = links[right].next, previous = links[at].previous;
        symbols[at].id = symbols[at].pair.id;
        symbols[at].end = symbols[right].end;
        symbols[at].pair.priority = symbols[right].pair.priority = PE_NO_PAIR;
        links[at].next = next;
        if (next != PE_NO_SYMBOL) {
            links[next].previous = at;
            symbols[at].pair = lookup(context, &symbols[at], &symbols[next]);
            if (symbols[at].pair.priority != PE_NO_PAIR)
                pe_heap_push(heap, &heap_size, (uint64_t)symbols[at].pair.priority << 32 | at);
        }
        if (previous != PE_NO_SYMBOL) {
            symbols[previous].pair = lookup(context, &symbols[previous], &symbols[at]);
            if (symbols[previous].pair.priority != PE_NO_PAIR)
                pe_heap_push(heap, &heap_size, (uint64_t)symbols[previous].pair.priority << 32 | previous);
        }
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != PE_NO_SYMBOL; i = links[i].next) symbols[kept++] = symbols[i];
    return kept;
}

/* Merge encoder->symbols [n > 0], of which start, end and id are set; returns how many are left. */
static inline size_t pe_merge(pe_encoder *encoder, size_t n, pe_pair_lookup lookup, const void *context) {
    pe_symbol *symbols = encoder->symbols;
    for (size_t i = 0; i + 1 < n; i++) symbols[i].pair = lookup(context, &symbols[i], &symbols[i + 1]);
    symbols[n - 1].pair.priority = PE_NO_PAIR;
    return n <= PE_SHORT_WORD ? pe_merge_short(symbols, n, lookup, context)
                              : pe_merge_long(encoder, n, lookup, context);
}

/* A word of any length, by windows.
 *
 * Symbols side by side in the result of a merge stay apart when only the two of them are merged, and the other way
 * round: where all neighbours stay apart, the whole does, for the best pair of a text is the best one of each part that
 * holds it. So a window may start behind any symbol that is certain. The last ones of a window are not, since what
 * follows may yet take from them; one that comes out again as the first symbol of the next window is. Where it does
 * not, or where a symbol is longer than a window, the word starts anew with larger windows. */
typedef struct pe_long_word pe_long_word;
struct pe_long_word {
    size_t size; /* bytes */
    /* encoder->symbols from byte `at` of the word on, at most `most`: how many. *end is the byte that follows them. */
    size_t (*fill)(const pe_long_word *word, pe_encoder *encoder, size_t at, size_t most, size_t *end);
    /* Merge encoder->symbols [n]: how many are left. */
    size_t (*merge)(const pe_long_word *word, pe_encoder *encoder, size_t n);
    /* The byte of the word at which a symbol that starts at `start` begins, with fill's `at`. */
    size_t (*place)(const pe_long_word *word, size_t at, size_t start);
    /* The ids of encoder->symbols [n]. */
    void (*emit)(const pe_long_word *word, pe_encoder *encoder, size_t n);
};

pe_status pe_merge_windows(const pe_long_word *word, pe_encoder *encoder);

#endif
