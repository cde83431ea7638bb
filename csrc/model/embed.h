/* The start of a forward pass: rows of the embeddings, with what adapters and learned positions add. */
#ifndef PE_MODEL_EMBED_H
#define PE_MODEL_EMBED_H

#include "model/forward.h"

/* The residual stream x [n_tokens, n_embd] of ids [n_tokens] at `position`. */
void pe_embed(const pe_forward *forward, const int32_t *ids, size_t n_tokens, size_t position);

#endif
