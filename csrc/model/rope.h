/* Angles of rotary positions (https://arxiv.org/abs/2104.09864), and the ways to stretch them to longer contexts. */
#ifndef PE_MODEL_ROPE_H
#define PE_MODEL_ROPE_H

#include "model/model.h"

/* Radians per position into out [2, n_rot / 2]: of PE_ROPE_FULL and of PE_ROPE_WINDOW, in a context of n_ctx. */
void pe_rope_frequencies(const pe_model *model, size_t n_ctx, float *out);

#endif
