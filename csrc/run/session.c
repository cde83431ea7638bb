/* A session: one timeline of tokens over a shared model. Every entry point that changes it takes the session's flag
 * first, so that a second thread gets an error and not a corrupted cache, and leaves it as it was where it fails. */

#include "run/session.h"
#include "base/cpu.h"
#include "run/logits.h"
#include "run/sampler.h"

#include <string.h>

enum {
    SCORE_ROWS = 16,         /* of logits at once; one where memory is limited */
    LOOKUP_BYTES = 12 << 20, /* of all rows of logits together */
};

pe_status pe_session_enter(pe_session *s) {
    if (!atomic_flag_test_and_set_explicit(&s->busy, memory_order_acquire)) return PE_OK;
    return pe_fail(PE_ERR_BUSY, "this session is in use by another thread; give each thread a session of its own");
}

pe_status pe_session_leave(pe_session *s, pe_status status) {
    atomic_flag_clear_explicit(&s->busy, memory_order_release);
    return status;
}

static pe_status kv_from_name(const char *name, bool *f32) {
    *f32 = name && strcmp(name, "f32") == 0;
    if (!name || *f32 || strcmp(name, "f16") == 0) return PE_OK;
    return pe_fail(PE_ERR_ARG, "kv_type '%.32s' is not known; f16 and f32 are", name);
}

static uint64_t kv_bytes(const pe_kvcache *cache, uint64_t positions) {
    return (positions + PE_PAGE - 1) / PE_PAGE * (cache->page_bytes + 64);
}

/* Scratch, one row of logits, and a sampler that looks at all of them. */
static uint64_t fixed_bytes(const pe_model *model, size_t n_ctx, int n_threads, const pe_kernels *kernels) {
    return pe_forward_bytes(model, PE_CHUNK, n_ctx, n_threads, kernels) +
           (uint64_t)model->config.n_vocab * (sizeof(float) + PE_SAMPLER_BYTES);
}

/* Rows of logits that looking ahead may take, at least the one that every session has. */
static size_t most_rows(const pe_model *model) {
    const size_t rows = LOOKUP_BYTES / ((size_t)model->config.n_vocab * sizeof(float));
    return rows < 1 ? 1 : rows < 1 + PE_LOOKUP_AHEAD ? rows : 1 + PE_LOOKUP_AHEAD;
}

static uint64_t lookup_bytes(const pe_model *model) {
    return (uint64_t)(most_rows(model) - 1) * model->config.n_vocab * sizeof(float);
}

/* What a session takes at most without looking ahead. */
static uint64_t needed_bytes(const pe_model *model, const pe_kvcache *cache, uint32_t n_ctx, int n_threads,
                             const pe_kernels *kernels) {
    return kv_bytes(cache, n_ctx) + (uint64_t)n_ctx * sizeof(int32_t) + fixed_bytes(model, n_ctx, n_threads, kernels);
}

/* Say what is needed, of what, and which context would fit. */
static pe_status refuse_limit(const pe_session *s, int n_threads) {
    uint32_t fits = 0, over = s->n_ctx; /* a context that fits, and one that does not */
    while (over - fits > 1) {
        const uint32_t middle = fits + (over - fits) / 2;
        if (needed_bytes(s->model, &s->cache, middle, n_threads, s->kernels) <= s->memory_limit)
            fits = middle;
        else
            over = middle;
    }
    fits -= fits % PE_PAGE; /* whole pages are taken anyway */
    const unsigned long long needed = needed_bytes(s->model, &s->cache, s->n_ctx, n_threads, s->kernels);
    const unsigned long long kv = kv_bytes(&s->cache, s->n_ctx), limit = s->memory_limit;
    if (fits)
        return pe_fail(
            PE_ERR_NOMEM,
            "a context of %u tokens takes up to %llu bytes besides the file (%llu for keys and values), more "
            "than the limit of %llu; a context of %u would fit%s",
            s->n_ctx, needed, kv, limit, fits, s->cache.f32 ? ", and a longer one with f16" : "");
    return pe_fail(PE_ERR_NOMEM,
                   "a context of %u tokens takes up to %llu bytes besides the file, more than the limit of %llu; the "
                   "shortest takes %llu, so use a higher limit, fewer threads, or a smaller model",
                   s->n_ctx, needed, limit,
                   (unsigned long long)needed_bytes(s->model, &s->cache, 1, n_threads, s->kernels));
}

uint64_t pe_model_session_bytes(const pe_model *model, uint32_t n_ctx, const char *kv_type) {
    bool f32;
    const pe_kernels *kernels;
    if (kv_from_name(kv_type, &f32) || pe_kernels_select(NULL, &kernels)) return 0;
    if (n_ctx == 0) n_ctx = model->config.n_ctx_train;
    pe_kvcache cache;
    pe_kvcache_init(&cache, &model->config, f32);
    return needed_bytes(model, &cache, n_ctx, pe_threads_default(), kernels) + lookup_bytes(model);
}

pe_status pe_session_create(pe_model *model, const pe_session_options *options, pe_session **out) {
    const pe_session_options defaults = {0};
    if (!model || !out) return pe_fail(PE_ERR_ARG, "pe_session_create needs a model and a place for the session");
    if (!options) options = &defaults;
    *out = NULL;
    if (model->no_weights) return pe_fail(PE_ERR_ARG, "the model was opened without its weights (no_weights)");
    int n_threads = options->n_threads;
    pe_status status = n_threads ? PE_OK : pe_cpu_threads(&n_threads);
    if (!status && (n_threads < 1 || n_threads > PE_MAX_THREADS))
        status = pe_fail(PE_ERR_ARG, "%d threads asked for; expected 1 to %d", n_threads, PE_MAX_THREADS);
    bool f32;
    const pe_kernels *kernels;
    if (!status) status = kv_from_name(options->kv_type, &f32);
    if (!status) status = pe_kernels_select(options->isa, &kernels);
    if (status) return status;
    pe_session *s = pe_mem_alloc(1, sizeof *s);
    if (!s) return PE_ERR_NOMEM;
    pe_model_retain(model);
    s->model = model;
    s->kernels = kernels;
    s->n_ctx = options->n_ctx ? options->n_ctx : model->config.n_ctx_train;
    s->memory_limit = options->memory_limit;
    atomic_flag_clear(&s->busy);
    s->max_rows = most_rows(model);
    pe_lookup_init(&s->lookup);
    pe_kvcache_init(&s->cache, &model->config, f32);
    if (model->positions.data && s->n_ctx > model->config.n_ctx_train)
        status = pe_fail(PE_ERR_ARG, "a context of %u tokens asked for; the model has vectors for %u positions",
                         s->n_ctx, model->config.n_ctx_train);
    if (!status && s->memory_limit) {
        const uint64_t needed = needed_bytes(model, &s->cache, s->n_ctx, n_threads, kernels);
        if (needed > s->memory_limit)
            status = refuse_limit(s, n_threads);
        else if (lookup_bytes(model) > s->memory_limit - needed)
            s->max_rows = 1; /* it goes without looking ahead */
    }
    if (!status) status = pe_pool_create(n_threads, &s->pool);
    if (!status) status = pe_forward_init(&s->forward, model, kernels, s->pool, s->n_ctx, &s->cancelled);
    if (!status && !(s->rows = pe_mem_alloc(model->config.n_vocab, sizeof *s->rows))) status = PE_ERR_NOMEM;
    s->forward.interrupted = options->interrupted;
    s->forward.interrupted_context = options->interrupted_context;
    s->logits = s->rows;
    s->n_rows = 1;
    if (status) {
        pe_session_release(s);
        return status;
    }
    *out = s;
    return PE_OK;
}

void pe_session_release(pe_session *s) {
    if (!s) return;
    pe_pool_free(s->pool);
    pe_forward_free(&s->forward);
    pe_session_detach(s);
    pe_kvcache_free(&s->cache);
    pe_mem_free(s->tokens);
    pe_mem_free(s->rows);
    pe_model_release(s->model);
    pe_mem_free(s);
}

pe_status pe_session_reserve_tokens(pe_session *s, size_t n) {
    if (s->tokens && n <= s->token_capacity) return PE_OK;
    size_t capacity = s->token_capacity ? s->token_capacity : 256;
    while (capacity < n) capacity *= 2;
    int32_t *tokens = pe_mem_grow(s->tokens, s->token_capacity, capacity, sizeof *tokens);
    if (!tokens) return PE_ERR_NOMEM;
    s->tokens = tokens;
    s->token_capacity = capacity;
    return PE_OK;
}

static pe_status check_ids(const pe_session *s, const int32_t *ids, size_t n_ids) {
    if (n_ids == 0 || !ids) return pe_fail(PE_ERR_ARG, "no tokens given; at least one is needed");
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= s->model->config.n_vocab)
            return pe_fail(PE_ERR_ARG, "token %d at index %zu is out of range; the vocabulary has %u tokens",
                           (int)ids[i], i, s->model->config.n_vocab);
    if (n_ids > s->n_ctx - s->position)
        return pe_fail(PE_ERR_CONTEXT, "%zu tokens do not fit: the context has %u positions and %u are taken", n_ids,
                       s->n_ctx, s->position);
    return PE_OK;
}

/* What becomes of each evaluated chunk: tokens first..end-1 of it, `index` of the first in the whole call. */
typedef pe_status (*consumer)(pe_session *s, size_t first, size_t end, size_t index, void *context);

void pe_session_drop_ahead(pe_session *s) {
    pe_lookup_end(&s->lookup, s->n_ahead, false);
    s->n_ahead = 0;
}

static pe_status cancelled(pe_session *s) {
    atomic_store(&s->cancelled, false);
    return pe_fail(PE_ERR_CANCELLED, "the evaluation was cancelled");
}

/* Evaluate in chunks; the consumer sees those tokens whose index in the call is at least `from`. The last n_ahead of
 * them become no part of the timeline yet. */
static pe_status evaluate(pe_session *s, const int32_t *ids, size_t n_ids, size_t n_ahead, size_t from,
                          consumer consume, void *context) {
    pe_status status = check_ids(s, ids, n_ids);
    pe_session_drop_ahead(s);
    if (!status) status = pe_session_refresh(s);
    if (!status) status = pe_session_reserve_tokens(s, (size_t)s->position + n_ids);
    if (!status) status = pe_forward_reserve(&s->forward, n_ids < PE_CHUNK ? n_ids : PE_CHUNK);
    if (!status) status = pe_kvcache_reserve(&s->cache, s->position, (size_t)s->position + n_ids);
    for (size_t done = 0; done < n_ids && !status;) {
        const size_t n = n_ids - done < PE_CHUNK ? n_ids - done : PE_CHUNK;
        status = pe_forward_run(&s->forward, &s->cache, ids + done, n, s->position + done);
        if (!status && done + n > from) {
            const size_t first = from > done ? from - done : 0;
            status = consume(s, first, n, done + first, context);
        }
        done += n;
    }
    if (status) {
        if (status == PE_ERR_CANCELLED) cancelled(s);
        pe_kvcache_truncate(&s->cache, s->position);
        return status;
    }
    memcpy(s->tokens + s->position, ids, n_ids * sizeof *ids);
    s->position += (uint32_t)(n_ids - n_ahead);
    s->n_ahead = (uint32_t)n_ahead;
    return PE_OK;
}

typedef struct logits_wanted {
    float *out; /* [n_ids - first, n_vocab] or NULL */
    size_t first, n_ids;
} logits_wanted;

static pe_status take_logits(pe_session *s, size_t first, size_t end, size_t index, void *context) {
    const logits_wanted *w = context;
    const size_t n_vocab = s->model->config.n_vocab;
    const bool last = index + (end - first) == w->n_ids;
    if (w->out && index + (end - first) > w->first) {
        const size_t skip = w->first > index ? w->first - index : 0;
        float *rows = w->out + (index + skip - w->first) * n_vocab;
        pe_forward_logits(&s->forward, first + skip, end, rows);
        if (last) memcpy(s->logits, rows + (end - first - skip - 1) * n_vocab, n_vocab * sizeof *rows);
    } else if (last) {
        pe_forward_logits(&s->forward, end - 1, end, s->logits);
    }
    return PE_OK;
}

pe_status pe_session_evaluate_again(pe_session *s) {
    const size_t n = s->position;
    const pe_kvcache old = s->cache;
    int32_t *ids = pe_mem_alloc(n, sizeof *ids);
    if (!ids) return PE_ERR_NOMEM;
    memcpy(ids, s->tokens, n * sizeof *ids);
    pe_kvcache_init(&s->cache, &s->model->config, old.f32);
    logits_wanted wanted = {NULL, n, n};
    s->position = 0;
    const pe_status status = evaluate(s, ids, n, 0, n - 1, take_logits, &wanted);
    pe_mem_free(ids);
    pe_kvcache unused = status ? s->cache : old;
    if (status) s->cache = old;
    s->position = (uint32_t)n;
    pe_kvcache_free(&unused);
    return status;
}

/* ---- looking ahead ---------------------------------------------------------------------------------------------- */

static bool is_ahead(const pe_session *s, int32_t id) { return s->n_ahead > 0 && s->tokens[s->position] == id; }

/* The next token of those ahead becomes part of the timeline: all but the counting was done before. */
static pe_status take_ahead(pe_session *s) {
    if (pe_forward_interrupted(&s->forward)) return cancelled(s);
    s->position++;
    s->n_ahead--;
    s->logits += s->model->config.n_vocab;
    s->lookup.accepted++;
    return PE_OK;
}

static bool reserve_rows(pe_session *s) {
    const size_t n_vocab = s->model->config.n_vocab;
    if (s->n_rows == s->max_rows) return true;
    float *rows = pe_mem_grow(s->rows, s->n_rows * n_vocab, s->max_rows * n_vocab, sizeof *rows);
    if (rows) {
        s->rows = s->logits = rows; /* there was one row */
        s->n_rows = s->max_rows;
    } else {
        s->max_rows = s->n_rows;
    }
    return rows != NULL;
}

/* Tokens worth evaluating together with `id`, into draft [PE_LOOKUP_AHEAD]: at most `ahead`, and none from an end of
 * text on, where nothing is evaluated any more. */
static size_t draft_after(pe_session *s, int32_t id, size_t ahead, int32_t *draft) {
    const size_t room = s->n_ctx - s->position - 1;
    if (ahead > room) ahead = room;
    if (ahead > s->max_rows - 1) ahead = s->max_rows - 1;
    if (ahead == 0 || pe_session_reserve_tokens(s, (size_t)s->position + 1)) return 0;
    s->tokens[s->position] = id;
    size_t match, n = 0;
    ahead = pe_lookup_find(s->tokens, (size_t)s->position + 1, draft, ahead, &match);
    while (n < ahead && !(pe_token_attributes(s->model, draft[n]) & PE_TOKEN_END)) n++;
    n = pe_lookup_plan(&s->lookup, match, n);
    return n && reserve_rows(s) ? n : 0;
}

static pe_status take_rows(pe_session *s, size_t first, size_t end, size_t index, void *context) {
    (void)index, (void)context;
    pe_forward_logits(&s->forward, first, end, s->rows);
    s->logits = s->rows;
    return PE_OK;
}

static pe_status step(pe_session *s, int32_t id, size_t ahead) {
    pe_status status = check_ids(s, &id, 1);
    if (!status) status = pe_session_refresh(s); /* before its time could count as that of a token */
    if (status) return status;
    if (is_ahead(s, id)) return take_ahead(s);
    pe_lookup_end(&s->lookup, s->n_ahead, s->n_ahead > 0);
    s->n_ahead = 0;
    int32_t ids[1 + PE_LOOKUP_AHEAD] = {id};
    size_t n_draft = draft_after(s, id, ahead, ids + 1);
    const double before = pe_lookup_clock();
    status = evaluate(s, ids, 1 + n_draft, n_draft, 0, take_rows, NULL);
    if (status == PE_ERR_NOMEM && n_draft) status = evaluate(s, ids, 1, n_draft = 0, 0, take_rows, NULL);
    if (status) return status;
    if (ahead) pe_lookup_evaluated(&s->lookup, 1 + n_draft, pe_lookup_clock() - before);
    s->has_logits = true;
    return PE_OK;
}

pe_status pe_session_step(pe_session *s, int32_t id, size_t ahead) {
    pe_status status = pe_session_enter(s);
    return status ? status : pe_session_leave(s, step(s, id, ahead));
}

void pe_session_lookups(const pe_session *s, uint64_t *drafted, uint64_t *accepted) {
    *drafted = s->lookup.drafted;
    *accepted = s->lookup.accepted;
}

/* ---- evaluation doors ------------------------------------------------------------------------------------------- */

pe_status pe_session_eval(pe_session *s, const int32_t *ids, size_t n_ids, size_t first_logit, float *logits) {
    if (first_logit > n_ids)
        return pe_fail(PE_ERR_ARG, "first_logit %zu is past the %zu tokens given", first_logit, n_ids);
    if (first_logit < n_ids && !logits) return pe_fail(PE_ERR_ARG, "logits are asked for but have no place to go");
    pe_status status = pe_session_enter(s);
    if (status) return status;
    if (n_ids == 1 && ids && is_ahead(s, *ids)) {
        status = take_ahead(s);
        if (!status && first_logit == 0) memcpy(logits, s->logits, s->model->config.n_vocab * sizeof *logits);
        return pe_session_leave(s, status);
    }
    logits_wanted wanted = {first_logit < n_ids ? logits : NULL, first_logit, n_ids};
    const size_t from = n_ids && first_logit > n_ids - 1 ? n_ids - 1 : first_logit; /* the last is always kept */
    status = evaluate(s, ids, n_ids, 0, from, take_logits, &wanted);
    if (!status) s->has_logits = true;
    return pe_session_leave(s, status);
}

typedef struct scores_wanted {
    const int32_t *ids;
    size_t n_ids, first;
    float *out, *rows; /* rows [n_rows, n_vocab] */
    size_t n_rows;
} scores_wanted;

static pe_status take_scores(pe_session *s, size_t first, size_t end, size_t index, void *context) {
    const scores_wanted *w = context;
    const size_t n_vocab = s->model->config.n_vocab;
    for (size_t t = first; t < end; t += w->n_rows) {
        const size_t n = end - t < w->n_rows ? end - t : w->n_rows;
        pe_forward_logits(&s->forward, t, t + n, w->rows);
        for (size_t i = 0; i < n; i++) {
            const size_t at = index + (t - first) + i;
            const float *row = w->rows + i * n_vocab;
            if (at + 1 < w->n_ids)
                w->out[at - w->first] =
                    (float)(row[w->ids[at + 1]] - pe_logits_look(s->kernels, s->pool, row, n_vocab, true).log_sum);
            else
                memcpy(s->logits, row, n_vocab * sizeof *row);
        }
    }
    return PE_OK;
}

pe_status pe_session_score(pe_session *s, const int32_t *ids, size_t n_ids, size_t first, float *out) {
    if (n_ids < 2 || first > n_ids - 2 || !ids || !out)
        return pe_fail(PE_ERR_ARG, "scoring needs at least two tokens and `first` at most %zu; got %zu",
                       n_ids < 2 ? 0 : n_ids - 2, first);
    pe_status status = pe_session_enter(s);
    if (status) return status;
    const size_t n_rows = s->memory_limit ? 1 : SCORE_ROWS;
    float *rows = pe_mem_alloc(n_rows * s->model->config.n_vocab, sizeof *rows);
    if (!rows) return pe_session_leave(s, PE_ERR_NOMEM);
    scores_wanted wanted = {ids, n_ids, first, out, rows, n_rows};
    status = evaluate(s, ids, n_ids, 0, first, take_scores, &wanted);
    if (!status) s->has_logits = true;
    pe_mem_free(rows);
    return pe_session_leave(s, status);
}

static pe_status take_hidden(pe_session *s, size_t first, size_t end, size_t index, void *context) {
    float *out = context;
    pe_forward_hidden(&s->forward, first, end, out + index * s->model->config.n_embd);
    return PE_OK;
}

pe_status pe_session_hidden(pe_session *s, const int32_t *ids, size_t n_ids, float *out) {
    if (!out) return pe_fail(PE_ERR_ARG, "hidden states are asked for but have no place to go");
    pe_status status = pe_session_enter(s);
    if (status) return status;
    status = evaluate(s, ids, n_ids, 0, 0, take_hidden, out);
    if (!status) s->has_logits = false;
    return pe_session_leave(s, status);
}

/* ---- the timeline ----------------------------------------------------------------------------------------------- */

uint32_t pe_session_position(const pe_session *s) { return s->position; }
uint32_t pe_session_capacity(const pe_session *s) { return s->n_ctx; }
int pe_session_threads(const pe_session *s) { return pe_pool_threads(s->pool); }
const char *pe_session_isa(const pe_session *s) { return s->kernels->name; }
const int32_t *pe_session_tokens(const pe_session *s) { return s->tokens; }

uint64_t pe_session_bytes(const pe_session *s) {
    return s->cache.n_pages * (uint64_t)s->cache.page_bytes + s->forward.buffer_bytes +
           s->forward.low_floats * sizeof(float) + s->forward.weights.arena.total +
           s->token_capacity * sizeof *s->tokens + s->n_rows * (uint64_t)s->model->config.n_vocab * sizeof *s->rows;
}

pe_status pe_session_rewind(pe_session *s, uint32_t position) {
    pe_status status = pe_session_enter(s);
    if (status) return status;
    if (position > s->position)
        return pe_session_leave(
            s, pe_fail(PE_ERR_ARG, "cannot rewind to position %u: the session is at %u", position, s->position));
    pe_session_drop_ahead(s);
    if (position < s->position) s->has_logits = false;
    s->position = position;
    pe_kvcache_truncate(&s->cache, position);
    return pe_session_leave(s, PE_OK);
}

pe_status pe_session_fork(pe_session *s, pe_session **out) {
    if (!out) return pe_fail(PE_ERR_ARG, "pe_session_fork needs a place for the session");
    *out = NULL;
    pe_status status = pe_session_enter(s);
    if (status) return status;
    pe_session *fork = NULL;
    const pe_session_options options = {
        .n_ctx = s->n_ctx,
        .n_threads = pe_pool_threads(s->pool),
        .kv_type = s->cache.f32 ? "f32" : "f16",
        .isa = s->kernels->name,
        .memory_limit = s->memory_limit,
        .interrupted = s->forward.interrupted,
        .interrupted_context = s->forward.interrupted_context,
    };
    status = pe_session_create(s->model, &options, &fork);
    if (!status) status = pe_session_reserve_tokens(fork, s->position);
    if (!status) status = pe_kvcache_share(&s->cache, s->position, &fork->cache);
    if (!status) status = pe_session_attach_as(fork, s);
    if (status) {
        pe_session_release(fork);
        return pe_session_leave(s, status);
    }
    if (s->position) memcpy(fork->tokens, s->tokens, s->position * sizeof *s->tokens);
    memcpy(fork->logits, s->logits, s->model->config.n_vocab * sizeof *s->logits);
    fork->position = s->position;
    fork->has_logits = s->has_logits;
    fork->cache_key = s->cache_key;
    memcpy(fork->lookup.success, s->lookup.success, sizeof s->lookup.success);
    memcpy(fork->lookup.seconds, s->lookup.seconds, sizeof s->lookup.seconds);
    *out = fork;
    return pe_session_leave(s, PE_OK);
}

void pe_session_cancel(pe_session *s) { atomic_store(&s->cancelled, true); }

/* ---- sampling from the last logits ------------------------------------------------------------------------------ */

static pe_status need_logits(pe_session *s) {
    const pe_status status = pe_session_refresh(s);
    if (status || s->has_logits) return status;
    return pe_fail(PE_ERR_ARG, "the session has no logits to sample from; evaluate at least one token first");
}

pe_status pe_session_sample(pe_session *s, pe_sampler *sampler, int32_t *id, float *logprob) {
    pe_status status = pe_session_enter(s);
    if (status) return status;
    status = need_logits(s);
    if (!status)
        status = pe_sampler_choose(sampler, s->kernels, s->pool, s->logits, s->model->config.n_vocab, id, logprob);
    return pe_session_leave(s, status);
}

pe_status pe_session_top(pe_session *s, size_t k, int32_t *ids, float *logprobs) {
    const size_t n_vocab = s->model->config.n_vocab;
    if (k > n_vocab || !ids || !logprobs)
        return pe_fail(PE_ERR_ARG, "%zu most probable tokens asked for; the vocabulary has %zu", k, n_vocab);
    pe_status status = pe_session_enter(s);
    if (status) return status;
    status = need_logits(s);
    if (status) return pe_session_leave(s, status);
    const float norm = (float)pe_logits_look(s->kernels, s->pool, s->logits, n_vocab, true).log_sum;
    size_t n = 0;
    for (size_t i = 0; i < n_vocab; i++) { /* insertion into the k best so far, ties to the lower id */
        const float logit = s->logits[i] - norm;
        if (n == k && (k == 0 || !(logit > logprobs[k - 1]))) continue;
        size_t at = n < k ? n++ : k - 1;
        for (; at > 0 && logit > logprobs[at - 1]; at--) {
            logprobs[at] = logprobs[at - 1];
            ids[at] = ids[at - 1];
        }
        logprobs[at] = logit;
        ids[at] = (int32_t)i;
    }
    return pe_session_leave(s, PE_OK);
}
