/* Each column is summed by one thread, token after token, in double: the sums depend neither on the threads nor on how
 * the tokens were grouped. */
#include "model/collect.h"

enum { STRIPE = 256 }; /* columns of a task */

pe_status pe_collect_create(const pe_model *model, pe_collect **out) {
    const pe_gguf *gguf = &model->gguf;
    pe_collect *c = pe_mem_alloc(1, sizeof *c);
    if (!c) return PE_ERR_NOMEM;
    bool failed = !(c->tensors = pe_arena_alloc(&c->arena, gguf->n_tensors, sizeof *c->tensors));
    for (size_t i = 0; i < gguf->n_tensors && !failed; i++) {
        const uint64_t *dims = gguf->tensors[i].dims;
        if (dims[1] < 2) continue;
        c->tensors[i].sums = pe_arena_alloc(&c->arena, (size_t)(dims[0] * dims[2]), sizeof(double));
        c->tensors[i].counts = pe_arena_alloc(&c->arena, (size_t)dims[2], sizeof(uint64_t));
        failed = !c->tensors[i].sums || !c->tensors[i].counts;
    }
    if (failed) {
        pe_collect_free(c);
        return PE_ERR_NOMEM;
    }
    *out = c;
    return PE_OK;
}

void pe_collect_free(pe_collect *c) {
    if (!c) return;
    pe_arena_free(&c->arena);
    pe_mem_free(c);
}

typedef struct job {
    double *sums;
    const pe_act *input;
} job;

static void add_stripe(void *context, size_t task, int thread) {
    (void)thread;
    const job *j = context;
    const size_t n = j->input->n, end = (task + 1) * STRIPE < n ? (task + 1) * STRIPE : n;
    for (size_t t = 0; t < j->input->n_tokens; t++) {
        const float *x = j->input->f32 + t * n;
        for (size_t i = task * STRIPE; i < end; i++) j->sums[i] += (double)x[i] * (double)x[i];
    }
}

void pe_collect_add(const pe_forward *f, const pe_act *input, size_t n, const pe_weight *const weights[]) {
    for (size_t i = 0; i < n; i++) {
        const pe_weight *w = weights[i];
        if (i > 0 && w->tensor == weights[i - 1]->tensor) continue;
        const pe_collected_tensor *to = &f->collect->tensors[w->tensor - f->model->gguf.tensors];
        if (!to->sums) continue;
        job j = {to->sums + (size_t)w->matrix * input->n, input};
        pe_pool_run(f->pool, add_stripe, &j, (input->n + STRIPE - 1) / STRIPE);
        to->counts[w->matrix] += input->n_tokens;
    }
}
