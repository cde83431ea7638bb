/* Attention of a block of queries (several tokens x the heads of one KV head) over pages of keys and values, with the
 * running maximum of online softmax (https://arxiv.org/abs/1805.02867): scores of one page at a time, never a whole
 * row. K lies transposed in its page, so that positions fill the lanes and no horizontal sum is needed; every query
 * goes through the same steps page by page whether it is alone or in a block. */

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

/* scores [Q, PE_PAGE] = q [Q, head_dim] K; Q is a compile-time constant, q rows by pointer */
PE_INLINE void page_scores(size_t Q, bool f32, float *scores, const float *const q[], const uint8_t *k, size_t head_dim,
                           float scale) {
    for (size_t j = 0; j < PE_PAGE; j += 2 * PE_VF) {
        vf low[4], high[4];
        for (size_t i = 0; i < Q; i++) low[i] = high[i] = vf_zero();
        for (size_t d = 0; d < head_dim; d++) {
            vf k0 = load_kv(f32, k, d * PE_PAGE + j), k1 = load_kv(f32, k, d * PE_PAGE + j + PE_VF);
            for (size_t i = 0; i < Q; i++) {
                vf qd = vf_set1(q[i][d]);
                low[i] = vf_fma(qd, k0, low[i]);
                high[i] = vf_fma(qd, k1, high[i]);
            }
        }
        for (size_t i = 0; i < Q; i++) {
            vf_store(scores + i * PE_PAGE + j, vf_mul(low[i], vf_set1(scale)));
            vf_store(scores + i * PE_PAGE + j + PE_VF, vf_mul(high[i], vf_set1(scale)));
        }
    }
}

/* out [Q, padded] = out * keep[Q] + p [Q, PE_PAGE] V, positions first..end-1 of the page */
PE_INLINE void page_values(size_t Q, bool f32, float *out, size_t padded, const float *keep, const float *p,
                           const uint8_t *v, size_t head_dim, size_t first, size_t end) {
    for (size_t d = 0; d + PE_VF <= head_dim; d += PE_VF) {
        vf acc[4];
        for (size_t i = 0; i < Q; i++) acc[i] = vf_mul(vf_load(out + i * padded + d), vf_set1(keep[i]));
        for (size_t j = first; j < end; j++) {
            vf vj = load_kv(f32, v, j * head_dim + d);
            for (size_t i = 0; i < Q; i++) acc[i] = vf_fma(vf_set1(p[i * PE_PAGE + j]), vj, acc[i]);
        }
        for (size_t i = 0; i < Q; i++) vf_store(out + i * padded + d, acc[i]);
    }
    for (size_t d = head_dim / PE_VF * PE_VF; d < head_dim; d++)
        for (size_t i = 0; i < Q; i++) {
            float acc = out[i * padded + d] * keep[i];
            for (size_t j = first; j < end; j++) {
                float vj;
                if (f32)
                    memcpy(&vj, v + 4 * (j * head_dim + d), sizeof vj);
                else
                    vj = vs_f16(v + 2 * (j * head_dim + d));
                acc += p[i * PE_PAGE + j] * vj;
            }
            out[i * padded + d] = acc;
        }
}

PE_INLINE void attend_kind(const pe_attend *job, bool f32) {
    const size_t head_dim = job->head_dim, padded = head_dim + PE_VF, n_queries = job->n_tokens * job->n_group;
    float *scores = job->scratch, *out = scores + PE_MAX_QUERIES * PE_PAGE; /* [PE_MAX_QUERIES, padded] */
    float top[PE_MAX_QUERIES], total[PE_MAX_QUERIES], keep[PE_MAX_QUERIES];
    const float *q[PE_MAX_QUERIES];
    for (size_t i = 0; i < n_queries; i++) {
        q[i] = job->q + i / job->n_group * job->q_stride + i % job->n_group * head_dim;
        top[i] = -INFINITY;
        total[i] = 0;
    }
    memset(out, 0, n_queries * padded * sizeof *out);
    const size_t last = job->position + job->n_tokens - 1;
    const size_t first = job->window && job->position + 1 > job->window ? job->position + 1 - job->window : 0;
    for (size_t page = first / PE_PAGE; page <= last / PE_PAGE; page++) {
        const uint8_t *base = job->pages[page];
        const size_t start = page * PE_PAGE;
        /* what any query of the block may see of this page */
        const size_t seen_from = first > start ? first - start : 0;
        const size_t seen_to = last + 1 - start < PE_PAGE ? last + 1 - start : PE_PAGE;
        size_t i = 0;
        for (; i + 4 <= n_queries; i += 4)
            page_scores(4, f32, scores + i * PE_PAGE, q + i, base + job->k_offset, head_dim, job->scale);
        for (; i < n_queries; i++)
            page_scores(1, f32, scores + i * PE_PAGE, q + i, base + job->k_offset, head_dim, job->scale);
        for (i = 0; i < n_queries; i++) {
            const size_t at = job->position + i / job->n_group; /* this query sees positions from..at */
            const size_t from = job->window && at + 1 > job->window ? at + 1 - job->window : 0;
            float *s = scores + i * PE_PAGE;
            for (size_t j = 0; j < PE_PAGE; j++)
                if (start + j > at || start + j < from) s[j] = -INFINITY;
            float page_top = max_of(s, PE_PAGE);
            keep[i] = 1.0f;
            if (page_top == -INFINITY) { /* sees nothing here */
                memset(s, 0, PE_PAGE * sizeof *s);
                continue;
            }
            if (page_top > top[i]) {
                keep[i] = top[i] == -INFINITY ? 0.0f : expf(top[i] - page_top);
                top[i] = page_top;
            }
            vf sum = vf_zero(), m = vf_set1(top[i]);
            for (size_t j = 0; j < PE_PAGE; j += PE_VF) {
                vf e = vf_exp(vf_sub(vf_load(s + j), m));
                vf_store(s + j, e);
                sum = vf_add(sum, e);
            }
            total[i] = total[i] * keep[i] + vf_hsum(sum);
        }
        i = 0;
        const uint8_t *v = base + job->v_offset;
        for (; i + 4 <= n_queries; i += 4)
            page_values(4, f32, out + i * padded, padded, keep + i, scores + i * PE_PAGE, v, head_dim, seen_from,
                        seen_to);
        for (; i < n_queries; i++)
            page_values(1, f32, out + i * padded, padded, keep + i, scores + i * PE_PAGE, v, head_dim, seen_from,
                        seen_to);
    }
    for (size_t i = 0; i < n_queries; i++) {
        float *to = job->out + i / job->n_group * job->out_stride + i % job->n_group * head_dim;
        const float inverse = 1.0f / total[i];
        for (size_t d = 0; d < head_dim; d++) to[d] = out[i * padded + d] * inverse;
    }
}

static void attend(const pe_attend *job) {
    if (job->kv_f32)
        attend_kind(job, true);
    else
        attend_kind(job, false);
}
