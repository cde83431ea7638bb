/* One forward pass over a chunk of tokens, for every architecture. Owns the working buffers of a session. */
#ifndef PE_MODEL_FORWARD_H
#define PE_MODEL_FORWARD_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "model/adapter.h"
#include "model/kvcache.h"

enum {
    PE_CHUNK = 256,  /* tokens evaluated together at most: their activations stay in the cache */
    PE_MAX_JOIN = 3, /* products that share an input: Q, K and V */
};

typedef struct pe_forward {
    const pe_model *model;
    pe_weights weights; /* of the model, with the session's adapters */
    const pe_kernels *kernels;
    pe_pool *pool;
    atomic_bool *cancelled;      /* set from any thread */
    bool (*interrupted)(void *); /* NULL, or true as well */
    void *interrupted_context;
    size_t n_ctx;                       /* of the session: some architectures have another rope for long ones */
    struct pe_collect *collect;         /* NULL: nothing is collected */
    const pe_weight *next[PE_MAX_JOIN]; /* weights of the product after the next one, as far as they are known */
    size_t n_next;

    size_t capacity;     /* tokens that the buffers hold */
    size_t buffer_bytes; /* of all that is below */
    pe_arena arena;
    float *x;         /* [capacity, n_embd] residual stream */
    float *h;         /* [capacity, n_embd] normed input of a block, then its output */
    float *q, *k, *v; /* [capacity, heads * head_dim] */
    float *gate, *up; /* [capacity, n_ff] */
    float *angles;    /* [2 (full, windowed), 2 (cos, sin), capacity, n_rot / 2] */
    float *inverse;   /* [2, n_rot / 2] frequencies */
    float *conv[3];   /* [capacity, n_embd] each, only with short convolutions */
    float *router;    /* [capacity, n_expert] scores, then weights; this and what follows only with experts */
    uint8_t *chosen;  /* [capacity, n_expert] */
    float *expert_rows, *expert_sum; /* [capacity, n_embd] */
    int32_t *expert_tokens;          /* [capacity] */
    float *expert_weights;           /* [capacity] */
    pe_act input;                    /* quantised input of the next product */
    size_t act_width;                /* widest input */
    void **thread_scratch;           /* [threads] */
    float *partial; /* sums of spans of attention, where several tasks share a query; grows with the context */
    size_t partial_floats;
    float *low; /* [tokens, weights.rank] inputs times A of adapters; grows with both */
    size_t low_floats;
} pe_forward;

pe_status pe_forward_init(pe_forward *forward, const pe_model *model, const pe_kernels *kernels, pe_pool *pool,
                          size_t n_ctx, atomic_bool *cancelled);
void pe_forward_free(pe_forward *forward);
/* Take other weights of the same model, and free those that were there. */
void pe_forward_set_weights(pe_forward *forward, const pe_weights *weights);
/* Bytes of the buffers for `n_tokens` at once within a context of n_ctx. */
uint64_t pe_forward_bytes(const pe_model *model, size_t n_tokens, size_t n_ctx, int n_threads,
                          const pe_kernels *kernels);
/* Have buffers for n_tokens <= PE_CHUNK. */
pe_status pe_forward_reserve(pe_forward *forward, size_t n_tokens);
/* Whether evaluations are to end. */
static inline bool pe_forward_interrupted(const pe_forward *f) {
    return atomic_load_explicit(f->cancelled, memory_order_relaxed) ||
           (f->interrupted && f->interrupted(f->interrupted_context));
}
/* Evaluate ids [n_tokens <= capacity] at `position`; the cache is writable there. Leaves the residual stream after
 * the last layer. PE_ERR_CANCELLED where `cancelled` was set meanwhile. */
pe_status pe_forward_run(pe_forward *forward, pe_kvcache *cache, const int32_t *ids, size_t n_tokens, size_t position);
/* Of the chunk just evaluated: normed states of tokens first..end-1 into out [end - first, n_embd]. */
void pe_forward_hidden(pe_forward *forward, size_t first, size_t end, float *out);
/* And their logits into out [end - first, n_vocab]. Overwrites the block buffers. */
void pe_forward_logits(pe_forward *forward, size_t first, size_t end, float *out);

#endif
