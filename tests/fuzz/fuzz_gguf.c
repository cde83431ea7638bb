/* libFuzzer target of the GGUF reader: parse the bytes, then touch everything that a model loader would touch.
 *
 *   clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc tests/fuzz/fuzz_gguf.c \
 *         csrc/base/arena.c csrc/base/status.c csrc/format/gguf.c csrc/format/gguf_values.c -lm
 *
 * A crash is a bug in the reader. So is a promise of format/gguf.h that does not hold: those are traps here. */
#include "format/gguf.h"

#include <string.h>

#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) __builtin_trap();                                                                            \
    } while (0)

/* A few types of each kind; the reader does not know more about them than this. */
static bool row_size(int type, uint64_t n, uint64_t *bytes, const char **why) {
    uint64_t block_elements, block_bytes;
    switch (type) {
    case 0:
        block_elements = 1, block_bytes = 4;
        break; /* F32 */
    case 1:
        block_elements = 1, block_bytes = 2;
        break; /* F16 */
    case 2:
        block_elements = 32, block_bytes = 18;
        break; /* Q4_0 */
    case 8:
        block_elements = 32, block_bytes = 34;
        break; /* Q8_0 */
    case 14:
        block_elements = 256, block_bytes = 210;
        break; /* Q6_K */
    default:
        *why = "the type is unknown";
        return false;
    }
    *why = "a row is not a whole number of blocks";
    return n % block_elements == 0 && pe_mul_u64(n / block_elements, block_bytes, bytes);
}

static volatile uint64_t sink; /* keeps reads from being optimised away */

static void touch(const void *data, uint64_t size) {
    const uint8_t *bytes = data;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < size; i++) sum += bytes[i];
    sink = sink + sum;
}

static bool inside(const pe_gguf *gguf, const void *data, uint64_t size) {
    const uintptr_t begin = (uintptr_t)gguf->data, at = (uintptr_t)data;
    return at >= begin && at - begin <= gguf->size && size <= gguf->size - (at - begin);
}

static void walk_value(const pe_gguf *gguf, const pe_gguf_kv *kv) {
    for (uint64_t i = 0; i < kv->n_items; i++) {
        pe_meta value;
        pe_gguf_value(kv, i, &value);
        PROMISE(value.type == kv->item_type && value.type != PE_META_ARRAY);
        if (value.type != PE_META_STRING) continue;
        PROMISE(inside(gguf, value.string, value.string_size));
        touch(value.string, value.string_size);
    }
}

static void walk_lookups(const pe_gguf *gguf, const char *key) {
    uint32_t u = 0;
    float f = 0;
    bool b = false;
    pe_view view = {0};
    int accepted = pe_gguf_u32(gguf, key, true, &u) == PE_OK;
    accepted += pe_gguf_f32(gguf, key, true, &f) == PE_OK;
    accepted += pe_gguf_bool(gguf, key, true, &b) == PE_OK;
    accepted += pe_gguf_string(gguf, key, true, &view) == PE_OK;
    PROMISE(accepted <= 1); /* each type has one reader */
    PROMISE(f >= 0);
    touch(view.data, view.size);
}

static void walk_tensor(const pe_gguf *gguf, const pe_gguf_tensor *t) {
    uint64_t n_elements = 1;
    PROMISE(t->n_dims >= 1 && t->n_dims <= 4);
    for (uint32_t d = 0; d < 4; d++) {
        PROMISE(t->dims[d] > 0 && (d < t->n_dims || t->dims[d] == 1));
        PROMISE(pe_mul_u64(n_elements, t->dims[d], &n_elements));
    }
    PROMISE(t->data == gguf->data + t->offset && t->offset % gguf->alignment == 0);
    PROMISE(inside(gguf, t->data, t->size));
    touch(t->data, t->size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pe_gguf gguf;
    if (pe_gguf_parse(data, size, row_size, &gguf) != PE_OK) {
        PROMISE(strlen(pe_last_error()) > 10);
        PROMISE(gguf.kv == NULL && gguf.n_kv == 0 && gguf.n_tensors == 0);
        return 0;
    }
    PROMISE(gguf.arena.total <= 8 * size + (1 << 20));
    for (size_t i = 0; i < gguf.n_kv; i++) {
        PROMISE(pe_gguf_find(&gguf, gguf.kv[i].key) == &gguf.kv[i]);
        walk_value(&gguf, &gguf.kv[i]);
        walk_lookups(&gguf, gguf.kv[i].key);
    }
    for (size_t i = 0; i < gguf.n_tensors; i++) {
        PROMISE(pe_gguf_tensor_find(&gguf, gguf.tensors[i].name) == &gguf.tensors[i]);
        walk_tensor(&gguf, &gguf.tensors[i]);
    }
    PROMISE(pe_gguf_find(&gguf, "") == NULL);
    walk_lookups(&gguf, "no.such.key");
    pe_gguf_free(&gguf);
    return 0;
}
