/* Every kernel of every instruction set of this machine, for machines without Python: emulated processors, boards.
 *
 *   check_kernels [instruction set]...        else all that the machine can run
 *
 * The products are held, bit for bit, to what kernels/kernels.h promises, computed here in plain C from the integers of
 * the types' own headers; an instruction set may only differ in whether a * b + c is rounded once or twice. The other
 * slots are held to those of `scalar`, within rounding. Inputs lie at the end of memory that may be read.
 * tests/py/test_kernels.py asks more, and asks it of the machine that has Python. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "kernels/kernels.h"
#include "kernels/simd/scalar.h"
#include "quant/fits.h"
#include "quant/quants.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_N = 576, MAX_ROWS = PE_PANEL_ROWS, MAX_TOKENS = 70, FAILURES_SHOWN = 20 };

static const pe_kernels *kernels, *scalar;
static int failures;
static long checks;

static void expect(bool condition, const char *what, const char *type, size_t n, size_t index) {
    checks++;
    if (condition) return;
    if (failures++ < FAILURES_SHOWN)
        fprintf(stderr, "%s: %s %s, n = %zu, at %zu\n", kernels->name, what, type, n, index);
}

/* ---- random numbers and guarded memory -------------------------------------------------------------------------- */

static uint64_t seed = 1;
static uint32_t random_bits(void) { /* PCG by O'Neill, https://www.pcg-random.org */
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const uint32_t x = (uint32_t)((seed >> 18 ^ seed) >> 27), turn = (uint32_t)(seed >> 59);
    return x >> turn | x << (-turn & 31);
}
static float uniform(float low, float high) { return low + (high - low) * ((float)(random_bits() >> 8) * 0x1p-24f); }
static float normal(void) { /* near enough: the sum of some uniform ones */
    float sum = 0;
    for (int i = 0; i < 6; i++) sum += uniform(-1, 1);
    return sum * 0.7071f;
}
static void fill_normal(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = normal();
}

/* A copy that ends where memory without access begins; freed by unfence. */
typedef struct fence {
    uint8_t *room;
    size_t size;
    void *data;
} fence;
static fence fenced(const void *data, size_t size) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (size + page) / page * page;
    fence f = {mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), whole + page,
               NULL};
    if (f.room == MAP_FAILED || mprotect(f.room + whole, page, PROT_NONE) != 0) exit(2);
    f.data = f.room + whole - size;
    if (data) memcpy(f.data, data, size);
    return f;
}
static void unfence(fence f) { munmap(f.room, f.size); }

/* ---- what the products promise ---------------------------------------------------------------------------------- */

typedef struct type_row {
    int slot, number;
    const char *name;
    size_t elements, bytes, mins;
    bool is_int;
} type_row;

enum { KIND_FLOAT, KIND_INT };
static const type_row types[] = {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    {PE_SLOT_##NAME, number, #NAME, elements, bytes, mins, KIND_##kind},
#include "quant/quants.def"
#undef PE_QUANT
};

typedef struct row_parts { /* of one row of weights */
    int16_t integers[MAX_N];
    float scale[MAX_N / 32], min[2 * MAX_N / 32], decoded[MAX_N];
} row_parts;

#define PARTS_FLOAT(lower, elements, mins)
#define PARTS_INT(lower, elements, mins)                                                                               \
    for (size_t g = 0; g < n / 32; g++) {                                                                              \
        const vq weights = pe_##lower##_weights(row, g);                                                               \
        memcpy(p->integers + g * 32, weights.v, sizeof weights.v);                                                     \
    }                                                                                                                  \
    for (size_t b = 0; b < n / elements; b++)                                                                          \
        pe_##lower##_scales(row, b, p->scale + b * (elements / 32), p->min + mins * b * (elements / 32));

static void take_apart(const type_row *type, const uint8_t *row, size_t n, row_parts *p) {
    switch (type->slot) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    case PE_SLOT_##NAME: {                                                                                             \
        PARTS_##kind(lower, elements, mins) pe_##lower##_decode(row, p->decoded, n);                                   \
        break;                                                                                                         \
    }
#include "quant/quants.def"
#undef PE_QUANT
    }
}

typedef struct quantised {
    int16_t q[MAX_N];
    float scale[MAX_N / 32], sum[MAX_N / 16];
} quantised;

static void quantise(const float *x, size_t n, quantised *out) {
    for (size_t g = 0; g < n / 32; g++) {
        float largest = 0;
        for (size_t i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(x[g * 32 + i]));
        const float d = largest / PE_ACT_MAX, inverse = d > 1e-37f ? PE_ACT_MAX / largest : 0;
        int32_t half[2] = {0, 0};
        for (size_t i = 0; i < 32; i++)
            half[i / 16] += out->q[g * 32 + i] = (int16_t)nearbyintf(x[g * 32 + i] * inverse);
        out->scale[g] = inverse == 0 ? 0 : d;
        for (size_t i = 0; i < 2; i++) out->sum[2 * g + i] = out->scale[g] * (float)half[i];
    }
}

static float step(bool fused, float a, float b, float c) { return fused ? fmaf(a, b, c) : a * b + c; }

static float integer_product(const type_row *type, const row_parts *w, const quantised *x, size_t n, bool fused) {
    float acc = 0;
    for (size_t g = 0; g < n / 32; g++) {
        int32_t dot = 0;
        for (size_t i = g * 32; i < g * 32 + 32; i++) dot += w->integers[i] * x->q[i];
        const float s0 = x->sum[2 * g], s1 = x->sum[2 * g + 1];
        acc = step(fused, (float)dot, w->scale[g] * x->scale[g], acc);
        if (type->mins == 1) acc = step(fused, w->min[g], s0 + s1, acc);
        if (type->mins == 2) acc = step(fused, w->min[2 * g + 1], s1, step(fused, w->min[2 * g], s0, acc));
    }
    return acc;
}

/* ARMv7 takes subnormal floats in vectors for zero: what is lost is below this, for all groups of a row together. */
static bool same(float a, float b) {
    if (pe_float_bits(a) == pe_float_bits(b) || (a == 0 && b == 0)) return true;
#if defined(__arm__)
    return fabsf(a - b) < 1e-27f;
#else
    return false;
#endif
}

/* ---- products --------------------------------------------------------------------------------------------------- */

static uint8_t weights[MAX_ROWS * MAX_N * 8];
static float activations[MAX_TOKENS * MAX_N], results[MAX_TOKENS * (MAX_ROWS + 3)];
static row_parts rows[MAX_ROWS];
static quantised tokens[MAX_TOKENS];

static void put_half(uint8_t *at, float value) {
    const uint16_t half = pe_float_to_half(value);
    memcpy(at, &half, sizeof half);
}

/* Any integers, or only bytes `fill`; scales of either sign around 0.02. */
static void random_weights(const type_row *type, size_t n_rows, size_t n, int fill) {
    const size_t n_blocks = n_rows * n / type->elements;
    for (size_t b = 0; b < n_blocks; b++) {
        uint8_t *block = weights + b * type->bytes;
        for (size_t i = 0; i < type->bytes; i++) block[i] = fill < 0 ? (uint8_t)random_bits() : (uint8_t)fill;
        if (!type->is_int) {
            const float value = normal() * (type->name[0] == 'I' ? 25 : 1);
            const double wide = value;
            const int64_t whole = (int64_t)value;
            const uint32_t bits = pe_float_bits(value) >> 16;
            if (strcmp(type->name, "F32") == 0) memcpy(block, &value, 4);
            if (strcmp(type->name, "F64") == 0) memcpy(block, &wide, 8);
            if (strcmp(type->name, "F16") == 0) put_half(block, value);
            if (strcmp(type->name, "BF16") == 0) memcpy(block, &bits, 2);
            if (type->name[0] == 'I') memcpy(block, &whole, type->bytes);
            continue;
        }
        /* Where the scales lie is the types' own business: random bytes make NaN and infinities, so those blocks are
         * drawn again, by the bytes that can be part of a scale. */
        for (int tries = 0; tries < 1000; tries++) {
            row_parts parts;
            bool fine = true;
            take_apart(type, block, type->elements, &parts);
            for (size_t g = 0; g < type->elements / 32; g++) fine = fine && fabsf(parts.scale[g]) < 1e4f;
            for (size_t g = 0; g < type->mins * type->elements / 32; g++) fine = fine && fabsf(parts.min[g]) < 1e6f;
            if (fine) break;
            for (size_t i = 0; i < type->bytes; i++)
                if (fill < 0 || i < 8 || i + 8 >= type->bytes || (i >= 12 && i < 20) || type->slot == PE_SLOT_IQ1_M)
                    block[i] = (uint8_t)random_bits();
        }
    }
}

static void random_activations(size_t n_tokens, size_t n, int kind) {
    for (size_t i = 0; i < n_tokens * n; i++) {
        const float x = normal(), way = (float)(i / 32 % 7);
        activations[i] = kind == 0   ? x
                         : kind == 1 ? i % 97 == 5 ? 1e4f : x  /* outliers */
                         : kind == 2 ? x * powf(10, -38 + way) /* scales that would be subnormal */
                         : kind == 3 ? i / 32 % 2 ? x * 1e25f : 0.0f
                         : kind == 4 ? 3.0f
                                     : -3.0f; /* all integers at the end of their range */
    }
}

static void check_products(const type_row *type, size_t n_rows, size_t n_tokens, size_t n, int kind, int fill,
                           bool fused) {
    const size_t row_bytes = n / type->elements * type->bytes, groups = n / 32;
    random_weights(type, n_rows, n, fill);
    random_activations(n_tokens, n, kind);
    for (size_t r = 0; r < n_rows; r++) take_apart(type, weights + r * row_bytes, n, &rows[r]);
    for (size_t t = 0; t < n_tokens; t++) quantise(activations + t * n, n, &tokens[t]);

    const size_t tile = n_tokens > PE_FEW ? kernels->tile_tokens : 1;
    const size_t padded = (n_tokens + tile - 1) / tile * tile, parts = n_tokens > PE_FEW ? kernels->act_parts : 1;
    const fence w = fenced(weights, n_rows * row_bytes), f32 = fenced(activations, n_tokens * n * sizeof(float));
    const fence q = fenced(NULL, padded * n * parts * sizeof(int16_t) + 1);
    const fence scale = fenced(NULL, padded * groups * sizeof(float));
    const fence sum = fenced(NULL, padded * groups * 2 * sizeof(float));
    const fence scratch = fenced(NULL, pe_gemm_scratch(n) + 64);
    void *const room = (void *)((uintptr_t)scratch.data & ~(uintptr_t)63);
    void *const integers = (void *)((uintptr_t)q.data & ~(uintptr_t)1);
    const pe_act act = {n_tokens, n, f32.data, integers, scale.data, sum.data};
    for (size_t t = 0; t < n_tokens && groups > 0; t += tile)
        kernels->quantize(&act, t, t + tile < n_tokens ? t + tile : n_tokens, room);

    const size_t stride = n_rows + 3;
    for (size_t i = 0; i < n_tokens * stride; i++) results[i] = -77.0f;
    if (n_tokens == 1)
        kernels->gemv[type->slot](results, w.data, row_bytes, n_rows, &act);
    else
        kernels->gemm[type->slot](results, stride, w.data, row_bytes, n_rows, &act, room);
    const char *what = n_tokens == 1 ? "gemv" : "gemm";
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t r = 0; r < n_rows; r++) {
            const float got = results[t * stride + r];
            const size_t index = t * 1000 + r;
            if (type->is_int) {
                expect(same(got, integer_product(type, &rows[r], &tokens[t], n, fused)), what, type->name, n, index);
                continue;
            }
            double exact = 0, size = 0;
            for (size_t i = 0; i < n; i++) {
                const double term = (double)rows[r].decoded[i] * (double)activations[t * n + i];
                exact += term;
                size += fabs(term);
            }
            expect(fabs(got - exact) <= 0x1p-24 * (double)(n + 8) * size + 1e-30, what, type->name, n, index);
        }
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t i = n_rows; i < stride; i++) expect(results[t * stride + i] == -77.0f, "past y", type->name, n, i);
    unfence(w), unfence(f32), unfence(q), unfence(scale), unfence(sum), unfence(scratch);
}

static void check_all_products(bool fused) {
    static const size_t token_counts[] = {1, 2, 3, 4, 7, 8, 9, 13, 17, MAX_TOKENS};
    static const size_t row_counts[] = {1, 3, 4, 7, 8, 9, 31, 32};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        const type_row *type = &types[k];
        const size_t blocks = type->elements == 1 ? 83 : type->elements == 32 ? 18 : type->elements == 256 ? 2 : 3;
        const size_t n = blocks * type->elements;
        for (size_t i = 0; i < 10; i++)
            check_products(type, row_counts[(i + k) % 8], token_counts[i], i % 3 ? n : type->elements, 0, -1, fused);
        for (int kind = 1; type->is_int && kind < 6; kind++) {
            check_products(type, 8, 1, n, kind, -1, fused);
            check_products(type, 8, 9, n, kind, -1, fused);
        }
        for (int fill = 0; type->is_int && fill < 4; fill++) {
            static const int fills[] = {0x00, 0xff, 0x80, 0x7f};
            check_products(type, 5, 1, type->elements, 4 + fill % 2, fills[fill], fused);
            check_products(type, 5, 5, type->elements, 4, fills[fill], fused);
            check_products(type, 5, 10, type->elements, 5, fills[fill], fused);
        }
    }
}

/* Whether this instruction set rounds a * b + c once; nothing else may differ. */
static bool is_fused(void) {

    const type_row *type = NULL;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        if (types[k].slot == PE_SLOT_Q8_0) type = &types[k];
    const int before = failures;
    failures = FAILURES_SHOWN; /* to be counted, not told */
    check_products(type, 32, 1, 576, 0, -1, false);
    const bool fused = failures > FAILURES_SHOWN;
    failures = before;
    return fused;
}

/* ---- the other slots, against scalar ---------------------------------------------------------------------------- */

static bool near_to(float a, float b, float bound) { return a == b || fabsf(a - b) <= bound; }

static void compare(const float *got, const float *expected, size_t n, float relative, float absolute,
                    const char *what) {
    for (size_t i = 0; i < n; i++)
        expect(near_to(got[i], expected[i], relative * fabsf(expected[i]) + absolute), what, "", n, i);
}

static void check_elementwise(size_t n) {
    float x[640], y[640], a[640], b[640], weight[640], bias[640];
    fill_normal(x, n), fill_normal(weight, n), fill_normal(bias, n);
    for (size_t i = 0; i < n; i++) x[i] *= i % 5 ? 3 : 30;
    const fence fx = fenced(x, n * 4), fw = fenced(weight, n * 4), fb = fenced(bias, n * 4);
    kernels->rms_norm(a, fx.data, fw.data, n, 1e-5f), scalar->rms_norm(b, x, weight, n, 1e-5f);
    compare(a, b, n, 1e-5f, 0, "rms_norm");
    kernels->layer_norm(a, fx.data, fw.data, fb.data, n, 1e-5f), scalar->layer_norm(b, x, weight, bias, n, 1e-5f);
    compare(a, b, n, 1e-5f, 2e-5f, "layer_norm");
    kernels->layer_norm(a, fx.data, fw.data, NULL, n, 1e-5f), scalar->layer_norm(b, x, weight, NULL, n, 1e-5f);
    compare(a, b, n, 1e-5f, 2e-5f, "layer_norm without bias");
#define BOTH(statement_a, statement_b)                                                                                 \
    memcpy(a, x, n * 4), memcpy(b, x, n * 4);                                                                          \
    statement_a, statement_b
    BOTH(kernels->add(a, fw.data, n), scalar->add(b, weight, n));
    compare(a, b, n, 0, 0, "add");
    BOTH(kernels->scale(a, 0.3f, n), scalar->scale(b, 0.3f, n));
    compare(a, b, n, 0, 0, "scale");
    BOTH(kernels->soft_cap(a, 20, n), scalar->soft_cap(b, 20, n));
    compare(a, b, n, 2e-6f, 2e-5f, "soft_cap");
    BOTH(kernels->silu_mul(a, fw.data, n), scalar->silu_mul(b, weight, n));
    compare(a, b, n, 2e-6f, 1e-30f, "silu_mul");
    BOTH(kernels->silu_mul(a, NULL, n), scalar->silu_mul(b, NULL, n));
    compare(a, b, n, 2e-6f, 1e-30f, "silu");
    BOTH(kernels->gelu_tanh_mul(a, fw.data, n), scalar->gelu_tanh_mul(b, weight, n));
    compare(a, b, n, 1e-5f, 1e-6f, "gelu_tanh_mul");
    BOTH(kernels->gelu_erf_mul(a, fw.data, n), scalar->gelu_erf_mul(b, weight, n));
    compare(a, b, n, 1e-5f, 1e-6f, "gelu_erf_mul");
#undef BOTH
    expect(kernels->max(fx.data, n) == scalar->max(x, n), "max", "", n, 0);
    expect(near_to((float)kernels->sum_exp(fx.data, n, 90), (float)scalar->sum_exp(x, n, 90),
                   1e-5f * (float)scalar->sum_exp(x, n, 90)),
           "sum_exp", "", n, 0);
    expect(!kernels->any_nan(fx.data, n), "any_nan", "", n, 0);
    for (size_t i = 0; i < n; i++) {
        memcpy(y, x, n * 4);
        y[n - 1 - i] = INFINITY;
        y[i] = NAN;
        expect(kernels->any_nan(y, n), "any_nan", "", n, i);
    }
    for (size_t bytes = n; bytes < n + 9 && bytes < n * 4; bytes++) {
        const fence f = fenced(x, bytes);
        expect(kernels->read_sum(f.data, bytes) == scalar->read_sum(x, bytes), "read_sum", "", bytes, 0);
        unfence(f);
    }
    unfence(fx), unfence(fw), unfence(fb);
}

static void check_rope(void) {
    float x[256], a[256], b[256], angle[64];
    float cosines[64], sines[64];
    fill_normal(x, 256);
    for (int i = 0; i < 64; i++) angle[i] = uniform(-9, 9), cosines[i] = cosf(angle[i]), sines[i] = sinf(angle[i]);
    for (int split = 0; split < 2; split++)
        for (size_t n_rot = 2; n_rot <= 64; n_rot += 14) {
            memcpy(a, x, sizeof x), memcpy(b, x, sizeof x);
            kernels->rope(a, 4, 64, n_rot, cosines, sines, split), scalar->rope(b, 4, 64, n_rot, cosines, sines, split);
            compare(a, b, 256, 1e-6f, 1e-6f, "rope");
        }
}

/* Attention over pages that are stored by the instruction set itself: the layout is its own. */
enum { POSITIONS = 1100, MAX_PAGES = POSITIONS / PE_PAGE + 1 };

static void attend_once(const pe_kernels *k, float *out, const float *q, const float *keys, const float *values,
                        size_t head_dim, size_t position, size_t n_tokens, size_t n_group, size_t window, bool f32,
                        bool spans) {
    const size_t item = f32 ? 4 : 2, page_bytes = 2 * head_dim * PE_PAGE * item;
    void *pages[MAX_PAGES];
    uint8_t *memory = calloc(MAX_PAGES, page_bytes);
    float *scratch = malloc(pe_attend_scratch(head_dim) * sizeof(float));
    float *partial = malloc(8 * PE_MAX_QUERIES * pe_partial_floats(head_dim) * sizeof(float));
    if (!memory || !scratch || !partial) exit(2);
    for (size_t i = 0; i < MAX_PAGES; i++) pages[i] = memory + i * page_bytes;
    for (size_t i = 0; i < position + n_tokens; i++)
        k->kv_store(pages[i / PE_PAGE], (uint8_t *)pages[i / PE_PAGE] + page_bytes / 2, i % PE_PAGE,
                    keys + i * head_dim, values + i * head_dim, head_dim, f32);
    const size_t width = n_group * head_dim, n = n_tokens * n_group;
    pe_attend job = {pages, 0,   page_bytes / 2, f32,   head_dim, n_group, n_tokens, position, window, 0.125f, 0,
                     q,     out, width,          width, NULL,     0,       scratch};
    if (!spans) {
        k->attend(&job);
    } else {
        const size_t length = PE_PAGE * PE_SPAN, first = window && position + 1 > window ? position + 1 - window : 0;
        const size_t first_span = first / length, last_span = (position + n_tokens - 1) / length;
        const size_t stride = n * pe_partial_floats(head_dim);
        for (job.span = first_span; job.span <= last_span; job.span++) {
            job.partial = partial + (job.span - first_span) * stride;
            k->attend(&job);
        }
        for (size_t i = 0; i < n; i++)
            k->attend_join(out + i * head_dim, partial + i * pe_partial_floats(head_dim), stride,
                           last_span - first_span + 1, head_dim, scratch);
    }
    free(memory), free(scratch), free(partial);
}

static void check_attention(size_t head_dim, size_t position, size_t n_tokens, size_t n_group, size_t window,
                            bool f32) {
    static float keys[POSITIONS * 128], values[POSITIONS * 128], q[PE_MAX_QUERIES * 128];
    static float a[PE_MAX_QUERIES * 128], b[PE_MAX_QUERIES * 128];
    const size_t n = n_tokens * n_group * head_dim;
    fill_normal(keys, (position + n_tokens) * head_dim), fill_normal(values, (position + n_tokens) * head_dim);
    for (size_t i = 0; i < head_dim; i++) keys[i] *= 1e-6f, values[i] *= 1e-6f; /* subnormal halves */
    fill_normal(q, n);
    attend_once(kernels, a, q, keys, values, head_dim, position, n_tokens, n_group, window, f32, false);
    attend_once(scalar, b, q, keys, values, head_dim, position, n_tokens, n_group, window, f32, false);
    compare(a, b, n, 1e-5f, 2e-5f, "attend");
    attend_once(kernels, b, q, keys, values, head_dim, position, n_tokens, n_group, window, f32, true);
    compare(b, a, n, 0, 0, "attend in spans");
    const size_t width = n_group * head_dim; /* alone: the bits of the block */
    for (size_t t = 0; t < n_tokens; t++)
        attend_once(kernels, b + t * width, q + t * width, keys, values, head_dim, position + t, 1, n_group, window,
                    f32, false);
    compare(b, a, n, 0, 0, "attend, a token at a time");
}

/* The weighted squared error of groups whose scales are rounded to multiples of d: scales of the
 * same gain may lie far apart. */
static float block_error(const pe_groups *groups, const float *scales, float d) {
    float error = 0;
    for (size_t i = 0; i < groups->n * groups->size; i++) {
        const float wanted = nearbyintf(scales[i / groups->size] / d);
        const float sub = fminf(fmaxf(wanted, (float)groups->sub_lo), (float)groups->sub_hi) * d;
        const float level = sub == 0 ? 0 : nearbyintf(groups->x[i] / sub);
        const float off = groups->x[i] - sub * fminf(fmaxf(level, groups->levels->lo), groups->levels->hi);
        error += groups->w[i] * off * off;
    }
    return error;
}

/* Blocks side by side: what a lane finds is as good as what scalar finds, and the error that it tells is the real one.
 */
static void check_side(const float *x, const float *w, bool line) {
    const pe_levels levels = {.lo = line ? 0 : -8, .hi = line ? 15 : 7};
    const pe_search search = {.first = -0.1f, .step = 0.025f, .tries = 8};
    pe_side a, b;
    kernels->fits->side(&a, x, w, &levels, &search, line), scalar->fits->side(&b, x, w, &levels, &search, line);
    float sum_a = 0, sum_b = 0;
    for (size_t block = 0; block < PE_SIDE; block++) {
        const float d = pe_half_to_float(a.d[block]), m = pe_half_to_float(a.m[block]);
        float error = 0;
        for (size_t i = 0; i < PE_SIDE_WEIGHTS; i++) {
            const float off = x[block * PE_SIDE_WEIGHTS + i] - (d * (levels.lo + (float)a.levels[i][block]) + m);
            error += off * off;
        }
        expect(near_to(a.error[block], error, 1e-3f * error), "error of blocks", line ? "line" : "scale", block, 0);
        sum_a += error, sum_b += b.error[block];
    }
    expect(sum_a <= 1.01f * sum_b, "fit of blocks", line ? "line" : "scale", 0, 0);
}

/* What quantisers need: levels and scales may differ from those of scalar by roundings, the errors hardly. */
static void check_fits(void) {
    float x[256], w[256], a[256], b[256];
    uint8_t levels_a[256], levels_b[256], halves[1 + 512]; /* halves lie at an odd address */
    fill_normal(x, 256);
    for (size_t i = 0; i < 256; i++) w[i] = uniform(0.5f, 2);
    const pe_levels whole = {.lo = -8, .hi = 7};
    const pe_search search = {.first = -0.3f, .step = 0.02f, .tries = 32, .rounds = 1, .both = true};
    const pe_fits *f = kernels->fits, *s = scalar->fits;
    for (size_t n = 16; n <= 256; n *= 2) {
        const pe_line la = f->scale(x, w, n, &whole, &search), lb = s->scale(x, w, n, &whole, &search);
        expect(near_to(fabsf(la.d), fabsf(lb.d), 0.02f * fabsf(lb.d)), "fit of a scale", "", n, 0);
        const pe_line ma = f->line(x, w, n, 15, true, &search), mb = s->line(x, w, n, 15, true, &search);
        expect(near_to(ma.d, mb.d, 0.02f * mb.d), "fit of a line", "", n, 0);
        const float ea = f->levels(levels_a, x, n, lb.d, 0, &whole), eb = s->levels(levels_b, x, n, lb.d, 0, &whole);
        expect(near_to(ea, eb, 1e-4f * eb), "error of levels", "", n, 0);
        for (size_t i = 0; i < n; i++) expect(abs(levels_a[i] - levels_b[i]) <= 1, "levels", "", n, i);
        const pe_sums sa = f->sums(x, w, n, lb.d, 0, &whole), sb = s->sums(x, w, n, lb.d, 0, &whole);
        expect(near_to(sa.qq, sb.qq, 1e-2f * sb.qq) && near_to(sa.w, sb.w, 1e-5f * sb.w), "sums", "", n, 0);
        expect(near_to(f->squared_sum(x, n), s->squared_sum(x, n), 1e-5f * s->squared_sum(x, n)), "squares", "", n, 0);
        const pe_groups groups = {x, w, n / 16, 16, &whole, -32, 31, false};
        float scales[16];
        for (size_t i = 0; i < n / 16; i++) scales[i] = s->scale(x + 16 * i, w, 16, &whole, &search).d;
        const float da = f->block_scale(&groups, scales, NULL, 0.01f);
        const float db = s->block_scale(&groups, scales, NULL, 0.01f);
        expect(block_error(&groups, scales, da) <= 1.05f * block_error(&groups, scales, db), "fit of a block", "", n,
               0);
        f->store_f16(halves + 1, x, n), f->load_f16(a, halves + 1, n), s->load_f16(b, halves + 1, n);
        compare(a, b, n, 0, 0, "halves");
        compare(a, x, n, 0x1p-11f, 0x1p-25f, "halves of floats");
    }
    float blocks[PE_SIDE * PE_SIDE_WEIGHTS], importance[PE_SIDE * PE_SIDE_WEIGHTS];
    fill_normal(blocks, PE_SIDE * PE_SIDE_WEIGHTS);
    for (size_t i = 0; i < PE_SIDE * PE_SIDE_WEIGHTS; i++) importance[i] = uniform(0.5f, 2);
    blocks[40] = 30; /* one far above all others */
    check_side(blocks, NULL, false), check_side(blocks, importance, false);
    check_side(blocks, NULL, true), check_side(blocks, importance, true);
    float grid[4 * 64];
    uint16_t rows_a[64], rows_b[64];
    fill_normal(grid, 4 * 64);
    const pe_grid nearest = {grid, 64, 4};
    const pe_sums ra = f->rows(rows_a, x, w, 128, 0.7f, &nearest), rb = s->rows(rows_b, x, w, 128, 0.7f, &nearest);
    expect(near_to(ra.qq, rb.qq, 1e-3f * rb.qq), "sums of grid rows", "", 128, 0);
    size_t other = 0;
    for (size_t i = 0; i < 32; i++) other += rows_a[i] != rows_b[i];
    expect(other <= 1, "grid rows", "", 128, other);
    for (unsigned h = 0; h < 0x10000; h += 8) { /* every half but NaN */
        uint16_t in[8];
        for (unsigned i = 0; i < 8; i++) in[i] = (uint16_t)(h + i);
        f->load_f16(a, in, 8), s->load_f16(b, in, 8);
        for (unsigned i = 0; i < 8; i++)
            expect(isnan(b[i]) ? isnan(a[i]) : pe_float_bits(a[i]) == pe_float_bits(b[i]), "half", "", 8, h + i);
    }
}

static bool check(const char *name) {
    if (pe_kernels_select(name, &kernels) != PE_OK || pe_kernels_select("scalar", &scalar) != PE_OK) {
        fprintf(stderr, "%s: %s\n", name, pe_last_error());
        return false;
    }
    const int before = failures;
    const long done = checks;
    check_all_products(is_fused());
    static const size_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 33, 64, 100, 576};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) check_elementwise(lengths[i]);
    check_rope();
    static const size_t places[][4] = {/* position, tokens, group, window */
                                       {0, 1, 1, 0},   {0, 4, 3, 0},    {63, 2, 2, 0},   {64, 1, 8, 0},
                                       {200, 4, 3, 0}, {130, 3, 3, 70}, {1080, 2, 3, 0}, {1050, 1, 3, 600}};
    static const size_t dims[] = {7, 16, 24, 64, 80, 128};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (size_t f32 = 0; f32 < 2; f32++) {
            const size_t *p = places[i];
            check_attention(dims[(i + f32 * 3) % 6], p[0], p[1], p[2], p[3], f32);
        }
    if (kernels->fits) check_fits(); /* a build that writes no models has none */
    printf("%s: %ld checks, %d failed\n", kernels->name, checks - done, failures - before);
    return failures == before;
}

int main(int argc, char **argv) {
    bool fine = true;
    for (int i = 1; i < argc; i++) fine = check(argv[i]) && fine;
    pe_isa_info info;
    for (size_t i = 0; argc == 1 && pe_isa_get(i, &info); i++)
        if (info.usable) fine = check(info.name) && fine;
    return fine ? 0 : 1;
}
