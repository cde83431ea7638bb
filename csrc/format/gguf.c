/* The GGUF directory: header, metadata, tensor list, checked once from end to end.
 *
 *   "GGUF" version n_tensors n_kv | key type value ... | name n_dims dims type offset ... | padding | tensor data
 *
 * Every byte is reached through one cursor that knows what is left of the file. A count is compared with the bytes
 * that so many items take at least before anything is allocated for them, and nothing after this file needs to doubt
 * a size again. */
#include "format/gguf_internal.h"

#include <inttypes.h>
#include <string.h>

enum {
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,
    MAX_ALIGNMENT = 1 << 20,
    MAX_NAME = 65535, /* bytes */
    /* Far above any model; they bound the time that a hostile directory can take. */
    MAX_KV = 1 << 16,
    MAX_TENSORS = 1 << 18,
    /* Fewest bytes an entry can take: length, one byte of name, then its own fields. */
    MIN_KV_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
};

/* ---- cursor ----------------------------------------------------------------------------------------------------- */

typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
} cursor;

static size_t left(const cursor *c) { return c->size - c->at; }

/* The next `bytes` bytes, or NULL where the file ends before. */
static const uint8_t *take(cursor *c, uint64_t bytes, const char *what) {
    if (bytes > left(c)) {
        pe_fail(PE_ERR_FORMAT,
                "offset %zu: %s takes %" PRIu64 " bytes but the file has %zu left; it is cut short or damaged", c->at,
                what, bytes, left(c));
        return NULL;
    }
    const uint8_t *p = c->data + c->at;
    c->at += (size_t)bytes;
    return p;
}

static pe_status read_u32(cursor *c, const char *what, uint32_t *out) {
    const uint8_t *p = take(c, 4, what);
    if (!p) return PE_ERR_FORMAT;
    *out = pe_gguf_read_u32(p);
    return PE_OK;
}

static pe_status read_u64(cursor *c, const char *what, uint64_t *out) {
    const uint8_t *p = take(c, 8, what);
    if (!p) return PE_ERR_FORMAT;
    *out = pe_gguf_read_u64(p);
    return PE_OK;
}

static pe_status read_string(cursor *c, const char *what, pe_view *out) {
    size_t start = c->at;
    uint64_t size;
    pe_status status = read_u64(c, "a string length", &size);
    if (status) return status;
    if (size > left(c))
        return pe_fail(PE_ERR_FORMAT,
                       "offset %zu: %s has a length of %" PRIu64 " bytes but the file has %zu left; it is cut short or "
                       "damaged",
                       start, what, size, left(c));
    *out = (pe_view){(const char *)c->data + c->at, (size_t)size};
    c->at += (size_t)size;
    return PE_OK;
}

static pe_status read_name(cursor *c, pe_arena *arena, const char *what, const char **out) {
    size_t start = c->at;
    pe_view name = {0};
    pe_status status = read_string(c, what, &name);
    if (status) return status;
    if (name.size == 0) return pe_fail(PE_ERR_FORMAT, "offset %zu: %s is empty; it must have a name", start, what);
    if (name.size > MAX_NAME)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: %s is %zu bytes long; at most %d are allowed", start, what,
                       name.size, MAX_NAME);
    if (memchr(name.data, 0, name.size))
        return pe_fail(PE_ERR_FORMAT, "offset %zu: %s contains a NUL byte; names are plain text", start, what);
    *out = pe_arena_string(arena, name.data, name.size);
    return *out ? PE_OK : PE_ERR_NOMEM;
}

/* ---- header ----------------------------------------------------------------------------------------------------- */

static bool begins(const cursor *c, const char *text) {
    size_t n = strlen(text);
    return c->size >= n && memcmp(c->data, text, n) == 0;
}

/* Files that are taken for models by mistake are told apart, since the remedy differs. */
static pe_status wrong_magic(const cursor *c) {
    if (begins(c, "FUGG"))
        return pe_fail(PE_ERR_FORMAT, "offset 0: this is a big-endian GGUF file; convert it to little-endian");
    const char *guess = begins(c, "version https://git-lfs") ? "it is a Git LFS pointer: fetch the file it stands for"
                        : begins(c, "<")                     ? "it looks like a web page: was the download refused?"
                        : begins(c, "PK\x03\x04")            ? "it is a ZIP archive: unpack or convert it first"
                                                             : "it is another format, or damaged";
    char found[3 * 4 + 1] = "";
    for (size_t i = 0; i < 4 && i < c->size; i++) {
        static const char hex[] = "0123456789abcdef";
        found[3 * i] = ' ';
        found[3 * i + 1] = hex[c->data[i] >> 4];
        found[3 * i + 2] = hex[c->data[i] & 15];
    }
    return pe_fail(PE_ERR_FORMAT, "offset 0: a GGUF file begins with the bytes 47 47 55 46 (GGUF), this one with%s; %s",
                   found, guess);
}

static pe_status check_version(uint32_t version) {
    if (version == 2 || version == 3) return PE_OK;
    if (version == 1)
        return pe_fail(PE_ERR_FORMAT, "offset 4: GGUF version 1 is no longer read; convert the file to version 3");
    if ((version & 0xffff) == 0 && version != 0)
        return pe_fail(PE_ERR_FORMAT,
                       "offset 4: the version 0x%08" PRIx32
                       " has its bytes swapped: this is a big-endian GGUF file; convert it to little-endian",
                       version);
    pe_status status = version == 0 ? PE_ERR_FORMAT : PE_ERR_UNSUPPORTED;
    return pe_fail(status, "offset 4: GGUF version %" PRIu32 " is unknown; versions 2 and 3 are read", version);
}

static pe_status check_count(const cursor *c, size_t at, const char *what, uint64_t count, uint64_t max,
                             unsigned min_bytes) {
    if (count > left(c) / min_bytes)
        return pe_fail(PE_ERR_FORMAT,
                       "offset %zu: %" PRIu64 " %s take at least %u bytes each but the file has %zu left; it is cut "
                       "short or damaged",
                       at, count, what, min_bytes, left(c));
    if (count > max)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: %" PRIu64 " %s; at most %" PRIu64 " are allowed", at, count, what,
                       max);
    return PE_OK;
}

static pe_status parse_header(cursor *c, pe_gguf *out) {
    if (memcmp(c->data, "GGUF", c->size < 4 ? c->size : 4) != 0) return wrong_magic(c);
    pe_status status;
    uint32_t magic;
    uint64_t n_tensors, n_kv;
    if ((status = read_u32(c, "the magic number", &magic))) return status;
    if ((status = read_u32(c, "the version", &out->version))) return status;
    if ((status = check_version(out->version))) return status;
    if ((status = read_u64(c, "the number of tensors", &n_tensors))) return status;
    if ((status = read_u64(c, "the number of keys", &n_kv))) return status;
    if ((status = check_count(c, 8, "tensors", n_tensors, MAX_TENSORS, MIN_TENSOR_BYTES))) return status;
    if ((status = check_count(c, 16, "keys", n_kv, MAX_KV, MIN_KV_BYTES))) return status;
    out->n_tensors = (size_t)n_tensors;
    out->n_kv = (size_t)n_kv;
    return PE_OK;
}

/* ---- metadata --------------------------------------------------------------------------------------------------- */

static pe_status check_bools(const cursor *c, const uint8_t *data, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (data[i] > 1)
            return pe_fail(PE_ERR_FORMAT, "offset %zu: a boolean has the value %d; it must be 0 or 1",
                           (size_t)(data - c->data) + (size_t)i, data[i]);
    return PE_OK;
}

static pe_status parse_strings(cursor *c, pe_arena *arena, pe_gguf_kv *kv) {
    pe_view *views = pe_arena_alloc(arena, (size_t)kv->n_items, sizeof *views);
    if (!views) return PE_ERR_NOMEM;
    for (uint64_t i = 0; i < kv->n_items; i++) {
        if (left(c) >= 8) { /* vocabularies have hundreds of thousands: the usual case in few steps */
            const uint64_t size = pe_gguf_read_u64(c->data + c->at);
            if (size <= left(c) - 8) {
                views[i] = (pe_view){(const char *)c->data + c->at + 8, (size_t)size};
                c->at += 8 + (size_t)size;
                continue;
            }
        }
        pe_status status = read_string(c, "a string", &views[i]);
        if (status) return kv->type == PE_META_ARRAY ? pe_fail_within(status, "item %" PRIu64, i) : status;
    }
    kv->strings = views;
    return PE_OK;
}

static pe_status read_type(cursor *c, pe_meta_type *out) {
    size_t start = c->at;
    uint32_t type;
    pe_status status = read_u32(c, "a value type", &type);
    if (status) return status;
    if (type > PE_META_F64)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: value type %" PRIu32 " is unknown; GGUF has 0 to %d", start, type,
                       PE_META_F64);
    *out = (pe_meta_type)type;
    return PE_OK;
}

static pe_status parse_value(cursor *c, pe_arena *arena, pe_gguf_kv *kv) {
    pe_status status = read_type(c, &kv->type);
    if (status) return status;
    kv->item_type = kv->type;
    kv->n_items = 1;
    if (kv->type == PE_META_ARRAY) {
        size_t start = c->at;
        if ((status = read_type(c, &kv->item_type))) return status;
        if (kv->item_type == PE_META_ARRAY)
            return pe_fail(PE_ERR_UNSUPPORTED, "offset %zu: arrays of arrays are not read; no model key needs them",
                           start);
        start = c->at;
        if ((status = read_u64(c, "an array length", &kv->n_items))) return status;
        size_t min_bytes = kv->item_type == PE_META_STRING ? 8 : pe_gguf_scalar_size(kv->item_type);
        if ((status = check_count(c, start, "array items", kv->n_items, UINT64_MAX, (unsigned)min_bytes)))
            return status;
    }
    kv->data = c->data + c->at;
    if (kv->item_type == PE_META_STRING) return parse_strings(c, arena, kv);
    /* Cannot overflow: an array's length was compared with the bytes left, and a scalar has at most 8. */
    if (!take(c, kv->n_items * pe_gguf_scalar_size(kv->item_type), "the value")) return PE_ERR_FORMAT;
    return kv->item_type == PE_META_BOOL ? check_bools(c, kv->data, kv->n_items) : PE_OK;
}

static pe_status parse_metadata(cursor *c, pe_gguf *out) {
    out->kv = pe_arena_alloc(&out->arena, out->n_kv, sizeof *out->kv);
    out->keys = pe_gguf_index_create(&out->arena, out->n_kv);
    if (!out->kv || !out->keys) return PE_ERR_NOMEM;
    for (size_t i = 0; i < out->n_kv; i++) {
        pe_gguf_kv *kv = &out->kv[i];
        pe_status status = read_name(c, &out->arena, "a key", &kv->key);
        if (status) return pe_fail_within(status, "key %zu of %zu", i + 1, out->n_kv);
        status = parse_value(c, &out->arena, kv);
        if (status) return pe_fail_within(status, "key '%.80s'", kv->key);
        out->keys->entries[i] = (pe_gguf_entry){.name = kv->key, .item = i};
    }
    return pe_gguf_index_build(out->keys, "key");
}

static pe_status read_alignment(pe_gguf *out) {
    out->alignment = DEFAULT_ALIGNMENT;
    const pe_gguf_kv *kv = pe_gguf_find(out, "general.alignment");
    if (!kv) return PE_OK;
    if (kv->type != PE_META_U32)
        return pe_fail(PE_ERR_FORMAT, "key 'general.alignment' has type %s; it must be u32",
                       pe_gguf_type_name(kv->type));
    uint32_t alignment = pe_gguf_read_u32(kv->data);
    if (alignment < MIN_ALIGNMENT || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)) != 0)
        return pe_fail(PE_ERR_FORMAT, "key 'general.alignment' is %" PRIu32 "; it must be a power of two from %d to %d",
                       alignment, MIN_ALIGNMENT, MAX_ALIGNMENT);
    out->alignment = alignment;
    return PE_OK;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

/* Shape and type give the size; where it lies is checked when the start of the data is known. */
static pe_status size_tensor(pe_gguf_tensor *t, uint32_t type, pe_gguf_row_size row_size) {
    uint64_t n_elements = 1, row_bytes = 0;
    for (uint32_t d = 0; d < t->n_dims; d++) {
        if (t->dims[d] == 0)
            return pe_fail(PE_ERR_FORMAT, "dimension %" PRIu32 " of %" PRIu32 " is 0; each is at least 1", d + 1,
                           t->n_dims);
        if (!pe_mul_u64(n_elements, t->dims[d], &n_elements) || n_elements > INT64_MAX)
            return pe_fail(PE_ERR_FORMAT,
                           "the dimensions %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                           " have a product past 2^63; the shape is damaged",
                           t->dims[0], t->dims[1], t->dims[2], t->dims[3]);
    }
    const char *why = NULL;
    if (type > INT32_MAX || !row_size((int)type, t->dims[0], &row_bytes, &why))
        return pe_fail(PE_ERR_FORMAT, "tensor type %" PRIu32 " with rows of %" PRIu64 " elements cannot be read: %s",
                       type, t->dims[0], why ? why : "the type is unknown");
    t->type = (int)type;
    if (!pe_mul_u64(row_bytes, n_elements / t->dims[0], &t->size))
        return pe_fail(PE_ERR_FORMAT, "%" PRIu64 " elements of type %" PRIu32 " take more than 2^64 bytes", n_elements,
                       type);
    return PE_OK;
}

static pe_status parse_tensor(cursor *c, pe_gguf_row_size row_size, pe_gguf_tensor *t) {
    size_t start = c->at;
    pe_status status = read_u32(c, "the number of dimensions", &t->n_dims);
    if (status) return status;
    if (t->n_dims < 1 || t->n_dims > 4)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: %" PRIu32 " dimensions; a tensor has 1 to 4", start, t->n_dims);
    for (uint32_t d = 0; d < 4; d++) {
        t->dims[d] = 1;
        if (d < t->n_dims && (status = read_u64(c, "a dimension", &t->dims[d]))) return status;
    }
    uint32_t type;
    if ((status = read_u32(c, "the tensor type", &type))) return status;
    if ((status = read_u64(c, "the data offset", &t->offset))) return status;
    if ((status = size_tensor(t, type, row_size))) return pe_fail_within(status, "offset %zu", start);
    return PE_OK;
}

static pe_status parse_tensors(cursor *c, pe_gguf_row_size row_size, pe_gguf *out) {
    out->tensors = pe_arena_alloc(&out->arena, out->n_tensors, sizeof *out->tensors);
    out->names = pe_gguf_index_create(&out->arena, out->n_tensors);
    if (!out->tensors || !out->names) return PE_ERR_NOMEM;
    for (size_t i = 0; i < out->n_tensors; i++) {
        pe_gguf_tensor *t = &out->tensors[i];
        pe_status status = read_name(c, &out->arena, "a tensor name", &t->name);
        if (status) return pe_fail_within(status, "tensor %zu of %zu", i + 1, out->n_tensors);
        status = parse_tensor(c, row_size, t);
        if (status) return pe_fail_within(status, "tensor '%.80s'", t->name);
        out->names->entries[i] = (pe_gguf_entry){.name = t->name, .item = i};
    }
    return pe_gguf_index_build(out->names, "tensor");
}

static bool offset_before(const pe_gguf_entry *a, const pe_gguf_entry *b) { return a->offset < b->offset; }

static pe_status check_overlap(pe_gguf *out) {
    pe_gguf_entry *order = pe_mem_alloc(out->n_tensors, sizeof *order);
    if (!order) return PE_ERR_NOMEM;
    for (size_t i = 0; i < out->n_tensors; i++) order[i] = (pe_gguf_entry){.offset = out->tensors[i].offset, .item = i};
    pe_gguf_sort(order, out->n_tensors, offset_before);
    pe_status status = PE_OK;
    for (size_t i = 1; i < out->n_tensors && !status; i++) {
        const pe_gguf_tensor *a = &out->tensors[order[i - 1].item], *b = &out->tensors[order[i].item];
        if (b->offset - a->offset < a->size)
            status = pe_fail(PE_ERR_FORMAT,
                             "tensor '%.80s' begins at offset %" PRIu64 ", inside tensor '%.80s' (%" PRIu64
                             " bytes from offset %" PRIu64 "); tensors must not overlap",
                             b->name, b->offset, a->name, a->size, a->offset);
    }
    pe_mem_free(order);
    return status;
}

/* From offsets in the data section to bytes of the file. */
static pe_status place_tensors(cursor *c, pe_gguf *out) {
    if (out->n_tensors == 0) return PE_OK; /* a vocabulary may end without padding */
    size_t padding = (out->alignment - c->at % out->alignment) % out->alignment;
    if (!take(c, padding, "the padding before the tensor data")) return PE_ERR_FORMAT;
    for (size_t i = 0; i < out->n_tensors; i++) {
        pe_gguf_tensor *t = &out->tensors[i];
        if (t->offset % out->alignment != 0)
            return pe_fail(PE_ERR_FORMAT,
                           "tensor '%.80s': its data offset %" PRIu64
                           " is misaligned; it must be a multiple of %" PRIu32,
                           t->name, t->offset, out->alignment);
        if (t->offset > left(c) || t->size > left(c) - t->offset)
            return pe_fail(PE_ERR_FORMAT,
                           "tensor '%.80s': %" PRIu64 " bytes at data offset %" PRIu64
                           " reach past the end of the file, whose data section has %zu; it is cut short or damaged",
                           t->name, t->size, t->offset, left(c));
        t->offset += c->at;
        t->data = c->data + t->offset;
    }
    return check_overlap(out);
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static pe_status parse(cursor *c, pe_gguf_row_size row_size, pe_gguf *out) {
    pe_status status;
    if ((status = parse_header(c, out))) return status;
    if ((status = parse_metadata(c, out))) return status;
    if ((status = read_alignment(out))) return status;
    if ((status = parse_tensors(c, row_size, out))) return status;
    return place_tensors(c, out);
}

pe_status pe_gguf_parse(const void *data, size_t size, pe_gguf_row_size row_size, pe_gguf *out) {
    *out = (pe_gguf){.data = data, .size = size};
    if (!data || size == 0) return pe_fail(PE_ERR_FORMAT, "offset 0: there are no bytes; a GGUF file is needed");
    cursor c = {data, size, 0};
    pe_status status = parse(&c, row_size, out);
    if (status) pe_gguf_free(out);
    return status;
}

void pe_gguf_free(pe_gguf *gguf) {
    pe_arena_free(&gguf->arena);
    *gguf = (pe_gguf){0};
}
