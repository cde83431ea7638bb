#include "run/logits.h"

#include <math.h>

enum { FEWEST = 8192, MAX_PIECES = 64 }; /* logits of a piece; pieces */

typedef struct scan {
    const pe_kernels *kernels;
    const float *logits;
    size_t n, piece;
    bool want_sum, any_nan[MAX_PIECES];
    float top[MAX_PIECES];
    double sum[MAX_PIECES]; /* of exponentials of what is left of the piece's top */
} scan;

static void look_at_piece(void *context, size_t task, int thread) {
    (void)thread;
    scan *s = context;
    const size_t first = task * s->piece, left = s->n - first, n = left < s->piece ? left : s->piece;
    const float *x = s->logits + first;
    s->any_nan[task] = s->kernels->any_nan(x, n);
    s->top[task] = s->kernels->max(x, n);
    s->sum[task] = s->want_sum && s->top[task] > -INFINITY ? s->kernels->sum_exp(x, n, s->top[task]) : 0;
}

pe_logits_facts pe_logits_look(const pe_kernels *kernels, pe_pool *pool, const float *logits, size_t n_vocab,
                               bool want_sum) {
    const size_t share = (n_vocab + MAX_PIECES - 1) / MAX_PIECES;
    scan s = {kernels, logits, n_vocab, share > FEWEST ? share : FEWEST, .want_sum = want_sum};
    const size_t n_pieces = (n_vocab + s.piece - 1) / s.piece;
    if (pool)
        pe_pool_run(pool, look_at_piece, &s, n_pieces);
    else
        for (size_t i = 0; i < n_pieces; i++) look_at_piece(&s, i, 0);

    size_t best = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        if (s.any_nan[i]) return (pe_logits_facts){.any_nan = true};
        if (s.top[i] > s.top[best]) best = i;
    }
    size_t at = best * s.piece;
    while (at + 1 < n_vocab && logits[at] != s.top[best]) at++;
    double sum = 0;
    for (size_t i = 0; want_sum && i < n_pieces; i++) sum += s.sum[i] * expf(s.top[i] - s.top[best]);
    return (pe_logits_facts){.largest = (int32_t)at, .log_sum = s.top[best] + log(sum)};
}
