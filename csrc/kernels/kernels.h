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
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest) PE_SLOT_##NAME,
#include "quant/quants.def"
#undef PE_QUANT
                     PE_SLOT_COUNT
};

enum {
    PE_GROUP = 32,            /* weights and activations per scale */
    PE_PANEL_ROWS = 32,       /* rows that one gemm call takes at most */
    PE_GEMM_ROOM = 128 << 10, /* bytes of scratch that gemm takes */
    PE_MAX_LANES = 16,        /* floats of the widest vector; attention pads its rows with as many */
    PE_PAGE = 64,             /* positions per KV page */
    PE_SPAN = 8,              /* pages whose attention is one sum, to be joined with that of others */
    PE_MAX_QUERIES = 32,      /* (head, token) pairs that one attention call takes at most */
    PE_ACT_MAX = 16383,       /* largest magnitude of a quantised activation */
    PE_FEW = 16               /* tokens that are multiplied together without forming a tile */
};

/* The input of a product, quantised. Up to PE_FEW tokens: q [n_tokens, n], scale [n_tokens, n / 32],
 * sum [n_tokens, n / 16]. More, in tiles of L = tile_tokens, the last one padded with zeros: scale [tiles, n / 32, L],
 * sum [tiles, n / 16, L], and q, act_parts * L * n int16 a tile, in the order that the instruction set's kernels read.
 * `sum` is scale * (sum of q) of each half group. */
typedef struct pe_act {
    size_t n_tokens, n;
    const float *f32; /* [n_tokens, n]: what is quantised, and what float weights are multiplied with */
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
    float scale, cap;          /* of the scores; then cap * tanh(score / cap), 0: none */
    const float *q;            /* [n_tokens, q_stride]: the group's heads [n_group, head_dim] lie at its start */
    float *out;                /* the same layout */
    size_t q_stride, out_stride;
    float *partial; /* not NULL: only span `span`, unfinished: [n_tokens * n_group, partial_floats(head_dim)] */
    size_t span;
    float *scratch; /* [attend_scratch(head_dim)] */
} pe_attend;

typedef struct pe_kernels {
    const char *name;
    size_t tile_tokens, act_parts;

    /* Tokens first..end-1 of act->f32, whole tiles of them where they are many, into act's q, scale and sum.
     * scratch [gemm_scratch(n)] bytes, 64-aligned */
    void (*quantize)(const pe_act *act, size_t first, size_t end, void *scratch);
    /* y [n_rows] = w [n_rows, n] x, one token */
    void (*gemv[PE_SLOT_COUNT])(float *y, const uint8_t *w, size_t row_bytes, size_t n_rows, const pe_act *x);
    /* y [n_tokens, y_stride] = x w^T for n_rows <= PE_PANEL_ROWS rows, two tokens or more; scratch as above */
    void (*gemm[PE_SLOT_COUNT])(float *y, size_t y_stride, const uint8_t *w, size_t row_bytes, size_t n_rows,
                                const pe_act *x, void *scratch);

    /* What low-rank adapters add: y [n_tokens, y_stride], of which n columns, += u [n_tokens, u_stride] b, with b
     * [rank, n] of halves or floats, rows b_stride apart; term after term, whatever n_tokens is. */
    void (*add_low)(float *y, size_t y_stride, const void *b, bool f32, size_t b_stride, size_t n, const float *u,
                    size_t u_stride, size_t rank, size_t n_tokens);

    void (*rms_norm)(float *out, const float *x, const float *weight, size_t n, float eps);
    /* bias NULL: none */
    void (*layer_norm)(float *out, const float *x, const float *weight, const float *bias, size_t n, float eps);
    void (*add)(float *y, const float *x, size_t n); /* y += x */
    void (*scale)(float *y, float factor, size_t n); /* y *= factor */
    void (*soft_cap)(float *y, float cap, size_t n); /* y = cap * tanh(y / cap) */
    /* gate = activation(gate) * up; up NULL: 1. GELU in the tanh form and the exact one. */
    void (*silu_mul)(float *gate, const float *up, size_t n);
    void (*gelu_tanh_mul)(float *gate, const float *up, size_t n);
    void (*gelu_erf_mul)(float *gate, const float *up, size_t n);
    /* Rotate the first n_rot of each head of x [n_heads, head_dim]; cos, sin [n_rot / 2]. `split`: the pair of i is
     * i + n_rot / 2 (as in GPT-NeoX), else pairs are (2i, 2i + 1). */
    void (*rope)(float *x, size_t n_heads, size_t head_dim, size_t n_rot, const float *cos, const float *sin,
                 bool split);
    /* One position's k, v [head_dim] of one head into column `slot` of a page's K and row `slot` of its V. */
    void (*kv_store)(void *k_page, void *v_page, size_t slot, const float *k, const float *v, size_t head_dim,
                     bool kv_f32);
    void (*attend)(const pe_attend *job);
    /* out [head_dim] of one query from what its spans gave, in order, `stride` floats apart; scratch
     * [attend_scratch(head_dim)] */
    void (*attend_join)(float *out, const float *partial, size_t stride, size_t n_spans, size_t head_dim,
                        float *scratch);
    float (*max)(const float *x, size_t n);
    bool (*any_nan)(const float *x, size_t n);
    double (*sum_exp)(const float *x, size_t n, float max); /* sum of exp(x - max) */
    /* Sum of p [bytes] as 64-bit words, the last one padded with zeros: what reading costs, with the least to do. */
    uint64_t (*read_sum)(const void *p, size_t bytes);
    const struct pe_fits *fits; /* what quantisers need; see quant/fits.h */
} pe_kernels;

static inline size_t pe_gemm_scratch(size_t n) { /* bytes; a tile of int16 while it is quantised, or gemm's */
    const size_t tile = PE_MAX_LANES * n * sizeof(int16_t);
    return tile > PE_GEMM_ROOM ? tile : PE_GEMM_ROOM;
}
static inline size_t pe_attend_scratch(size_t head_dim) { /* floats: scores, two sets of sums, a page of K or V */
    return PE_MAX_QUERIES * (PE_PAGE + 2 * (head_dim + PE_MAX_LANES)) + PE_PAGE * (head_dim + PE_MAX_LANES);
}
static inline size_t pe_partial_floats(size_t head_dim) { /* maximum, sum, values */ return head_dim + 2; }

/* Slot of a GGML type number, or -1 where no kernel reads it. */
int pe_kernels_slot(int type);
/* The table of an instruction set by name; NULL asks for PYEDGE_ISA, else the best usable one. */
pe_status pe_kernels_select(const char *name, const pe_kernels **out);

#endif
