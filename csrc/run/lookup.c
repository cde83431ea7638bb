/* The draft is found by a plain scan backwards: an index would have to follow every rewind, fork and load, and a scan
 * of 32,000 tokens takes less than a hundredth of the evaluation that it may save.
 *
 * How long a draft pays depends on the machine: where memory is the bound, eight tokens cost little more than one;
 * where arithmetic is, they cost eight times as much. So the cost is measured on the way, the success of drafts is
 * counted, and a draft is tried where the expected tokens per second rise. What failed drafts may cost in all is
 * limited: a small credit, and one part in two hundred of the evaluations without a draft. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */

#include "run/lookup.h"

#include <time.h>

static const size_t batch_sizes[PE_LOOKUP_BATCHES] = {1, 2, 4, 8, 1 + PE_LOOKUP_AHEAD};
/* Shortest match of each kind, and the share of drafted tokens to expect of it before anything is known. */
static const size_t match_lengths[PE_LOOKUP_MATCHES] = {PE_LOOKUP_SHORTEST, 3, 5, PE_LOOKUP_LONGEST};
static const float expected[PE_LOOKUP_MATCHES] = {0.35f, 0.5f, 0.65f, 0.8f};

/* In evaluations of one token. */
static const double FIRST_CREDIT = 2, MOST_CREDIT = 6, EARNED = 0.005;
/* The gain in tokens per second that a draft must promise. */
static const double WORTHWHILE = 1.05;
/* Of one more token in a batch, before it is measured: cheap, so that it is tried. */
static const double COST_OF_TOKEN = 0.06;
/* How fast it is forgotten that batches were dear, or that drafts failed, with each evaluation of one token. */
static const double FADE = 0.998;
static const float FORGET = 0.01f;
/* Weight of the last draft among those before it. */
static const float LEARN = 0.3f;

size_t pe_lookup_find(const int32_t *tokens, size_t n, int32_t *draft, size_t cap, size_t *match) {
    *match = 0;
    if (n <= PE_LOOKUP_SHORTEST) return 0;
    const int32_t last = tokens[n - 1], previous = tokens[n - 2];
    size_t next = 0; /* where the best occurrence goes on */
    for (size_t end = n - 2; end >= 1 && *match < PE_LOOKUP_LONGEST; end--) {
        if (tokens[end] != last || tokens[end - 1] != previous) continue;
        size_t length = 2;
        while (length < PE_LOOKUP_LONGEST && length <= end && tokens[end - length] == tokens[n - 1 - length]) length++;
        if (length <= *match) continue;
        *match = length;
        next = end + 1;
    }
    if (!*match) return 0;
    const size_t period = n - next;
    for (size_t i = 0; i < cap; i++) draft[i] = i < period ? tokens[next + i] : draft[i - period];
    return cap;
}

void pe_lookup_init(pe_lookup *l) {
    *l = (pe_lookup){.credit = FIRST_CREDIT};
    for (size_t i = 0; i < PE_LOOKUP_MATCHES; i++) l->success[i] = expected[i];
}

/* ---- what a batch costs ----------------------------------------------------------------------------------------- */

/* Index of the smallest size that holds n. */
static size_t batch_of(size_t n) {
    size_t i = 0;
    while (i + 1 < PE_LOOKUP_BATCHES && batch_sizes[i] < n) i++;
    return i;
}

/* The faster of the last two, as one may have been held up; 0 where there was none. */
static double seconds_of(const pe_lookup *l, size_t batch) {
    const double last = l->seconds[batch][0], before = l->seconds[batch][1];
    return before > 0 && before < last ? before : last;
}

/* In evaluations of one token. */
static double cost_of(const pe_lookup *l, size_t batch) {
    size_t known = batch;
    while (known > 0 && l->seconds[known][0] == 0) known--;
    const double more = (double)(batch_sizes[batch] - batch_sizes[known]);
    const double cost = seconds_of(l, known) / seconds_of(l, 0) * (1 + more * COST_OF_TOKEN);
    return cost > 1 ? cost : 1;
}

void pe_lookup_evaluated(pe_lookup *l, size_t n, double seconds) {
    const size_t batch = batch_of(n);
    l->size = n - 1;
    l->drafted += n - 1;
    if (n == 1) {
        if (l->credit < MOST_CREDIT) l->credit += EARNED;
        for (size_t i = 1; i < PE_LOOKUP_BATCHES; i++)
            for (size_t j = 0; j < 2; j++) l->seconds[i][j] *= FADE;
    } else {
        const double cost = seconds / seconds_of(l, 0);
        l->cost = cost < (double)n ? cost : (double)n; /* more only where something else held it up */
    }
    if (n != batch_sizes[batch]) return;
    l->seconds[batch][1] = l->seconds[batch][0];
    l->seconds[batch][0] = seconds;
}

/* ---- what a draft brings ---------------------------------------------------------------------------------------- */

/* Tokens to expect of an evaluation whose draft has k tokens. */
static double tokens_of(double success, size_t k) {
    double sum = 1, all = 1;
    for (size_t i = 0; i < k; i++) sum += all *= success;
    return sum;
}

size_t pe_lookup_plan(pe_lookup *l, size_t match, size_t found) {
    if (found == 0 || match < PE_LOOKUP_SHORTEST || l->seconds[0][0] == 0) return 0;
    size_t kind = PE_LOOKUP_MATCHES - 1, best = 0;
    while (match_lengths[kind] > match) kind--;
    const double success = l->success[kind];
    double best_gain = WORTHWHILE, best_cost = 0;
    for (size_t i = 1; i < PE_LOOKUP_BATCHES; i++) {
        const size_t most = batch_sizes[i] - 1, k = found < most ? found : most;
        const double cost = cost_of(l, i), gain = tokens_of(success, k) / cost;
        if (gain > best_gain) {
            best_gain = gain;
            best_cost = cost;
            best = k;
        }
        if (k == found) break;
    }
    if (best == 0 || l->credit < (1 - success) * (best_cost - 1)) {
        l->success[kind] += FORGET * (expected[kind] - l->success[kind]);
        return 0;
    }
    l->kind = kind;
    return best;
}

void pe_lookup_end(pe_lookup *l, size_t left, bool refuted) {
    if (l->size == 0) return;
    const size_t used = l->size - left;
    l->credit += (double)used + 1 - l->cost;
    if (l->credit > MOST_CREDIT) l->credit = MOST_CREDIT;
    if (used || refuted) {
        const float share = (float)used / (float)(used + refuted);
        l->success[l->kind] += LEARN * (share - l->success[l->kind]);
    }
    l->size = 0;
}

double pe_lookup_clock(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0;
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
