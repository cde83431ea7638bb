/* A job is the rows of all weights, counted through in units, and a task is a run of units: long, because each begins
 * with a wait for the memory, but several for each thread, so that a late thread costs little. */
#include "model/product.h"
#include "model/collect.h"

enum {
    TASKS_PER_THREAD = 4,
    ROW_UNIT = 8, /* rows of a unit for one token; for more it is a panel */
};

typedef struct product {
    const pe_forward *f;
    const pe_act *input;
    const pe_weight *weights[PE_MAX_JOIN];
    float *outputs[PE_MAX_JOIN];
    size_t n, unit, n_units, n_tasks;
} product;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t units_of(const product *p, const pe_weight *w) { return (w->n_out + p->unit - 1) / p->unit; }

static void multiply_rows(const product *p, size_t index, size_t row, size_t end, int thread) {
    const pe_weight *w = p->weights[index];
    const pe_kernels *kernels = p->f->kernels;
    float *y = p->outputs[index];
    if (p->input->n_tokens == 1) {
        kernels->gemv[w->slot](y + row, w->data + row * w->row_bytes, w->row_bytes, end - row, p->input);
        if (w->bias) kernels->add(y + row, w->bias + row, end - row);
        return;
    }
    for (; row < end; row += PE_PANEL_ROWS) {
        const size_t n = smaller(end - row, PE_PANEL_ROWS);
        kernels->gemm[w->slot](y + row, w->n_out, w->data + row * w->row_bytes, w->row_bytes, n, p->input,
                               p->f->thread_scratch[thread]);
        for (size_t t = 0; w->bias && t < p->input->n_tokens; t++)
            kernels->add(y + t * w->n_out + row, w->bias + row, n);
    }
}

static void product_task(void *context, size_t task, int thread) {
    const product *p = context;
    size_t first = task * p->n_units / p->n_tasks, end = (task + 1) * p->n_units / p->n_tasks;
    for (size_t i = 0; i < p->n && end > 0; i++) {
        const size_t units = units_of(p, p->weights[i]);
        if (first < units)
            multiply_rows(p, i, first * p->unit, smaller(smaller(end, units) * p->unit, p->weights[i]->n_out), thread);
        first = first > units ? first - units : 0;
        end = end > units ? end - units : 0;
    }
}

void pe_products(const pe_forward *f, const pe_act *input, size_t n, const pe_weight *const weights[],
                 float *const outputs[]) {
    if (f->collect) pe_collect_add(f, input, n, weights);
    product p = {.f = f, .input = input, .n = n, .unit = input->n_tokens == 1 ? ROW_UNIT : PE_PANEL_ROWS};
    for (size_t i = 0; i < n; i++) {
        p.weights[i] = weights[i];
        p.outputs[i] = outputs[i];
        p.n_units += units_of(&p, weights[i]);
    }
    const size_t threads = (size_t)pe_pool_threads(f->pool);
    p.n_tasks = threads == 1 ? 1 : smaller(p.n_units, threads * TASKS_PER_THREAD);
    if (input->n_tokens > PE_FEW && threads > 1) p.n_tasks = p.n_units; /* bound by arithmetic: as even as can be */
    pe_pool_run(f->pool, product_task, &p, p.n_tasks);
}
