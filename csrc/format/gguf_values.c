/* The parsed GGUF directory as its users see it: names found, values converted and refused where they do not fit. */
#include "format/gguf_internal.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- name index ------------------------------------------------------------------------------------------------- */

static void sift_down(pe_gguf_entry *entries, size_t root, size_t n, pe_gguf_before before) {
    const pe_gguf_entry moving = entries[root];
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && before(&entries[child], &entries[child + 1])) child++;
        if (!before(&moving, &entries[child])) break;
        entries[root] = entries[child];
    }
    entries[root] = moving;
}

/* Heapsort: the C library's qsort may take memory of its own, or quadratic time. */
void pe_gguf_sort(pe_gguf_entry *entries, size_t n, pe_gguf_before before) {
    for (size_t i = n / 2; i-- > 0;) sift_down(entries, i, n, before);
    for (size_t end = n; end-- > 1;) {
        const pe_gguf_entry largest = entries[0];
        entries[0] = entries[end];
        entries[end] = largest;
        sift_down(entries, 0, end, before);
    }
}

pe_gguf_index *pe_gguf_index_create(pe_arena *arena, size_t n) {
    pe_gguf_index *index = pe_arena_alloc(arena, 1, sizeof *index);
    if (!index) return NULL;
    index->entries = pe_arena_alloc(arena, n, sizeof *index->entries);
    index->n = n;
    return index->entries ? index : NULL;
}

static bool name_before(const pe_gguf_entry *a, const pe_gguf_entry *b) { return strcmp(a->name, b->name) < 0; }

pe_status pe_gguf_index_build(pe_gguf_index *index, const char *kind) {
    pe_gguf_sort(index->entries, index->n, name_before);
    for (size_t i = 1; i < index->n; i++) {
        const pe_gguf_entry *a = &index->entries[i - 1], *b = &index->entries[i];
        if (strcmp(a->name, b->name) == 0)
            return pe_fail(PE_ERR_FORMAT,
                           "%s '%.80s' is there twice (as number %zu and %zu of %zu); each must be unique", kind,
                           a->name, (a->item < b->item ? a->item : b->item) + 1,
                           (a->item < b->item ? b->item : a->item) + 1, index->n);
    }
    return PE_OK;
}

/* The position in the file's list, or SIZE_MAX. */
static size_t index_find(const pe_gguf_index *index, const char *name) {
    size_t low = 0, high = index ? index->n : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(index->entries[middle].name, name);
        if (order == 0) return index->entries[middle].item;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}

const pe_gguf_kv *pe_gguf_find(const pe_gguf *gguf, const char *key) {
    size_t item = index_find(gguf->keys, key);
    return item == SIZE_MAX ? NULL : &gguf->kv[item];
}

const pe_gguf_tensor *pe_gguf_tensor_find(const pe_gguf *gguf, const char *name) {
    size_t item = index_find(gguf->names, name);
    return item == SIZE_MAX ? NULL : &gguf->tensors[item];
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

size_t pe_gguf_scalar_size(uint32_t type) {
    switch (type) {
    case PE_META_U8:
    case PE_META_I8:
    case PE_META_BOOL:
        return 1;
    case PE_META_U16:
    case PE_META_I16:
        return 2;
    case PE_META_U32:
    case PE_META_I32:
    case PE_META_F32:
        return 4;
    case PE_META_U64:
    case PE_META_I64:
    case PE_META_F64:
        return 8;
    default:
        return 0;
    }
}

const char *pe_gguf_type_name(pe_meta_type type) {
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return (size_t)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

static uint64_t read_bits(const uint8_t *p, size_t size) {
    uint64_t bits = 0;
    for (size_t i = 0; i < size; i++) bits |= (uint64_t)p[i] << (8 * i);
    return bits;
}

void pe_gguf_value(const pe_gguf_kv *kv, uint64_t i, pe_meta *out) {
    *out = (pe_meta){.key = kv->key, .type = kv->item_type, .item_type = kv->item_type, .n_items = 1};
    if (i >= kv->n_items) return;
    if (kv->item_type == PE_META_STRING) {
        out->string = kv->strings[i].data;
        out->string_size = kv->strings[i].size;
        return;
    }
    const size_t size = pe_gguf_scalar_size(kv->item_type);
    const uint64_t bits = read_bits(kv->data + (size_t)i * size, size);
    switch (kv->item_type) {
    case PE_META_BOOL:
        out->value.b = bits != 0;
        break;
    case PE_META_I8:
        out->value.i = (int8_t)bits;
        break;
    case PE_META_I16:
        out->value.i = (int16_t)bits;
        break;
    case PE_META_I32:
        out->value.i = (int32_t)bits;
        break;
    case PE_META_I64:
        out->value.i = (int64_t)bits;
        break;
    case PE_META_F32: {
        const uint32_t word = (uint32_t)bits;
        float f;
        memcpy(&f, &word, sizeof f);
        out->value.f = (double)f;
        break;
    }
    case PE_META_F64:
        memcpy(&out->value.f, &bits, sizeof bits);
        break;
    default:
        out->value.u = bits;
        break;
    }
}

/* ---- typed lookups ---------------------------------------------------------------------------------------------- */

/* *found is NULL where an optional key is missing. */
static pe_status lookup(const pe_gguf *gguf, const char *key, bool required, const char *wanted,
                        const pe_gguf_kv **found) {
    *found = pe_gguf_find(gguf, key);
    if (!*found && required) return pe_fail(PE_ERR_FORMAT, "key '%s' is missing; the model needs it (%s)", key, wanted);
    return PE_OK;
}

static pe_status wrong_type(const pe_gguf_kv *kv, const char *wanted) {
    return pe_fail(PE_ERR_FORMAT, "key '%s' has type %s; it must be %s", kv->key, pe_gguf_type_name(kv->type), wanted);
}

pe_status pe_gguf_u32(const pe_gguf *gguf, const char *key, bool required, uint32_t *out) {
    const pe_gguf_kv *kv;
    pe_status status = lookup(gguf, key, required, "an integer", &kv);
    if (status || !kv) return status;
    pe_meta meta;
    pe_gguf_value(kv, 0, &meta);
    uint64_t value;
    switch (kv->type) {
    case PE_META_U8:
    case PE_META_U16:
    case PE_META_U32:
    case PE_META_U64:
        value = meta.value.u;
        break;
    case PE_META_I8:
    case PE_META_I16:
    case PE_META_I32:
    case PE_META_I64:
        if (meta.value.i < 0)
            return pe_fail(PE_ERR_FORMAT, "key '%s' is %" PRId64 "; it must not be negative", key, meta.value.i);
        value = (uint64_t)meta.value.i;
        break;
    default:
        return wrong_type(kv, "an integer");
    }
    if (value > UINT32_MAX)
        return pe_fail(PE_ERR_FORMAT, "key '%s' is %" PRIu64 "; at most %" PRIu32 " is allowed", key, value,
                       UINT32_MAX);
    *out = (uint32_t)value;
    return PE_OK;
}

pe_status pe_gguf_f32(const pe_gguf *gguf, const char *key, bool required, float *out) {
    const pe_gguf_kv *kv;
    pe_status status = lookup(gguf, key, required, "f32", &kv);
    if (status || !kv) return status;
    if (kv->type != PE_META_F32 && kv->type != PE_META_F64) return wrong_type(kv, "f32");
    pe_meta meta;
    pe_gguf_value(kv, 0, &meta);
    if (!isfinite(meta.value.f) || meta.value.f < 0 || meta.value.f > (double)FLT_MAX)
        return pe_fail(PE_ERR_FORMAT, "key '%s' is %g; it must be finite and not negative", key, meta.value.f);
    *out = (float)meta.value.f;
    return PE_OK;
}

pe_status pe_gguf_bool(const pe_gguf *gguf, const char *key, bool required, bool *out) {
    const pe_gguf_kv *kv;
    pe_status status = lookup(gguf, key, required, "bool", &kv);
    if (status || !kv) return status;
    if (kv->type != PE_META_BOOL) return wrong_type(kv, "bool");
    *out = kv->data[0] != 0;
    return PE_OK;
}

pe_status pe_gguf_string(const pe_gguf *gguf, const char *key, bool required, pe_view *out) {
    const pe_gguf_kv *kv;
    pe_status status = lookup(gguf, key, required, "a string", &kv);
    if (status || !kv) return status;
    if (kv->type != PE_META_STRING) return wrong_type(kv, "a string");
    *out = kv->strings[0];
    return PE_OK;
}
