/* A door for the tests to the merging of long words: how much work it is, counted. */
#include "text/merge.h"

#include <stdbool.h>

/* What merging n symbols took: pairs looked up, symbols merged over all windows, and whether the stack was left. */
typedef struct pe_test_work {
    size_t lookups, symbols, ids;
    bool on_heap;
} pe_test_work;

typedef struct counted_word {
    pe_long_word base;
    const char *text;
    unsigned longest;
    pe_test_work *work;
} counted_word;

void pe_test_merge_work(const char *text, size_t size, unsigned longest, pe_test_work *work);

/* Half of all pairs, up to `longest` bytes together, the shorter ones first. */
static pe_pair find(const void *context, const pe_symbol *left, const pe_symbol *right) {
    const counted_word *word = context;
    word->work->lookups++;
    const uint32_t size = right->end - left->start, mix = ((uint32_t)left->id * 31 + (uint32_t)right->id) * 0x9E3779B9u;
    if (size > word->longest || mix >> 31) return (pe_pair){PE_NO_PAIR, -1};
    return (pe_pair){size << 8 | (mix >> 16 & 255), (int32_t)(mix >> 8 & 0xFFFF)};
}

static size_t fill(const pe_long_word *base, pe_encoder *encoder, size_t at, size_t most, size_t *end) {
    const counted_word *word = (const counted_word *)base;
    size_t n = 0;
    for (; at < base->size && n < most; at++, n++)
        encoder->symbols[n] = (pe_symbol){.start = (uint32_t)n, .end = (uint32_t)n + 1, .id = (uint8_t)word->text[at]};
    *end = at;
    return n;
}

static size_t merge(const pe_long_word *base, pe_encoder *encoder, size_t n) {
    ((const counted_word *)base)->work->symbols += n;
    return pe_merge(encoder, n, find, base);
}

static size_t place(const pe_long_word *base, size_t at, size_t start) {
    (void)base;
    return at + start;
}

static void emit(const pe_long_word *base, pe_encoder *encoder, size_t n) {
    (void)base;
    for (size_t i = 0; i < n; i++) pe_encoder_emit(encoder, encoder->symbols[i].id);
}

void pe_test_merge_work(const char *text, size_t size, unsigned longest, pe_test_work *work) {
    pe_encoder encoder;
    *work = (pe_test_work){0};
    const counted_word word = {{size, fill, merge, place, emit}, text, longest, work};
    pe_encoder_begin(&encoder, NULL, 0);
    (void)pe_merge_windows(&word.base, &encoder);
    work->ids = encoder.n_ids;
    work->on_heap = encoder.block != NULL;
    pe_encoder_end(&encoder);
}
