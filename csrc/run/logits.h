/* What a row of logits shows as a whole. */
#ifndef PE_RUN_LOGITS_H
#define PE_RUN_LOGITS_H

#include "base/pool.h"
#include "kernels/kernels.h"

typedef struct pe_logits_facts {
    bool any_nan;    /* then nothing else is said */
    int32_t largest; /* the first of equals */
    double log_sum;  /* of the exponentials of all: what makes a logit a log-probability when it is subtracted */
} pe_logits_facts;

/* Of logits [n_vocab], n_vocab > 0, by the threads of `pool` (NULL: by the caller): cut the same way for any number of
 * threads, so that the bits are the same. log_sum only where `want_sum`. */
pe_logits_facts pe_logits_look(const pe_kernels *kernels, pe_pool *pool, const float *logits, size_t n_vocab,
                               bool want_sum);

#endif
