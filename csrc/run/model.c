/* The model's public doors: opening, reference counting, and what can be asked of the file. */
#include "format/source.h"
#include "model/forward.h"
#include "quant/types.h"

#include <string.h>

/* The parts of a model after the first, for models in memory. */
typedef struct given_parts {
    const void *const *data; /* [n] */
    const size_t *sizes;     /* [n] */
    size_t n;
} given_parts;

/* Part `no` of `count`: its file is mapped, its directory parsed. `first` is NULL for a part in memory. */
static pe_status open_part(pe_model *model, const char *first, const given_parts *given, uint32_t no, uint32_t count,
                           pe_gguf *out) {
    pe_filemap *map = &model->parts[no - 1];
    const char *path = "in memory";
    pe_status status = PE_OK;
    if (first) {
        status = pe_gguf_part_path(&model->arena, first, no, count, &path);
        if (status) return status;
        status = pe_filemap_open(path, map);
        if (status) return pe_fail_within(status, "part %u of %u", no + 1, count); /* the path is in the message */
    } else {
        *map = (pe_filemap){given->data[no - 1], given->sizes[no - 1], false};
    }
    uint32_t found_no = 0, found_count = 0;
    status = pe_gguf_parse(map->data, map->size, pe_quant_row_size, out);
    if (!status) status = pe_gguf_split(out, &found_no, &found_count);
    if (!status && (found_no != no || found_count != count))
        status = pe_fail(PE_ERR_FORMAT, "the file says that it is part %u of %u", found_no + 1, found_count);
    return status ? pe_fail_within(status, "part %u of %u, %s", no + 1, count, path) : PE_OK;
}

/* All files of a split model, given the first; `path` is NULL for a model in memory. */
static pe_status open_parts(pe_model *model, const char *path, const given_parts *given) {
    uint32_t no, count;
    pe_status status = pe_gguf_split(&model->gguf, &no, &count);
    if (status) return status;
    if (!path && given->n + 1 != count)
        return pe_fail(PE_ERR_FORMAT, "the file says that the model has %u parts; %zu were given", count, given->n + 1);
    if (count <= 1) return PE_OK;
    if (no > 0)
        return pe_fail(PE_ERR_FORMAT, "this is part %u of %u; open the first part, and the others will be found",
                       no + 1, count);
    const char *second; /* before anything is allocated for a number out of the file, the name must agree */
    if (path && (status = pe_gguf_part_path(&model->arena, path, 1, count, &second))) return status;
    model->parts = pe_arena_alloc(&model->arena, count - 1, sizeof *model->parts);
    pe_gguf *directories = pe_mem_alloc(count - 1, sizeof *directories);
    if (!model->parts || !directories) status = PE_ERR_NOMEM;
    for (; !status && model->n_parts < count - 1; model->n_parts++) {
        const uint32_t i = (uint32_t)model->n_parts;
        status = open_part(model, path, given, i + 1, count, &directories[i]);
    }
    if (!status) status = pe_gguf_merge(&model->gguf, directories, model->n_parts);
    for (size_t i = 0; directories && i < model->n_parts; i++) pe_gguf_free(&directories[i]);
    pe_mem_free(directories);
    return status;
}

static pe_status load(pe_model *model, const char *path, const given_parts *given, const char *tokenizer) {
    pe_status status = pe_source_read(&model->map, path, tokenizer, pe_quant_row_size, &model->gguf);
    if (!status) status = open_parts(model, path, given);
    if (!status) status = pe_model_load_weights(model);
    if (!status) status = pe_model_load_vocab(model);
    model->vocab.pre_fallback = (pe_view){0}; /* the caller's text, needed until here */
    if (status) return status;
    pe_view name = {"", 0};
    status = pe_gguf_string(&model->gguf, "general.name", false, &name);
    if (status) return status;
    model->name = pe_arena_string(&model->arena, name.data, name.size);
    return model->name ? PE_OK : PE_ERR_NOMEM;
}

static pe_status finish_open(pe_model *model, const char *path, const given_parts *given, const char *tokenizer,
                             pe_model **out) {
    pe_status status = load(model, path, given, tokenizer);
    if (status) {
        pe_model_release(model);
        return status;
    }
    *out = model;
    return PE_OK;
}

static pe_model *model_create(void) {
    pe_model *model = pe_mem_alloc(1, sizeof *model);
    if (model) atomic_init(&model->references, 1);
    return model;
}

pe_status pe_model_open(const char *path, pe_model **out) { return pe_model_open_with(path, NULL, out); }

pe_status pe_model_open_with(const char *path, const pe_model_options *options, pe_model **out) {
    if (!path || !out) return pe_fail(PE_ERR_ARG, "pe_model_open needs a path and a place for the model");
    *out = NULL;
    pe_model *model = model_create();
    if (!model) return PE_ERR_NOMEM;
    const char *pretokenizer = options ? options->pretokenizer : NULL;
    model->no_weights = options && options->no_weights;
    if (pretokenizer) model->vocab.pre_fallback = (pe_view){pretokenizer, strlen(pretokenizer)};
    pe_status status = pe_filemap_open(path, &model->map);
    if (status) {
        pe_model_release(model);
        return status;
    }
    status = finish_open(model, path, NULL, options ? options->tokenizer : NULL, out);
    return status ? pe_fail_within(status, "%s", path) : PE_OK;
}

pe_status pe_model_open_memory(const void *data, size_t size, pe_model **out) {
    return pe_model_open_parts(&data, &size, 1, out);
}

pe_status pe_model_open_parts(const void *const *data, const size_t *sizes, size_t n_parts, pe_model **out) {
    if (!data || !sizes || !n_parts || !out)
        return pe_fail(PE_ERR_ARG, "opening a model from memory needs its data and a place for the model");
    *out = NULL;
    for (size_t i = 0; i < n_parts; i++) {
        if (!data[i]) return pe_fail(PE_ERR_ARG, "opening a model from memory needs data; part %zu has none", i + 1);
        if ((uintptr_t)data[i] % 32) return pe_fail(PE_ERR_ARG, "the model's memory must be aligned to 32 bytes");
    }
    pe_model *model = model_create();
    if (!model) return PE_ERR_NOMEM;
    model->map = (pe_filemap){data[0], sizes[0], false};
    return finish_open(model, NULL, &(given_parts){data + 1, sizes + 1, n_parts - 1}, NULL, out);
}

void pe_model_retain(pe_model *model) { atomic_fetch_add(&model->references, 1); }

void pe_model_release(pe_model *model) {
    if (!model || atomic_fetch_sub(&model->references, 1) != 1) return;
    pe_tokenizer_free(model->tokenizer);
    pe_gguf_free(&model->gguf);
    pe_filemap_close(&model->map);
    for (size_t i = 0; i < model->n_parts; i++) pe_filemap_close(&model->parts[i]);
    pe_arena_free(&model->arena);
    pe_mem_free(model);
}

void pe_model_get_info(const pe_model *model, pe_model_info *out) {
    const pe_config *c = &model->config;
    uint64_t file_size = model->map.size;
    for (size_t i = 0; i < model->n_parts; i++) file_size += model->parts[i].size;
    *out = (pe_model_info){
        .name = model->name,
        .arch = model->arch->name,
        .n_vocab = c->n_vocab,
        .n_ctx_train = c->n_ctx_train,
        .n_embd = c->n_embd,
        .n_layer = c->n_layer,
        .n_head = c->n_head,
        .n_head_kv = c->n_head_kv,
        .n_ff = c->n_ff,
        .n_params = model->n_params,
        .file_size = file_size,
        .bos_id = model->vocab.bos_id,
        .eos_id = model->vocab.eos_id,
        .add_bos = model->vocab.add_bos,
        .chat_template = model->chat_template,
    };
}

size_t pe_model_meta_count(const pe_model *model) { return model->gguf.n_kv; }

pe_status pe_model_meta(const pe_model *model, size_t index, pe_meta *out) {
    if (index >= model->gguf.n_kv)
        return pe_fail(PE_ERR_ARG, "metadata index %zu is out of range; the file has %zu keys", index,
                       model->gguf.n_kv);
    const pe_gguf_kv *kv = &model->gguf.kv[index];
    if (kv->type == PE_META_ARRAY)
        *out = (pe_meta){.key = kv->key, .type = kv->type, .item_type = kv->item_type, .n_items = kv->n_items};
    else
        pe_gguf_value(kv, 0, out);
    return PE_OK;
}

pe_status pe_model_meta_item(const pe_model *model, size_t index, uint64_t item, pe_meta *out) {
    if (index >= model->gguf.n_kv || item >= model->gguf.kv[index].n_items)
        return pe_fail(PE_ERR_ARG, "item %llu of metadata value %zu is out of range", (unsigned long long)item, index);
    pe_gguf_value(&model->gguf.kv[index], item, out);
    return PE_OK;
}

size_t pe_model_tensor_count(const pe_model *model) { return model->gguf.n_tensors; }

pe_status pe_model_tensor(const pe_model *model, size_t index, pe_tensor_info *out) {
    if (index >= model->gguf.n_tensors)
        return pe_fail(PE_ERR_ARG, "tensor index %zu is out of range; the file has %zu", index, model->gguf.n_tensors);
    const pe_gguf_tensor *t = &model->gguf.tensors[index];
    *out = (pe_tensor_info){t->name,   t->type, t->n_dims, {t->dims[0], t->dims[1], t->dims[2], t->dims[3]},
                            t->offset, t->size};
    return PE_OK;
}

pe_status pe_tokenize(const pe_model *model, const char *text, size_t size, unsigned flags, int32_t *ids, size_t cap,
                      size_t *n_ids) {
    return pe_tokenizer_encode(model->tokenizer, text, size, flags, ids, cap, n_ids);
}

pe_status pe_token_bytes(const pe_model *model, int32_t id, const char **bytes, size_t *size) {
    return pe_tokenizer_token_bytes(model->tokenizer, id, bytes, size);
}

pe_status pe_detokenize(const pe_model *model, const int32_t *ids, size_t n_ids, bool skip_special, char *text,
                        size_t cap, size_t *n_bytes) {
    return pe_tokenizer_decode(model->tokenizer, ids, n_ids, skip_special, text, cap, n_bytes);
}

unsigned pe_token_attributes(const pe_model *model, int32_t id) {
    return pe_tokenizer_attributes(model->tokenizer, id);
}
