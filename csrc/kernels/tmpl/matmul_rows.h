/* Products of several tokens with integer weights, for instruction sets that multiply a vector by one element of
 * another, or small matrices: rows lie in the lanes, so that activations stay as gemv reads them, a row a token, and
 * results need no turning. Some groups of a panel of rows are packed into scratch that stays in the first cache
 * (vq_pack), and multiplied with a few tokens at a time (vl_dots). The order of roundings is that of kernels.h. */

enum {
    PE_TILE_TOKENS = 1, /* any number of tokens is a whole number of tiles */
    PE_ACT_PARTS = 1,
    PE_AT_ONCE = 8,     /* groups that are packed at once: whole blocks of every type */
    BLOCK_ROWS = 8,     /* rows that are multiplied at once: two packs */
    ROUND_TOKENS = 128, /* tokens whose sums wait together */
};

typedef struct pe_panel { /* of PE_AT_ONCE groups */
    _Alignas(64) uint8_t packs[PE_AT_ONCE][PE_PANEL_ROWS / 4][PE_PACK_BYTES];
    float scale[PE_AT_ONCE][PE_PANEL_ROWS], min[PE_AT_ONCE][2][PE_PANEL_ROWS];
} pe_panel;

typedef struct gemm_room {
    pe_panel panel;
    _Alignas(64) float sums[ROUND_TOKENS][PE_PANEL_ROWS];
} gemm_room;
_Static_assert(sizeof(gemm_room) <= PE_GEMM_ROOM, "more scratch than kernels.h has");
_Static_assert(PE_ROWS == 4 && PE_VF == 4, "packs have four rows");

/* Groups g0 .. g0 + count - 1, whole blocks, of n_rows rows; the last row again where a block of rows is not full. */
PE_INLINE void unpack_groups(int slot, bool all, pe_panel *panel, const uint8_t *w, size_t row_bytes, size_t n_rows,
                             size_t g0, size_t count) {
    (void)all;
    const type_facts facts = facts_of(slot);
    const size_t block_groups = facts.block_elements / PE_GROUP, mins = facts.mins;
    for (size_t r0 = 0; r0 < n_rows || r0 % BLOCK_ROWS; r0 += PE_ROWS) {
        const uint8_t *rows[PE_ROWS];
        for (size_t r = 0; r < PE_ROWS; r++) rows[r] = w + (r0 + r < n_rows ? r0 + r : n_rows - 1) * row_bytes;
        for (size_t g = 0; g < count; g += block_groups) {
            vr d[MAX_BLOCK_GROUPS], m[2 * MAX_BLOCK_GROUPS];
            row_scales_of(slot, rows, (g0 + g) / block_groups, d, m);
            for (size_t j = 0; j < block_groups; j++) {
                vr_store(panel->scale[g + j] + r0, d[j]);
                for (size_t k = 0; k < mins; k++) vr_store(panel->min[g + j][k] + r0, m[j * mins + k]);
            }
        }
        for (size_t g = 0; g < count; g++) {
            vq weights[PE_ROWS];
            PE_UNROLL(4)
            for (size_t r = 0; r < PE_ROWS; r++) weights[r] = weights_of(slot, rows[r], g0 + g);
            vq_pack(panel->packs[g][r0 / 4], weights);
        }
    }
}

/* Rows r0 .. r0 + 7 with T tokens from token t0 on; T is a constant. */
PE_INLINE void multiply_block(size_t T, size_t mins, bool scaled, const pe_panel *panel, size_t r0, size_t g0,
                              size_t count, const pe_act *x, size_t t0, float (*sums)[PE_PANEL_ROWS]) {
    const size_t groups = x->n / PE_GROUP;
    const int16_t *q[4];
    const float *x_scale[4], *x_sum[4];
    vf acc[2][4];
    PE_UNROLL(4)
    for (size_t t = 0; t < T; t++) {
        q[t] = x->q + (t0 + t) * x->n + g0 * PE_GROUP;
        x_scale[t] = x->scale + (t0 + t) * groups + g0;
        x_sum[t] = x->sum + 2 * ((t0 + t) * groups + g0);
        PE_UNROLL(2)
        for (size_t h = 0; h < 2; h++) acc[h][t] = vf_load(sums[t] + r0 + h * PE_VF);
    }
    for (size_t g = 0; g < count; g++) {
        vl dot[2][4];
        vl_dots(dot, T, scaled, panel->packs[g][r0 / 4], q);
        PE_UNROLL(4)
        for (size_t t = 0; t < T; t++) {
            const float xs = x_scale[t][g], s0 = mins ? x_sum[t][2 * g] : 0, s1 = mins ? x_sum[t][2 * g + 1] : 0;
            PE_UNROLL(2)
            for (size_t h = 0; h < 2; h++) {
                const size_t r = r0 + h * PE_VF;
                const vf d = vf_mul(vf_load(panel->scale[g] + r), vf_set1(xs));
                acc[h][t] = vf_fma(vl_float(dot[h][t]), d, acc[h][t]);
                if (mins == 1) acc[h][t] = vf_fma(vf_load(panel->min[g][0] + r), vf_set1(s0 + s1), acc[h][t]);
                if (mins == 2) acc[h][t] = vf_fma(vf_load(panel->min[g][0] + r), vf_set1(s0), acc[h][t]);
                if (mins == 2) acc[h][t] = vf_fma(vf_load(panel->min[g][1] + r), vf_set1(s1), acc[h][t]);
            }
            q[t] += PE_GROUP;
        }
    }
    PE_UNROLL(4)
    for (size_t t = 0; t < T; t++) PE_UNROLL(2)
    for (size_t h = 0; h < 2; h++) vf_store(sums[t] + r0 + h * PE_VF, acc[h][t]);
}

/* Tokens first..end-1 with the panel. */
PE_INLINE void multiply_panel(size_t mins, bool scaled, gemm_room *room, size_t n_rows, size_t g0, size_t count,
                              const pe_act *x, size_t first, size_t end) {
    for (size_t t = first; t < end;) {
        float (*sums)[PE_PANEL_ROWS] = room->sums + t - first;
        const size_t left = end - t, T = left >= 4 && PE_BLOCK_TOKENS == 4 ? 4 : left >= 2 ? 2 : 1;
        for (size_t r0 = 0; r0 < n_rows; r0 += BLOCK_ROWS) {
            if (T == 4)
                multiply_block(4, mins, scaled, &room->panel, r0, g0, count, x, t, sums);
            else if (T == 2)
                multiply_block(2, mins, scaled, &room->panel, r0, g0, count, x, t, sums);
            else
                multiply_block(1, mins, scaled, &room->panel, r0, g0, count, x, t, sums);
        }
        t += T;
    }
}

#define FOR_KIND(name, mins, scaled)                                                                                   \
    PE_ONCE void multiply_##name(gemm_room *room, size_t n_rows, size_t g0, size_t count, const pe_act *x,             \
                                 size_t first, size_t end) {                                                           \
        multiply_panel(mins, scaled, room, n_rows, g0, count, x, first, end);                                          \
    }
FOR_KIND(plain, 0, false)
FOR_KIND(plain_min, 1, false)
FOR_KIND(plain_mins, 2, false)
#ifdef PE_VQ_BYTES /* integers beyond a byte are kept as bytes and two factors */
FOR_KIND(scaled, 0, true)
#else
#define multiply_scaled multiply_plain
#endif
#undef FOR_KIND

PE_ONCE void gemm_unpacked(const pe_type_kernels *type, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes,
                           size_t n_rows, const pe_act *x, void *scratch) {
    gemm_room *room = scratch;
    const size_t mins = type->mins, largest = type->largest, groups = x->n / PE_GROUP;
    for (size_t first = 0; first < x->n_tokens; first += ROUND_TOKENS) {
        const size_t end = first + ROUND_TOKENS < x->n_tokens ? first + ROUND_TOKENS : x->n_tokens;
        memset(room->sums, 0, (end - first) * sizeof *room->sums);
        for (size_t g0 = 0; g0 < groups; g0 += PE_AT_ONCE) {
            const size_t count = groups - g0 < PE_AT_ONCE ? groups - g0 : PE_AT_ONCE;
            type->unpack(&room->panel, w, row_bytes, n_rows, g0, count);
            (largest > 128 ? multiply_scaled
             : mins == 0   ? multiply_plain
             : mins == 1   ? multiply_plain_min
                           : multiply_plain_mins)(room, n_rows, g0, count, x, first, end);
        }
        for (size_t t = first; t < end; t++) memcpy(y + t * y_stride, room->sums[t - first], n_rows * sizeof *y);
    }
}
