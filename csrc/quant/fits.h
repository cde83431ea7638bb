/* Fits of whole-number levels to groups of weights: what all quantisers of scaled types share, and where their time
 * goes. Compiled once per instruction set (kernels/tmpl/fit.h); this layer only says what the functions do.
 *
 * A group of weights x is stored as levels q with x = d * q + m. For given levels the best d and m follow from a few
 * sums, and so does the squared error that is left; for given d and m the best levels follow by rounding. A search
 * tries many scales at once, one in each lane of a vector: the obvious one and its neighbours, then closer ones around
 * the best. Errors are weighted by w > 0, the importance of each weight. */
#ifndef PE_QUANT_FITS_H
#define PE_QUANT_FITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The levels of a type: the whole numbers lo..hi, or where `values` is set a table. */
typedef struct pe_levels {
    float lo, hi;
    const float *values; /* [n], rising from lo to hi */
    const float *limits; /* [n - 1]: where the nearest value changes, halfway between two */
    size_t n;
} pe_levels;

/* Scales to try: with `end` the longer end of the levels, the extreme weight is put on end * (1 + first),
 * end * (1 + first + step), ...: `tries` of them, a multiple of 16. Then `rounds` of 16 closer ones around the best. */
typedef struct pe_search {
    float first, step;
    int tries, rounds;
    bool both; /* for levels of both signs: the extreme weight is put on the other end, too */
} pe_search;

typedef struct pe_line {
    float d, m;
    float w, q, qq; /* weighted sums of 1, q and q * q at the levels that d and m were solved for */
} pe_line;

typedef struct pe_sums {
    float w, x, q, xq, qq; /* weighted sums of 1, x, level, x * level, level^2 */
} pe_sums;

/* The groups of a block, for a search of the scale that their sub-scales share. Group g is x[g * size ..]. */
typedef struct pe_groups {
    const float *x, *w; /* [n * size] */
    size_t n, size;
    const pe_levels *levels;
    int sub_lo, sub_hi; /* sub-scales */
    bool mins;          /* groups have mins as well, which are at most 0 */
} pe_groups;

/* Rows of a grid, one coordinate after the other: values [dims, n], n a multiple of 16 and at most 2048, dims <= 8. */
typedef struct pe_grid {
    const float *values;
    size_t n, dims;
} pe_grid;

/* What plain blocks of 32 weights are made of, sixteen of them side by side, [weight, block]: scales and mins as
 * halves, levels counted from the lowest, squared errors with the scales as rounded. */
enum { PE_SIDE = 16, PE_SIDE_WEIGHTS = 32 };

typedef struct pe_side {
    uint16_t d[PE_SIDE], m[PE_SIDE], levels[PE_SIDE_WEIGHTS][PE_SIDE];
    float error[PE_SIDE];
} pe_side;

typedef struct pe_fits {
    /* The best x = d * q for each block of x [PE_SIDE, 32], or with `line` x = d * q + m, m of either sign and levels
     * from 0. w NULL: all alike. No rounds after the search's first tries, and with no tries the range decides. */
    void (*side)(pe_side *out, const float *x, const float *w, const pe_levels *levels, const pe_search *search,
                 bool line);
    /* The best d for x [n] = d * q, of either sign; n is at most 256, here and below. */
    pe_line (*scale)(const float *x, const float *w, size_t n, const pe_levels *levels, const pe_search *search);
    /* The best d >= 0 and m for x [n] = d * q + m and levels 0..hi. `signs`: m may have either sign, else m <= 0. n is
     * a multiple of 16, here and below. */
    pe_line (*line)(const float *x, const float *w, size_t n, float hi, bool signs, const pe_search *search);
    /* The sums at the levels of (x - m) / d. */
    pe_sums (*sums)(const float *x, const float *w, size_t n, float d, float m, const pe_levels *levels);
    /* The scale of a block whose groups would like the scales and mins [n]: 16 are tried around d, the sub-scales
     * rounded and the errors of all weights summed for each. A group's min follows its sub-scale. */
    float (*block_scale)(const pe_groups *groups, const float *scales, const float *mins, float d);
    /* Levels of (x - m) / d, counted from the lowest, and the squared error, not weighted, of d * level + m. */
    float (*levels)(uint8_t *out, const float *x, size_t n, float d, float m, const pe_levels *levels);
    /* For each run of grid->dims weights x, the row that is nearest when multiplied by d: rows [n / dims]. Of the sums,
     * xq and qq are set. */
    pe_sums (*rows)(uint16_t *rows, const float *x, const float *w, size_t n, float d, const pe_grid *grid);
    float (*squared_sum)(const float *x, size_t n);
    /* Halves, at any address, to floats, and back; the squared error. */
    void (*load_f16)(float *out, const void *in, size_t n);
    float (*store_f16)(void *out, const float *x, size_t n);
} pe_fits;

/* 1 / d, and 0 for 0 and where the division overflows: all levels are 0 then. */
static inline float pe_inverse(float d) {
    const float inverse = d != 0 ? 1 / d : 0;
    return inverse <= 3e38f && inverse >= -3e38f ? inverse : 0;
}

#endif
