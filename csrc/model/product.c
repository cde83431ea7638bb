/* A job is the rows of all weights, counted through in units, and a task is a run of units: long, because each begins
 * with a wait for the memory, but several for each thread, so that a late thread costs little. */
#include "model/product.h"
#include "model/collect.h"
#include "model/stage.h"

enum {
    TASKS_PER_THREAD = 4,
    ROW_UNIT = 8, /* rows of a unit for one token; for more it is a panel */
    LOW_UNIT = 32 /* the same where adapters add to them: whole vectors of columns */
};

typedef struct product {
    const pe_forward *f;
    const pe_act *input;
    const pe_weight *weights[PE_MAX_JOIN];
    float *outputs[PE_MAX_JOIN];
    size_t n, unit, n_units, n_tasks;
    float *low;  /* [n_tokens, rank]: the input times A of all deltas of the weights, times their scale */
    size_t rank; /* columns of it, those of a weight's deltas side by side */
    size_t column[PE_MAX_JOIN]; /* where they begin */
} product;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t units_of(const product *p, const pe_weight *w) { return (w->n_out + p->unit - 1) / p->unit; }

/* ---- low-rank additions of adapters ----------------------------------------------------------------------------- */

/* Parts of one matrix share their A. */
static bool shares_columns(const pe_weight *a, const pe_weight *b) {
    return a->n_deltas && a->n_deltas == b->n_deltas && a->deltas[0].a == b->deltas[0].a;
}

static void plan_deltas(product *p) {
    for (size_t i = 0; i < p->n; i++) {
        const pe_weight *w = p->weights[i];
        if (i && shares_columns(w, p->weights[i - 1])) {
            p->column[i] = p->column[i - 1];
            continue;
        }
        p->column[i] = p->rank;
        for (uint32_t d = 0; d < w->n_deltas; d++) p->rank += w->deltas[d].rank;
    }
}

/* Tokens first..end-1 of the input times every A. */
static void multiply_a(const product *p, size_t first, size_t end) {
    const pe_kernels *kernels = p->f->kernels;
    const size_t n = p->input->n;
    const pe_act input = {.n_tokens = end - first, .n = n, .f32 = p->input->f32 + first * n};
    for (size_t i = 0; i < p->n; i++) {
        const pe_weight *w = p->weights[i];
        if (i && p->column[i] == p->column[i - 1] && shares_columns(w, p->weights[i - 1])) continue;
        float *low = p->low + first * p->rank + p->column[i];
        for (uint32_t d = 0; d < w->n_deltas; low += w->deltas[d++].rank) {
            const pe_delta *delta = &w->deltas[d];
            const int slot = delta->f32 ? PE_SLOT_F32 : PE_SLOT_F16;
            const size_t row_bytes = n * pe_delta_bytes(delta);
            if (input.n_tokens == 1)
                kernels->gemv[slot](low, delta->a, row_bytes, delta->rank, &input);
            else
                kernels->gemm[slot](low, p->rank, delta->a, row_bytes, delta->rank, &input, NULL);
            for (size_t t = 0; t < input.n_tokens; t++) kernels->scale(low + t * p->rank, delta->scale, delta->rank);
        }
    }
}

static void multiply_a_task(void *context, size_t task, int thread) {
    (void)thread;
    const product *p = context;
    size_t first, end;
    pe_stage_range(p->f, p->input->n_tokens, task, &first, &end);
    multiply_a(p, first, end);
}

/* Add B times that to rows row..end-1 of a weight's output. */
static void add_deltas(const product *p, size_t index, size_t row, size_t end) {
    const pe_weight *w = p->weights[index];
    const float *low = p->low + p->column[index];
    for (uint32_t d = 0; d < w->n_deltas; low += w->deltas[d++].rank) {
        const pe_delta *delta = &w->deltas[d];
        p->f->kernels->add_low(p->outputs[index] + row, w->n_out, delta->b + row * pe_delta_bytes(delta), delta->f32,
                               delta->b_stride, end - row, low, p->rank, delta->rank, p->input->n_tokens);
    }
}

/* ---- base products ---------------------------------------------------------------------------------------------- */

static void multiply_rows(const product *p, size_t index, size_t row, size_t end, int thread) {
    const pe_weight *w = p->weights[index];
    const pe_kernels *kernels = p->f->kernels;
    float *y = p->outputs[index];
    if (p->input->n_tokens == 1) {
        kernels->gemv[w->slot](y + row, w->data + row * w->row_bytes, w->row_bytes, end - row, p->input);
        if (w->bias) kernels->add(y + row, w->bias + row, end - row);
        add_deltas(p, index, row, end);
        return;
    }
    for (; row < end; row += PE_PANEL_ROWS) {
        const size_t n = smaller(end - row, PE_PANEL_ROWS);
        kernels->gemm[w->slot](y + row, w->n_out, w->data + row * w->row_bytes, w->row_bytes, n, p->input,
                               p->f->thread_scratch[thread]);
        for (size_t t = 0; w->bias && t < p->input->n_tokens; t++)
            kernels->add(y + t * w->n_out + row, w->bias + row, n);
        add_deltas(p, index, row, row + n);
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
    const size_t unit = input->n_tokens > 1 ? PE_PANEL_ROWS : f->weights.rank ? LOW_UNIT : ROW_UNIT;
    product p = {.f = f, .input = input, .n = n, .unit = unit};
    for (size_t i = 0; i < n; i++) {
        p.weights[i] = weights[i];
        p.outputs[i] = outputs[i];
        p.n_units += units_of(&p, weights[i]);
    }
    plan_deltas(&p);
    p.low = f->low;
    if (p.rank) pe_stage_run(f, input->n_tokens, multiply_a_task, &p);
    const size_t threads = (size_t)pe_pool_threads(f->pool);
    p.n_tasks = threads == 1 ? 1 : smaller(p.n_units, threads * TASKS_PER_THREAD);
    if (input->n_tokens > PE_FEW && threads > 1) p.n_tasks = p.n_units; /* bound by arithmetic: as even as can be */
    pe_pool_run(f->pool, product_task, &p, p.n_tasks);
}
