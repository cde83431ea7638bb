/* A model's weights with adapters attached: copies of the structs that point to the weights, into which each change is
 * written. A pair of a matrix that a layer uses in parts goes to each part, with its rows of B. */
#include "model/adapter.h"

#include <math.h>
#include <string.h>

pe_weights pe_weights_of(const pe_model *model) {
    return (pe_weights){.layers = model->layers,
                        .embeddings = model->embeddings,
                        .output = model->output,
                        .output_norm = model->output_norm};
}

void pe_weights_free(pe_weights *weights) { pe_arena_free(&weights->arena); }

static bool in_layer(const pe_tensor_rule *rule) { return strncmp(rule->name, "blk.", 4) == 0; }

/* The weights that a rule's matrix is used as, in the order of its rows. */
static size_t parts_of(pe_weights *w, const pe_model *model, const pe_change *change, pe_weight *parts[3]) {
    const size_t field = change->rule->field;
    if (!in_layer(change->rule)) {
        parts[0] = field == offsetof(pe_model, output) ? &w->output : &w->embeddings;
        return 1;
    }
    pe_layer *layer = &w->layers[change->layer];
    if (field == offsetof(pe_layer, qkv)) {
        memcpy(parts, (pe_weight *[]){&layer->q, &layer->k, &layer->v}, 3 * sizeof *parts);
        return 3;
    }
    if (field == offsetof(pe_layer, conv_in)) {
        memcpy(parts, (pe_weight *[]){&layer->conv_b, &layer->conv_c, &layer->conv_x}, 3 * sizeof *parts);
        return 3;
    }
    if (field == offsetof(pe_layer, up) && change->rule->out == PE_DIM_FF_TWICE) {
        memcpy(parts, (pe_weight *[]){&layer->gate, &layer->up}, 2 * sizeof *parts);
        return 2;
    }
    (void)model;
    parts[0] = (pe_weight *)(void *)((char *)layer + field);
    return 1;
}

static pe_status add_delta(pe_weights *w, const pe_model *model, const pe_change *change, float scale, size_t most) {
    pe_weight *parts[3];
    const size_t n = parts_of(w, model, change, parts);
    size_t row = 0;
    for (size_t i = 0; i < n; i++) {
        pe_weight *part = parts[i];
        pe_delta *list = (pe_delta *)(void *)(uintptr_t)part->deltas; /* this session's own */
        if (!list && !(list = pe_arena_alloc(&w->arena, most, sizeof *list))) return PE_ERR_NOMEM;
        part->deltas = list;
        list[part->n_deltas] = change->delta;
        list[part->n_deltas].b += row * pe_delta_bytes(&change->delta);
        list[part->n_deltas].scale *= scale;
        if (!isfinite(list[part->n_deltas++].scale))
            return pe_fail(PE_ERR_ARG, "the scale %g is too large for '%s'", (double)scale, change->tensor);
        row += part->n_out;
    }
    return PE_OK;
}

/* Norms that a layer uses twice under two names are replaced under both. */
static bool replace_vector(pe_weights *w, const pe_model *model, const pe_change *change) {
    if (!in_layer(change->rule)) {
        const bool taken = w->output_norm.weight != model->output_norm.weight;
        w->output_norm.weight = change->vector;
        return !taken;
    }
    pe_layer *layer = &w->layers[change->layer];
    const pe_layer *base = &model->layers[change->layer];
    pe_norm *norm = (pe_norm *)(void *)((char *)layer + change->rule->field);
    const float *old = ((const pe_norm *)(const void *)((const char *)base + change->rule->field))->weight;
    const bool taken = norm->weight != old;
    norm->weight = change->vector;
    if (base->attn_norm.weight == old) layer->attn_norm.weight = change->vector;
    if (base->ffn_norm.weight == old) layer->ffn_norm.weight = change->vector;
    return !taken;
}

static bool replace_matrix(pe_weights *w, const pe_model *model, const pe_change *change) {
    pe_weight *part[3];
    parts_of(w, model, change, part);
    const bool output = part[0] == &w->output;
    const bool taken = part[0]->data != (output ? model->output.data : model->embeddings.data);
    const pe_weight old = *part[0];
    *part[0] = change->matrix;
    part[0]->bias = old.bias;
    part[0]->tensor = old.tensor;
    part[0]->deltas = old.deltas;
    part[0]->n_deltas = old.n_deltas;
    return !taken;
}

static pe_status attach(const pe_model *model, const pe_attachment *a, size_t n, pe_weights *w) {
    for (size_t c = 0; c < a->adapter->n_changes; c++) {
        const pe_change *change = &a->adapter->changes[c];
        if (change->delta.rank) {
            const pe_status status = add_delta(w, model, change, a->scale, n);
            if (status) return status;
            continue;
        }
        if (!(change->vector ? replace_vector(w, model, change) : replace_matrix(w, model, change)))
            return pe_fail(PE_ERR_UNSUPPORTED, "two adapters replace %s (layer %u): there can be one of them at a time",
                           change->rule->name, change->layer);
    }
    return PE_OK;
}

static size_t rank_of(const pe_weight *w) {
    size_t rank = 0;
    for (uint32_t i = 0; i < w->n_deltas; i++) rank += w->deltas[i].rank;
    return rank;
}

static size_t layer_rank(const pe_layer *l) {
    return rank_of(&l->q) + rank_of(&l->k) + rank_of(&l->v) + rank_of(&l->o) + rank_of(&l->gate) + rank_of(&l->up) +
           rank_of(&l->down) + rank_of(&l->router) + rank_of(&l->conv_b) + rank_of(&l->conv_c) + rank_of(&l->conv_x) +
           rank_of(&l->conv_out);
}

pe_status pe_weights_attach(const pe_model *model, const pe_attachment *attachments, size_t n, pe_weights *out) {
    *out = pe_weights_of(model);
    if (n == 0) return PE_OK;
    const size_t n_layer = model->config.n_layer;
    out->layers = pe_arena_alloc(&out->arena, n_layer, sizeof *out->layers);
    pe_status status = out->layers ? PE_OK : PE_ERR_NOMEM;
    if (!status) memcpy(out->layers, model->layers, n_layer * sizeof *out->layers);
    for (size_t i = 0; i < n && !status; i++) status = attach(model, &attachments[i], n, out);
    if (status) {
        pe_weights_free(out);
        return status;
    }
    out->rank = rank_of(&out->output) + rank_of(&out->embeddings);
    for (size_t i = 0; i < n_layer; i++)
        if (layer_rank(&out->layers[i]) > out->rank) out->rank = layer_rank(&out->layers[i]);
    return PE_OK;
}
