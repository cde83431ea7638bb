/* Feed-forward blocks with experts. */
#ifndef PE_MODEL_EXPERTS_H
#define PE_MODEL_EXPERTS_H

#include "model/forward.h"

/* h [n_tokens, n_embd] = the sum of what each token's experts make of its h, times the router's weights. */
void pe_experts_run(pe_forward *forward, const pe_layer *layer, size_t n_tokens);

#endif
