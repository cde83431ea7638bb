/* The table of kernels: one per instruction set, all slots filled.
 *
 * How a product is computed, so that its bits do not depend on how many tokens are evaluated together:
 *   The activations are quantised once per input to 15 bits in groups of 32 (x = scale * q, |q| <= 16383). Within a
 *   group the dot product with the integer weights is exact in int32 (|w| <= 4096, so 32 * 4096 * 16383 < 2^31).
 *   Across groups an output is one float accumulator: acc = fma(dot, w_scale * x_scale, acc), then the part of the
 *   minima, acc = fma(w_min, x_sum, acc), group after group. gemv puts rows in the lanes of a vector, gemm tokens; the
 *   sequence of roundings of each output is the same.
 *   Float weights are multiplied by float activations with the inner dimension in the lanes, in gemv and gemm alike.
 */
#ifndef PE_KERNELS_KERNELS_H
#define PE_KERNELS_KERNELS_H

#include "base/status.h"

enum pe_quant_slot { /* one per row of quants.def */
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins) PE_SLOT_##NAME,
#include "quant/quants.def"
#undef PE_QUANT
                     PE_SLOT_COUNT
};

enum {
    PE_GROUP = 32,      /* weights and activations per scale */
    PE_PANEL_ROWS = 16, /* rows that one gemm call takes at most */
    PE_MAX_LANES = 16,  /* floats of the widest vector; attention pads its rows with as many */
    PE_PAGE = 64,       /* positions per KV page */
    PE_MAX_QUERIES = 32 /* (head, token) pairs that one attention call takes at most */
};

/* The input of a product. For one token (gemv): q [n], scale [n / 32], sum [n / 16]. For more (gemm), in tiles of
 * L = tile_tokens, the last one padded with zeros: q [tiles, n / 2, L, 2], scale [tiles, n / 32, L],
 * sum [tiles, n / 16, L]. `sum` is scale * (sum of q) of each half group. */
typedef struct pe_act {
    size_t n_tokens, n;
    const float *f32; /* [n_tokens, n], for float weights */
    int16_t *q;
    float *scale, *sum;
} pe_act;

/* One KV head against a block of queries. K and V of a page: K [head_dim, PE_PAGE], V [PE_PAGE, head_dim]. */
typedef struct pe_attend {
    void *const *pages;        /* page i holds positions i * PE_PAGE .. */
    size_t k_offset, v_offset; /* bytes from the start of a page */
    bool kv_f32;               /* else f16 */
    size_t head_dim, n_group;  /* query heads per KV head */
    size_t n_tokens;           /* n_tokens * n_group <= PE_MAX_QUERIES */
    size_t position;           /* of the first token */
    size_t window;             /* positions seen, the token's own included; 0: all */
    float scale;               /* of the scores */
    const float *q;            /* [n_tokens, q_stride]: the group's heads [n_group, head_dim] lie at its start */
    float *out;                /* the same layout */
    size_t q_stride, out_stride;
    float *scratch; /* [attend_scratch(head_dim)] */
} pe_attend;

typedef struct pe_kernels {
    const char *name;
    size_t tile_tokens;

    /* x [n] -> q [n], scale [n / 32], sum [n / 16] */
    void (*quantize_row)(int16_t *q, float *scale, float *sum, const float *x, size_t n);
    /* x [n_tokens <= tile_tokens, n] -> one tile; scratch [2 * n] floats */
    void (*quantize_tile)(int16_t *q, float *scale, float *sum, const float *x, size_t n_tokens, size_t n,
                          float *scratch);
    /* y [n_rows] = w [n_rows, n] x, one token */
    void (*gemv[PE_SLOT_COUNT])(float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x);
    /* y [n_tokens, y_stride] = x w^T for n_rows <= PE_PANEL_ROWS rows; scratch [gemm_scratch(n)] bytes, 64-aligned */
    void (*gemm[PE_SLOT_COUNT])(float *y, size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows,
                                const pe_act *x, void *scratch);

    void (*rms_norm)(float *out, const float *x, const float *weight, size_t n, float eps);
    void (*add)(float *y, const float *x, size_t n);               /* y += x */
    void (*scale)(float *y, float factor, size_t n);               /* y *= factor */
    void (*silu_mul)(float *gate, const float *up, size_t n);      /* gate = silu(gate) * up */
    void (*gelu_tanh_mul)(float *gate, const float *up, size_t n); /* gate = gelu(gate) * up, tanh form */
    /* Rotate the first n_rot of each head of x [n_heads, head_dim]; cos, sin [n_rot / 2]. `split`: the pair of i is
     * i + n_rot / 2 (as in GPT-NeoX), else pairs are (2i, 2i + 1). */
    void (*rope)(float *x, size_t n_heads, size_t head_dim, size_t n_rot, const float *cos, const float *sin,
                 bool split);
    /* One position's k, v [head_dim] of one head into column `slot` of a page's K and row `slot` of its V. */
    void (*kv_store)(void *k_page, void *v_page, size_t slot, const float *k, const float *v, size_t head_dim,
                     bool kv_f32);
    void (*attend)(const pe_attend *job);
    float (*max)(const float *x, size_t n);
    double (*sum_exp)(const float *x, size_t n, float max); /* sum of exp(x - max) */
} pe_kernels;

static inline size_t pe_gemm_scratch(size_t n) { /* bytes: integer panel, scales, sums, or a float panel */
    return PE_PANEL_ROWS * (n * 4 + (n / PE_GROUP + 1) * 12) + 4096;
}
static inline size_t pe_attend_scratch(size_t head_dim) { /* floats */
    return PE_MAX_QUERIES * (head_dim + PE_MAX_LANES + PE_PAGE);
}

/* Slot of a GGML type number, or -1 where no kernel reads it. */
int pe_kernels_slot(int type);
/* The table of an instruction set by name; NULL asks for PYEDGE_ISA, else the best usable one. */
pe_status pe_kernels_select(const char *name, const pe_kernels **out);

#endif
