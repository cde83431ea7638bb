/* What one token has to read, and how fast this machine reads just that: the bound that decoding is held against. */
#include "run/session.h"

enum { PIECE = 1 << 20 }; /* bytes of one task: many for each thread, and long enough to stream */

/* An embedding that is not the output as well is read one row a token. */
static bool read_whole(const pe_model *model, const pe_gguf_tensor *tensor) {
    return tensor->data != model->embeddings.data || model->output.data == tensor->data;
}

/* Tensors lie one after the other in an imagined file, each rounded up to whole 64-bit words. */
static uint64_t room_of(const pe_gguf_tensor *tensor) { return (tensor->size + 7) & ~(uint64_t)7; }

uint64_t pe_session_token_bytes(const pe_session *session, uint32_t position) {
    const pe_model *model = session->model;
    const pe_kvcache *cache = &session->cache;
    uint64_t bytes = 0, seen = 0; /* positions, over all layers */
    for (size_t i = 0; i < model->gguf.n_tensors; i++) {
        const pe_gguf_tensor *t = &model->gguf.tensors[i];
        bytes += read_whole(model, t) ? t->size : model->embeddings.row_bytes;
    }
    const uint32_t window = model->config.window;
    for (uint32_t i = 0; i < model->config.n_layer; i++)
        seen += model->layers[i].is_conv                                    ? 0
                : model->layers[i].windowed && window && position >= window ? window - 1
                                                                            : position;
    return bytes + seen * pe_kvcache_offset(cache, 1, false, 0, 1);
}

typedef struct reading {
    const pe_model *model;
    const pe_kernels *kernels;
    _Atomic uint64_t sum;
} reading;

/* Bytes from..end-1 of the imagined file. */
static void read_piece(void *context, size_t task, int thread) {
    (void)thread;
    reading *r = context;
    const uint64_t from = (uint64_t)task * PIECE, end = from + PIECE;
    uint64_t start = 0, sum = 0;
    for (size_t i = 0; i < r->model->gguf.n_tensors && start < end; i++) {
        const pe_gguf_tensor *t = &r->model->gguf.tensors[i];
        if (!read_whole(r->model, t)) continue;
        const uint64_t first = from > start ? from - start : 0;
        const uint64_t last = end - start < t->size ? end - start : t->size;
        if (first < last) sum += r->kernels->read_sum(t->data + first, (size_t)(last - first));
        start += room_of(t);
    }
    atomic_fetch_add_explicit(&r->sum, sum, memory_order_relaxed);
}

pe_status pe_session_read_weights(pe_session *session, uint64_t *sum) {
    pe_status status = pe_session_enter(session);
    if (status) return status;
    reading r = {.model = session->model, .kernels = session->kernels};
    uint64_t size = 0;
    for (size_t i = 0; i < r.model->gguf.n_tensors; i++)
        if (read_whole(r.model, &r.model->gguf.tensors[i])) size += room_of(&r.model->gguf.tensors[i]);
    pe_pool_run(session->pool, read_piece, &r, (size_t)((size + PIECE - 1) / PIECE));
    if (sum) *sum = r.sum;
    return pe_session_leave(session, PE_OK);
}
