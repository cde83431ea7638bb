/* From the file's directory to a model: hyperparameters by key, tensors by the rules of the architecture. Everything
 * that evaluation relies on is checked here, so that it need not be later. */
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/repack.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PE_ARCH(name) extern const pe_arch pe_arch_##name;
#include "model/archs.def"
#undef PE_ARCH

static const pe_arch *const archs[] = {
#define PE_ARCH(name) &pe_arch_##name,
#include "model/archs.def"
#undef PE_ARCH
};
enum { N_ARCHS = sizeof archs / sizeof *archs };

enum { MAX_LAYERS = 1024, MAX_WIDTH = 1 << 20, MAX_CONTEXT = 1 << 24 };

const pe_arch *pe_arch_find(const char *name, size_t size) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (strlen(archs[i]->name) == size && memcmp(archs[i]->name, name, size) == 0) return archs[i];
    return NULL;
}

static pe_status find_arch(pe_model *model) {
    pe_view name;
    pe_status status = pe_gguf_string(&model->gguf, "general.architecture", true, &name);
    if (status) return status;
    model->arch = pe_arch_find(name.data, name.size);
    if (model->arch) return PE_OK;
    char known[512] = "";
    for (size_t i = 0, used = 0; i < N_ARCHS && used < sizeof known - 64; i++, used = strlen(known))
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", archs[i]->name);
    int shown = name.size < 64 ? (int)name.size : 64;
    return pe_fail(PE_ERR_UNSUPPORTED, "architecture '%.*s' is not one that this version runs; it runs %s", shown,
                   name.data, known);
}

/* "<arch>.<key>" */
static const char *key_of(const pe_model *model, const char *key, char text[static 128]) {
    snprintf(text, 128, "%s.%s", model->arch->name, key);
    return text;
}

static pe_status read_u32(const pe_model *model, const char *key, bool required, uint32_t least, uint32_t most,
                          uint32_t *out) {
    char name[128];
    pe_status status = pe_gguf_u32(&model->gguf, key_of(model, key, name), required, out);
    if (status) return status;
    if (*out < least || *out > most)
        return pe_fail(PE_ERR_FORMAT, "%s is %u; expected %u to %u", name, *out, least, most);
    return PE_OK;
}

static pe_status read_f32(const pe_model *model, const char *key, bool required, float *out) {
    char name[128];
    pe_status status = pe_gguf_f32(&model->gguf, key_of(model, key, name), required, out);
    if (status) return status;
    if (!(*out > 0) || !isfinite(*out))
        return pe_fail(PE_ERR_FORMAT, "%s is %g; expected a positive number", name, (double)*out);
    return PE_OK;
}

/* What would change the output but is not computed must stop the load, not be passed over. */
static pe_status refuse_unsupported(const pe_model *model) {
    char name[128];
    uint32_t experts = 0;
    pe_status status = pe_gguf_u32(&model->gguf, key_of(model, "expert_count", name), false, &experts);
    if (status) return status;
    if (experts) return pe_fail(PE_ERR_UNSUPPORTED, "%s is %u: mixtures of experts are not supported", name, experts);
    pe_view scaling = {"none", 4};
    status = pe_gguf_string(&model->gguf, key_of(model, "rope.scaling.type", name), false, &scaling);
    if (status) return status;
    bool known = (scaling.size == 4 && memcmp(scaling.data, "none", 4) == 0) ||
                 (scaling.size == 6 && memcmp(scaling.data, "linear", 6) == 0);
    if (!known)
        return pe_fail(PE_ERR_UNSUPPORTED, "%s '%.*s' is not supported; none and linear are", name,
                       scaling.size < 32 ? (int)scaling.size : 32, scaling.data);
    return PE_OK;
}

static pe_status read_config(pe_model *model) {
    pe_config *c = &model->config;
    const pe_arch *arch = model->arch;
    pe_status status;
#define PE_READ(call)                                                                                                  \
    if ((status = (call))) return status
    PE_READ(refuse_unsupported(model));
    PE_READ(read_u32(model, "block_count", true, 1, MAX_LAYERS, &c->n_layer));
    PE_READ(read_u32(model, "context_length", true, 1, MAX_CONTEXT, &c->n_ctx_train));
    PE_READ(read_u32(model, "embedding_length", true, 1, MAX_WIDTH, &c->n_embd));
    PE_READ(read_u32(model, "feed_forward_length", true, 1, MAX_WIDTH, &c->n_ff));
    PE_READ(read_u32(model, "attention.head_count", true, 1, MAX_WIDTH, &c->n_head));
    c->n_head_kv = c->n_head;
    PE_READ(read_u32(model, "attention.head_count_kv", false, 1, c->n_head, &c->n_head_kv));
    if (c->n_head % c->n_head_kv)
        return pe_fail(PE_ERR_FORMAT, "%s.attention.head_count %u is not a multiple of head_count_kv %u", arch->name,
                       c->n_head, c->n_head_kv);
    if (c->n_head / c->n_head_kv > PE_MAX_QUERIES)
        return pe_fail(PE_ERR_UNSUPPORTED, "%u query heads share one key head; at most %d are supported",
                       c->n_head / c->n_head_kv, PE_MAX_QUERIES);
    c->head_dim = c->n_embd / c->n_head;
    PE_READ(read_u32(model, "attention.key_length", false, 2, 4096, &c->head_dim));
    uint32_t value_length = c->head_dim;
    PE_READ(read_u32(model, "attention.value_length", false, 2, 4096, &value_length));
    if (value_length != c->head_dim)
        return pe_fail(PE_ERR_UNSUPPORTED, "key length %u and value length %u differ, which is not supported",
                       c->head_dim, value_length);
    c->n_rot = c->head_dim;
    PE_READ(read_u32(model, "rope.dimension_count", false, 2, c->head_dim, &c->n_rot));
    if (c->n_rot % 2) return pe_fail(PE_ERR_FORMAT, "%s.rope.dimension_count %u is odd", arch->name, c->n_rot);
    if ((uint64_t)c->n_head * c->head_dim > MAX_WIDTH)
        return pe_fail(PE_ERR_FORMAT, "%u heads of %u are wider than %d", c->n_head, c->head_dim, MAX_WIDTH);
    PE_READ(read_f32(model, "attention.layer_norm_rms_epsilon", true, &c->norm_eps));
    c->rope_base = arch->rope_base;
    PE_READ(read_f32(model, "rope.freq_base", false, &c->rope_base));
    c->rope_base_window = arch->rope_base_window;
    if (arch->window_pattern) {
        PE_READ(read_f32(model, "rope.freq_base_swa", false, &c->rope_base_window));
        PE_READ(read_u32(model, "attention.sliding_window", true, 1, MAX_CONTEXT, &c->window));
    }
    float factor = 1.0f;
    PE_READ(read_f32(model, "rope.scaling.factor", false, &factor));
    c->rope_scale = 1.0f / factor;
    c->score_scale = 1.0f / sqrtf((float)c->head_dim);
    c->embd_scale = arch->scale_embeddings ? sqrtf((float)c->n_embd) : 1.0f;
#undef PE_READ
    const pe_gguf_kv *tokens = pe_gguf_find(&model->gguf, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->strings || tokens->type != PE_META_ARRAY || tokens->n_items == 0)
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.tokens is missing or is no list of strings");
    if (tokens->n_items > MAX_WIDTH * 16u)
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.tokens has %llu entries; at most %d are supported",
                       (unsigned long long)tokens->n_items, MAX_WIDTH * 16);
    c->n_vocab = (uint32_t)tokens->n_items;
    return PE_OK;
}

static uint64_t extent(const pe_config *c, pe_dim dim) {
    switch (dim) {
    case PE_DIM_EMBD:
        return c->n_embd;
    case PE_DIM_VOCAB:
        return c->n_vocab;
    case PE_DIM_FF:
        return c->n_ff;
    case PE_DIM_Q:
        return (uint64_t)c->n_head * c->head_dim;
    case PE_DIM_KV:
        return (uint64_t)c->n_head_kv * c->head_dim;
    case PE_DIM_HEAD:
        return c->head_dim;
    case PE_DIM_ROT_HALF:
        return c->n_rot / 2;
    default:
        return 1;
    }
}

/* Vectors are used as float where they lie; other types (rare) are decoded into the model's arena. */
static pe_status place_vector(pe_model *model, const pe_gguf_tensor *tensor, const float **out) {
    const pe_quant_type *type = pe_quant_find(tensor->type);
    if (type->number == 0 && (uintptr_t)tensor->data % sizeof(float) == 0) {
        *out = (const float *)(const void *)tensor->data;
        return PE_OK;
    }
    float *copy = pe_arena_alloc(&model->arena, tensor->dims[0], sizeof *copy);
    if (!copy) return PE_ERR_NOMEM;
    type->decode(tensor->data, copy, tensor->dims[0]);
    *out = copy;
    return PE_OK;
}

static pe_status repack(pe_model *model, const pe_gguf_tensor *tensor, pe_weight *weight) {
    uint64_t row_bytes;
    const char *why;
    if (!pe_quant_row_size(tensor->type, weight->n_in, &row_bytes, &why))
        return pe_fail(PE_ERR_FORMAT, "tensor '%s': %s", tensor->name, why);
    weight->row_bytes = (size_t)row_bytes;
    return pe_repack(&model->arena, tensor, &weight->data);
}

static pe_status place(pe_model *model, const pe_tensor_rule *rule, uint32_t layer, size_t *n_placed) {
    const bool per_layer = strchr(rule->name, '%') != NULL;
    char name[64];
    if (per_layer) {
        const char *hole = strstr(rule->name, "%u");
        snprintf(name, sizeof name, "%.*s%u%s", (int)(hole - rule->name), rule->name, layer, hole + 2);
    } else {
        snprintf(name, sizeof name, "%s", rule->name);
    }
    const pe_gguf_tensor *tensor = pe_gguf_tensor_find(&model->gguf, name);
    if (!tensor && rule->optional) return PE_OK;
    if (!tensor) return pe_fail(PE_ERR_FORMAT, "tensor '%s' is missing; %s needs it", name, model->arch->name);
    uint64_t in = extent(&model->config, rule->in), out = extent(&model->config, rule->out);
    if (tensor->dims[0] != in || tensor->dims[1] != out || tensor->dims[2] != 1 || tensor->dims[3] != 1)
        return pe_fail(PE_ERR_FORMAT, "tensor '%s' has shape [%llu, %llu, %llu, %llu]; expected [%llu, %llu]", name,
                       (unsigned long long)tensor->dims[0], (unsigned long long)tensor->dims[1],
                       (unsigned long long)tensor->dims[2], (unsigned long long)tensor->dims[3], (unsigned long long)in,
                       (unsigned long long)out);
    const int slot = pe_kernels_slot(tensor->type);
    if (slot < 0)
        return pe_fail(PE_ERR_UNSUPPORTED, "tensor '%s' has type %d, which has no kernels", name, tensor->type);
    char *base = per_layer ? (char *)&model->layers[layer] : (char *)model;
    ++*n_placed;
    if (!rule->matrix) return place_vector(model, tensor, (const float **)(void *)(base + rule->field));
    pe_weight *weight = (pe_weight *)(void *)(base + rule->field);
    *weight = (pe_weight){tensor->data, tensor->type, slot, (uint32_t)in, (uint32_t)out, tensor->size / out};
    if (tensor->layout) return repack(model, tensor, weight);
    if (tensor->type == 0 && (uintptr_t)tensor->data % sizeof(float))
        return pe_fail(PE_ERR_FORMAT, "tensor '%s' is not aligned to its 4-byte elements", name);
    return PE_OK;
}

/* Name one tensor that no rule placed. */
static pe_status refuse_stray(const pe_model *model) {
    for (size_t i = 0; i < model->gguf.n_tensors; i++) {
        const char *name = model->gguf.tensors[i].name;
        bool placed = false;
        for (size_t r = 0; r < model->arch->n_rules && !placed; r++) {
            unsigned layer;
            int end = 0;
            const char *rule = model->arch->rules[r].name, *hole = strstr(rule, "%u");
            if (!hole) {
                placed = strcmp(rule, name) == 0;
            } else if (strncmp(name, "blk.", 4) == 0 && sscanf(name, "blk.%u%n", &layer, &end) == 1) {
                placed = layer < model->config.n_layer && strcmp(hole + 2, name + end) == 0;
            }
        }
        if (!placed)
            return pe_fail(PE_ERR_UNSUPPORTED, "tensor '%s' has no place in architecture %s with %u layers", name,
                           model->arch->name, model->config.n_layer);
    }
    return PE_OK;
}

pe_status pe_model_load_weights(pe_model *model) {
    pe_status status = find_arch(model);
    if (!status) status = read_config(model);
    if (status) return status;
    pe_config *c = &model->config;
    model->layers = pe_arena_alloc(&model->arena, c->n_layer, sizeof *model->layers);
    if (!model->layers) return PE_ERR_NOMEM;
    size_t n_placed = 0;
    for (size_t r = 0; r < model->arch->n_rules; r++) {
        const pe_tensor_rule *rule = &model->arch->rules[r];
        const uint32_t count = strchr(rule->name, '%') ? c->n_layer : 1;
        for (uint32_t layer = 0; layer < count; layer++)
            if ((status = place(model, rule, layer, &n_placed))) return status;
    }
    if (n_placed != model->gguf.n_tensors) {
        status = refuse_stray(model);
        if (status) return status;
    }
    if (!model->output.data) model->output = model->embeddings;
    const uint32_t pattern = model->arch->window_pattern;
    for (uint32_t i = 0; i < c->n_layer; i++) model->layers[i].windowed = pattern && i % pattern != pattern - 1;
    for (size_t i = 0; i < model->gguf.n_tensors; i++) {
        const uint64_t *d = model->gguf.tensors[i].dims;
        model->n_params += d[0] * d[1] * d[2] * d[3];
    }
    return PE_OK;
}
