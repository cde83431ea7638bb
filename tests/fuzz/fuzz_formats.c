/* libFuzzer target of the readers of Nano and llama2.c: read the bytes, then touch everything that a model loader would
 * touch, put what does not lie in rows into rows, and tokenize with the vocabulary. The first byte says which format
 * the rest is; for llama2.c the next two say how many bytes at the end are its vocabulary.
 *
 *   python tests/py/plainmake.py SEEDS
 *   clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc tests/fuzz/fuzz_formats.c csrc/base/arena.c \
 *         csrc/base/status.c csrc/format/?*.c csrc/base/filemap.c csrc/model/repack.c \
 *         csrc/model/vocab.c csrc/text/?*.c -lm
 *
 * A crash is a bug in a reader. So is a directory that GGUF's own reader would not have let through: those are traps.
 */
#include "format/llama2c.h"
#include "format/nano.h"
#include "model/model.h"
#include "model/repack.h"

#include <stdlib.h>
#include <string.h>

#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) __builtin_trap();                                                                            \
    } while (0)

static volatile uint64_t sink; /* keeps reads from being optimised away */

static void touch(const void *data, uint64_t size) {
    const uint8_t *bytes = data;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++) sum += bytes[i];
    sink = sink + sum;
}

static void walk_keys(const pe_gguf *gguf) {
    for (size_t i = 0; i < gguf->n_kv; i++) {
        const pe_gguf_kv *kv = &gguf->kv[i];
        PROMISE(pe_gguf_find(gguf, kv->key) == kv);
        for (uint64_t j = 0; j < kv->n_items; j++) {
            pe_meta value;
            pe_gguf_value(kv, j, &value);
            PROMISE(value.type == kv->item_type && value.type != PE_META_ARRAY);
            if (value.type == PE_META_STRING) touch(value.string, value.string_size);
        }
    }
}

static void walk_tensors(const pe_gguf *gguf) {
    uint64_t end = 0;
    for (size_t i = 0; i < gguf->n_tensors; i++) {
        const pe_gguf_tensor *t = &gguf->tensors[i];
        PROMISE(pe_gguf_tensor_find(gguf, t->name) == t);
        PROMISE(t->dims[0] > 0 && t->dims[1] > 0 && t->dims[2] == 1 && t->dims[3] == 1);
        PROMISE(t->offset >= end && t->size <= gguf->size && t->offset <= gguf->size - t->size);
        PROMISE(t->data == gguf->data + t->offset);
        end = t->offset + t->size;
        touch(t->data, t->size);
        pe_arena arena = {0};
        const uint8_t *rows;
        if (t->layout && t->dims[0] * t->dims[1] < 1 << 20 && pe_repack(&arena, t, &rows) == PE_OK)
            touch(rows, t->type ? t->dims[0] * t->dims[1] / 32 * 36 : t->dims[0] * t->dims[1] * sizeof(float));
        pe_arena_free(&arena);
    }
}

/* As a model is loaded; `text` is then cut into tokens, which make as many bytes as they did one by one. */
static void walk_vocabulary(const pe_gguf *gguf, const char *text, size_t size) {
    enum { ROOM = 512 };
    pe_model model = {.gguf = *gguf};
    if (pe_model_load_vocab(&model) == PE_OK) {
        int32_t ids[ROOM];
        size_t n = 0, n_bytes = 0, sum = 0;
        for (unsigned flags = 0; flags < 4; flags++)
            PROMISE(pe_tokenizer_encode(model.tokenizer, text, size, flags, ids, ROOM, &n) == PE_OK);
        if (n > ROOM) n = ROOM;
        for (size_t i = 0; i < n; i++) {
            const char *bytes;
            size_t length;
            PROMISE(pe_tokenizer_token_bytes(model.tokenizer, ids[i], &bytes, &length) == PE_OK);
            touch(bytes, length);
            sum += length;
        }
        PROMISE(pe_tokenizer_decode(model.tokenizer, ids, n, false, NULL, 0, &n_bytes) == PE_OK && n_bytes <= sum);
    }
    pe_tokenizer_free(model.tokenizer);
    pe_arena_free(&model.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    const bool nano = data[0] & 1;
    const size_t said = data[1] | (size_t)data[2] << 8, left = size - 3;
    const size_t vocab_size = nano ? 0 : said < left ? said : left, model_size = left - vocab_size;
    /* Aligned, each with an end of its own. */
    uint8_t *model = malloc(model_size ? model_size : 1), *vocab = malloc(vocab_size ? vocab_size : 1);
    if (!model || !vocab) abort();
    memcpy(model, data + 3, model_size);
    memcpy(vocab, data + 3 + model_size, vocab_size);
    pe_gguf gguf;
    const pe_status status =
        nano ? pe_nano_read(model, model_size, &gguf) : pe_llama2c_read(model, model_size, vocab, vocab_size, &gguf);
    if (status != PE_OK) {
        PROMISE(strlen(pe_last_error()) > 10);
        PROMISE(gguf.kv == NULL && gguf.n_kv == 0 && gguf.n_tensors == 0);
    } else {
        free(vocab); /* not needed afterwards */
        vocab = NULL;
        PROMISE(gguf.arena.total <= 32 * size + (1 << 20));
        walk_keys(&gguf);
        walk_tensors(&gguf);
        walk_vocabulary(&gguf, (const char *)data, size < 256 ? size : 256);
        pe_gguf_free(&gguf);
    }
    free(model);
    free(vocab);
    return 0;
}
