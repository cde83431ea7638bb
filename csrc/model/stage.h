/* What the stages of a forward pass share: their tasks are tiles of tokens, as many as the kernels take at once. */
#ifndef PE_MODEL_STAGE_H
#define PE_MODEL_STAGE_H

#include "model/forward.h"
#include "quant/types.h"

static inline size_t pe_stage_tile(const pe_forward *f, size_t n_tokens) {
    return n_tokens > 1 ? f->kernels->tile_tokens : 1;
}

static inline void pe_stage_range(const pe_forward *f, size_t n_tokens, size_t task, size_t *first, size_t *end) {
    const size_t tile = pe_stage_tile(f, n_tokens);
    *first = task * tile;
    *end = *first + tile < n_tokens ? *first + tile : n_tokens;
}

/* Run a stage; a single token is one task, which the pool does in the caller. */
static inline void pe_stage_run(const pe_forward *f, size_t n_tokens, pe_task task, void *context) {
    const size_t tile = pe_stage_tile(f, n_tokens);
    pe_pool_run(f->pool, task, context, (n_tokens + tile - 1) / tile);
}

/* What the next products read: x [n_tokens, n], to be quantised by the stage before them. */
static inline void pe_stage_input(pe_forward *f, const float *x, size_t n_tokens, size_t n) {
    f->input.n_tokens = n_tokens;
    f->input.n = n;
    f->input.f32 = x;
}

static inline bool pe_weight_is_int(const pe_weight *w) { return pe_quant_find(w->type)->is_int; }

/* gate = activation(gate) * up over n values; up NULL: 1. */
static inline void pe_stage_activate(const pe_forward *f, float *gate, const float *up, size_t n) {
    const pe_kernels *k = f->kernels;
    const pe_activation activation = f->model->arch->activation;
    if (activation == PE_RELU_SQUARED) {
        for (size_t i = 0; i < n; i++) {
            const float x = gate[i] > 0 ? gate[i] : 0;
            gate[i] = x * x * (up ? up[i] : 1);
        }
        return;
    }
    (activation == PE_SILU        ? k->silu_mul
     : activation == PE_GELU_TANH ? k->gelu_tanh_mul
                                  : k->gelu_erf_mul)(gate, up, n);
}

#endif
