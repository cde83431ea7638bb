/* Attention of a block of queries (several tokens x the heads of one KV head) over pages of keys and values, with the
 * running maximum of online softmax (https://arxiv.org/abs/1805.02867): scores of one page at a time, never a whole
 * row. K lies transposed in its page, so that positions fill the lanes and no horizontal sum is needed: scores = q K
 * and out = p V are the same small product, a row of factors times rows of vectors.
 *
 * Pages are taken in spans of PE_SPAN pages. Each span starts from nothing, and what it gives is joined to what the
 * spans before it gave. So the spans of one query may as well be done by several threads and joined later: every query
 * goes through the same steps whether it is alone or in a block, in one task or in many. */

#ifndef PE_ROOM_FOR_24_SUMS /* in vector registers */
#define PE_ROOM_FOR_24_SUMS (PE_VF == 16)
#endif

PE_INLINE vf load_kv(bool f32, const uint8_t *base, size_t i) {
    return f32 ? vf_load((const float *)(const void *)base + i) : vf_load_f16(base + 2 * i);
}

static void kv_store(void *k_page, void *v_page, size_t slot, const float *k, const float *v, size_t head_dim,
                     bool kv_f32) {
    if (kv_f32) {
        for (size_t d = 0; d < head_dim; d++) ((float *)k_page)[d * PE_PAGE + slot] = k[d];
        memcpy((float *)v_page + slot * head_dim, v, head_dim * sizeof *v);
        return;
    }
    for (size_t d = 0; d < head_dim; d += PE_VF) {
        size_t left = head_dim - d < PE_VF ? head_dim - d : PE_VF;
        uint16_t half[PE_VF];
        const vf top = vf_set1(65504.0f), bottom = vf_set1(-65504.0f); /* an infinity would poison later pages */
        vf_store_f16(half, vf_max(bottom, vf_min(top, take(k, d, head_dim, 0))));
        for (size_t i = 0; i < left; i++) ((uint16_t *)k_page)[(d + i) * PE_PAGE + slot] = half[i];
        vf_store_f16(half, vf_max(bottom, vf_min(top, take(v, d, head_dim, 0))));
        memcpy((uint16_t *)v_page + slot * head_dim + d, half, left * sizeof *half);
    }
}

/* c [Q, N * PE_VF] = c * keep[Q] + a [Q, from..to-1] b, one column of vectors; Q and N are compile-time constants. A
 * row of b has `width` elements; keep NULL: c starts at 0. */
PE_INLINE void small_product(size_t Q, size_t N, bool f32, float *c, size_t c_stride, const float *keep,
                             const float *const a[], const uint8_t *b, size_t width, size_t column, size_t from,
                             size_t to, const uint8_t *later) {
    vf acc[6][4];
    PE_UNROLL(6)
    for (size_t i = 0; i < Q; i++) PE_UNROLL(4)
    for (size_t j = 0; j < N; j++)
        acc[i][j] = keep ? vf_mul(vf_load(c + i * c_stride + column + j * PE_VF), vf_set1(keep[i])) : vf_zero();
    for (size_t k = from; k < to; k++) {
        vf row[4];
        if (!f32 && column == 0 && later)
            for (size_t i = 0; i < 2 * width; i += CACHE_LINE) vs_prefetch(later + 2 * k * width + i);
        PE_UNROLL(4)
        for (size_t j = 0; j < N; j++) row[j] = load_kv(f32, b, k * width + column + j * PE_VF);
        PE_UNROLL(6)
        for (size_t i = 0; i < Q; i++) {
            const vf factor = vf_set1(a[i][k]);
            PE_UNROLL(4)
            for (size_t j = 0; j < N; j++) acc[i][j] = vf_fma(factor, row[j], acc[i][j]);
        }
    }
    PE_UNROLL(6)
    for (size_t i = 0; i < Q; i++) PE_UNROLL(4)
    for (size_t j = 0; j < N; j++) vf_store(c + i * c_stride + column + j * PE_VF, acc[i][j]);
}

/* The same for all columns; those past the last whole vector one by one. */
PE_INLINE void product_rows(size_t Q, bool f32, float *c, size_t c_stride, const float *keep, const float *const a[],
                            const uint8_t *b, size_t width, size_t from, size_t to, const uint8_t *later) {
    enum { WIDE = PE_ROOM_FOR_24_SUMS ? 4 : 2 }; /* vectors beside each other, for up to six queries */
    size_t column = 0;
    for (; column + WIDE * PE_VF <= width; column += WIDE * PE_VF)
        small_product(Q, WIDE, f32, c, c_stride, keep, a, b, width, column, from, to, later);
    for (; column + PE_VF <= width; column += PE_VF)
        small_product(Q, 1, f32, c, c_stride, keep, a, b, width, column, from, to, later);
    for (; column < width; column++)
        for (size_t i = 0; i < Q; i++) {
            float acc = keep ? c[i * c_stride + column] * keep[i] : 0.0f;
            for (size_t k = from; k < to; k++) {
                float value;
                if (f32)
                    memcpy(&value, b + 4 * (k * width + column), sizeof value);
                else
                    value = vs_f16(b + 2 * (k * width + column));
                acc += a[i][k] * value;
            }
            c[i * c_stride + column] = acc;
        }
}

#define PRODUCT_ROWS(Q, kind, f32)                                                                                     \
    PE_ONCE void product_rows_##Q##_##kind(float *c, size_t c_stride, const float *keep, const float *const a[],       \
                                           const uint8_t *b, size_t width, size_t from, size_t to,                     \
                                           const uint8_t *later) {                                                     \
        product_rows(Q, f32, c, c_stride, keep, a, b, width, from, to, later);                                         \
    }
PRODUCT_ROWS(4, half, false)
PRODUCT_ROWS(3, half, false)
PRODUCT_ROWS(2, half, false)
PRODUCT_ROWS(1, half, false)
PRODUCT_ROWS(6, full, true)
PRODUCT_ROWS(3, full, true)
PRODUCT_ROWS(2, full, true)
PRODUCT_ROWS(1, full, true)

typedef void (*row_product)(float *c, size_t c_stride, const float *keep, const float *const a[], const uint8_t *b,
                            size_t width, size_t from, size_t to, const uint8_t *later);

/* `later`: what is read next, as many bytes as b has, to be asked for on the way; or NULL. */
static void product(size_t n, bool f32, float *c, size_t c_stride, const float *keep, const float *const a[],
                    const uint8_t *b, size_t width, size_t from, size_t to, const uint8_t *later) {
    static const row_product half[] = {NULL, product_rows_1_half, product_rows_2_half, product_rows_3_half,
                                       product_rows_4_half};
    static const row_product full[] = {NULL, product_rows_1_full, product_rows_2_full, product_rows_3_full, NULL,
                                       NULL, product_rows_6_full};
    for (size_t i = 0; i < n;) {
        const size_t left = n - i;
        const size_t q = f32 ? left >= 6 ? 6 : left > 3 ? 3 : left : left > 4 ? 4 : left;
        (f32 ? full : half)[q](c + i * c_stride, c_stride, keep ? keep + i : NULL, a + i, b, width, from, to, later);
        i += q;
    }
}

/* What a span, or all spans so far, gave to a query: maximum and sum of its exponentials, and the sum of the values. */
typedef struct pe_state {
    float top, total;
    float *out; /* [head_dim], padded to whole vectors */
} pe_state;

static void join_states(pe_state *all, const pe_state *next, size_t head_dim) {
    const float top = all->top > next->top ? all->top : next->top;
    if (next->top == -INFINITY) return;
    const float a = all->top == -INFINITY ? 0.0f : expf(all->top - top), b = expf(next->top - top);
    all->total = all->total * a + next->total * b;
    all->top = top;
    for (size_t d = 0; d < head_dim; d += PE_VF)
        vf_store(all->out + d, vf_fma(vf_load(next->out + d), vf_set1(b), vf_mul(vf_load(all->out + d), vf_set1(a))));
}

static void finish_state(float *to, const pe_state *state, size_t head_dim) {
    const float inverse = 1.0f / state->total;
    for (size_t d = 0; d < head_dim; d++) to[d] = state->out[d] * inverse;
}

/* Scores [PE_PAGE] of a page to exponentials below the running maximum; returns what to keep of the sums so far. */
static float soften(float *scores, pe_state *state, float scale, float cap, size_t start, size_t from, size_t at) {
    const vf factor = vf_set1(scale);
    for (size_t j = 0; j < PE_PAGE; j += PE_VF) vf_store(scores + j, vf_mul(vf_load(scores + j), factor));
    for (size_t j = 0; cap > 0 && j < PE_PAGE; j += PE_VF) vf_store(scores + j, capped(vf_load(scores + j), cap));
    if (start < from || start + PE_PAGE - 1 > at)
        for (size_t j = 0; j < PE_PAGE; j++)
            if (start + j > at || start + j < from) scores[j] = -INFINITY;
    vf highest = vf_load(scores);
    for (size_t j = PE_VF; j < PE_PAGE; j += PE_VF) highest = vf_max(highest, vf_load(scores + j));
    const float page_top = vf_hmax(highest);
    if (page_top == -INFINITY) { /* sees nothing here */
        memset(scores, 0, PE_PAGE * sizeof *scores);
        return 1.0f;
    }
    float keep = 1.0f;
    if (page_top > state->top) {
        keep = state->top == -INFINITY ? 0.0f : expf(state->top - page_top);
        state->top = page_top;
    }
    vf sum = vf_zero(), m = vf_set1(state->top);
    for (size_t j = 0; j < PE_PAGE; j += PE_VF) {
        vf e = vf_exp(vf_sub(vf_load(scores + j), m));
        vf_store(scores + j, e);
        sum = vf_add(sum, e);
    }
    state->total = state->total * keep + vf_hsum(sum);
    return keep;
}

/* A page of halves as floats, for blocks of queries that read it several times. */
static const uint8_t *as_floats(const uint8_t *page, size_t n, float *room) {
    for (size_t i = 0; i < n; i += PE_VF) vf_store(room + i, vf_load_f16(page + 2 * i));
    return (const uint8_t *)room;
}

/* One page for all queries. */
static void attend_page(const pe_attend *job, const float *const q[], pe_state states[], float *scores, float *room,
                        size_t page, size_t first) {
    const size_t head_dim = job->head_dim, n = job->n_tokens * job->n_group, padded = head_dim + PE_VF;
    const size_t start = page * PE_PAGE, last = job->position + job->n_tokens - 1;
    /* what any query of the block may see of this page */
    const size_t seen_from = first > start ? first - start : 0;
    const size_t seen_to = last + 1 - start < PE_PAGE ? last + 1 - start : PE_PAGE;
    const uint8_t *k = (const uint8_t *)job->pages[page] + job->k_offset;
    const uint8_t *v = (const uint8_t *)job->pages[page] + job->v_offset;
    const uint8_t *next = page < last / PE_PAGE ? (const uint8_t *)job->pages[page + 1] + job->k_offset : NULL;
    const bool widen = !job->kv_f32 && n > 4, f32 = job->kv_f32 || widen;
    float keep[PE_MAX_QUERIES];
    const float *rows[PE_MAX_QUERIES];
    product(n, f32, scores, PE_PAGE, NULL, q, widen ? as_floats(k, head_dim * PE_PAGE, room) : k, PE_PAGE, 0, head_dim,
            v);
    for (size_t i = 0; i < n; i++) {
        const size_t at = job->position + i / job->n_group; /* this query sees positions from..at */
        const size_t from = job->window && at + 1 > job->window ? at + 1 - job->window : 0;
        keep[i] = soften(scores + i * PE_PAGE, &states[i], job->scale, job->cap, start, from, at);
        rows[i] = scores + i * PE_PAGE;
    }
    product(n, f32, states[0].out, padded, keep, rows, widen ? as_floats(v, head_dim * PE_PAGE, room) : v, head_dim,
            seen_from, seen_to, next);
}

static void attend(const pe_attend *job) {
    const size_t head_dim = job->head_dim, padded = head_dim + PE_VF, n = job->n_tokens * job->n_group;
    float *scores = job->scratch, *out = scores + PE_MAX_QUERIES * PE_PAGE; /* [2, PE_MAX_QUERIES, padded] */
    float *room = out + 2 * PE_MAX_QUERIES * padded;                        /* [head_dim, PE_PAGE] */
    pe_state states[PE_MAX_QUERIES], all[PE_MAX_QUERIES];
    const float *q[PE_MAX_QUERIES];
    for (size_t i = 0; i < n; i++) {
        q[i] = job->q + i / job->n_group * job->q_stride + i % job->n_group * head_dim;
        all[i] = (pe_state){-INFINITY, 0, out + (n + i) * padded};
    }
    memset(out + n * padded, 0, n * padded * sizeof *out);
    const size_t last = job->position + job->n_tokens - 1;
    const size_t first = job->window && job->position + 1 > job->window ? job->position + 1 - job->window : 0;
    const size_t first_span = first / (PE_PAGE * PE_SPAN), last_span = last / (PE_PAGE * PE_SPAN);
    for (size_t span = first_span; span <= last_span; span++) {
        if (job->partial && span != job->span) continue;
        for (size_t i = 0; i < n; i++) states[i] = (pe_state){-INFINITY, 0, out + i * padded};
        memset(out, 0, n * padded * sizeof *out);
        for (size_t page = span * PE_SPAN; page < (span + 1) * PE_SPAN && page <= last / PE_PAGE; page++)
            if (page >= first / PE_PAGE) attend_page(job, q, states, scores, room, page, first);
        for (size_t i = 0; i < n && !job->partial; i++) join_states(&all[i], &states[i], head_dim);
    }
    for (size_t i = 0; i < n; i++) {
        if (job->partial) {
            float *to = job->partial + i * pe_partial_floats(head_dim);
            to[0] = states[i].top;
            to[1] = states[i].total;
            memcpy(to + 2, states[i].out, head_dim * sizeof *to);
        } else {
            finish_state(job->out + i / job->n_group * job->out_stride + i % job->n_group * head_dim, &all[i],
                         head_dim);
        }
    }
}

static void attend_join(float *out, const float *partial, size_t stride, size_t n_spans, size_t head_dim,
                        float *scratch) {
    float *next = scratch + head_dim + PE_VF;
    pe_state all = {-INFINITY, 0, scratch};
    memset(scratch, 0, (head_dim + PE_VF) * sizeof *scratch);
    memset(next, 0, (head_dim + PE_VF) * sizeof *scratch);
    for (size_t i = 0; i < n_spans; i++, partial += stride) {
        memcpy(next, partial + 2, head_dim * sizeof *next);
        join_states(&all, &(pe_state){partial[0], partial[1], next}, head_dim);
    }
    finish_state(out, &all, head_dim);
}
