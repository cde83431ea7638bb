/* Short convolutions over the last few positions, one a channel. */
#ifndef PE_MODEL_CONV_H
#define PE_MODEL_CONV_H

#include "model/forward.h"

/* h [n_tokens, n_embd] = out(c * conv(b * x)), where b, c and x are products of the input that was set for them. The
 * cache has what earlier positions gave, and gets that of these. */
void pe_conv_run(pe_forward *forward, pe_kvcache *cache, const pe_layer *layer, size_t n_tokens, size_t position);

#endif
