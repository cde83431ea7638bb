/* The part of the sampler that sessions share. */
#ifndef PE_RUN_SAMPLER_H
#define PE_RUN_SAMPLER_H

#include "base/pool.h"
#include "kernels/kernels.h"

enum { PE_SAMPLER_BYTES = 20 }; /* that a sampler keeps for each token of the vocabulary */

/* pe_sampler_sample with given kernels and threads (NULL: none): they do the scans over the vocabulary, which decide
 * nothing but the last bits of *logprob. */
pe_status pe_sampler_choose(pe_sampler *sampler, const pe_kernels *kernels, pe_pool *pool, const float *logits,
                            size_t n_vocab, int32_t *id, float *logprob);

#endif
