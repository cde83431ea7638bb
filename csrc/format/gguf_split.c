/* Models in several files: name-00001-of-00003.gguf and so on. Each part is a GGUF file of its own, with its number
 * (split.no, from 0) and the number of all (split.count); the first has the metadata, all have tensors. */
#include "format/gguf_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PARTS = UINT16_MAX }; /* what the key's own type allows */

pe_status pe_gguf_split(const pe_gguf *gguf, uint32_t *no, uint32_t *count) {
    *no = 0;
    *count = 1;
    pe_status status = pe_gguf_u32(gguf, "split.count", false, count);
    if (status || *count <= 1) return status;
    if (*count > MAX_PARTS)
        return pe_fail(PE_ERR_FORMAT, "key 'split.count' is %" PRIu32 "; at most %d is allowed", *count, MAX_PARTS);
    status = pe_gguf_u32(gguf, "split.no", true, no);
    if (!status && *no >= *count)
        status = pe_fail(PE_ERR_FORMAT, "key 'split.no' is %" PRIu32 ", but 'split.count' is %" PRIu32, *no, *count);
    return status;
}

pe_status pe_gguf_part_path(pe_arena *arena, const char *first, uint32_t no, uint32_t count, const char **out) {
    char ending[64];
    const size_t size = (size_t)snprintf(ending, sizeof ending, "-00001-of-%05" PRIu32 ".gguf", count);
    const size_t length = strlen(first);
    if (length < size || strcmp(first + length - size, ending) != 0)
        return pe_fail(PE_ERR_FORMAT,
                       "this is the first of %" PRIu32 " parts, but its name does not end in '%s', so that the others "
                       "cannot be found; give all of them the names that they had",
                       count, ending);
    char *path = pe_arena_string(arena, first, length);
    if (!path) return PE_ERR_NOMEM;
    snprintf(path + length - size, size + 1, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", no + 1, count);
    *out = path;
    return PE_OK;
}

static pe_status check_total(const pe_gguf *gguf) {
    uint32_t total = 0;
    if (!pe_gguf_find(gguf, "split.tensors.count")) return PE_OK;
    pe_status status = pe_gguf_u32(gguf, "split.tensors.count", true, &total);
    if (!status && total != gguf->n_tensors)
        status = pe_fail(PE_ERR_FORMAT,
                         "all parts have %zu tensors together, but 'split.tensors.count' is %" PRIu32
                         "; are they parts of one model?",
                         gguf->n_tensors, total);
    return status;
}

pe_status pe_gguf_merge(pe_gguf *first, const pe_gguf *parts, size_t n_parts) {
    size_t total = first->n_tensors;
    for (size_t p = 0; p < n_parts; p++) total += parts[p].n_tensors;
    pe_gguf_tensor *tensors = pe_arena_alloc(&first->arena, total, sizeof *tensors);
    pe_gguf_index *names = pe_gguf_index_create(&first->arena, total);
    if (!tensors || !names) return PE_ERR_NOMEM;
    if (first->n_tensors) memcpy(tensors, first->tensors, first->n_tensors * sizeof *tensors);
    size_t n = first->n_tensors;
    for (size_t p = 0; p < n_parts; p++)
        for (size_t i = 0; i < parts[p].n_tensors; i++, n++) {
            tensors[n] = parts[p].tensors[i];
            tensors[n].name = pe_arena_string(&first->arena, tensors[n].name, strlen(tensors[n].name));
            if (!tensors[n].name) return PE_ERR_NOMEM;
        }
    for (size_t i = 0; i < total; i++) names->entries[i] = (pe_gguf_entry){.name = tensors[i].name, .item = i};
    pe_status status = pe_gguf_index_build(names, "tensor");
    if (status) return status;
    first->tensors = tensors;
    first->names = names;
    first->n_tensors = total;
    return check_total(first);
}
