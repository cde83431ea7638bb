/* The public door to the quantisers: rows of any type into rows of another, on several threads, with the error that it
 * costs. Rows are whole blocks and lie one behind the other, so all of them are cut, as one long row, into pieces that
 * fit on a thread's stack; each block depends on its own weights alone, so neither pieces nor threads change a byte.
 * (Instruction sets may differ where two scales are as good as each other.) */
#include "base/arena.h"
#include "base/cpu.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "quant/encode.h"
#include "quant/types.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    PIECE = 2048, /* weights; a multiple of every block */
    MAX_PARTS = 1024,
};

static const struct {
    int type;
    pe_encode encode;
} encoders[] = {
#define PE_ENCODER(number, lower) {number, pe_##lower##_encode},
    PE_ENCODERS
#undef PE_ENCODER
};

static pe_encode find_encoder(int type) {
    for (size_t i = 0; i < sizeof encoders / sizeof *encoders; i++)
        if (encoders[i].type == type) return encoders[i].encode;
    return NULL;
}

/* What went wrong, at which weight. */
typedef enum fault { FAULT_NONE, FAULT_INPUT, FAULT_RANGE } fault;

typedef struct part { /* a run of pieces, done by one thread */
    double squared_error, squared_sum;
    fault fault;
    uint64_t at;
    float value;
} part;

typedef struct job {
    const pe_quant_type *from, *to;
    pe_encode encode;
    const pe_fits *fits;
    const uint8_t *in;
    uint8_t *out;
    float *importance; /* [n_per_row], of errors in each column, about 1; or NULL: all alike */
    size_t n_per_row;
    uint64_t n, n_pieces; /* weights in all */
    size_t n_parts;
    part *parts;
} job;

static void load_weights(const job *j, float *x, const uint8_t *in, size_t n) {
    if (j->from->number == 1)
        j->fits->load_f16(x, in, n);
    else
        j->from->decode(in, x, n);
}

/* The first value that is not finite; else the largest, which the output type cannot hold. */
static size_t find_fault(const float *x, size_t n, fault *kind) {
    size_t largest = 0;
    *kind = FAULT_INPUT;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return i;
        if (fabsf(x[i]) > fabsf(x[largest])) largest = i;
    }
    *kind = FAULT_RANGE;
    return largest;
}

/* The importances of weights `first` and on, which repeat with each row. */
static void set_importance(const job *j, uint64_t first, float *w, size_t n) {
    size_t column = (size_t)(first % j->n_per_row);
    for (size_t done = 0, run; done < n; done += run, column = 0) {
        const size_t left = n - done;
        run = j->n_per_row - column < left ? j->n_per_row - column : left;
        memcpy(w + done, j->importance + column, run * sizeof *w);
    }
}

static uint64_t blocks_size(const pe_quant_type *type, uint64_t n) {
    return n / type->block_elements * type->block_bytes;
}

/* False where the part is over: a value that is not finite, before or after. w [PIECE]: 1 where nothing says otherwise.
 */
static bool do_piece(const job *j, part *p, uint64_t first, float *w) {
    float x[PIECE];
    const size_t n = j->n - first < PIECE ? (size_t)(j->n - first) : PIECE;
    load_weights(j, x, j->in + blocks_size(j->from, first), n);
    if (j->importance) set_importance(j, first, w, n);
    const float sum = j->fits->squared_sum(x, n);
    fault kind = FAULT_NONE;
    if (!isfinite(sum)) find_fault(x, n, &kind); /* no number among them, or only large ones */
    uint8_t *out = j->out + blocks_size(j->to, first);
    const float error = kind == FAULT_INPUT ? INFINITY : j->encode(out, x, w, n, j->fits);
    if (!isfinite(error)) {
        const size_t at = find_fault(x, n, &p->fault);
        p->at = first + at;
        p->value = x[at];
        return false;
    }
    p->squared_error += (double)error;
    p->squared_sum += (double)sum;
    return true;
}

static void do_part(void *context, size_t task, int thread) {
    (void)thread;
    const job *j = context;
    const uint64_t end = (task + 1) * j->n_pieces / j->n_parts;
    float w[PIECE];
    for (size_t i = 0; i < PIECE; i++) w[i] = 1;
    for (uint64_t piece = task * j->n_pieces / j->n_parts; piece < end; piece++)
        if (!do_piece(j, &j->parts[task], piece * PIECE, w)) return;
}

/* Importances as they are given to some around 1, none of them 0: a column that the calibration never saw still counts
 * a little. */
static pe_status scale_importance(job *j, const float *given) {
    double sum = 0;
    for (size_t i = 0; i < j->n_per_row; i++) {
        const float value = given[i];
        if (!isfinite(value) || value < 0)
            return pe_fail(PE_ERR_ARG, "quantize: the importance of column %zu is %g; it must be 0 or more and finite",
                           i, (double)value);
        sum += (double)value;
    }
    const double mean = sum / (double)j->n_per_row;
    if (mean < 1e-30) return PE_OK; /* nothing is known of any */
    j->importance = pe_mem_alloc(j->n_per_row, sizeof *j->importance);
    if (!j->importance) return PE_ERR_NOMEM;
    for (size_t i = 0; i < j->n_per_row; i++) j->importance[i] = 1e-4f + (float)(1 / mean) * given[i];
    return PE_OK;
}

static pe_status finish(const job *j, pe_quantize_result *result) {
    pe_quantize_result sum = {0};
    for (size_t i = 0; i < j->n_parts; i++) {
        const part *p = &j->parts[i];
        const uint64_t row = p->at / j->n_per_row, column = p->at % j->n_per_row;
        if (p->fault == FAULT_INPUT)
            return pe_fail(PE_ERR_FORMAT, "row %" PRIu64 ", column %" PRIu64 " is not a finite number", row, column);
        if (p->fault == FAULT_RANGE)
            return pe_fail(PE_ERR_ARG, "row %" PRIu64 ", column %" PRIu64 " is %g, which %s cannot hold", row, column,
                           (double)p->value, j->to->name);
        sum.squared_error += p->squared_error;
        sum.squared_sum += p->squared_sum;
    }
    if (result) *result = sum;
    return PE_OK;
}

static pe_status run(job *j, int n_threads) {
    j->n_pieces = (j->n - 1) / PIECE + 1;
    pe_status status = n_threads ? PE_OK : pe_cpu_threads(&n_threads);
    if (status) return status;
    j->n_parts = j->n_pieces < MAX_PARTS ? (size_t)j->n_pieces : MAX_PARTS;
    j->parts = pe_mem_alloc(j->n_parts, sizeof *j->parts);
    if (!j->parts) return PE_ERR_NOMEM;
    pe_pool *pool = NULL;
    status = pe_pool_create((size_t)n_threads < j->n_parts ? n_threads : (int)j->n_parts, &pool);
    if (status) return status;
    pe_pool_run(pool, do_part, j, j->n_parts);
    pe_pool_free(pool);
    return PE_OK;
}

/* The types, and that the buffers hold n_rows. */
static pe_status check(job *j, size_t n_rows, int to, size_t out_size, int from, size_t in_size) {
    uint64_t in_row, out_row, bytes;
    const char *why;
    if (!pe_quant_row_size(to, j->n_per_row, &out_row, &why) || !pe_quant_row_size(from, j->n_per_row, &in_row, &why))
        return pe_fail(pe_quant_find(to) && pe_quant_find(from) ? PE_ERR_ARG : PE_ERR_UNSUPPORTED, "quantize: %s", why);
    j->from = pe_quant_find(from);
    j->to = pe_quant_find(to);
    j->encode = find_encoder(to);
    if (!j->encode)
        return pe_fail(PE_ERR_UNSUPPORTED, "quantize: this build reads %s, but cannot make it", j->to->name);
    if (!pe_mul_u64(in_row, n_rows, &bytes) || bytes > in_size || !pe_mul_u64(j->n_per_row, n_rows, &j->n))
        return pe_fail(PE_ERR_ARG, "quantize: %zu rows of %zu weights in %s take more than the %zu bytes given", n_rows,
                       j->n_per_row, j->from->name, in_size);
    if (!pe_mul_u64(out_row, n_rows, &bytes) || bytes > out_size)
        return pe_fail(PE_ERR_ARG, "quantize: %zu rows of %zu weights in %s take %" PRIu64 " bytes, not %zu", n_rows,
                       j->n_per_row, j->to->name, bytes, out_size);
    return PE_OK;
}

bool pe_type_can_quantize(int type) { return find_encoder(type) != NULL; }

pe_status pe_quantize_rows(void *out, size_t out_size, int to, const void *in, size_t in_size, int from, size_t n_rows,
                           size_t n_per_row, const float *importance, int n_threads, pe_quantize_result *result) {
    job j = {.in = in, .out = out, .n_per_row = n_per_row};
    if (n_threads < 0 || n_threads > PE_MAX_THREADS)
        return pe_fail(PE_ERR_ARG, "quantize: n_threads must be from 0 to %d, not %d", PE_MAX_THREADS, n_threads);
    pe_status status = check(&j, n_rows, to, out_size, from, in_size);
    const pe_kernels *kernels = NULL;
    if (!status) status = pe_kernels_select(NULL, &kernels);
    if (status) return status;
    j.fits = kernels->fits;
    if (result) *result = (pe_quantize_result){0};
    if (j.n == 0) return PE_OK;
    if (!in || !out) return pe_fail(PE_ERR_ARG, "quantize: %s is NULL", in ? "out" : "in");
    if (importance) status = scale_importance(&j, importance);
    if (!status) status = run(&j, n_threads);
    if (!status) status = finish(&j, result);
    pe_mem_free(j.parts);
    pe_mem_free(j.importance);
    return status;
}
