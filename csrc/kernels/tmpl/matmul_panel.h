/* Products of several tokens with integer weights. Some groups of a panel of rows are unpacked into scratch that stays
 * in the first cache, multiplied with all tokens, and added to sums that wait in scratch as well; then the next groups.
 * The order of roundings is that of kernels.h.
 *
 * Only the unpacking depends on the type of the weights: a function for each. What multiplies is there once for each
 * number of minima: matmul_few.h for a few tokens, and for tiles of tokens matmul_lanes.h, or matmul_matrix.h where
 * there is a matrix unit. */

enum {
    PE_TILE_TOKENS = PE_VF,
    PE_AT_ONCE = 8,   /* groups that are unpacked at once: whole blocks of every type */
    PE_ROW_UNIT = 16, /* rows are unpacked in multiples of this, repeating the last one */
    ROUND_TILES = 16, /* tiles of tokens whose sums wait together */
};

typedef struct pe_panel { /* of PE_AT_ONCE groups */
    _Alignas(64) int16_t weights[PE_PANEL_ROWS][PE_AT_ONCE * PE_GROUP];
    _Alignas(
        64) int16_t columns[PE_AT_ONCE][PE_GROUP / 2][PE_PANEL_ROWS][2]; /* the same, for prepare_columns to fill */
    float scale[PE_AT_ONCE][PE_PANEL_ROWS], min[PE_AT_ONCE][2][PE_PANEL_ROWS];
} pe_panel;

#ifdef PE_SHARED_UNPACK
#include "kernels/tmpl/matmul_shared.h"
#define unpack_panel unpack_shared
#else
#define unpack_panel(type, ...) (type)->unpack(__VA_ARGS__)
#endif

/* Groups g0 .. g0 + count - 1, whole blocks, of n_rows rows; only their scales and mins, or all. */
PE_INLINE void unpack_groups(int slot, bool all, pe_panel *panel, const uint8_t *w, size_t row_bytes, size_t n_rows,
                             size_t g0, size_t count) {
    const type_facts facts = facts_of(slot);
    const size_t block_groups = facts.block_elements / PE_GROUP, mins = facts.mins;
    const size_t padded = (n_rows + PE_ROW_UNIT - 1) / PE_ROW_UNIT * PE_ROW_UNIT;
    for (size_t r0 = 0; r0 < padded; r0 += PE_ROWS) {
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
#pragma GCC unroll 1
        for (size_t r = 0; all && r < PE_ROWS; r++)
            for (size_t g = 0; g < count; g++)
                vq_store(panel->weights[r0 + r] + g * PE_GROUP, weights_of(slot, rows[r], g0 + g));
    }
}

#if !defined(PE_FEW_OF) || !defined(PE_MATRIX_UNIT) /* for a few tokens, and for tiles on vectors */
/* Rows to columns of pairs: what is multiplied with one pair of activations lies side by side. */
PE_ONCE void prepare_columns(pe_panel *panel, size_t n_rows, size_t count) {
    for (size_t r = 0; r < n_rows; r += PE_VF)
        for (size_t g = 0; g < count; g++) {
            vt_pairs columns[PE_GROUP / 2];
            vt_columns(columns, PE_GROUP / 2, panel->weights[r] + g * PE_GROUP, PE_AT_ONCE * PE_GROUP);
            for (size_t i = 0; i < PE_GROUP / 2; i++) vt_store(panel->columns[g][i][r], columns[i]);
        }
}
#endif

#ifndef PE_FEW_OF
#include "kernels/tmpl/matmul_few.h"
#endif

#ifdef PE_MATRIX_UNIT
#include "kernels/tmpl/matmul_matrix.h"
#else
#include "kernels/tmpl/matmul_lanes.h"
#endif

typedef struct gemm_room {
    pe_panel panel;
    tile_panel tiles;
    int16_t crossed[PE_FEW * PE_AT_ONCE * PE_GROUP]; /* activations in the order of turned rows */
    union {
        _Alignas(64) float of_tiles[ROUND_TILES][PE_PANEL_ROWS][PE_VF];
        _Alignas(64) float of_few[PE_FEW][PE_PANEL_ROWS];
    } sums;
} gemm_room;
_Static_assert(sizeof(gemm_room) <= PE_GEMM_ROOM, "more scratch than kernels.h has");

#define FOR_MINS(mins)                                                                                                 \
    PE_ONCE void multiply_tiles_##mins(size_t largest, gemm_room *room, const pe_act *x, size_t n_rows, size_t first,  \
                                       size_t end, size_t g0, size_t count) {                                          \
        multiply_tiles(mins, largest, &room->panel, &room->tiles, x, n_rows, first, end, g0, count,                    \
                       room->sums.of_tiles);                                                                           \
    }
FOR_MINS(0)
FOR_MINS(1)
FOR_MINS(2)
#undef FOR_MINS

/* Sums of rows by tokens to y [n_tokens, y_stride]: squares of PE_VF rows and tokens change places as the columns of
 * pairs do, a float for each pair. */
static void store_tile(float *y, size_t y_stride, const float (*sums)[PE_VF], size_t n_tokens, size_t n_rows) {
    for (size_t r = 0; r < n_rows; r += PE_VF) {
        vt_pairs columns[PE_VF];
        vt_columns(columns, PE_VF, (const int16_t *)(const void *)sums[r], 2 * PE_VF);
        const size_t width = n_rows - r < PE_VF ? n_rows - r : PE_VF;
        for (size_t t = 0; t < n_tokens; t++) {
            float *to = y + t * y_stride + r;
            if (width == PE_VF) {
                vt_store((int16_t *)(void *)to, columns[t]);
                continue;
            }
            int16_t row[2 * PE_VF];
            vt_store(row, columns[t]);
            memcpy(to, row, width * sizeof *y);
        }
    }
}

#ifndef PE_FEW_OF
/* A few tokens are bound by the memory, so the rows that come after these are asked for on the way. */
static void gemm_few(const pe_type_kernels *type, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes,
                     size_t n_rows, const pe_act *x, gemm_room *room) {
    const size_t groups = x->n / PE_GROUP, bytes = n_rows * row_bytes, mins = type->mins;
    const uint8_t *later = w + bytes;
    memset(room->sums.of_few, 0, x->n_tokens * sizeof *room->sums.of_few);
    for (size_t g0 = 0; g0 < groups; g0 += PE_AT_ONCE) {
        const size_t count = groups - g0 < PE_AT_ONCE ? groups - g0 : PE_AT_ONCE;
#ifdef PE_TURN
        if (type->turned && n_rows % PE_VF == 0) {
            cross_input(room->crossed, x, g0, count);
            type->turned(&room->panel, w, row_bytes, n_rows, room->crossed, x, g0, count, bytes, room->sums.of_few);
            continue;
        }
#endif
        for (size_t end = bytes / groups * (g0 + count); (size_t)(later - w) - bytes < end; later += CACHE_LINE)
            vs_prefetch(later);
        unpack_panel(type, &room->panel, w, row_bytes, n_rows, g0, count);
        prepare_columns(&room->panel, n_rows, count);
        (mins == 0   ? multiply_few_0
         : mins == 1 ? multiply_few_1
                     : multiply_few_2)(&room->panel, x, n_rows, g0, count, room->sums.of_few);
    }
    for (size_t t = 0; t < x->n_tokens; t++) memcpy(y + t * y_stride, room->sums.of_few[t], n_rows * sizeof *y);
}
#endif

static void gemm_tiles(const pe_type_kernels *type, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes,
                       size_t n_rows, const pe_act *x, gemm_room *room) {
    const size_t groups = x->n / PE_GROUP, tiles = (x->n_tokens + PE_VF - 1) / PE_VF;
    const size_t mins = type->mins, largest = type->largest;
    panel_begin();
    for (size_t first = 0; first < tiles; first += ROUND_TILES) {
        const size_t end = first + ROUND_TILES < tiles ? first + ROUND_TILES : tiles;
        memset(room->sums.of_tiles, 0, (end - first) * sizeof *room->sums.of_tiles);
        for (size_t g0 = 0; g0 < groups; g0 += PE_AT_ONCE) {
            const size_t count = groups - g0 < PE_AT_ONCE ? groups - g0 : PE_AT_ONCE;
            unpack_panel(type, &room->panel, w, row_bytes, n_rows, g0, count);
            prepare_tiles(largest, &room->tiles, &room->panel, n_rows, count);
            (mins == 0   ? multiply_tiles_0
             : mins == 1 ? multiply_tiles_1
                         : multiply_tiles_2)(largest, room, x, n_rows, first, end, g0, count);
        }
        for (size_t tile = first; tile < end; tile++) {
            const size_t left = x->n_tokens - tile * PE_VF;
            store_tile(y + tile * PE_VF * y_stride, y_stride, (const float (*)[PE_VF])room->sums.of_tiles[tile - first],
                       left < PE_VF ? left : PE_VF, n_rows);
        }
    }
    panel_end();
}

PE_ONCE void gemm_unpacked(const pe_type_kernels *type, float *y, size_t y_stride, const uint8_t *w, size_t row_bytes,
                           size_t n_rows, const pe_act *x, void *scratch) {
#ifndef PE_FEW_OF
    if (x->n_tokens <= PE_FEW) {
        gemm_few(type, y, y_stride, w, row_bytes, n_rows, x, scratch);
        return;
    }
#endif
    gemm_tiles(type, y, y_stride, w, row_bytes, n_rows, x, scratch);
}
