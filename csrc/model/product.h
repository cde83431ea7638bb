/* Products of weights with one input, shared out to the threads. */
#ifndef PE_MODEL_PRODUCT_H
#define PE_MODEL_PRODUCT_H

#include "model/forward.h"
#include "model/model.h"

enum { PE_MAX_JOIN = 3 }; /* products that share an input: Q, K and V */

/* outputs[i] [n_tokens, n_out of weights[i]] = input x weights[i]^T, for n <= PE_MAX_JOIN weights as one job. */
void pe_products(const pe_forward *forward, const pe_act *input, size_t n, const pe_weight *const weights[],
                 float *const outputs[]);

#endif
