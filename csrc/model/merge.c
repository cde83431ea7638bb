/* What an adapter would have made of the weights themselves, for writing a merged model. */
#include "base/half.h"
#include "model/adapter.h"
#include "quant/types.h"

#include <stdio.h>
#include <string.h>

static const char *tensor_name(pe_arena *arena, const pe_change *change) {
    char text[96];
    const char *hole = strstr(change->rule->name, "%u");
    const int size = hole ? snprintf(text, sizeof text, "%.*s%u%s.weight", (int)(hole - change->rule->name),
                                     change->rule->name, change->layer, hole + 2)
                          : snprintf(text, sizeof text, "%s.weight", change->rule->name);
    return pe_arena_string(arena, text, (size_t)size);
}

pe_status pe_adapter_name_targets(pe_adapter *adapter) {
    for (size_t i = 0; i < adapter->n_changes; i++) {
        pe_change *change = &adapter->changes[i];
        if (!(change->tensor = tensor_name(&adapter->arena, change))) return PE_ERR_NOMEM;
    }
    return PE_OK;
}

static float value_of(const pe_delta *d, const uint8_t *values, size_t i) {
    return d->f32 ? pe_float_from_bits(pe_load_u32(values + 4 * i)) : pe_half_load(values + 2 * i);
}

static void add_pair(const pe_delta *d, float scale, bool embeddings, size_t n_in, size_t first, size_t end,
                     const float *a, float *rows) {
    for (size_t row = first; row < end; row++, rows += n_in)
        for (uint32_t k = 0; k < d->rank; k++) {
            const float value =
                embeddings ? value_of(d, d->a, row * d->rank + k) : value_of(d, d->b, k * d->b_stride + row);
            const float factor = value * (d->scale * scale);
            for (size_t j = 0; j < n_in; j++) rows[j] += factor * a[k * n_in + j];
        }
}

pe_status pe_adapter_merge(const pe_adapter *adapter, size_t index, float scale, size_t first, size_t end, float *rows,
                           const char **tensor) {
    if (index >= adapter->n_changes)
        return pe_fail(PE_ERR_ARG, "target %zu is out of range; the adapter has %zu", index, adapter->n_changes);
    const pe_change *change = &adapter->changes[index];
    *tensor = change->tensor;
    if (!rows) return PE_OK;
    const size_t n_in = (size_t)pe_rule_extent(adapter->model, change->rule->in);
    const size_t n_out = (size_t)pe_rule_extent(adapter->model, change->rule->out);
    if (first > end || end > n_out)
        return pe_fail(PE_ERR_ARG, "rows %zu to %zu of '%s', which has %zu", first, end, change->tensor, n_out);
    if (change->vector) {
        memcpy(rows, change->vector + first * n_in, (end - first) * n_in * sizeof *rows);
        return PE_OK;
    }
    if (change->matrix.data) {
        for (size_t row = first; row < end; row++, rows += n_in)
            pe_quant_find(change->matrix.type)
                ->decode(change->matrix.data + row * change->matrix.row_bytes, rows, n_in);
        return PE_OK;
    }
    const pe_delta *d = &change->delta;
    const bool embeddings = change->rule->field == offsetof(pe_model, embeddings) && strncmp(change->tensor, "blk.", 4);
    float *a = pe_mem_alloc((size_t)d->rank * n_in, sizeof *a); /* the factor that all rows share */
    if (!a) return PE_ERR_NOMEM;
    for (size_t i = 0; i < d->rank * n_in; i++) a[i] = value_of(d, embeddings ? d->b : d->a, i);
    add_pair(d, scale, embeddings, n_in, first, end, a, rows);
    pe_mem_free(a);
    return PE_OK;
}
