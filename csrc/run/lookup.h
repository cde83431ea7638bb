/* Prompt lookup: what a session's own tokens say about those to come
 * (https://github.com/apoorvumang/prompt-lookup-decoding). Finding a draft, and deciding how much of it to try. Neither
 * can change a result: a draft is only evaluated early, and whether it is used is decided by the tokens that come. */
#ifndef PE_RUN_LOOKUP_H
#define PE_RUN_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PE_LOOKUP_AHEAD = 11,   /* tokens drafted at most */
    PE_LOOKUP_LONGEST = 8,  /* tokens compared at most, */
    PE_LOOKUP_SHORTEST = 2, /* and at least */
    PE_LOOKUP_MATCHES = 4,  /* kinds of matches, by length, whose success is told apart */
    PE_LOOKUP_BATCHES = 5,  /* sizes of batches whose cost is told apart */
};

/* What followed the latest of the longest earlier occurrences of the end of tokens [n], into draft [cap]: returns how
 * many, and the length of the match; 0 where even PE_LOOKUP_SHORTEST tokens do not occur before. Where the occurrence
 * reaches the end of the tokens, the draft goes on with itself: a loop. */
size_t pe_lookup_find(const int32_t *tokens, size_t n, int32_t *draft, size_t cap, size_t *match);

/* How drafts have fared so far, and what evaluating them costs here. */
typedef struct pe_lookup {
    float success[PE_LOOKUP_MATCHES];     /* share of drafted tokens that come, by length of the match */
    double seconds[PE_LOOKUP_BATCHES][2]; /* of the last two evaluations, by size of the batch; 0: none yet */
    double credit;                        /* evaluations of one token that drafts may still lose */
    size_t size, kind;          /* the draft that is under way: its tokens (0: none), the kind of its match, */
    double cost;                /* and of its evaluation, in those of one token */
    uint64_t drafted, accepted; /* tokens */
} pe_lookup;

void pe_lookup_init(pe_lookup *lookup);
/* How many of `found` tokens to evaluate together with the token that is due: 0..found. */
size_t pe_lookup_plan(pe_lookup *lookup, size_t match, size_t found);
/* An evaluation of n tokens, of which n - 1 are a draft, took so many seconds. */
void pe_lookup_evaluated(pe_lookup *lookup, size_t n, double seconds);
/* The draft under way has ended with `left` tokens not used: refuted by the token that came, or just given up. */
void pe_lookup_end(pe_lookup *lookup, size_t left, bool refuted);
/* A clock that only goes forward, in seconds. */
double pe_lookup_clock(void);

#endif
