/* A job is the rows of all weights, counted through in units, and a task is a run of units: long, because each begins
 * with a wait for the memory, but several for each thread, so that a late thread costs little. The tasks of a thread
 * follow each other, since what a kernel asks for ahead is what comes next in memory; a thread that has done its own
 * takes those of others. While it then waits, the first rows of its share of the next job are on their way. */
#include "model/product.h"
#include "model/collect.h"
#include "model/stage.h"

enum {
    TASKS_PER_THREAD = 4,
    ROW_UNIT = 8,  /* rows of a unit for one token; for more it is a panel */
    LOW_UNIT = 32, /* the same where adapters add to them: whole vectors of columns */
    LOW_ROWS = 4,  /* rows of A that a task takes at least */
    CACHE_LINE = 64,
    MAX_SHARES = 8,         /* more threads have theirs in common */
    AHEAD_BYTES = 32 << 10, /* of the next job that a thread asks for */
};

/* Tasks next..end-1, of one thread. */
typedef struct share {
    _Alignas(CACHE_LINE) atomic_uint next;
    unsigned end;
} share;

typedef struct product {
    const pe_forward *f;
    const pe_act *input;
    const pe_weight *weights[PE_MAX_JOIN];
    float *outputs[PE_MAX_JOIN];
    size_t n, unit, n_units, n_tasks;
    float *low;  /* [n_tokens, rank]: the input times A of all deltas of the weights, times their scale */
    size_t rank; /* columns of it, those of a weight's deltas side by side */
    size_t column[PE_MAX_JOIN]; /* where they begin */
    size_t n_low_tasks;         /* tasks of a single token that compute `low`, before those of rows, which use it */
    atomic_uint low_done;       /* of them */
    size_t n_shares;
    share shares[MAX_SHARES];
} product;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static size_t units_of(size_t unit, const pe_weight *w) { return (w->n_out + unit - 1) / unit; }

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

/* Tokens t..t_end-1 of the input times rows first..end-1 of all A: columns of `low`. */
static void multiply_a(const product *p, size_t t, size_t t_end, size_t first, size_t end) {
    const pe_kernels *kernels = p->f->kernels;
    const size_t n = p->input->n;
    const pe_act input = {.n_tokens = t_end - t, .n = n, .f32 = p->input->f32 + t * n};
    for (size_t i = 0; i < p->n; i++) {
        const pe_weight *w = p->weights[i];
        if (i && p->column[i] == p->column[i - 1] && shares_columns(w, p->weights[i - 1])) continue;
        size_t column = p->column[i];
        for (uint32_t d = 0; d < w->n_deltas; column += w->deltas[d++].rank) {
            const pe_delta *delta = &w->deltas[d];
            const size_t from = larger(first, column), to = smaller(end, column + delta->rank);
            if (from >= to) continue;
            const int slot = delta->f32 ? PE_SLOT_F32 : PE_SLOT_F16;
            const size_t row_bytes = n * pe_delta_bytes(delta);
            const uint8_t *a = delta->a + (from - column) * row_bytes;
            float *low = p->low + t * p->rank + from;
            if (input.n_tokens == 1)
                kernels->gemv[slot](low, a, row_bytes, to - from, &input);
            else
                kernels->gemm[slot](low, p->rank, a, row_bytes, to - from, &input, NULL);
            for (size_t k = 0; k < input.n_tokens; k++) kernels->scale(low + k * p->rank, delta->scale, to - from);
        }
    }
}

static void multiply_a_task(void *context, size_t task, int thread) {
    (void)thread;
    const product *p = context;
    size_t first, end;
    pe_stage_range(p->f, p->input->n_tokens, task, &first, &end);
    multiply_a(p, first, end, 0, p->rank);
}

/* A share of the rows of all A, for a single token. */
static void low_task(product *p, size_t task) {
    const size_t units = (p->rank + LOW_ROWS - 1) / LOW_ROWS;
    const size_t first = task * units / p->n_low_tasks * LOW_ROWS;
    const size_t end = (task + 1) * units / p->n_low_tasks * LOW_ROWS;
    multiply_a(p, 0, 1, first, end);
    atomic_fetch_add_explicit(&p->low_done, 1, memory_order_release);
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

/* Ask for what add_deltas will read, while the rows themselves are multiplied. */
static void fetch_deltas(const pe_weight *w, size_t row, size_t end) {
    for (uint32_t d = 0; d < w->n_deltas; d++) {
        const pe_delta *delta = &w->deltas[d];
        const size_t size = pe_delta_bytes(delta);
        for (size_t k = 0; k < delta->rank; k++)
            for (size_t at = row * size; at < end * size; at += CACHE_LINE)
                __builtin_prefetch(delta->b + k * delta->b_stride * size + at, 0, 2);
    }
}

/* ---- base products ---------------------------------------------------------------------------------------------- */

static void multiply_rows(product *p, size_t index, size_t row, size_t end, int thread) {
    const pe_weight *w = p->weights[index];
    const pe_kernels *kernels = p->f->kernels;
    float *y = p->outputs[index];
    if (p->input->n_tokens == 1) {
        fetch_deltas(w, row, end);
        kernels->gemv[w->slot](y + row, w->data + row * w->row_bytes, w->row_bytes, end - row, p->input);
        if (w->bias) kernels->add(y + row, w->bias + row, end - row);
        if (w->n_deltas) {
            pe_pool_await(&p->low_done, p->n_low_tasks);
            add_deltas(p, index, row, end);
        }
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

static size_t tasks_of(const pe_forward *f, size_t n_units) {
    const size_t threads = (size_t)pe_pool_threads(f->pool);
    return threads == 1 ? 1 : smaller(n_units, threads * TASKS_PER_THREAD);
}
static size_t first_task(size_t n_tasks, size_t share, size_t n_shares) { return share * n_tasks / n_shares; }

/* The next task of a thread; there is one, since it was called for one. */
static size_t take_task(product *p, size_t own) {
    for (size_t i = own;; i = (i + 1) % p->n_shares) {
        share *s = &p->shares[i];
        if (atomic_load_explicit(&s->next, memory_order_relaxed) >= s->end) continue;
        const unsigned task = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
        if (task < s->end) return task;
    }
}

#ifndef __wasm__
/* Ask for where a thread's share of the next job begins. */
static void fetch_next(const product *p, size_t own) {
    const pe_forward *f = p->f;
    size_t n_units = 0;
    for (size_t i = 0; i < f->n_next; i++) n_units += units_of(p->unit, f->next[i]);
    if (n_units == 0) return;
    const size_t n_tasks = tasks_of(f, n_units);
    size_t unit = first_task(n_tasks, own, p->n_shares) * n_units / n_tasks, i = 0;
    for (; unit >= units_of(p->unit, f->next[i]); i++) unit -= units_of(p->unit, f->next[i]);
    const pe_weight *w = f->next[i];
    const size_t at = unit * p->unit * w->row_bytes, left = w->n_out * w->row_bytes - at;
    for (size_t k = 0; k < smaller(left, AHEAD_BYTES); k += CACHE_LINE) __builtin_prefetch(w->data + at + k, 0, 2);
}

void pe_products_expect(pe_forward *f, size_t n, const pe_weight *const next[]) {
    f->n_next = n;
    for (size_t i = 0; i < n; i++) f->next[i] = next[i];
}

void pe_products_expect_layer(pe_forward *f, const pe_layer *layer) {
    if (layer == f->weights.layers + f->model->config.n_layer)
        pe_products_expect(f, 1, (const pe_weight *[]){&f->weights.output});
    else if (layer->is_conv)
        pe_products_expect(f, 3, (const pe_weight *[]){&layer->conv_b, &layer->conv_c, &layer->conv_x});
    else
        pe_products_expect(f, 3, (const pe_weight *[]){&layer->q, &layer->k, &layer->v});
}
#endif

static void product_task(void *context, size_t task, int thread) {
    product *p = context;
    if (task < p->n_low_tasks) {
        low_task(p, task);
        return;
    }
    const size_t own = (size_t)thread % p->n_shares;
    task = take_task(p, own);
    size_t first = task * p->n_units / p->n_tasks, end = (task + 1) * p->n_units / p->n_tasks;
    for (size_t i = 0; i < p->n && end > 0; i++) {
        const size_t units = units_of(p->unit, p->weights[i]);
        if (first < units)
            multiply_rows(p, i, first * p->unit, smaller(smaller(end, units) * p->unit, p->weights[i]->n_out), thread);
        first = first > units ? first - units : 0;
        end = end > units ? end - units : 0;
    }
#ifndef __wasm__
    if (p->input->n_tokens == 1 && task + 1 == p->shares[own].end) fetch_next(p, own);
#endif
}

void pe_products(const pe_forward *f, const pe_act *input, size_t n, const pe_weight *const weights[],
                 float *const outputs[]) {
    if (f->collect) pe_collect_add(f, input, n, weights);
    const size_t unit = input->n_tokens > 1 ? PE_PANEL_ROWS : f->weights.rank ? LOW_UNIT : ROW_UNIT;
    product p = {.f = f, .input = input, .n = n, .unit = unit};
    for (size_t i = 0; i < n; i++) {
        p.weights[i] = weights[i];
        p.outputs[i] = outputs[i];
        p.n_units += units_of(p.unit, weights[i]);
    }
    plan_deltas(&p);
    p.low = f->low;
    const size_t threads = (size_t)pe_pool_threads(f->pool);
    if (input->n_tokens == 1)
        p.n_low_tasks = smaller((p.rank + LOW_ROWS - 1) / LOW_ROWS, threads);
    else if (p.rank)
        pe_stage_run(f, input->n_tokens, multiply_a_task, &p);
    p.n_tasks = tasks_of(f, p.n_units);
    if (input->n_tokens > PE_FEW && threads > 1) p.n_tasks = p.n_units; /* bound by arithmetic: as even as can be */
    p.n_shares = smaller(threads, MAX_SHARES);
    for (size_t i = 0; i < p.n_shares; i++) {
        atomic_init(&p.shares[i].next, (unsigned)first_task(p.n_tasks, i, p.n_shares));
        p.shares[i].end = (unsigned)first_task(p.n_tasks, i + 1, p.n_shares);
    }
    pe_pool_run(f->pool, product_task, &p, p.n_low_tasks + p.n_tasks);
}
