/* Choosing a token. Order: bias and repetition penalty on the logits; then top-k, top-p and min-p on the model's own
 * distribution; temperature last, on what is left. Greedy (temperature 0) takes the largest logit, ties to the lowest
 * id. The random state is xoshiro256** (https://prng.di.unimi.it/) seeded by splitmix64. */
#define _DEFAULT_SOURCE /* syscall, getentropy */

#include "run/sampler.h"
#include "base/arena.h"
#include "run/logits.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

typedef struct candidate {
    float logit, p;
    int32_t id;
} candidate;

_Static_assert(sizeof(float) + sizeof(candidate) + sizeof(uint32_t) <= PE_SAMPLER_BYTES, "counted in limits");

struct pe_sampler {
    pe_sampler_options options;
    pe_logit_bias *bias; /* [options.n_bias] */
    uint64_t state[4];
    int32_t *history; /* [history_capacity], the last n_history accepted tokens, oldest first */
    size_t n_history, history_capacity;
    float *logits;         /* [n_vocab] working copy */
    candidate *candidates; /* [n_vocab] */
    uint32_t *seen;        /* [n_vocab] stamp of the call that last penalised the token */
    uint32_t stamp;
    size_t n_vocab;
};

static uint64_t splitmix64(uint64_t *x) {
    uint64_t z = *x += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t rotate(uint64_t x, int k) { return x << k | x >> (64 - k); }

static uint64_t next(uint64_t s[4]) {
    const uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

static uint64_t fresh_seed(void) {
    uint64_t seed;
#if defined(__linux__) && defined(SYS_getrandom) /* the call itself: its wrappers are newer than the oldest glibc */
    if (syscall(SYS_getrandom, &seed, sizeof seed, 0) == (long)sizeof seed) return seed;
#elif !defined(__linux__)
    if (getentropy(&seed, sizeof seed) == 0) return seed;
#endif
    struct timespec now; /* no source of entropy: time and an address */
    timespec_get(&now, TIME_UTC);
    return (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15 ^ (uint64_t)now.tv_sec ^ (uint64_t)(uintptr_t)&seed;
}

pe_sampler_options pe_sampler_defaults(void) {
    return (pe_sampler_options){
        .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.0f, .repeat_last_n = 64};
}

static pe_status check(const pe_sampler_options *o) {
    if (!(o->temperature >= 0) || !isfinite(o->temperature))
        return pe_fail(PE_ERR_ARG, "temperature is %g; expected a finite number >= 0", (double)o->temperature);
    if (o->top_k < 0) return pe_fail(PE_ERR_ARG, "top_k is %d; expected >= 0 (0: off)", (int)o->top_k);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return pe_fail(PE_ERR_ARG, "top_p is %g; expected above 0, up to 1 (off)", (double)o->top_p);
    if (!(o->min_p >= 0 && o->min_p < 1))
        return pe_fail(PE_ERR_ARG, "min_p is %g; expected 0 (off) to below 1", (double)o->min_p);
    if (!(o->repeat_penalty > 0) || !isfinite(o->repeat_penalty))
        return pe_fail(PE_ERR_ARG, "repeat_penalty is %g; expected a finite number > 0 (1: off)",
                       (double)o->repeat_penalty);
    if (o->repeat_last_n < -1)
        return pe_fail(PE_ERR_ARG, "repeat_last_n is %d; expected >= 0, or -1 for all", (int)o->repeat_last_n);
    for (size_t i = 0; i < o->n_bias; i++)
        if (isnan(o->bias[i].bias) || o->bias[i].bias == INFINITY || o->bias[i].id < 0)
            return pe_fail(PE_ERR_ARG,
                           "logit bias %zu (token %d) is not usable; expected an id >= 0 and a number below infinity",
                           i, (int)o->bias[i].id);
    return PE_OK;
}

pe_status pe_sampler_create(const pe_sampler_options *options, pe_sampler **out) {
    const pe_sampler_options defaults = pe_sampler_defaults();
    if (!out) return pe_fail(PE_ERR_ARG, "pe_sampler_create needs a place for the sampler");
    *out = NULL;
    if (!options) options = &defaults;
    pe_status status = check(options);
    if (status) return status;
    pe_sampler *s = pe_mem_alloc(1, sizeof *s);
    if (!s) return PE_ERR_NOMEM;
    s->options = *options;
    if (options->n_bias) {
        s->bias = pe_mem_alloc(options->n_bias, sizeof *s->bias);
        if (!s->bias) {
            pe_sampler_release(s);
            return PE_ERR_NOMEM;
        }
        memcpy(s->bias, options->bias, options->n_bias * sizeof *s->bias);
    }
    if (!options->has_seed) s->options.seed = fresh_seed();
    uint64_t x = s->options.seed;
    for (int i = 0; i < 4; i++) s->state[i] = splitmix64(&x);
    *out = s;
    return PE_OK;
}

void pe_sampler_release(pe_sampler *s) {
    if (!s) return;
    pe_mem_free(s->bias);
    pe_mem_free(s->history);
    pe_mem_free(s->logits);
    pe_mem_free(s->candidates);
    pe_mem_free(s->seen);
    pe_mem_free(s);
}

uint64_t pe_sampler_seed(const pe_sampler *s) { return s->options.seed; }

void pe_sampler_accept(pe_sampler *s, int32_t id) {
    const int32_t window = s->options.repeat_last_n;
    if (window == 0 || s->options.repeat_penalty == 1.0f) return;
    if (window > 0 && s->n_history >= 2 * (size_t)window) { /* keep the newest; amortised */
        memmove(s->history, s->history + s->n_history - (size_t)window, (size_t)window * sizeof *s->history);
        s->n_history = (size_t)window;
    }
    if (s->n_history == s->history_capacity) {
        const size_t capacity = s->history_capacity ? s->history_capacity * 2 : 128;
        int32_t *history = pe_mem_grow(s->history, s->history_capacity, capacity, sizeof *history);
        if (!history) return; /* the penalty forgets this token */
        s->history = history;
        s->history_capacity = capacity;
    }
    s->history[s->n_history++] = id;
}

static pe_status reserve(pe_sampler *s, size_t n_vocab) {
    if (n_vocab == s->n_vocab) return PE_OK;
    float *logits = pe_mem_alloc(n_vocab, sizeof *logits);
    candidate *candidates = pe_mem_alloc(n_vocab, sizeof *candidates);
    uint32_t *seen = pe_mem_alloc(n_vocab, sizeof *seen);
    if (!logits || !candidates || !seen) {
        pe_mem_free(logits);
        pe_mem_free(candidates);
        pe_mem_free(seen);
        return PE_ERR_NOMEM;
    }
    pe_mem_free(s->logits);
    pe_mem_free(s->candidates);
    pe_mem_free(s->seen);
    s->logits = logits;
    s->candidates = candidates;
    s->seen = seen;
    s->n_vocab = n_vocab;
    s->stamp = 0;
    return PE_OK;
}

/* Bias, then the penalty of https://arxiv.org/abs/1909.05858: divide positive logits, multiply negative ones. */
static void adjust(pe_sampler *s) {
    for (size_t i = 0; i < s->options.n_bias; i++)
        if ((size_t)s->bias[i].id < s->n_vocab) s->logits[s->bias[i].id] += s->bias[i].bias;
    const float penalty = s->options.repeat_penalty;
    size_t n = s->n_history;
    if (s->options.repeat_last_n >= 0 && n > (size_t)s->options.repeat_last_n) n = (size_t)s->options.repeat_last_n;
    s->stamp++;
    for (size_t i = s->n_history - n; i < s->n_history; i++) {
        const size_t id = (size_t)s->history[i];
        if (id >= s->n_vocab || s->seen[id] == s->stamp) continue;
        s->seen[id] = s->stamp;
        s->logits[id] = s->logits[id] > 0 ? s->logits[id] / penalty : s->logits[id] * penalty;
    }
}

static bool before(const candidate *a, const candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Heap order with the worst candidate on top: sift the item at i down. */
static void sift(candidate *heap, size_t n, size_t i) {
    const candidate item = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child], &heap[child + 1])) child++;
        if (!before(&item, &heap[child])) break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

/* The k best of all tokens into candidates, best first; returns how many (tokens at -infinity are left out). */
static size_t best(pe_sampler *s, size_t k) {
    candidate *heap = s->candidates;
    size_t n = 0;
    for (size_t i = 0; i < s->n_vocab; i++) {
        const candidate c = {s->logits[i], 0, (int32_t)i};
        if (!(c.logit > -INFINITY)) continue;
        if (n < k) {
            heap[n++] = c;
            if (n == k)
                for (size_t j = k / 2; j-- > 0;) sift(heap, k, j);
        } else if (before(&c, &heap[0])) {
            heap[0] = c;
            sift(heap, k, 0);
        }
    }
    if (n < k)
        for (size_t j = n / 2; j-- > 0;) sift(heap, n, j);
    for (size_t end = n; end > 1; end--) { /* heap sort: the worst goes last */
        const candidate worst = heap[0];
        heap[0] = heap[end - 1];
        heap[end - 1] = worst;
        sift(heap, end - 1, 0);
    }
    return n;
}

/* Cut by top-p and min-p over the softmax of the n candidates, best first. */
static size_t cut(pe_sampler *s, size_t n) {
    candidate *c = s->candidates;
    double total = 0;
    for (size_t i = 0; i < n; i++) total += c[i].p = expf(c[i].logit - c[0].logit);
    size_t keep = n;
    if (s->options.top_p < 1.0f) {
        double sum = 0;
        for (keep = 0; keep < n && sum < s->options.top_p * total; keep++) sum += c[keep].p;
        if (keep == 0) keep = 1;
    }
    while (keep > 1 && c[keep - 1].p < s->options.min_p * c[0].p) keep--;
    return keep;
}

static int32_t draw(pe_sampler *s, size_t n) {
    candidate *c = s->candidates;
    double total = 0;
    for (size_t i = 0; i < n; i++) total += c[i].p = expf((c[i].logit - c[0].logit) / s->options.temperature);
    double u = (double)(next(s->state) >> 11) * 0x1p-53 * total;
    for (size_t i = 0; i + 1 < n; i++)
        if ((u -= c[i].p) < 0) return c[i].id;
    return c[n - 1].id;
}

pe_status pe_sampler_choose(pe_sampler *s, const pe_kernels *kernels, pe_pool *pool, const float *logits,
                            size_t n_vocab, int32_t *id, float *logprob) {
    const pe_logits_facts facts = pe_logits_look(kernels, pool, logits, n_vocab, logprob != NULL);
    if (facts.any_nan) return pe_fail(PE_ERR_ARG, "a logit is not a number; the model's weights may be damaged");
    const bool greedy = s->options.temperature == 0, adjusted = s->options.n_bias || s->n_history;
    if (!greedy || adjusted) {
        pe_status status = reserve(s, n_vocab);
        if (status) return status;
        memcpy(s->logits, logits, n_vocab * sizeof *logits);
        adjust(s);
    }
    if (greedy) {
        *id = (adjusted ? pe_logits_look(kernels, pool, s->logits, n_vocab, false) : facts).largest;
    } else {
        const size_t k = s->options.top_k && (size_t)s->options.top_k < n_vocab ? (size_t)s->options.top_k : n_vocab;
        const size_t n = best(s, k);
        if (n == 0) return pe_fail(PE_ERR_ARG, "the logit bias forbids every token");
        *id = draw(s, cut(s, n));
    }
    if (logprob) *logprob = (float)(logits[*id] - facts.log_sum);
    return PE_OK;
}

pe_status pe_sampler_sample(pe_sampler *s, const float *logits, size_t n_vocab, int32_t *id, float *logprob) {
    if (!s || !logits || !id || n_vocab == 0)
        return pe_fail(PE_ERR_ARG, "sampling needs a sampler, logits and a place for the token");
    const pe_kernels *kernels;
    pe_status status = pe_kernels_select(NULL, &kernels);
    return status ? status : pe_sampler_choose(s, kernels, NULL, logits, n_vocab, id, logprob);
}
