/* Tiles of tokens multiplied on vectors, tokens in the lanes. The input's q, per tile: [n / 2, PE_VF, 2]. */

enum { PE_ACT_PARTS = 1 };

static inline void store_columns(int16_t *q, const vt_pairs columns[PE_GROUP / 2]) {
    for (size_t i = 0; i < PE_GROUP / 2; i++) vt_store(q + i * 2 * PE_VF, columns[i]);
}

/* The panel is read as it was unpacked. */
typedef char tile_panel;
static inline void prepare_tiles(size_t largest, tile_panel *tiles, const pe_panel *panel, size_t n_rows,
                                 size_t count) {
    (void)largest, (void)tiles, (void)panel, (void)n_rows, (void)count;
}

static inline void panel_begin(void) {}
static inline void panel_end(void) {}

PE_INLINE void multiply_tile(size_t mins, size_t largest, const pe_panel *panel, const tile_panel *tiles,
                             const pe_act *x, size_t n_rows, size_t tile, size_t g0, size_t count,
                             float (*sums)[PE_VF]) {
    (void)largest, (void)tiles;
    const size_t groups = x->n / PE_GROUP;
    const int16_t *q = x->q + (tile * groups + g0) * PE_GROUP * PE_VF;
    const float *x_scale = x->scale + (tile * groups + g0) * PE_VF, *x_sum = x->sum + (tile * groups + g0) * 2 * PE_VF;
    for (size_t g = 0; g < count; g++, q += PE_GROUP * PE_VF, x_scale += PE_VF, x_sum += 2 * PE_VF) {
        vf xs = vf_load(x_scale), s0 = vf_zero(), s1 = vf_zero();
        if (mins) s0 = vf_load(x_sum), s1 = vf_load(x_sum + PE_VF);
        if (mins == 1) s0 = vf_add(s0, s1);
        for (size_t r0 = 0; r0 < n_rows; r0 += PE_TILE_ROWS) {
            const int16_t *w = &panel->weights[r0][g * PE_GROUP];
            vt dot[PE_TILE_ROWS];
#pragma GCC unroll 16
            for (size_t r = 0; r < PE_TILE_ROWS; r++) dot[r] = vt_zero();
            PE_UNROLL_STEPS
            for (size_t i = 0; i < PE_GROUP / 2; i++) {
                vt_pairs pair = vt_load(q + i * 2 * PE_VF);
#pragma GCC unroll 16
                for (size_t r = 0; r < PE_TILE_ROWS; r++)
                    dot[r] = vt_dot2(dot[r], pair, w + r * PE_AT_ONCE * PE_GROUP + 2 * i);
            }
#pragma GCC unroll 16
            for (size_t r = 0; r < PE_TILE_ROWS; r++) {
                vf a = vf_fma(vt_float(dot[r]), vf_mul(vf_set1(panel->scale[g][r0 + r]), xs), vf_load(sums[r0 + r]));
                if (mins) a = vf_fma(vf_set1(panel->min[g][0][r0 + r]), s0, a);
                if (mins == 2) a = vf_fma(vf_set1(panel->min[g][1][r0 + r]), s1, a);
                vf_store(sums[r0 + r], a);
            }
        }
    }
}
