#include "model/conv.h"
#include "base/half.h"
#include "model/product.h"
#include "model/stage.h"

#include <string.h>

typedef struct job {
    pe_forward *f;
    pe_kvcache *cache;
    const pe_layer *layer;
    size_t n_tokens, position;
} job;

static char *row_of(const job *j, size_t position) {
    const size_t row = j->cache->n_embd * (size_t)(j->cache->f32 ? 4 : 2);
    return (char *)j->cache->pages[position / PE_PAGE] +
           pe_kvcache_conv_offset(j->cache, j->layer->cache_index, PE_PAGE) + position % PE_PAGE * row;
}

static void store(void *context, size_t task, int thread) {
    (void)thread;
    const job *j = context;
    const size_t n = j->cache->n_embd;
    size_t first, end;
    pe_stage_range(j->f, j->n_tokens, task, &first, &end);
    for (size_t t = first; t < end; t++) {
        char *row = row_of(j, j->position + t);
        const float *b = j->f->conv[0] + t * n, *x = j->f->conv[2] + t * n;
        for (size_t d = 0; d < n; d++) {
            float value = b[d] * x[d];
            if (j->cache->f32) {
                ((float *)(void *)row)[d] = value;
                continue;
            }
            if (value > 65504.0f) value = 65504.0f; /* as keys and values */
            if (value < -65504.0f) value = -65504.0f;
            ((uint16_t *)(void *)row)[d] = pe_float_to_half(value);
        }
    }
}

/* Each output sums its positions from the oldest on, as they lie in the cache: the token's own too, so that its bits do
 * not depend on what is evaluated together. */
static void convolve(void *context, size_t task, int thread) {
    const job *j = context;
    const size_t n = j->cache->n_embd, taps = j->f->model->config.n_conv;
    size_t first, end;
    pe_stage_range(j->f, j->n_tokens, task, &first, &end);
    for (size_t t = first; t < end; t++) {
        float *out = j->f->conv[0] + t * n;
        const float *c = j->f->conv[1] + t * n;
        const size_t at = j->position + t;
        memset(out, 0, n * sizeof *out);
        for (size_t k = at + 1 < taps ? taps - 1 - at : 0; k < taps; k++) {
            const char *row = row_of(j, at + k + 1 - taps);
            for (size_t d = 0; d < n; d++) {
                const float value = j->cache->f32 ? ((const float *)(const void *)row)[d]
                                                  : pe_half_to_float(((const uint16_t *)(const void *)row)[d]);
                out[d] += j->layer->conv[d * taps + k] * value;
            }
        }
        for (size_t d = 0; d < n; d++) out[d] *= c[d];
    }
    if (pe_weight_is_int(&j->layer->conv_out))
        j->f->kernels->quantize(&j->f->input, first, end, j->f->thread_scratch[thread]);
}

void pe_conv_run(pe_forward *f, pe_kvcache *cache, const pe_layer *layer, size_t n_tokens, size_t position) {
    job j = {f, cache, layer, n_tokens, position};
    pe_products(f, &f->input, 3, (const pe_weight *[]){&layer->conv_b, &layer->conv_c, &layer->conv_x}, f->conv);
    pe_stage_run(f, n_tokens, store, &j);
    pe_stage_input(f, f->conv[0], n_tokens, f->model->config.n_embd);
    pe_stage_run(f, n_tokens, convolve, &j);
    pe_products(f, &f->input, 1, (const pe_weight *[]){&layer->conv_out}, (float *[]){f->h});
}
