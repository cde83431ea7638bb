#include "format/safetensors.h"
#include "format/gguf_internal.h"
#include "format/json.h"

#include <inttypes.h>
#include <string.h>

enum { LENGTH_BYTES = 8 };

bool pe_safetensors_is(const uint8_t *data, size_t size) { return size > LENGTH_BYTES && data[LENGTH_BYTES] == '{'; }

static bool type_of(const pe_json *dtype, int *type, uint64_t *width) {
    static const struct {
        const char *name;
        int type;
        uint64_t width;
    } types[] = {{"F32", PE_SAFE_F32, 4}, {"F16", PE_SAFE_F16, 2}, {"BF16", PE_SAFE_BF16, 2}, {"F64", PE_SAFE_F64, 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (pe_json_is(dtype, types[i].name)) {
            *type = types[i].type;
            *width = types[i].width;
            return true;
        }
    return false;
}

static pe_status read_shape(const pe_json *shape, pe_gguf_tensor *t, uint64_t *n) {
    if (!shape || shape->type != PE_JSON_LIST || shape->count > 4)
        return pe_fail(PE_ERR_FORMAT, "its shape is no list of at most 4 numbers");
    t->n_dims = shape->count ? shape->count : 1;
    for (uint32_t d = 0; d < 4; d++) t->dims[d] = 1;
    uint32_t d = shape->count;
    *n = 1;
    for (const pe_json *item = shape->first; item; item = item->next) {
        uint64_t extent;
        if (!pe_json_whole(item, &extent) || extent == 0)
            return pe_fail(PE_ERR_FORMAT, "a dimension of its shape is no number of 1 or more");
        t->dims[--d] = extent;
        if (!pe_mul_u64(*n, extent, n) || *n > INT64_MAX / 8)
            return pe_fail(PE_ERR_FORMAT, "the dimensions of its shape have a product past 2^60");
    }
    return PE_OK;
}

/* Where its bytes lie, in the data section of `room` bytes. */
static pe_status read_offsets(const pe_json *offsets, uint64_t size, uint64_t room, pe_gguf_tensor *t) {
    uint64_t begin, end;
    if (!offsets || offsets->type != PE_JSON_LIST || offsets->count != 2 || !pe_json_whole(offsets->first, &begin) ||
        !pe_json_whole(offsets->first->next, &end))
        return pe_fail(PE_ERR_FORMAT, "its data_offsets are no list of two numbers");
    if (begin > end || end > room)
        return pe_fail(PE_ERR_FORMAT,
                       "its data lie from %" PRIu64 " to %" PRIu64 ", but the data section has %" PRIu64
                       " bytes; the file is cut short or damaged",
                       begin, end, room);
    if (end - begin != size)
        return pe_fail(PE_ERR_FORMAT, "its shape takes %" PRIu64 " bytes, but its data_offsets say %" PRIu64, size,
                       end - begin);
    t->offset = begin;
    t->size = size;
    return PE_OK;
}

static pe_status read_tensor(const pe_json *member, uint64_t room, pe_gguf_tensor *t) {
    const pe_json *dtype = pe_json_member(member, "dtype");
    uint64_t width, n = 0;
    if (!dtype || dtype->type != PE_JSON_STRING) return pe_fail(PE_ERR_FORMAT, "it has no dtype");
    if (!type_of(dtype, &t->type, &width))
        return pe_fail(PE_ERR_UNSUPPORTED, "its type %.*s is not supported; F32, F16, BF16 and F64 are",
                       (int)(dtype->text.size < 16 ? dtype->text.size : 16), dtype->text.data);
    pe_status status = read_shape(pe_json_member(member, "shape"), t, &n);
    return status ? status : read_offsets(pe_json_member(member, "data_offsets"), n * width, room, t);
}

static bool offset_before(const pe_gguf_entry *a, const pe_gguf_entry *b) { return a->offset < b->offset; }

/* The tensors must follow each other without gaps; then they cannot overlap, and nothing was cut off. */
static pe_status check_cover(pe_gguf *out, uint64_t room) {
    pe_gguf_entry *order = pe_mem_alloc(out->n_tensors + 1, sizeof *order);
    if (!order) return PE_ERR_NOMEM;
    for (size_t i = 0; i < out->n_tensors; i++) order[i] = (pe_gguf_entry){.offset = out->tensors[i].offset, .item = i};
    pe_gguf_sort(order, out->n_tensors, offset_before);
    pe_status status = PE_OK;
    uint64_t at = 0;
    for (size_t i = 0; i < out->n_tensors && !status; i++) {
        const pe_gguf_tensor *t = &out->tensors[order[i].item];
        if (t->offset != at)
            status = pe_fail(PE_ERR_FORMAT,
                             "tensor '%.200s' begins at byte %" PRIu64 " of the data, but the one before it ends at "
                             "%" PRIu64,
                             t->name, t->offset, at);
        at = t->offset + t->size;
    }
    pe_mem_free(order);
    if (!status && at != room)
        status =
            pe_fail(PE_ERR_FORMAT, "the tensors take %" PRIu64 " bytes, but the data section has %" PRIu64, at, room);
    return status;
}

static pe_status read_directory(const uint8_t *data, size_t size, size_t header, pe_arena *scratch, pe_gguf *out) {
    pe_json *root;
    pe_status status = pe_json_parse((const char *)data + LENGTH_BYTES, header, scratch, &root);
    if (status) return pe_fail_within(status, "its header");
    if (root->type != PE_JSON_OBJECT) return pe_fail(PE_ERR_FORMAT, "its header is no JSON object");
    const uint64_t start = LENGTH_BYTES + (uint64_t)header, room = size - start;
    out->tensors = pe_arena_alloc(&out->arena, (size_t)root->count + 1, sizeof *out->tensors);
    if (!out->tensors) return PE_ERR_NOMEM;
    for (const pe_json *m = root->first; m; m = m->next) {
        static const char notes[] = "__metadata__";
        if (m->key.size == sizeof notes - 1 && memcmp(m->key.data, notes, m->key.size) == 0) continue;
        pe_gguf_tensor *t = &out->tensors[out->n_tensors];
        t->name = pe_arena_string(&out->arena, m->key.data, m->key.size);
        if (!t->name) return PE_ERR_NOMEM;
        if (strlen(t->name) != m->key.size) return pe_fail(PE_ERR_FORMAT, "the name of a tensor has a NUL in it");
        if ((status = read_tensor(m, room, t))) return pe_fail_within(status, "tensor '%.200s'", t->name);
        out->n_tensors++;
    }
    if ((status = check_cover(out, room))) return status;
    for (size_t i = 0; i < out->n_tensors; i++) {
        out->tensors[i].offset += start;
        out->tensors[i].data = data + out->tensors[i].offset;
    }
    out->keys = pe_gguf_index_create(&out->arena, 0);
    out->names = pe_gguf_index_create(&out->arena, out->n_tensors);
    if (!out->keys || !out->names) return PE_ERR_NOMEM;
    for (size_t i = 0; i < out->n_tensors; i++)
        out->names->entries[i] = (pe_gguf_entry){.name = out->tensors[i].name, .item = i};
    return pe_gguf_index_build(out->names, "tensor");
}

pe_status pe_safetensors_read(const uint8_t *data, size_t size, pe_gguf *out) {
    *out = (pe_gguf){.data = data, .size = size};
    if (size < LENGTH_BYTES) return pe_fail(PE_ERR_FORMAT, "%zu bytes are no safetensors file", size);
    const uint64_t header = pe_gguf_read_u64(data);
    if (header > size - LENGTH_BYTES)
        return pe_fail(PE_ERR_FORMAT,
                       "the header says that it takes %" PRIu64 " bytes, but the file has %zu after its length; it is "
                       "cut short or damaged",
                       header, size - LENGTH_BYTES);
    pe_arena scratch = {0};
    const pe_status status = read_directory(data, size, (size_t)header, &scratch, out);
    pe_arena_free(&scratch);
    if (status) pe_gguf_free(out);
    return status;
}
