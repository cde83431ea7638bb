/* Products of weights with one input, shared out to the threads. */
#ifndef PE_MODEL_PRODUCT_H
#define PE_MODEL_PRODUCT_H

#include "model/forward.h"
#include "model/model.h"

/* outputs[i] [n_tokens, n_out of weights[i]] = input x weights[i]^T, for n <= PE_MAX_JOIN weights as one job. */
void pe_products(const pe_forward *forward, const pe_act *input, size_t n, const pe_weight *const weights[],
                 float *const outputs[]);
/* What will be multiplied after the next pe_products, so that it can be asked for meanwhile; n 0: not known. Or: that
 * it is how a layer begins, or past the last one the output. In WebAssembly nothing can be asked for. */
#ifdef __wasm__
static inline void pe_products_expect(pe_forward *forward, size_t n, const pe_weight *const next[]) {
    (void)forward, (void)n, (void)next;
}
static inline void pe_products_expect_layer(pe_forward *forward, const pe_layer *layer) { (void)forward, (void)layer; }
#else
void pe_products_expect(pe_forward *forward, size_t n, const pe_weight *const next[]);
void pe_products_expect_layer(pe_forward *forward, const pe_layer *layer);
#endif

#endif
