/* Tiles of tokens multiplied on a matrix unit that multiplies bf16 and adds in float (pe_tile_* of the instruction
 * set's header). A bf16 holds integers of eight bits, and float sums below 2^24 are exact. So activations are split
 * into two parts, and weights where they are larger than a byte; the products are summed apart where one sum would grow
 * too large, and the dot product of a group comes together exactly. Then the scales are applied on vectors, tokens in
 * the lanes.
 *
 * The input's q, per tile and group: upper parts as bf16 [16, PE_VF, 2], then lower parts. */

enum {
    PE_ACT_PARTS = 2,
    TILE_ROWS = 16,
    HALVES = PE_PANEL_ROWS / TILE_ROWS,
    PART_BYTES = PE_GROUP / 2 * PE_VF * 4, /* of the activations of one group */
    MAX_PRODUCTS = 8,                      /* tiles of products that wait for their scales */
};

typedef struct tile_panel {                                                /* of PE_AT_ONCE groups */
    _Alignas(64) uint16_t weights[2][PE_AT_ONCE][PE_PANEL_ROWS][PE_GROUP]; /* bf16, upper and lower parts */
    float products[MAX_PRODUCTS][TILE_ROWS][PE_VF];
} tile_panel;

static inline void store_columns(int16_t *q, const vt_pairs columns[PE_GROUP / 2]) {
    for (size_t i = 0; i < PE_GROUP / 2; i++, q += 2 * PE_VF) vt_store_parts(q, q + PART_BYTES / 2, columns[i]);
}

/* Into how many sums the products of a group go: all in one, one for each part of the activations, or three by weight
 * (upper x upper, mixed, lower x lower). */
PE_INLINE size_t sums_of(size_t largest) {
    return largest * PE_GROUP * PE_ACT_MAX <= 1u << 24 ? 1 : largest <= 256 ? 2 : 3;
}

/* The integers of a panel as bf16, in one part or two. */
PE_ONCE void prepare_tiles(size_t largest, tile_panel *tiles, const pe_panel *panel, size_t n_rows, size_t count) {
    const size_t padded = (n_rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    for (size_t r = 0; r < padded; r++)
        for (size_t g = 0; g < count; g++) {
            const int16_t *weights = panel->weights[r] + g * PE_GROUP;
            if (sums_of(largest) < 3)
                vq_store_bf16(tiles->weights[0][g][r], vq_load(weights));
            else
                vq_store_parts(tiles->weights[0][g][r], tiles->weights[1][g][r], vq_load(weights));
        }
}

static inline void panel_begin(void) { pe_tile_begin(); }
static inline void panel_end(void) { pe_tile_end(); }

/* Add the products of groups first..end-1 to acc; they lie as [groups, halves, sums] tiles. */
PE_INLINE void add_products(size_t mins, size_t sums, size_t halves, const pe_panel *panel, const tile_panel *tiles,
                            const float *x_scale, const float *x_sum, size_t first, size_t end, float (*acc)[PE_VF]) {
    for (size_t half = 0; half < halves; half++, acc += TILE_ROWS) {
        vf a[TILE_ROWS];
        PE_UNROLL(16)
        for (size_t r = 0; r < TILE_ROWS; r++) a[r] = vf_load(acc[r]);
        for (size_t g = first; g < end; g++) {
            const float *product = tiles->products[((g - first) * halves + half) * sums][0];
            const float *scale = panel->scale[g] + half * TILE_ROWS;
            const float *min0 = panel->min[g][0] + half * TILE_ROWS, *min1 = panel->min[g][1] + half * TILE_ROWS;
            vf xs = vf_load(x_scale + g * PE_VF), s0 = vf_zero(), s1 = vf_zero();
            if (mins) s0 = vf_load(x_sum + 2 * g * PE_VF), s1 = vf_load(x_sum + (2 * g + 1) * PE_VF);
            if (mins == 1) s0 = vf_add(s0, s1);
            PE_UNROLL(16)
            for (size_t r = 0; r < TILE_ROWS; r++) {
                a[r] = vf_fma(pe_tile_row(sums, product + r * PE_VF), vf_mul(vf_set1(scale[r]), xs), a[r]);
                if (mins) a[r] = vf_fma(vf_set1(min0[r]), s0, a[r]);
                if (mins == 2) a[r] = vf_fma(vf_set1(min1[r]), s1, a[r]);
            }
        }
        PE_UNROLL(16)
        for (size_t r = 0; r < TILE_ROWS; r++) vf_store(acc[r], a[r]);
    }
}

/* Matrix unit and vectors do not work at the same time, and each change costs, so they take some groups in turn. */
PE_INLINE void multiply_groups(size_t mins, size_t sums, size_t halves, const pe_panel *panel, tile_panel *tiles,
                               const uint8_t *q, const float *x_scale, const float *x_sum, size_t count,
                               float (*acc)[PE_VF]) {
    const size_t step = MAX_PRODUCTS / (sums * halves);
    for (size_t first = 0; first < count; first += step) {
        const size_t end = first + step < count ? first + step : count;
        float *product = tiles->products[0][0];
        for (size_t g = first; g < end; g++, product += halves * sums * TILE_ROWS * PE_VF)
            pe_tile_dot(sums, halves, product, tiles->weights[0][g][0], tiles->weights[1][g][0],
                        q + g * 2 * PART_BYTES);
        add_products(mins, sums, halves, panel, tiles, x_scale, x_sum, first, end, acc);
    }
}

PE_INLINE void multiply_tile(size_t mins, size_t largest, const pe_panel *panel, tile_panel *tiles, const pe_act *x,
                             size_t n_rows, size_t tile, size_t g0, size_t count, float (*acc)[PE_VF]) {
    const size_t at = tile * (x->n / PE_GROUP) + g0, halves = n_rows > TILE_ROWS ? 2 : 1;
    const uint8_t *q = (const uint8_t *)x->q + at * 2 * PART_BYTES;
    const float *scale = x->scale + at * PE_VF, *sum = x->sum + at * 2 * PE_VF;
    switch (sums_of(largest) * 2 + halves) {
#define CASE(sums, halves)                                                                                             \
    case 2 * sums + halves:                                                                                            \
        multiply_groups(mins, sums, halves, panel, tiles, q, scale, sum, count, acc);                                  \
        break;
        CASE(1, 1) CASE(1, 2) CASE(2, 1) CASE(2, 2) CASE(3, 1) CASE(3, 2)
#undef CASE
    }
}

PE_INLINE void multiply_tiles(size_t mins, size_t largest, const pe_panel *panel, tile_panel *tiles, const pe_act *x,
                              size_t n_rows, size_t first, size_t end, size_t g0, size_t count,
                              float (*sums)[PE_PANEL_ROWS][PE_VF]) {
    for (size_t tile = first; tile < end; tile++)
        multiply_tile(mins, largest, panel, tiles, x, n_rows, tile, g0, count, sums[tile - first]);
}
