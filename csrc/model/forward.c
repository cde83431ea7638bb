/* The forward pass. A chunk goes through each layer in stages; a stage is a set of independent tasks for the pool, and
 * which thread does a task changes nothing in its result. For a single token the element-wise stages are one task and
 * run in the caller. */
#include "model/forward.h"
#include "model/collect.h"
#include "model/conv.h"
#include "model/embed.h"
#include "model/experts.h"
#include "model/product.h"
#include "model/rope.h"
#include "model/stage.h"

#include <math.h>
#include <string.h>

static size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static size_t q_width(const pe_config *c) { return (size_t)c->n_head * c->head_dim; }
static size_t kv_width(const pe_config *c) { return (size_t)c->n_head_kv * c->head_dim; }
static size_t ff_width(const pe_config *c) { return larger(c->n_ff, c->n_ff_expert); }
static size_t widest_input(const pe_config *c) { return larger(larger(c->n_embd, ff_width(c)), q_width(c)); }

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

static size_t thread_scratch_bytes(const pe_config *c) {
    size_t bytes = pe_gemm_scratch(round_up(widest_input(c), PE_GROUP));
    bytes = larger(bytes, pe_attend_scratch(c->head_dim) * sizeof(float));
    return round_up(bytes, 64);
}

/* Tokens that one attention task takes. */
static size_t task_tokens(const pe_config *c) { return larger(PE_MAX_QUERIES / (c->n_head / c->n_head_kv), 1); }
/* Tokens that are few enough for several tasks to share their queries, a span of positions each. */
enum { SHARED_TOKENS = 8 };
static size_t shared_tokens(const pe_config *c) {
    return task_tokens(c) < SHARED_TOKENS ? task_tokens(c) : SHARED_TOKENS;
}

/* Floats of the sums of spans for as many tokens as may share their tasks. */
static uint64_t partial_floats(const pe_config *c, size_t positions) {
    const uint64_t spans = positions / (PE_PAGE * PE_SPAN) + 1;
    return spans * shared_tokens(c) * c->n_head * pe_partial_floats(c->head_dim);
}

uint64_t pe_forward_bytes(const pe_model *model, size_t n_tokens, size_t n_ctx, int n_threads,
                          const pe_kernels *kernels) {
    const pe_config *c = &model->config;
    const size_t padded = n_tokens > 1 ? round_up(n_tokens, kernels->tile_tokens) : 1;
    const size_t width = round_up(widest_input(c), PE_GROUP);
    uint64_t floats = n_tokens * (2 * (uint64_t)c->n_embd + q_width(c) + 2 * kv_width(c) + 2 * (uint64_t)ff_width(c)) +
                      (4 * n_tokens + 2) * (c->n_rot / 2 + 1);
    if (c->n_conv_layer) floats += n_tokens * 3 * (uint64_t)c->n_embd;
    if (c->n_expert) floats += n_tokens * (2 * (uint64_t)c->n_embd + 2 * (uint64_t)c->n_expert + 2);
    uint64_t act = padded * (width * kernels->act_parts * sizeof(int16_t) + width / PE_GROUP * 3 * sizeof(float));
    enum { ROUNDING = 256 << 10 }; /* what the arena's chunks may leave unused */
    return (floats + partial_floats(c, n_ctx)) * sizeof(float) + act + (uint64_t)n_threads * thread_scratch_bytes(c) +
           ROUNDING;
}

pe_status pe_forward_init(pe_forward *f, const pe_model *model, const pe_kernels *kernels, pe_pool *pool, size_t n_ctx,
                          atomic_bool *cancelled) {
    *f = (pe_forward){.model = model,
                      .weights = pe_weights_of(model),
                      .kernels = kernels,
                      .pool = pool,
                      .n_ctx = n_ctx,
                      .cancelled = cancelled};
    return PE_OK;
}

void pe_forward_set_weights(pe_forward *f, const pe_weights *weights) {
    pe_weights_free(&f->weights);
    f->weights = *weights;
}

void pe_forward_free(pe_forward *f) {
    pe_arena_free(&f->arena);
    pe_weights_free(&f->weights);
    pe_mem_free(f->partial);
    pe_mem_free(f->low);
    f->partial = f->low = NULL;
    f->partial_floats = f->low_floats = 0;
    pe_collect_free(f->collect);
    f->collect = NULL;
    f->capacity = 0;
}

pe_status pe_forward_reserve(pe_forward *f, size_t n) {
    if (n <= f->capacity) return PE_OK;
    const pe_config *c = &f->model->config;
    const size_t padded = n > 1 ? round_up(n, f->kernels->tile_tokens) : 1;
    const size_t width = round_up(widest_input(c), PE_GROUP), half = c->n_rot / 2 + 1;
    const size_t mixed = c->n_conv_layer ? n : 1; /* tokens that go through short convolutions */
    const size_t routed = c->n_expert ? n : 1;    /* tokens that are shared out to experts */
    const int n_threads = pe_pool_threads(f->pool);
    pe_arena arena = {0};
    const struct {
        void *target;
        size_t count, size;
    } wanted[] = {
        {&f->x, n * c->n_embd, sizeof(float)},
        {&f->h, n * c->n_embd, sizeof(float)},
        {&f->q, n * q_width(c), sizeof(float)},
        {&f->k, n * kv_width(c), sizeof(float)},
        {&f->v, n * kv_width(c), sizeof(float)},
        {&f->gate, n * ff_width(c), sizeof(float)},
        {&f->up, n * ff_width(c), sizeof(float)},
        {&f->angles, 4 * n * half, sizeof(float)},
        {&f->inverse, 2 * half, sizeof(float)},
        {&f->conv[0], mixed * c->n_embd, sizeof(float)},
        {&f->conv[1], mixed * c->n_embd, sizeof(float)},
        {&f->conv[2], mixed * c->n_embd, sizeof(float)},
        {&f->router, routed * c->n_expert + 1, sizeof(float)},
        {&f->chosen, routed * c->n_expert + 1, 1},
        {&f->expert_rows, c->n_expert ? n * c->n_embd : 1, sizeof(float)},
        {&f->expert_sum, c->n_expert ? n * c->n_embd : 1, sizeof(float)},
        {&f->expert_tokens, routed, sizeof(int32_t)},
        {&f->expert_weights, routed, sizeof(float)},
        {&f->input.q, padded * width, f->kernels->act_parts * sizeof(int16_t)},
        {&f->input.scale, padded * (width / PE_GROUP), sizeof(float)},
        {&f->input.sum, padded * (width / PE_GROUP) * 2, sizeof(float)},
        {&f->thread_scratch, (size_t)n_threads, sizeof(void *)},
    };
    void *blocks[sizeof wanted / sizeof *wanted];
    bool failed = false;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        failed |= !(blocks[i] = pe_arena_alloc(&arena, wanted[i].count, wanted[i].size));
    void **scratch = blocks[sizeof wanted / sizeof *wanted - 1];
    for (int i = 0; i < n_threads && !failed; i++)
        failed |= !(scratch[i] = pe_arena_alloc(&arena, 1, thread_scratch_bytes(c)));
    if (failed) {
        pe_arena_free(&arena);
        return PE_ERR_NOMEM;
    }
    pe_arena_free(&f->arena);
    f->arena = arena;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) memcpy(wanted[i].target, &blocks[i], sizeof(void *));
    f->capacity = n;
    f->buffer_bytes = arena.total;
    pe_rope_frequencies(f->model, f->n_ctx, f->inverse);
    return PE_OK;
}

/* ---- stages ----------------------------------------------------------------------------------------------------- */

/* What a stage's tasks share. */
typedef struct stage {
    pe_forward *f;
    pe_kvcache *cache;
    const pe_layer *layer, *previous; /* previous: the layer whose output is still to be added; NULL for none */
    size_t n_tokens, position;
    bool quantise; /* a product with integer weights follows */
    size_t heads_per_task, tokens_per_task;
    size_t first_span, n_spans; /* n_spans: shared out to tasks; 0: a task takes all of its queries' */
} stage;

static void run_tiles(stage *s, pe_task task) { pe_stage_run(s->f, s->n_tokens, task, s); }
static void tile_range(const stage *s, size_t task, size_t *first, size_t *end) {
    pe_stage_range(s->f, s->n_tokens, task, first, end);
}
static void set_input(const stage *s, const float *x, size_t n) { pe_stage_input(s->f, x, s->n_tokens, n); }

static void quantise_input(const stage *s, size_t first, size_t end, int thread) {
    if (s->quantise) s->f->kernels->quantize(&s->f->input, first, end, s->f->thread_scratch[thread]);
}

static void norm(const pe_forward *f, float *out, const float *x, pe_norm weights, size_t n) {
    const float eps = f->model->config.norm_eps;
    if (f->model->arch->layer_norm)
        f->kernels->layer_norm(out, x, weights.weight, weights.bias, n, eps);
    else
        f->kernels->rms_norm(out, x, weights.weight, n, eps);
}

/* x += post_norm(h): the output of a block joins the residual stream. */
static void join_residual(const stage *s, pe_norm post_norm, size_t first, size_t end) {
    const pe_forward *f = s->f;
    const size_t n = f->model->config.n_embd;
    const float factor = f->model->config.residual_scale;
    for (size_t t = first; t < end; t++) {
        float *h = f->h + t * n;
        if (post_norm.weight) norm(f, h, h, post_norm, n);
        if (factor != 1.0f) f->kernels->scale(h, factor, n);
        f->kernels->add(f->x + t * n, h, n);
    }
}

/* h = norm(x), or x as it is. */
static void norm_rows(const stage *s, pe_norm weights, size_t first, size_t end) {
    const pe_forward *f = s->f;
    const size_t n = f->model->config.n_embd;
    for (size_t t = first; t < end; t++) {
        if (weights.weight)
            norm(f, f->h + t * n, f->x + t * n, weights, n);
        else
            memcpy(f->h + t * n, f->x + t * n, n * sizeof *f->x);
    }
}

static void attention_input(void *context, size_t task, int thread) {
    const stage *s = context;
    size_t first, end;
    tile_range(s, task, &first, &end);
    if (s->previous) join_residual(s, s->previous->ffn_post_norm, first, end);
    norm_rows(s, s->layer->attn_norm, first, end);
    quantise_input(s, first, end, thread);
}

/* Blocks side by side: the feed-forward sees the layer's input, before the output of the attention joins it. */
static void norm_beside(const stage *s, size_t first, size_t end, float *row) {
    const pe_forward *f = s->f;
    const size_t n = f->model->config.n_embd;
    for (size_t t = first; t < end; t++) {
        norm(f, row, f->x + t * n, s->layer->ffn_norm, n);
        join_residual(s, s->layer->attn_post_norm, t, t + 1);
        memcpy(f->h + t * n, row, n * sizeof *row);
    }
}

static void feed_forward_input(void *context, size_t task, int thread) {
    const stage *s = context;
    size_t first, end;
    tile_range(s, task, &first, &end);
    if (s->layer->parallel) {
        norm_beside(s, first, end, s->f->thread_scratch[thread]);
    } else {
        join_residual(s, s->layer->attn_post_norm, first, end);
        norm_rows(s, s->layer->ffn_norm, first, end);
    }
    quantise_input(s, first, end, thread);
}

static void feed_forward_gate(void *context, size_t task, int thread) {
    const stage *s = context;
    const pe_forward *f = s->f;
    const size_t n = f->model->config.n_ff;
    const bool gated = s->layer->gate.data != NULL;
    size_t first, end;
    tile_range(s, task, &first, &end);
    for (size_t t = first; t < end; t++) pe_stage_activate(f, f->gate + t * n, gated ? f->up + t * n : NULL, n);
    quantise_input(s, first, end, thread);
}

static void last_residual(void *context, size_t task, int thread) {
    (void)thread;
    const stage *s = context;
    size_t first, end;
    tile_range(s, task, &first, &end);
    join_residual(s, s->previous->ffn_post_norm, first, end);
}

static void attention_output(void *context, size_t task, int thread) {
    const stage *s = context;
    size_t first, end;
    tile_range(s, task, &first, &end);
    quantise_input(s, first, end, thread);
}

static void norm_heads(const pe_forward *f, float *x, pe_norm weights, uint32_t n_heads) {
    const size_t head_dim = f->model->config.head_dim;
    const pe_qk_norm kind = f->model->arch->qk_norm;
    const size_t n = kind == PE_QK_ALL ? n_heads * head_dim : head_dim, step = kind == PE_QK_EACH ? head_dim : 0;
    for (size_t h = 0; weights.weight && h < (kind == PE_QK_ALL ? 1 : n_heads); h++) {
        const pe_norm of_head = {weights.weight + h * step, weights.bias ? weights.bias + h * step : NULL};
        norm(f, x + h * head_dim, x + h * head_dim, of_head, n);
    }
}

static void norm_both(const stage *s, float *q, float *key) {
    norm_heads(s->f, q, s->layer->q_norm, s->f->model->config.n_head);
    norm_heads(s->f, key, s->layer->k_norm, s->f->model->config.n_head_kv);
}

/* Norms of Q and K heads, and rope. */
static void rotate(void *context, size_t task, int thread) {
    (void)thread;
    const stage *s = context;
    const pe_forward *f = s->f;
    const pe_config *c = &f->model->config;
    const size_t half = c->n_rot / 2;
    const bool split = f->model->arch->rope_split;
    size_t first, end;
    tile_range(s, task, &first, &end);
    for (size_t t = first; t < end; t++) {
        float *q = f->q + t * q_width(c), *key = f->k + t * kv_width(c);
        if (!f->model->arch->norm_after_rope) norm_both(s, q, key);
        if (s->layer->rope != PE_NO_ROPE) {
            const float *cosines = f->angles + ((size_t)s->layer->rope * 2 * f->capacity + t) * half;
            const float *sines = cosines + f->capacity * half;
            f->kernels->rope(q, c->n_head, c->head_dim, c->n_rot, cosines, sines, split);
            f->kernels->rope(key, c->n_head_kv, c->head_dim, c->n_rot, cosines, sines, split);
        }
        if (f->model->arch->norm_after_rope) norm_both(s, q, key);
        if (c->score_growth <= 0 || c->n_ctx_original == 0) continue; /* without rope there is no original context */
        const size_t lengths = (s->position + t) / c->n_ctx_original; /* whole ones before the token */
        if (lengths) f->kernels->scale(q, 1 + c->score_growth * logf(1 + (float)lengths), q_width(c));
    }
}

/* The new keys and values of one head that belong to one page into the cache. A task has the page's part to itself:
 * neighbouring positions of a key lie side by side, and threads must not share those lines. */
static void store_page(void *context, size_t task, int thread) {
    (void)thread;
    const stage *s = context;
    const pe_forward *f = s->f;
    const pe_config *c = &f->model->config;
    const size_t index = s->position / PE_PAGE + task / c->n_head_kv, end = s->position + s->n_tokens;
    const uint32_t head = (uint32_t)(task % c->n_head_kv);
    char *page = s->cache->pages[index];
    char *keys = page + pe_kvcache_offset(s->cache, s->layer->cache_index, false, head, PE_PAGE);
    char *values = page + pe_kvcache_offset(s->cache, s->layer->cache_index, true, head, PE_PAGE);
    for (size_t at = larger(index * PE_PAGE, s->position); at < end && at < (index + 1) * PE_PAGE; at++) {
        const size_t from = (at - s->position) * kv_width(c) + head * c->head_dim;
        f->kernels->kv_store(keys, values, at % PE_PAGE, f->k + from, f->v + from, c->head_dim, s->cache->f32);
    }
}

static void run_store(stage *s) {
    const size_t pages = (s->position + s->n_tokens - 1) / PE_PAGE - s->position / PE_PAGE + 1;
    const size_t n_tasks = pages * s->f->model->config.n_head_kv;
    if (s->n_tokens > 1)
        pe_pool_run(s->f->pool, store_page, s, n_tasks);
    else
        for (size_t i = 0; i < n_tasks; i++) store_page(s, i, 0);
}

/* One task: some heads of one group over a block of tokens; where spans are shared out, over one span. */
static void attention(void *context, size_t task, int thread) {
    const stage *s = context;
    const pe_forward *f = s->f;
    const pe_config *c = &f->model->config;
    const size_t group = c->n_head / c->n_head_kv;
    const size_t parts = (group + s->heads_per_task - 1) / s->heads_per_task;
    const size_t part = task % parts, kv_head = task / parts % c->n_head_kv, rest = task / parts / c->n_head_kv;
    const size_t first = s->n_spans ? 0 : rest * s->tokens_per_task, head = part * s->heads_per_task;
    const size_t left = s->n_tokens - first, heads_left = group - head;
    const size_t partial = pe_partial_floats(c->head_dim) * s->n_tokens * group;
    float *q = f->q + first * q_width(c) + (kv_head * group + head) * c->head_dim;
    f->kernels->attend(&(pe_attend){
        .pages = s->cache->pages,
        .k_offset = pe_kvcache_offset(s->cache, s->layer->cache_index, false, (uint32_t)kv_head, PE_PAGE),
        .v_offset = pe_kvcache_offset(s->cache, s->layer->cache_index, true, (uint32_t)kv_head, PE_PAGE),
        .kv_f32 = s->cache->f32,
        .head_dim = c->head_dim,
        .n_group = heads_left < s->heads_per_task ? heads_left : s->heads_per_task,
        .n_tokens = left < s->tokens_per_task ? left : s->tokens_per_task,
        .position = s->position + first,
        .window = s->layer->windowed ? c->window : 0,
        .scale = c->score_scale,
        .cap = c->score_cap,
        .q = q,
        .out = q, /* a task reads its queries before it writes their results */
        .q_stride = q_width(c),
        .out_stride = q_width(c),
        .partial = s->n_spans ? f->partial + (rest * c->n_head_kv + kv_head) * partial : NULL,
        .span = s->first_span + rest,
        .scratch = f->thread_scratch[thread],
    });
}

/* Few tokens over a long context: a task takes one span of one KV head, so that all threads read the cache. Afterwards
 * the spans of each query are joined. */
static void attend_shared(stage *s, size_t n_spans) {
    const pe_forward *f = s->f;
    const pe_config *c = &f->model->config;
    const size_t group = c->n_head / c->n_head_kv, width = pe_partial_floats(c->head_dim);
    s->n_spans = n_spans;
    s->heads_per_task = group;
    pe_pool_run(f->pool, attention, s, n_spans * c->n_head_kv);
    s->n_spans = 0;
    for (size_t t = 0; t < s->n_tokens; t++)
        for (size_t h = 0; h < c->n_head; h++)
            f->kernels->attend_join(f->q + t * q_width(c) + h * c->head_dim,
                                    f->partial + (h / group * s->n_tokens * group + t * group + h % group) * width,
                                    (size_t)c->n_head_kv * s->n_tokens * group * width, n_spans, c->head_dim,
                                    f->thread_scratch[0]);
}

static void run_attention(stage *s) {
    const pe_config *c = &s->f->model->config;
    const size_t group = c->n_head / c->n_head_kv, threads = (size_t)pe_pool_threads(s->f->pool);
    const size_t window = s->layer->windowed ? c->window : 0, last = s->position + s->n_tokens - 1;
    const size_t first = window && s->position + 1 > window ? s->position + 1 - window : 0;
    s->first_span = first / (PE_PAGE * PE_SPAN);
    const size_t n_spans = last / (PE_PAGE * PE_SPAN) - s->first_span + 1;
    s->tokens_per_task = task_tokens(c);
    if (n_spans > 1 && threads > 1 && s->n_tokens <= shared_tokens(c) && group <= PE_MAX_QUERIES) {
        attend_shared(s, n_spans);
        return;
    }
    const size_t blocks = (s->n_tokens + s->tokens_per_task - 1) / s->tokens_per_task;
    size_t parts = (group + PE_MAX_QUERIES - 1) / PE_MAX_QUERIES; /* of a group; more, so that every thread has work */
    while (parts < group && blocks * c->n_head_kv * parts < threads) parts++;
    s->heads_per_task = (group + parts - 1) / parts;
    parts = (group + s->heads_per_task - 1) / s->heads_per_task;
    pe_pool_run(s->f->pool, attention, s, blocks * c->n_head_kv * parts);
}

/* Have so many floats; what was there is lost. */
static pe_status reserve_floats(float **block, size_t *floats, uint64_t wanted) {
    if (wanted <= *floats) return PE_OK;
    float *grown = wanted < SIZE_MAX ? pe_mem_alloc((size_t)wanted, sizeof *grown) : NULL;
    if (!grown) return PE_ERR_NOMEM;
    pe_mem_free(*block);
    *block = grown;
    *floats = (size_t)wanted;
    return PE_OK;
}

/* ---- the pass --------------------------------------------------------------------------------------------------- */

static void fill_angles(const pe_forward *f, size_t n_tokens, size_t position) {
    const pe_config *c = &f->model->config;
    const size_t half = c->n_rot / 2;
    const int kinds = c->window && f->model->arch->window_unscaled ? 2 : 1;
    for (int kind = PE_ROPE_FULL; kind < kinds; kind++)
        for (size_t t = 0; t < n_tokens; t++) {
            float *cosines = f->angles + ((size_t)kind * 2 * f->capacity + t) * half;
            const float factor = kind == PE_ROPE_FULL ? c->rope_attn : 1.0f;
            for (size_t i = 0; i < half; i++) {
                const float angle = (float)(position + t) * f->inverse[(size_t)kind * half + i];
                cosines[i] = (float)cos(angle) * factor;
                cosines[f->capacity * half + i] = (float)sin(angle) * factor;
            }
        }
}

/* Attention, or the short convolution that stands in its place. */
static void mix_positions(stage *s) {
    pe_forward *f = s->f;
    const pe_layer *layer = s->layer;
    const pe_config *c = &f->model->config;
    set_input(s, f->h, c->n_embd);
    if (layer->is_conv) {
        s->quantise = pe_weight_is_int(&layer->conv_in);
        run_tiles(s, attention_input);
        pe_products_expect(f, 0, NULL);
        pe_conv_run(f, s->cache, layer, s->n_tokens, s->position);
        return;
    }
    s->quantise = pe_weight_is_int(&layer->q) || pe_weight_is_int(&layer->k) || pe_weight_is_int(&layer->v);
    run_tiles(s, attention_input);
    pe_products_expect(f, 1, (const pe_weight *[]){&layer->o});
    pe_products(f, &f->input, 3, (const pe_weight *[]){&layer->q, &layer->k, &layer->v}, (float *[]){f->q, f->k, f->v});
    run_tiles(s, rotate);
    run_store(s);
    run_attention(s);
    s->quantise = pe_weight_is_int(&layer->o);
    set_input(s, f->q, q_width(c));
    run_tiles(s, attention_output);
    if (layer->gate.data)
        pe_products_expect(f, 2, (const pe_weight *[]){&layer->gate, &layer->up});
    else
        pe_products_expect(f, layer->up.data ? 1 : 0, (const pe_weight *[]){&layer->up});
    pe_products(f, &f->input, 1, (const pe_weight *[]){&layer->o}, (float *[]){f->h});
}

static void feed_forward(stage *s) {
    pe_forward *f = s->f;
    const pe_layer *layer = s->layer;
    const pe_config *c = &f->model->config;
    if (layer->router.data) {
        s->quantise = false; /* the router's input is quantised apart */
        run_tiles(s, feed_forward_input);
        pe_products_expect(f, 0, NULL);
        pe_experts_run(f, layer, s->n_tokens);
        return;
    }
    const bool gated = layer->gate.data != NULL;
    s->quantise = (gated && pe_weight_is_int(&layer->gate)) || pe_weight_is_int(&layer->up);
    set_input(s, f->h, c->n_embd);
    run_tiles(s, feed_forward_input);
    pe_products_expect(f, 1, (const pe_weight *[]){&layer->down});
    if (gated)
        pe_products(f, &f->input, 2, (const pe_weight *[]){&layer->gate, &layer->up}, (float *[]){f->gate, f->up});
    else
        pe_products(f, &f->input, 1, (const pe_weight *[]){&layer->up}, (float *[]){f->gate});
    s->quantise = pe_weight_is_int(&layer->down);
    set_input(s, f->gate, c->n_ff);
    run_tiles(s, feed_forward_gate);
    pe_products_expect_layer(f, layer + 1);
    pe_products(f, &f->input, 1, (const pe_weight *[]){&layer->down}, (float *[]){f->h});
}

pe_status pe_forward_run(pe_forward *f, pe_kvcache *cache, const int32_t *ids, size_t n_tokens, size_t position) {
    const pe_config *c = &f->model->config;
    pe_status status = reserve_floats(&f->partial, &f->partial_floats, partial_floats(c, position + n_tokens));
    if (!status) status = reserve_floats(&f->low, &f->low_floats, (uint64_t)n_tokens * f->weights.rank);
    if (status) return status;
    pe_embed(f, ids, n_tokens, position);
    fill_angles(f, n_tokens, position);
    stage s = {.f = f, .cache = cache, .n_tokens = n_tokens, .position = position};
    for (uint32_t i = 0; i < c->n_layer; i++) {
        if (pe_forward_interrupted(f)) return PE_ERR_CANCELLED;
        s.previous = s.layer;
        s.layer = &f->weights.layers[i];

        mix_positions(&s);
        feed_forward(&s);
    }
    s.previous = s.layer;
    run_tiles(&s, last_residual);
    return PE_OK;
}

void pe_forward_hidden(pe_forward *f, size_t first, size_t end, float *out) {
    const pe_config *c = &f->model->config;
    for (size_t t = first; t < end; t++)
        norm(f, out + (t - first) * c->n_embd, f->x + t * c->n_embd, f->weights.output_norm, c->n_embd);
}

static void head_input(void *context, size_t task, int thread) {
    const stage *s = context;
    size_t first, end;
    tile_range(s, task, &first, &end);
    quantise_input(s, first, end, thread);
}

enum { LOGIT_PIECE = 8192 }; /* logits that one task scales and caps */

typedef struct logits {
    const pe_forward *f;
    float *rows;
    size_t n;
} logits;

static void finish_logits(void *context, size_t task, int thread) {
    (void)thread;
    const logits *l = context;
    const pe_config *c = &l->f->model->config;
    float *part = l->rows + task * LOGIT_PIECE;
    const size_t n = l->n - task * LOGIT_PIECE < LOGIT_PIECE ? l->n - task * LOGIT_PIECE : LOGIT_PIECE;
    if (c->logit_scale != 1.0f) l->f->kernels->scale(part, c->logit_scale, n);
    if (c->logit_cap > 0) l->f->kernels->soft_cap(part, c->logit_cap, n);
}

void pe_forward_logits(pe_forward *f, size_t first, size_t end, float *out) {
    pe_forward_hidden(f, first, end, f->h);
    stage s = {.f = f, .n_tokens = end - first, .quantise = pe_weight_is_int(&f->weights.output)};
    set_input(&s, f->h, f->model->config.n_embd);
    run_tiles(&s, head_input);
    pe_products_expect_layer(f, f->weights.layers);
    pe_products(f, &f->input, 1, (const pe_weight *[]){&f->weights.output}, (float *[]){out});
    const pe_config *c = &f->model->config;
    logits l = {f, out, (end - first) * c->n_vocab};
    if (c->logit_scale != 1.0f || c->logit_cap > 0)
        pe_pool_run(f->pool, finish_logits, &l, (l.n + LOGIT_PIECE - 1) / LOGIT_PIECE);
}
