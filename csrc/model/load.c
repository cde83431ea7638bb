/* From the file's directory to a model: tensors by the rules of the architecture. Everything that evaluation relies on
 * is checked here and in config.c, so that it need not be later. */
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/repack.h"
#include "quant/types.h"

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

const pe_arch *pe_arch_find(const char *name, size_t size) {
    for (size_t i = 0; i < N_ARCHS; i++)
        if (strlen(archs[i]->name) == size && memcmp(archs[i]->name, name, size) == 0) return archs[i];
    return NULL;
}

static pe_status find_arch(pe_model *model) {
    static const char adapter[] = "adapter";
    pe_view name, type = {"", 0};
    pe_status status = pe_gguf_string(&model->gguf, "general.type", false, &type);
    if (!status && type.size == strlen(adapter) && memcmp(type.data, adapter, type.size) == 0)
        return pe_fail(PE_ERR_FORMAT, "this file is an adapter, not a model: open the model that it was made for, and "
                                      "attach the adapter to it");
    if (!status) status = pe_gguf_string(&model->gguf, "general.architecture", true, &name);
    if (status) return status;
    model->arch = pe_arch_find(name.data, name.size);
    if (model->arch) return PE_OK;
    char known[1024] = "";
    for (size_t i = 0, used = 0; i < N_ARCHS && used < sizeof known - 64; i++, used = strlen(known))
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", archs[i]->name);
    int shown = name.size < 64 ? (int)name.size : 64;
    return pe_fail(PE_ERR_UNSUPPORTED, "architecture '%.*s' is not one that this version runs; it runs %s", shown,
                   name.data, known);
}

uint64_t pe_rule_extent(const pe_model *model, unsigned dim) {
    const pe_config *c = &model->config;
    switch (dim) {
    case PE_DIM_EMBD:
        return c->n_embd;
    case PE_DIM_EMBD_THRICE:
        return 3 * (uint64_t)c->n_embd;
    case PE_DIM_CONV:
        return c->n_conv;
    case PE_DIM_VOCAB:
        return c->n_vocab;
    case PE_DIM_CONTEXT:
        return c->n_ctx_train;
    case PE_DIM_FF:
        return c->n_ff;
    case PE_DIM_FF_TWICE:
        return 2 * (uint64_t)c->n_ff;
    case PE_DIM_FF_EXPERT:
        return c->n_ff_expert;
    case PE_DIM_EXPERT:
        return c->n_expert;
    case PE_DIM_Q:
        return (uint64_t)c->n_head * c->head_dim;
    case PE_DIM_KV:
        return (uint64_t)c->n_head_kv * c->head_dim;
    case PE_DIM_QKV:
        return (c->n_head + 2 * (uint64_t)c->n_head_kv) * c->head_dim;
    case PE_DIM_HEAD:
        return c->head_dim;
    case PE_DIM_HEADS:
        return c->n_head;
    case PE_DIM_KV_HEADS:
        return c->n_head_kv;
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
    const size_t n = (size_t)(tensor->dims[0] * tensor->dims[1]);
    float *copy = pe_arena_alloc(&model->arena, n, sizeof *copy);
    if (!copy) return PE_ERR_NOMEM;
    for (size_t row = 0; row < tensor->dims[1]; row++)
        type->decode(tensor->data + row * (tensor->size / tensor->dims[1]), copy + row * tensor->dims[0],
                     tensor->dims[0]);
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

/* A tensor of the file that must have this shape; NULL where it has none of this name. */
static pe_status find(const pe_model *model, const char *name, const uint64_t dims[3], const pe_gguf_tensor **out) {
    const pe_gguf_tensor *t = *out = pe_gguf_tensor_find(&model->gguf, name);
    if (!t) return PE_OK;
    if (t->dims[0] != dims[0] || t->dims[1] != dims[1] || t->dims[2] != dims[2] || t->dims[3] != 1)
        return pe_fail(PE_ERR_FORMAT, "tensor '%s' has shape [%llu, %llu, %llu, %llu]; expected [%llu, %llu, %llu, 1]",
                       name, (unsigned long long)t->dims[0], (unsigned long long)t->dims[1],
                       (unsigned long long)t->dims[2], (unsigned long long)t->dims[3], (unsigned long long)dims[0],
                       (unsigned long long)dims[1], (unsigned long long)dims[2]);
    if (pe_kernels_slot(t->type) < 0)
        return pe_fail(PE_ERR_UNSUPPORTED, "tensor '%s' has type %d, which has no kernels", name, t->type);
    return PE_OK;
}

static pe_status place_matrix(pe_model *model, const pe_gguf_tensor *tensor, const uint64_t dims[3], pe_weight *out) {
    *out = (pe_weight){.data = tensor->data,
                       .type = tensor->type,
                       .slot = pe_kernels_slot(tensor->type),
                       .n_in = (uint32_t)dims[0],
                       .n_out = (uint32_t)dims[1],
                       .row_bytes = (size_t)(tensor->size / (dims[1] * dims[2])),
                       .tensor = tensor};
    if (tensor->layout) return model->no_weights ? PE_OK : repack(model, tensor, out);
    if (tensor->type == 0 && (uintptr_t)tensor->data % sizeof(float))
        return pe_fail(PE_ERR_FORMAT, "tensor '%s' is not aligned to its 4-byte elements", tensor->name);
    return PE_OK;
}

/* Where the bias of a rule's tensor goes; NULL: it can have none. */
static const float **bias_of(const pe_model *model, const pe_tensor_rule *rule, char *field) {
    if (rule->kind == PE_KIND_MATRIX) return &((pe_weight *)(void *)field)->bias;
    if (rule->kind == PE_KIND_NORM && model->arch->layer_norm) return &((pe_norm *)(void *)field)->bias;
    return NULL;
}

static void name_of(const pe_tensor_rule *rule, uint32_t layer, const char *suffix, char name[static 64]) {
    const char *hole = strstr(rule->name, "%u");
    if (hole)
        snprintf(name, 64, "%.*s%u%s%s", (int)(hole - rule->name), rule->name, layer, hole + 2, suffix);
    else
        snprintf(name, 64, "%s%s", rule->name, suffix);
}

static const char *suffix_of(const pe_tensor_rule *rule) { return rule->kind == PE_KIND_BIAS ? ".bias" : ".weight"; }

bool pe_rule_belongs(const pe_model *model, const pe_tensor_rule *rule, uint32_t layer) {
    const bool experts = model->config.n_expert > 0 && layer >= model->config.n_dense_layer;
    switch (rule->layers) {
    case PE_ATTENTION_LAYERS:
    case PE_CONV_LAYERS:
        return model->layers[layer].is_conv == (rule->layers == PE_CONV_LAYERS);
    case PE_DENSE_LAYERS:
    case PE_EXPERT_LAYERS:
        return experts == (rule->layers == PE_EXPERT_LAYERS);
    default:
        return true;
    }
}

static pe_status place(pe_model *model, const pe_tensor_rule *rule, uint32_t layer, size_t *n_placed) {
    const uint64_t dims[3] = {pe_rule_extent(model, rule->in), pe_rule_extent(model, rule->out),
                              rule->kind == PE_KIND_STACK ? model->config.n_expert : 1};
    char *field = (strchr(rule->name, '%') ? (char *)&model->layers[layer] : (char *)model) + rule->field;
    const pe_gguf_tensor *tensor;
    char name[64];
    name_of(rule, layer, suffix_of(rule), name);
    pe_status status = find(model, name, dims, &tensor);
    if (status) return status;
    if (!tensor && rule->optional) return PE_OK;
    if (!tensor) return pe_fail(PE_ERR_FORMAT, "tensor '%s' is missing; %s needs it", name, model->arch->name);
    ++*n_placed;
    if (rule->kind == PE_KIND_MATRIX || rule->kind == PE_KIND_STACK)
        status = place_matrix(model, tensor, dims, (pe_weight *)(void *)field);
    else
        status = place_vector(model, tensor, (const float **)(void *)field); /* of a pe_norm: its first member */
    const float **bias = bias_of(model, rule, field);
    if (status || !bias) return status;
    name_of(rule, layer, ".bias", name);
    const bool matrix = rule->kind == PE_KIND_MATRIX;
    status = find(model, name, (const uint64_t[]){matrix ? dims[1] : dims[0], matrix ? 1 : dims[1], 1}, &tensor);
    if (status || !tensor) return status;
    ++*n_placed;
    return place_vector(model, tensor, bias);
}

/* N of a name that begins with blk.N; n_layer where it does not, or is past the layers. */
static unsigned layer_of(const char *name, unsigned n_layer) {
    unsigned layer = 0;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return n_layer;
    for (const char *digit = name + 4; *digit >= '0' && *digit <= '9' && layer < n_layer; digit++)
        layer = layer * 10 + (unsigned)(*digit - '0'); /* n_layer is far below what would overflow */
    return layer;
}

static bool is_placed(const pe_model *model, const char *name) {
    for (size_t r = 0; r < model->arch->n_rules; r++) {
        const pe_tensor_rule *rule = &model->arch->rules[r];
        char expected[64];
        const unsigned layer = strstr(rule->name, "%u") ? layer_of(name, model->config.n_layer) : 0;
        if (layer >= model->config.n_layer || !pe_rule_belongs(model, rule, layer)) continue;
        name_of(rule, layer, suffix_of(rule), expected);
        if (strcmp(expected, name) == 0) return true;
        name_of(rule, layer, ".bias", expected);
        if ((rule->kind == PE_KIND_MATRIX || rule->kind == PE_KIND_NORM) && strcmp(expected, name) == 0)
            return rule->kind == PE_KIND_MATRIX || model->arch->layer_norm;
    }
    return false;
}

/* Name one tensor that no rule placed. */
static pe_status refuse_stray(const pe_model *model) {
    for (size_t i = 0; i < model->gguf.n_tensors; i++)
        if (!is_placed(model, model->gguf.tensors[i].name))
            return pe_fail(PE_ERR_UNSUPPORTED, "tensor '%s' has no place in architecture %s with %u layers",
                           model->gguf.tensors[i].name, model->arch->name, model->config.n_layer);
    return pe_fail(PE_ERR_FORMAT, "the file has a tensor twice, or a bias of a tensor that it lacks");
}

/* Norms without weights get ones. */
static pe_status place_ones(pe_model *model) {
    const size_t n = model->config.n_embd;
    float *ones = pe_arena_alloc(&model->arena, n, sizeof *ones);
    if (!ones) return PE_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) ones[i] = 1;
    model->output_norm.weight = ones;
    for (uint32_t i = 0; i < model->config.n_layer; i++)
        model->layers[i].attn_norm.weight = model->layers[i].ffn_norm.weight = ones;
    return PE_OK;
}

static pe_weight rows_of(const pe_weight *whole, size_t first, size_t n) {
    pe_weight part = *whole;
    part.data += first * whole->row_bytes;
    part.n_out = (uint32_t)n;
    if (part.bias) part.bias += first;
    return part;
}

/* Matrices that the file has as one; the norms that two blocks share. */
static pe_status split_fused(const pe_model *model, uint32_t i) {
    pe_layer *layer = &model->layers[i];
    const pe_config *c = &model->config;
    const size_t q = (size_t)c->n_head * c->head_dim, kv = (size_t)c->n_head_kv * c->head_dim;
    if (layer->qkv.data) {
        layer->q = rows_of(&layer->qkv, 0, q);
        layer->k = rows_of(&layer->qkv, q, kv);
        layer->v = rows_of(&layer->qkv, q + kv, kv);
    }
    if (layer->up.data && layer->up.n_out == 2 * (size_t)c->n_ff) {
        const pe_weight both = layer->up;
        layer->gate = rows_of(&both, 0, c->n_ff);
        layer->up = rows_of(&both, c->n_ff, c->n_ff);
    }
    if (layer->conv_in.data) {
        layer->conv_b = rows_of(&layer->conv_in, 0, c->n_embd);
        layer->conv_c = rows_of(&layer->conv_in, c->n_embd, c->n_embd);
        layer->conv_x = rows_of(&layer->conv_in, 2 * (size_t)c->n_embd, c->n_embd);
    }
    layer->parallel = c->parallel || (layer->attn_norm.weight && !layer->ffn_norm.weight);
    if (layer->parallel && !layer->ffn_norm.weight) layer->ffn_norm = layer->attn_norm;
    if (layer->parallel && !layer->attn_norm.weight) layer->attn_norm = layer->ffn_norm;
    if (layer->is_conv || (layer->q.data && layer->k.data && layer->v.data)) return PE_OK;
    return pe_fail(PE_ERR_FORMAT, "layer %u has neither attn_qkv nor all of attn_q, attn_k and attn_v; %s needs them",
                   i, model->arch->name);
}

pe_status pe_model_load_weights(pe_model *model) {
    pe_status status = find_arch(model);
    if (!status) status = pe_model_read_config(model);
    if (status) return status;
    pe_config *c = &model->config;
    model->layers = pe_arena_alloc(&model->arena, c->n_layer, sizeof *model->layers);
    if (!model->layers) return PE_ERR_NOMEM;
    if ((status = pe_model_plan_layers(model))) return status;
    size_t n_placed = 0;
    for (size_t r = 0; r < model->arch->n_rules; r++) {
        const pe_tensor_rule *rule = &model->arch->rules[r];
        const uint32_t count = strchr(rule->name, '%') ? c->n_layer : 1;
        for (uint32_t layer = 0; layer < count; layer++)
            if (pe_rule_belongs(model, rule, layer) && (status = place(model, rule, layer, &n_placed))) return status;
    }
    if (n_placed != model->gguf.n_tensors) return refuse_stray(model);
    if (model->arch->plain_norm && (status = place_ones(model))) return status;
    if (!model->output.data) model->output = model->embeddings;
    for (uint32_t i = 0; i < c->n_layer; i++)
        if ((status = split_fused(model, i))) return status;
    for (size_t i = 0; i < model->gguf.n_tensors; i++) {
        const uint64_t *d = model->gguf.tensors[i].dims;
        model->n_params += d[0] * d[1] * d[2] * d[3];
    }
    return PE_OK;
}
