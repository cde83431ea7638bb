/* Hyperparameters by key, with the defaults of the architecture. */
#include "kernels/kernels.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LAYERS = 1024, MAX_WIDTH = 1 << 20, MAX_CONTEXT = 1 << 24, MAX_EXPERTS = 1024 };

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

/* The same where 0 stands for none. */
static pe_status read_cap(const pe_model *model, const char *key, float *out) {
    char name[128];
    *out = 0;
    pe_status status = pe_gguf_f32(&model->gguf, key_of(model, key, name), false, out);
    if (status || *out == 0) return status;
    return read_f32(model, key, false, out);
}

#define PE_READ(call)                                                                                                  \
    if ((status = (call))) return status

/* What would change the output but is not computed must stop the load, not be passed over. */
static pe_status refuse_unsupported(const pe_model *model) {
    static const char *const numbers[] = {"attention.clamp_kqv", "attention.max_alibi_bias"};
    char name[128];
    pe_status status;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        float value = 0;
        PE_READ(pe_gguf_f32(&model->gguf, key_of(model, numbers[i], name), false, &value));
        if (value != 0) return pe_fail(PE_ERR_UNSUPPORTED, "%s is %g, which is not supported", name, (double)value);
    }
    bool causal = true;
    PE_READ(pe_gguf_bool(&model->gguf, key_of(model, "attention.causal", name), false, &causal));
    if (!causal) return pe_fail(PE_ERR_UNSUPPORTED, "%s is false: attention in both directions is not supported", name);
    return PE_OK;
}

static pe_status read_experts(pe_model *model) {
    pe_config *c = &model->config;
    const pe_arch *arch = model->arch;
    pe_status status;
    PE_READ(read_u32(model, "expert_count", false, 0, MAX_EXPERTS, &c->n_expert));
    if (c->n_expert == 0 && (arch->routing == PE_NO_EXPERTS || arch->experts_optional)) return PE_OK;
    if (arch->routing == PE_NO_EXPERTS)
        return pe_fail(PE_ERR_UNSUPPORTED, "%s.expert_count is %u: experts are not supported in this architecture",
                       arch->name, c->n_expert);
    PE_READ(read_u32(model, "expert_count", true, 1, MAX_EXPERTS, &c->n_expert));
    PE_READ(read_u32(model, "expert_used_count", true, 1, c->n_expert, &c->n_expert_used));
    c->n_ff_expert = c->n_ff;
    PE_READ(read_u32(model, "expert_feed_forward_length", c->n_ff == 0, 1, MAX_WIDTH, &c->n_ff_expert));
    PE_READ(read_u32(model, "leading_dense_block_count", false, 0, c->n_layer, &c->n_dense_layer));
    uint32_t gating = arch->routing == PE_SIGMOID ? 2 : 1; /* 1: softmax, 2: sigmoid; 0 stands for none */
    const uint32_t expected = gating;
    PE_READ(read_u32(model, "expert_gating_func", false, 0, 4, &gating));
    if (gating != 0 && gating != expected)
        return pe_fail(PE_ERR_UNSUPPORTED, "%s.expert_gating_func %u is not supported in this architecture", arch->name,
                       gating);
    uint32_t groups = 1;
    PE_READ(read_u32(model, "expert_group_count", false, 0, MAX_EXPERTS, &groups));
    if (groups > 1) return pe_fail(PE_ERR_UNSUPPORTED, "%s.expert_group_count %u is not supported", arch->name, groups);
    float scale = 1;
    PE_READ(read_f32(model, "expert_weights_scale", false, &scale));
    if (scale != 1.0f) return pe_fail(PE_ERR_UNSUPPORTED, "%s.expert_weights_scale is not supported", arch->name);
    char name[128];
    c->expert_norm = arch->routing != PE_SOFTMAX_ALL;
    return pe_gguf_bool(&model->gguf, key_of(model, "expert_weights_norm", name), false, &c->expert_norm);
}

static const pe_gguf_kv *list_of(const pe_model *model, const char *key, char name[static 128]) {
    const pe_gguf_kv *kv = pe_gguf_find(&model->gguf, key_of(model, key, name));
    return kv && kv->type == PE_META_ARRAY ? kv : NULL;
}

/* Item of a list of small integers; UINT32_MAX where it is none. */
static uint32_t item_of(const pe_gguf_kv *list, uint32_t i) {
    pe_meta item;
    pe_gguf_value(list, i, &item);
    const bool is_signed = item.type == PE_META_I32 || item.type == PE_META_I64;
    const bool fits = is_signed ? item.value.i >= 0 && item.value.i < INT32_MAX
                                : (item.type == PE_META_U32 || item.type == PE_META_U64) && item.value.u < INT32_MAX;
    return fits ? (uint32_t)item.value.u : UINT32_MAX;
}

/* One number for all layers; or, of architectures with short convolutions, one for each: 0 for those without attention.
 */
static pe_status read_kv_heads(pe_model *model) {
    pe_config *c = &model->config;
    const char *key = "attention.head_count_kv";
    char name[128];
    const pe_gguf_kv *list = model->arch->short_conv ? list_of(model, key, name) : NULL;
    c->n_head_kv = list ? 0 : c->n_head;
    if (!list) return read_u32(model, key, false, 1, c->n_head, &c->n_head_kv);
    if (list->n_items != c->n_layer)
        return pe_fail(PE_ERR_FORMAT, "%s has %llu entries; expected one for each of %u layers", name,
                       (unsigned long long)list->n_items, c->n_layer);
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const uint32_t n = item_of(list, i);
        if (n > c->n_head || (n && c->n_head_kv && n != c->n_head_kv))
            return pe_fail(PE_ERR_FORMAT, "%s: entry %u is neither 0 nor the number of the other layers", name, i);
        if (n) c->n_head_kv = n;
        c->n_conv_layer += n == 0;
    }
    if (c->n_head_kv == 0) return pe_fail(PE_ERR_UNSUPPORTED, "%s: no layer has attention", name);
    return read_u32(model, "shortconv.l_cache", true, 1, 16, &c->n_conv);
}

static pe_status read_heads(pe_model *model) {
    pe_config *c = &model->config;
    pe_status status;
    PE_READ(read_u32(model, "attention.head_count", true, 1, MAX_WIDTH, &c->n_head));
    PE_READ(read_kv_heads(model));
    if (c->n_head % c->n_head_kv)
        return pe_fail(PE_ERR_FORMAT, "%s.attention.head_count %u is not a multiple of head_count_kv %u",
                       model->arch->name, c->n_head, c->n_head_kv);
    c->head_dim = c->n_embd / c->n_head;
    PE_READ(read_u32(model, "attention.key_length", false, 2, 4096, &c->head_dim));
    if (c->head_dim < 2) return pe_fail(PE_ERR_FORMAT, "%u heads are too many for a width of %u", c->n_head, c->n_embd);
    uint32_t value_length = c->head_dim;
    PE_READ(read_u32(model, "attention.value_length", false, 2, 4096, &value_length));
    if (value_length != c->head_dim)
        return pe_fail(PE_ERR_UNSUPPORTED, "key length %u and value length %u differ, which is not supported",
                       c->head_dim, value_length);
    if ((uint64_t)c->n_head * c->head_dim > MAX_WIDTH)
        return pe_fail(PE_ERR_FORMAT, "%u heads of %u are wider than %d", c->n_head, c->head_dim, MAX_WIDTH);
    return PE_OK;
}

static bool same(pe_view view, const char *text) {
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

static pe_status read_scaling_type(const pe_model *model, pe_rope_scaling *out) {
    static const char *const names[] = {"none", "linear", "yarn", "longrope"}; /* as pe_rope_scaling */
    char name[128];
    pe_view text = {"none", 4};
    pe_status status = pe_gguf_string(&model->gguf, key_of(model, "rope.scaling.type", name), false, &text);
    if (status) return status;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (same(text, names[i])) {
            *out = (pe_rope_scaling)i;
            return PE_OK;
        }
    return pe_fail(PE_ERR_UNSUPPORTED, "%s '%.*s' is not supported; none, linear, yarn and longrope are", name,
                   text.size < 32 ? (int)text.size : 32, text.data);
}

static pe_status read_rope(pe_model *model) {
    pe_config *c = &model->config;
    const pe_arch *arch = model->arch;
    pe_status status;
    if (arch->no_rope) return PE_OK;
    c->n_rot = c->head_dim;
    PE_READ(read_u32(model, "rope.dimension_count", false, 2, c->head_dim, &c->n_rot));
    if (c->n_rot % 2) return pe_fail(PE_ERR_FORMAT, "%s.rope.dimension_count %u is odd", arch->name, c->n_rot);
    c->rope_base = arch->rope_base;
    PE_READ(read_f32(model, "rope.freq_base", false, &c->rope_base));
    c->rope_base_window = arch->rope_base_window > 0 ? arch->rope_base_window : c->rope_base;
    if (arch->window_unscaled) PE_READ(read_f32(model, "rope.freq_base_swa", false, &c->rope_base_window));
    PE_READ(read_scaling_type(model, &c->rope_scaling));
    c->rope_factor = 1.0f;
    PE_READ(read_f32(model, "rope.scaling.factor", false, &c->rope_factor));
    c->n_ctx_original = c->n_ctx_train;
    PE_READ(read_u32(model, "rope.scaling.original_context_length", false, 1, MAX_CONTEXT, &c->n_ctx_original));
    c->yarn_fast = 32.0f;
    c->yarn_slow = 1.0f;
    PE_READ(read_f32(model, "rope.scaling.yarn_beta_fast", false, &c->yarn_fast));
    PE_READ(read_f32(model, "rope.scaling.yarn_beta_slow", false, &c->yarn_slow));
    c->rope_attn = 1.0f;
    if (c->rope_scaling == PE_SCALE_YARN) { /* https://arxiv.org/abs/2309.00071, section 3.4 */
        if (c->rope_factor > 1.0f) c->rope_attn = 1.0f + 0.1f * logf(c->rope_factor);
        float all = 0; /* https://huggingface.co/docs/transformers: mscale_all_dim, with an mscale of 1 */
        PE_READ(read_cap(model, "rope.scaling.yarn_log_multiplier", &all));
        if (all > 0 && c->rope_factor > 1.0f) c->rope_attn /= 1.0f + 0.1f * all * logf(c->rope_factor);
        PE_READ(read_f32(model, "rope.scaling.yarn_attn_factor", false, &c->rope_attn));
    }
    PE_READ(read_cap(model, "attention.temperature_scale", &c->score_growth));
    float attn_factor = 1.0f;
    PE_READ(read_f32(model, "rope.scaling.attn_factor", false, &attn_factor));
    c->rope_attn *= attn_factor;
    return PE_OK;
}

static pe_status read_factors(pe_model *model) {
    pe_config *c = &model->config;
    const pe_arch *arch = model->arch;
    pe_status status;
    const bool wide = arch->wide_scale_layers && c->n_layer == arch->wide_scale_layers;
    c->score_scale = 1.0f / sqrtf(wide ? (float)c->n_embd / (float)c->n_head : (float)c->head_dim);
    c->embd_scale = arch->scale_embeddings ? sqrtf((float)c->n_embd) : 1.0f;
    c->residual_scale = c->logit_scale = 1.0f;
    PE_READ(read_f32(model, "attention.scale", false, &c->score_scale));
    PE_READ(read_f32(model, "embedding_scale", arch->needs_scales, &c->embd_scale));
    PE_READ(read_f32(model, "residual_scale", arch->needs_scales, &c->residual_scale));
    PE_READ(read_f32(model, "logit_scale", arch->needs_scales, &c->logit_scale));
    if (arch->logit_divisor) c->logit_scale = 1.0f / c->logit_scale;
    PE_READ(read_cap(model, "attn_logit_softcapping", &c->score_cap));
    return read_cap(model, "final_logit_softcapping", &c->logit_cap);
}

pe_status pe_model_read_config(pe_model *model) {
    pe_config *c = &model->config;
    const pe_arch *arch = model->arch;
    pe_status status;
    PE_READ(refuse_unsupported(model));
    PE_READ(read_u32(model, "block_count", true, 1, MAX_LAYERS, &c->n_layer));
    PE_READ(read_u32(model, "context_length", true, 1, MAX_CONTEXT, &c->n_ctx_train));
    PE_READ(read_u32(model, "embedding_length", true, 1, MAX_WIDTH, &c->n_embd));
    PE_READ(read_u32(model, "feed_forward_length", !arch->routing, 0, MAX_WIDTH, &c->n_ff));
    PE_READ(read_experts(model));
    if (c->n_ff == 0 && (c->n_expert == 0 || c->n_dense_layer > 0))
        return pe_fail(PE_ERR_FORMAT, "%s.feed_forward_length is 0", arch->name);
    PE_READ(read_heads(model));
    PE_READ(read_rope(model));
    char name[128];
    c->parallel = arch->parallel;
    if (arch->parallel_key)
        PE_READ(pe_gguf_bool(&model->gguf, key_of(model, "use_parallel_residual", name), true, &c->parallel));
    const char *eps = arch->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    PE_READ(read_f32(model, eps, true, &c->norm_eps));
    const bool must = arch->window_pattern && !arch->window_optional; /* have a window */
    c->window = arch->window_default;
    if (arch->window_pattern)
        PE_READ(read_u32(model, "attention.sliding_window", must && !c->window, must, MAX_CONTEXT, &c->window));
    PE_READ(read_factors(model));
    const pe_gguf_kv *tokens = pe_gguf_find(&model->gguf, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->strings || tokens->type != PE_META_ARRAY || tokens->n_items == 0)
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.tokens is missing or is no list of strings");
    if (tokens->n_items > MAX_WIDTH * 16u)
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.tokens has %llu entries; at most %d are supported",
                       (unsigned long long)tokens->n_items, MAX_WIDTH * 16);
    c->n_vocab = (uint32_t)tokens->n_items;
    return PE_OK;
}

/* Which layers are windowed: by the file's list or number, else by the architecture's pattern. */
static pe_status plan_windows(pe_model *model) {
    const uint32_t n_layer = model->config.n_layer;
    char name[128];
    uint32_t pattern = model->arch->window_pattern;
    const pe_gguf_kv *list = pe_gguf_find(&model->gguf, key_of(model, "attention.sliding_window_pattern", name));
    pe_status status;
    if (list && list->type == PE_META_ARRAY) {
        if (list->item_type != PE_META_BOOL || list->n_items != n_layer)
            return pe_fail(PE_ERR_FORMAT, "%s has %llu entries; expected one boolean for each of %u layers", name,
                           (unsigned long long)list->n_items, n_layer);
    } else if (list) {
        PE_READ(read_u32(model, "attention.sliding_window_pattern", true, 1, PE_ALL_LAYERS, &pattern));
        list = NULL;
    }
    for (uint32_t i = 0; i < n_layer; i++) {
        pe_meta item = {.value.b = i % pattern != pattern - 1};
        if (list) pe_gguf_value(list, i, &item);
        model->layers[i].windowed = item.value.b;
    }
    return PE_OK;
}

pe_status pe_model_plan_layers(pe_model *model) {
    const pe_arch *arch = model->arch;
    pe_status status;
    if (model->config.window) PE_READ(plan_windows(model));
    char name[128];
    const pe_gguf_kv *kv_heads = arch->short_conv ? list_of(model, "attention.head_count_kv", name) : NULL;
    uint32_t counts[2] = {0, 0};
    for (uint32_t i = 0; i < model->config.n_layer; i++) {
        pe_layer *layer = &model->layers[i];
        layer->is_conv = kv_heads && item_of(kv_heads, i) == 0;
        layer->cache_index = counts[layer->is_conv]++;
        const bool without = arch->no_rope || (arch->rope_window_only && model->config.window && !layer->windowed) ||
                             (arch->no_rope_step && (i + 1) % arch->no_rope_step == 0);
        layer->rope = without ? PE_NO_ROPE : layer->windowed && arch->window_unscaled ? PE_ROPE_WINDOW : PE_ROPE_FULL;
    }
    return PE_OK;
}
