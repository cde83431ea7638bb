/* Tiles of tokens multiplied on vectors, tokens in the lanes. The input's q, per tile: [n / 2, PE_VF, 2]. */

enum { PE_ACT_PARTS = 1 };

static inline void store_columns(int16_t *q, const vt_pairs columns[PE_GROUP / 2]) {
    for (size_t i = 0; i < PE_GROUP / 2; i++) vt_store(q + i * 2 * PE_VF, columns[i]);
}

typedef char tile_panel; /* nothing but the columns of the panel */
PE_INLINE void prepare_tiles(size_t largest, tile_panel *tiles, pe_panel *panel, size_t n_rows, size_t count) {
    (void)largest, (void)tiles;
    prepare_columns(panel, n_rows, count);
}

static inline void panel_begin(void) {}
static inline void panel_end(void) {}

/* R rows with T tiles: one group's dot products in registers, added to sums in memory. R and T are constants. */
PE_INLINE void multiply_block(size_t R, size_t T, size_t mins, const pe_panel *panel, size_t r0, size_t g,
                              const int16_t *q, const float *x_scale, const float *x_sum, size_t tile_groups,
                              float (*sums)[PE_PANEL_ROWS][PE_VF]) {
    const size_t apart = tile_groups * PE_VF; /* floats of the scales of a tile */
    vt dot[2][16];
    PE_UNROLL(2)
    for (size_t t = 0; t < T; t++) PE_UNROLL(16)
    for (size_t r = 0; r < R; r++) dot[t][r] = vt_zero();
    PE_UNROLL_STEPS
    for (size_t i = 0; i < PE_GROUP / 2; i++) {
        vt_pairs pairs[2];
        PE_UNROLL(2)
        for (size_t t = 0; t < T; t++) pairs[t] = vt_load(q + (t * apart * PE_GROUP) + i * 2 * PE_VF);
        PE_UNROLL(16)
        for (size_t r = 0; r < R; r++) PE_UNROLL(2)
        for (size_t t = 0; t < T; t++) dot[t][r] = vt_dot2(dot[t][r], pairs[t], panel->columns[g][i][r0 + r]);
    }
    PE_UNROLL(2)
    for (size_t t = 0; t < T; t++) {
        vf xs = vf_load(x_scale + t * apart), s0 = vf_zero(), s1 = vf_zero();
        if (mins) s0 = vf_load(x_sum + 2 * t * apart), s1 = vf_load(x_sum + 2 * t * apart + PE_VF);
        if (mins == 1) s0 = vf_add(s0, s1);
        PE_UNROLL(16)
        for (size_t r = 0; r < R; r++) {
            float *sum = sums[t][r0 + r];
            vf a = vf_fma(vt_float(dot[t][r]), vf_mul(vf_set1(panel->scale[g][r0 + r]), xs), vf_load(sum));
            if (mins) a = vf_fma(vf_set1(panel->min[g][0][r0 + r]), s0, a);
            if (mins == 2) a = vf_fma(vf_set1(panel->min[g][1][r0 + r]), s1, a);
            vf_store(sum, a);
        }
    }
}

PE_INLINE void multiply_some(size_t T, size_t mins, const pe_panel *panel, const pe_act *x, size_t n_rows, size_t tile,
                             size_t g0, size_t count, float (*sums)[PE_PANEL_ROWS][PE_VF]) {
    const size_t groups = x->n / PE_GROUP, rows = PE_TILE_ROWS / T, at = tile * groups + g0;
    for (size_t g = 0; g < count; g++)
        for (size_t r0 = 0; r0 < n_rows; r0 += rows)
            multiply_block(rows, T, mins, panel, r0, g, x->q + (at + g) * PE_GROUP * PE_VF, x->scale + (at + g) * PE_VF,
                           x->sum + (at + g) * 2 * PE_VF, groups, sums);
}

/* Two tiles at once while there are two: a weight is then loaded once for both. */
PE_INLINE void multiply_tiles(size_t mins, size_t largest, const pe_panel *panel, const tile_panel *tiles,
                              const pe_act *x, size_t n_rows, size_t first, size_t end, size_t g0, size_t count,
                              float (*sums)[PE_PANEL_ROWS][PE_VF]) {
    (void)largest, (void)tiles;
    size_t tile = first;
    for (; tile + 2 <= end; tile += 2) multiply_some(2, mins, panel, x, n_rows, tile, g0, count, sums + tile - first);
    if (tile < end) multiply_some(1, mins, panel, x, n_rows, tile, g0, count, sums + tile - first);
}
