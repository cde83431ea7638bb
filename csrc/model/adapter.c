/* From the bytes of an adapter to changes of a model's tensors. All that a forward pass relies on is checked here. */
#include "model/adapter.h"
#include "base/half.h"
#include "base/hash.h"
#include "format/nano.h"
#include "format/nano_adapter.h"
#include "format/peft.h"
#include "format/safetensors.h"
#include "kernels/kernels.h"
#include "quant/types.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_BF16 = 30, MAX_RANK = 1 << 16, HALF_EXPONENT = 10, MOST_SHIFT = 40 };

/* What a tensor of an adapter is, by its name. */
typedef enum part { PART_A, PART_B, PART_WHOLE, PART_STRAY } part;

typedef struct reader {
    pe_adapter *adapter;
    const pe_model *model;
    pe_gguf gguf;
    const pe_peft *peft; /* NULL: names and scale are those of GGUF, */
    float alpha;         /* this one */
    uint8_t *seen;       /* [n_rules, n_layer] what there is a change of already */
    char strays[512];    /* names that have no place in the model */
    size_t n_strays;
} reader;

/* A name taken apart. */
typedef struct piece {
    part part;
    pe_view module;  /* "model.layers.0.self_attn.q_proj", "blk.0.attn_q" */
    size_t letter;   /* offset of the A or B in the name */
    bool embedding;  /* lora_embedding_A: [rank, n_vocab] */
    bool base_layer; /* a copy of the base itself, of layers that the adapter adds to */
} piece;

static bool ends(pe_view view, const char *text) {
    const size_t n = strlen(text);
    return view.size >= n && memcmp(view.data + view.size - n, text, n) == 0;
}

static bool cut(pe_view *view, const char *text) {
    if (!ends(*view, text)) return false;
    view->size -= strlen(text);
    return true;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* "blk.0.attn_q.weight.lora_a" */
static piece gguf_piece(const char *name) {
    piece p = {.part = PART_STRAY, .module = {name, strlen(name)}};
    const bool a = ends(p.module, ".weight.lora_a"), b = ends(p.module, ".weight.lora_b");
    if (!a && !b) return p;
    p.letter = p.module.size - 1;
    p.module.size -= strlen(".weight.lora_a");
    p.part = a ? PART_A : PART_B;
    return p;
}

/* "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", perhaps with the adapter's name, "lora_A.default";
 * "lora_embedding_A"; or a tensor as it is in the model, "lm_head.weight", "lm_head.modules_to_save.default.weight". */
static piece peft_piece(const char *name) {
    static const char prefix[] = "base_model.model.", marker[] = ".lora_", embedding[] = "embedding_";
    const char *start = strncmp(name, prefix, strlen(prefix)) == 0 ? name + strlen(prefix) : name;
    piece p = {.part = PART_STRAY, .module = {start, strlen(start)}};
    const char *found = strstr(start, marker);
    if (!found) {
        if (!cut(&p.module, ".weight")) return p;
        cut(&p.module, ".default");
        cut(&p.module, ".modules_to_save");
        p.base_layer = cut(&p.module, ".base_layer");
        p.part = PART_WHOLE;
        return p;
    }
    const char *rest = found + strlen(marker);
    p.embedding = strncmp(rest, embedding, strlen(embedding)) == 0;
    if (p.embedding) rest += strlen(embedding);
    const pe_view after = {rest + 1, *rest ? strlen(rest + 1) : 0};
    const bool letter = *rest == 'A' || *rest == 'B',
               ends_well = p.embedding ? !ends(after, ".bias") : ends(after, ".weight");
    if (!letter || (after.size && after.data[0] != '.') || !ends_well) return p;
    p.module.size = (size_t)(found - start);
    cut(&p.module, ".base_layer");
    p.letter = (size_t)(rest - name);
    p.part = *rest == 'A' ? PART_A : PART_B;
    return p;
}

static piece piece_of(const reader *r, const char *name) { return r->peft ? peft_piece(name) : gguf_piece(name); }

/* The same name with the other letter. */
static pe_status partner_of(reader *r, const pe_gguf_tensor *t, const piece *p, const pe_gguf_tensor **out) {
    char *name = pe_arena_string(&r->gguf.arena, t->name, strlen(t->name));
    if (!name) return PE_ERR_NOMEM;
    name[p->letter] = (char)(name[p->letter] ^ 'A' ^ 'B');
    *out = pe_gguf_tensor_find(&r->gguf, name);
    if (*out) return PE_OK;
    return pe_fail(PE_ERR_FORMAT, "tensor '%.200s' has no partner '%.200s'; an adapter has both, A and B", t->name,
                   name);
}

static void note_stray(reader *r, const char *name) {
    const size_t used = strlen(r->strays);
    if (r->n_strays++ < 4) snprintf(r->strays + used, sizeof r->strays - used, "%s%.120s", used ? ", " : "", name);
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

/* All values of a matrix as floats, to be freed; each must be finite. *top is the largest magnitude. */
static pe_status read_values(const pe_gguf_tensor *t, float **out, float *top) {
    const pe_quant_type *type = pe_quant_find(t->type);
    const size_t n_in = (size_t)t->dims[0], n_rows = (size_t)(t->dims[1] * t->dims[2]);
    if (!type)
        return pe_fail(PE_ERR_UNSUPPORTED, "tensor '%.200s' has type %d, which has no kernels", t->name, t->type);
    if (n_rows > SIZE_MAX / sizeof(float) / n_in)
        return pe_fail(PE_ERR_NOMEM, "tensor '%.200s' is too large for memory", t->name);
    float *values = pe_mem_alloc(n_rows * n_in, sizeof *values);
    if (!values) return PE_ERR_NOMEM;
    *top = 0;
    for (size_t row = 0; row < n_rows; row++)
        type->decode(t->data + row * (size_t)(t->size / n_rows), values + row * n_in, n_in);
    for (size_t i = 0; i < n_rows * n_in; i++) {
        const float magnitude = fabsf(values[i]);
        if (!(magnitude <= 3.4e38f)) { /* NaN too */
            const pe_status status =
                pe_fail(PE_ERR_FORMAT, "tensor '%.200s' has %s at row %zu, column %zu; all values must be finite",
                        t->name, isnan(values[i]) ? "a NaN" : "an infinity", i / n_in, i % n_in);
            pe_mem_free(values);
            return status;
        }
        if (magnitude > *top) *top = magnitude;
    }
    *out = values;
    return PE_OK;
}

/* The power of two that values of such a magnitude are multiplied with before they become halves: none where they were
 * halves. */
static int shift_of(const pe_gguf_tensor *t, float top) {
    int exponent = 0;
    if (t->type == TYPE_F16 || top == 0) return 0;
    frexpf(top, &exponent);
    const int shift = HALF_EXPONENT - exponent;
    return shift > MOST_SHIFT ? MOST_SHIFT : shift;
}

/* The row of the model's tensor that row `i` of the adapter's is for. */
static size_t row_in_model(const reader *r, const pe_tensor_rule *rule, size_t i) {
    const pe_config *c = &r->model->config;
    const size_t head = c->head_dim, half = head / 2;
    if (!r->peft) return i;
    const bool q_or_k = rule->field == offsetof(pe_layer, q) || rule->field == offsetof(pe_layer, k);
    if (r->model->arch->permuted_heads && q_or_k && strncmp(rule->name, "blk.", 4) == 0)
        return i / head * head + i % half * 2 + i % head / half;
    if (r->model->arch->grouped_qkv && rule->field == offsetof(pe_layer, qkv)) {
        const size_t per_group = c->n_head / c->n_head_kv, in = i / head % (per_group + 2);
        const size_t group = i / head / (per_group + 2), at = i % head;
        const size_t q_rows = (size_t)c->n_head * head, kv_rows = (size_t)c->n_head_kv * head;
        return in < per_group    ? (group * per_group + in) * head + at
               : in == per_group ? q_rows + group * head + at
                                 : q_rows + kv_rows + group * head + at;
    }
    return i;
}

typedef struct placing { /* how values [n_rows, n_in] are kept */
    bool transpose, f32;
    const pe_tensor_rule *rows; /* whose rows they are; NULL: as they are */
} placing;

static pe_status keep_values(reader *r, const pe_gguf_tensor *t, placing how, const uint8_t **out, float *scale) {
    const size_t n_in = (size_t)t->dims[0], n_rows = (size_t)t->dims[1];
    float *values, top;
    pe_status status = read_values(t, &values, &top);
    if (status) return status;
    const int shift = how.f32 ? 0 : shift_of(t, top);
    const float factor = ldexpf(1.0f, shift);
    const size_t bytes = n_in * n_rows * (how.f32 ? sizeof(float) : sizeof(uint16_t));
    uint8_t *kept = pe_arena_alloc(&r->adapter->arena, bytes, 1);
    for (size_t i = 0; kept && i < n_rows; i++) {
        const size_t row = how.rows ? row_in_model(r, how.rows, i) : i;
        const size_t at = how.transpose ? row : row * n_in, step = how.transpose ? n_rows : 1;
        for (size_t j = 0; j < n_in; j++) {
            const float value = values[i * n_in + j] * factor;
            if (how.f32)
                ((float *)(void *)kept)[at + j * step] = value;
            else
                ((uint16_t *)(void *)kept)[at + j * step] = pe_float_to_half(value);
        }
    }
    pe_mem_free(values);
    if (!kept) return PE_ERR_NOMEM;
    *scale = ldexpf(*scale, -shift);
    *out = kept;
    r->adapter->hash = pe_hash_mix(r->adapter->hash, kept, bytes);
    r->adapter->n_params += n_in * n_rows;
    return PE_OK;
}

/* ---- changes ---------------------------------------------------------------------------------------------------- */

/* A change of one tensor, of which there is one pair and one replacement at most. */
static pe_status add_change(reader *r, const pe_tensor_rule *rule, uint32_t layer, bool whole, const char *name,
                            pe_change **out) {
    uint8_t *seen = &r->seen[(size_t)(rule - r->model->arch->rules) * r->model->config.n_layer + layer];
    const uint8_t bit = whole ? 2 : 1;
    if (*seen & bit)
        return pe_fail(PE_ERR_FORMAT, "tensor '%.200s' is for a tensor of the model that another one is for already",
                       name);
    *seen |= bit;
    *out = &r->adapter->changes[r->adapter->n_changes++];
    **out = (pe_change){.rule = rule, .layer = layer};
    r->adapter->hash = pe_hash_mix(r->adapter->hash, rule->name, strlen(rule->name));
    r->adapter->hash = pe_hash_mix(r->adapter->hash, &layer, sizeof layer);
    return PE_OK;
}

static const pe_tensor_rule *rule_of(const reader *r, pe_view module, uint32_t *layer) {
    return r->peft ? pe_adapter_module(r->model, module, layer) : pe_adapter_tensor(r->model, module, layer);
}

/* Whether the rule is that of a matrix outside of the layers. */
static bool is_end(const pe_tensor_rule *rule, size_t field) {
    return rule->kind == PE_KIND_MATRIX && rule->field == field && strncmp(rule->name, "blk.", 4) != 0;
}
static bool is_embeddings(const pe_tensor_rule *rule) { return is_end(rule, offsetof(pe_model, embeddings)); }

static pe_status refuse_shape(const pe_gguf_tensor *t, const char *wants, uint64_t wanted, uint64_t found) {
    return pe_fail(PE_ERR_FORMAT,
                   "tensor '%.200s' of shape [%llu, %llu] does not fit: the model has %s %llu, not %llu; is it an "
                   "adapter of another model?",
                   t->name, (unsigned long long)t->dims[1], (unsigned long long)t->dims[0], wants,
                   (unsigned long long)wanted, (unsigned long long)found);
}

static bool is_matrix(const pe_gguf_tensor *t) { return t->dims[2] == 1 && t->dims[3] == 1; }

/* The matrix that a rule is of, or its first part where the model has it in parts; data NULL: it has none. */
static const pe_weight *base_of(const pe_model *model, const pe_tensor_rule *rule, uint32_t layer) {
    const char *owner = strncmp(rule->name, "blk.", 4) == 0 ? (const char *)&model->layers[layer] : (const char *)model;
    const pe_weight *base = (const pe_weight *)(const void *)(owner + rule->field);
    return !base->data && owner != (const char *)model && rule->field == offsetof(pe_layer, qkv)
               ? &model->layers[layer].q
               : base;
}

static pe_status add_pair(reader *r, const pe_gguf_tensor *a, const pe_gguf_tensor *b, const piece *p) {
    uint32_t layer;
    const pe_tensor_rule *rule = rule_of(r, p->module, &layer);
    if (!rule || rule->kind != PE_KIND_MATRIX || (r->peft && is_embeddings(rule) != p->embedding) ||
        is_end(rule, offsetof(pe_model, positions)) || !base_of(r->model, rule, layer)->data) {
        if (rule && rule->kind == PE_KIND_STACK)
            return pe_fail(PE_ERR_UNSUPPORTED, "tensor '%.200s' adapts experts, which is not supported", a->name);
        note_stray(r, a->name);
        return PE_OK;
    }
    if (!is_matrix(a) || !is_matrix(b))
        return pe_fail(PE_ERR_FORMAT, "tensor '%.200s': A and B must be matrices", a->name);
    const bool embeddings = is_embeddings(rule);
    const uint64_t n_in = pe_rule_extent(r->model, rule->in), n_out = pe_rule_extent(r->model, rule->out);
    /* Of the embeddings A has a column (GGUF: a row) for each token, and B gives a row of the embeddings. */
    const uint64_t a_in = embeddings && !p->embedding ? a->dims[1] : a->dims[0];
    const uint64_t rank = embeddings && !p->embedding ? a->dims[0] : a->dims[1];
    if (a_in != (embeddings ? n_out : n_in))
        return refuse_shape(a, embeddings ? "tokens" : "a width of", embeddings ? n_out : n_in, a_in);
    if (b->dims[1] != (embeddings ? n_in : n_out))
        return refuse_shape(b, "an output of", embeddings ? n_in : n_out, b->dims[1]);
    if (b->dims[0] != rank || rank > MAX_RANK)
        return pe_fail(PE_ERR_FORMAT, "tensor '%.200s' has rank %llu, but its partner '%.200s' has %llu", a->name,
                       (unsigned long long)rank, b->name, (unsigned long long)b->dims[0]);
    float scale = r->alpha / (float)rank;
    if (r->peft) {
        uint32_t said;
        const pe_status status = pe_peft_scale(r->peft, p->module, &said, &scale);
        if (status) return status;
        if (said != rank)
            return pe_fail(PE_ERR_FORMAT, "tensor '%.200s' has rank %llu; adapter_config.json says %u for it", a->name,
                           (unsigned long long)rank, said);
    }
    pe_change *change;
    pe_status status = add_change(r, rule, layer, false, a->name, &change);
    if (status) return status;
    pe_delta *delta = &change->delta;
    delta->rank = (uint32_t)rank;
    delta->b_stride = (size_t)b->dims[1];
    delta->f32 = a->type != TYPE_F16 && b->type != TYPE_F16 && base_of(r->model, rule, layer)->type == TYPE_F32;
    status = keep_values(r, a, (placing){p->embedding, delta->f32, NULL}, &delta->a, &scale);
    if (!status) status = keep_values(r, b, (placing){true, delta->f32, rule}, &delta->b, &scale);
    if (!status && !isfinite(scale))
        status =
            pe_fail(PE_ERR_FORMAT, "tensor '%.200s': its values and the scale of the adapter are too large", a->name);
    delta->scale = scale;
    r->adapter->hash = pe_hash_mix(r->adapter->hash, &scale, sizeof scale);
    if (delta->rank > r->adapter->rank) r->adapter->rank = delta->rank;
    return status;
}

/* The weights of a norm instead of the model's. */
static pe_status replace_norm(reader *r, const pe_gguf_tensor *t, const pe_tensor_rule *rule, pe_change *change) {
    const uint64_t n = pe_rule_extent(r->model, rule->in) * pe_rule_extent(r->model, rule->out);
    if (t->dims[0] * t->dims[1] != n || !is_matrix(t)) return refuse_shape(t, "values of the norm:", n, t->dims[0]);
    float *values, top;
    pe_status status = read_values(t, &values, &top);
    if (status) return status;
    float *copy = pe_arena_alloc(&r->adapter->arena, (size_t)n, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++) copy[i] = values[i] + (r->model->arch->shifted_norms ? 1.0f : 0.0f);
    pe_mem_free(values);
    if (!copy) return PE_ERR_NOMEM;
    r->adapter->hash = pe_hash_mix(r->adapter->hash, copy, (size_t)n * sizeof *copy);
    change->vector = copy;
    return PE_OK;
}

/* The embeddings or the head instead of the model's, in the type that they come in. */
static pe_status replace_matrix(reader *r, const pe_gguf_tensor *t, const pe_tensor_rule *rule, pe_change *change) {
    const uint64_t n_in = pe_rule_extent(r->model, rule->in), n_out = pe_rule_extent(r->model, rule->out);
    if (t->dims[0] != n_in || !is_matrix(t)) return refuse_shape(t, "a width of", n_in, t->dims[0]);
    if (t->dims[1] != n_out) return refuse_shape(t, "an output of", n_out, t->dims[1]);
    float *values, top;
    pe_status status = read_values(t, &values, &top);
    if (status) return status;
    const bool as_is = t->type == TYPE_F16 || t->type == TYPE_BF16;
    const size_t bytes = as_is ? (size_t)t->size : (size_t)(n_in * n_out) * sizeof(float);
    uint8_t *copy = pe_arena_alloc(&r->adapter->arena, bytes, 1);
    if (copy) memcpy(copy, as_is ? t->data : (const uint8_t *)(const void *)values, bytes);
    pe_mem_free(values);
    if (!copy) return PE_ERR_NOMEM;
    const int type = as_is ? t->type : TYPE_F32;
    change->matrix = (pe_weight){.data = copy,
                                 .type = type,
                                 .slot = pe_kernels_slot(type),
                                 .n_in = (uint32_t)n_in,
                                 .n_out = (uint32_t)n_out,
                                 .row_bytes = bytes / (size_t)n_out};
    r->adapter->hash = pe_hash_mix(r->adapter->hash, copy, bytes);
    return PE_OK;
}

static pe_status add_whole(reader *r, const pe_gguf_tensor *t, const piece *p) {
    uint32_t layer;
    const pe_tensor_rule *rule = rule_of(r, p->module, &layer);
    if (!rule) {
        note_stray(r, t->name);
        return PE_OK;
    }
    const bool head = is_embeddings(rule) || is_end(rule, offsetof(pe_model, output));
    if (rule->kind != PE_KIND_NORM && !head)
        return pe_fail(PE_ERR_UNSUPPORTED,
                       "tensor '%.200s' is a whole matrix of a layer (modules_to_save); only those of norms, of the "
                       "embeddings and of the head are supported: merge the adapter with PEFT",
                       t->name);
    r->adapter->replaces = true;
    r->adapter->n_params += t->dims[0] * t->dims[1];
    pe_change *change;
    pe_status status = add_change(r, rule, layer, true, t->name, &change);
    if (status) return status;
    if (rule->kind == PE_KIND_NORM) return replace_norm(r, t, rule, change);
    status = replace_matrix(r, t, rule, change);
    /* A copy of the base goes to the head as well where the model has one matrix for both. */
    const pe_model *m = r->model;
    if (status || !p->base_layer || !is_embeddings(rule) || m->output.data != m->embeddings.data) return status;
    const pe_tensor_rule *output = pe_adapter_tensor(m, (pe_view){"output", 6}, &layer);
    pe_change *tied = NULL;
    status = output ? add_change(r, output, 0, true, t->name, &tied) : PE_OK;
    if (tied) tied->matrix = change->matrix;
    return status;
}

static pe_status add_tensor(reader *r, const pe_gguf_tensor *t) {
    const piece p = piece_of(r, t->name);
    const pe_gguf_tensor *partner;
    pe_status status = PE_OK;
    switch (p.part) {
    case PART_A:
        status = partner_of(r, t, &p, &partner);
        return status ? status : add_pair(r, t, partner, &p);
    case PART_B:
        return partner_of(r, t, &p, &partner); /* added with its A */
    case PART_WHOLE:
        return add_whole(r, t, &p);
    default:
        if (strstr(t->name, "lora_magnitude"))
            return pe_fail(
                PE_ERR_UNSUPPORTED,
                "tensor '%.200s' is of DoRA, which rescales the rows of the base and is not supported; merge "
                "the adapter with PEFT",
                t->name);
        if (!r->peft)
            return pe_fail(PE_ERR_UNSUPPORTED,
                           "tensor '%.200s' is neither '.lora_a' nor '.lora_b' of a matrix; whole tensors in a GGUF "
                           "adapter are not supported, those of a PEFT folder (modules_to_save) are",
                           t->name);
        return pe_fail(PE_ERR_UNSUPPORTED,
                       "tensor '%.200s' is neither A nor B of an adapter, nor the weight of a module (biases are not "
                       "supported)",
                       t->name);
    }
}

static pe_status add_all(reader *r) {
    pe_adapter *adapter = r->adapter;
    const size_t n = r->gguf.n_tensors;
    if (n == 0) return pe_fail(PE_ERR_FORMAT, "there are no tensors in it");
    adapter->changes = pe_arena_alloc(&adapter->arena, n + 1, sizeof *adapter->changes); /* a base may count twice */
    r->seen = pe_arena_alloc(&r->gguf.arena, r->model->arch->n_rules, r->model->config.n_layer);
    if (!adapter->changes || !r->seen) return PE_ERR_NOMEM;
    adapter->hash = PE_HASH_START;
    for (size_t i = 0; i < n; i++) {
        const pe_status status = add_tensor(r, &r->gguf.tensors[i]);
        if (status) return status;
    }
    if (r->n_strays)
        return pe_fail(PE_ERR_FORMAT,
                       "%zu of %zu tensors match nothing in this model (%s with %u layers): %s%s; is it an adapter of "
                       "another model?",
                       r->n_strays, n, r->model->arch->name, r->model->config.n_layer, r->strays,
                       r->n_strays > 4 ? ", ..." : "");
    return PE_OK;
}

/* ---- formats ---------------------------------------------------------------------------------------------------- */

static pe_status need_text(const pe_gguf *gguf, const char *key, const char *wanted) {
    pe_view found = {"", 0};
    const pe_status status = pe_gguf_string(gguf, key, false, &found);
    if (status || (found.size == strlen(wanted) && memcmp(found.data, wanted, found.size) == 0)) return status;
    if (found.size == 0)
        return pe_fail(PE_ERR_FORMAT, "key '%s' is missing; of a LoRA adapter for this model it is %s", key, wanted);
    return pe_fail(PE_ERR_FORMAT, "key '%s' is %.*s; of a LoRA adapter for this model it is %s", key,
                   (int)(found.size < 64 ? found.size : 64), found.data, wanted);
}

static pe_status read_gguf(reader *r, const uint8_t *data, size_t size) {
    r->adapter->format = "GGUF";
    pe_status status = pe_gguf_parse(data, size, pe_quant_row_size, &r->gguf);
    if (!status) status = need_text(&r->gguf, "general.type", "adapter");
    if (!status) status = need_text(&r->gguf, "adapter.type", "lora");
    if (!status) status = need_text(&r->gguf, "general.architecture", r->model->arch->name);
    if (!status) status = pe_gguf_f32(&r->gguf, "adapter.lora.alpha", false, &r->alpha);
    if (!status && r->alpha == 0)
        status =
            pe_fail(PE_ERR_FORMAT, "key 'adapter.lora.alpha' is missing or 0: nothing says how strong the adapter is");
    return status ? status : add_all(r);
}

static pe_status read_nano(reader *r, const uint8_t *data, size_t size) {
    r->adapter->format = "Nano";
    pe_nano_adapter h;
    const pe_status status = pe_nano_adapter_read(data, size, &h, &r->gguf);
    if (status) return status;
    const pe_config *c = &r->model->config;
    const struct {
        const char *what;
        uint32_t adapter, model;
    } facts[] = {{"layers", h.n_layer, c->n_layer},
                 {"width", h.n_embd, c->n_embd},
                 {"heads", h.n_head, c->n_head},
                 {"key heads", h.n_head_kv, c->n_head_kv},
                 {"hidden width", h.n_ff, c->n_ff}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (facts[i].adapter != facts[i].model)
            return pe_fail(PE_ERR_FORMAT, "it is for a model whose %s is %u; this one's is %u", facts[i].what,
                           facts[i].adapter, facts[i].model);
    if (h.alpha == 0) return pe_fail(PE_ERR_FORMAT, "offset 28: alpha is 0: the adapter would do nothing");
    r->alpha = (float)h.alpha;
    return add_all(r);
}

static pe_status read_peft(reader *r, const uint8_t *data, size_t size, const char *config, size_t config_size) {
    r->adapter->format = "PEFT";
    if (!config)
        return pe_fail(PE_ERR_FORMAT,
                       "there is no adapter_config.json, which has the rank and the scale of an adapter");
    pe_peft peft;
    pe_status status = pe_peft_read(config, config_size, &peft);
    if (status) return pe_fail_within(status, "adapter_config.json");
    r->peft = &peft;
    status = pe_safetensors_read(data, size, &r->gguf);
    if (!status) status = add_all(r);
    pe_peft_free(&peft);
    return status;
}

pe_status pe_adapter_read(pe_adapter *adapter, const uint8_t *data, size_t size, const char *config,
                          size_t config_size) {
    reader r = {.adapter = adapter, .model = adapter->model};
    pe_status status;
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0)
        status = read_gguf(&r, data, size);
    else if (pe_nano_is(data, size))
        status = read_nano(&r, data, size);
    else if (config || pe_safetensors_is(data, size))
        status = read_peft(&r, data, size, config, config_size);
    else
        status = pe_fail(PE_ERR_FORMAT, "this is no adapter: neither PEFT's safetensors, nor GGUF, nor Nano's");
    pe_gguf_free(&r.gguf);
    return status ? status : pe_adapter_name_targets(adapter);
}
