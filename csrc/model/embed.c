#include "model/embed.h"
#include "quant/types.h"

static void decode_row(const pe_weight *w, size_t row, float *out) {
    pe_quant_find(w->type)->decode(w->data + row * w->row_bytes, out, w->n_in);
}

/* x += scale * B a[id] for each adapter of the embeddings. */
static void add_embedding_deltas(const pe_forward *f, size_t id, float *x) {
    const pe_weight *w = &f->weights.embeddings;
    for (uint32_t i = 0; i < w->n_deltas; i++) {
        const pe_delta *d = &w->deltas[i];
        pe_quant_find(d->f32 ? 0 : 1)->decode(d->a + id * d->rank * pe_delta_bytes(d), f->low, d->rank);
        f->kernels->scale(f->low, d->scale, d->rank);
        f->kernels->add_low(x, 0, d->b, d->f32, d->b_stride, w->n_in, f->low, 0, d->rank, 1);
    }
}

void pe_embed(const pe_forward *f, const int32_t *ids, size_t n_tokens, size_t position) {
    const pe_model *m = f->model;
    const size_t n = m->config.n_embd;
    for (size_t t = 0; t < n_tokens; t++) {
        float *x = f->x + t * n, *h = f->h + t * n;
        decode_row(&f->weights.embeddings, (size_t)ids[t], x);
        add_embedding_deltas(f, (size_t)ids[t], x);
        if (m->config.embd_scale != 1.0f) f->kernels->scale(x, m->config.embd_scale, n);
        if (!m->positions.data) continue;
        decode_row(&m->positions, position + t, h);
        f->kernels->add(x, h, n);
    }
}
