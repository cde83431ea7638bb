/* The model's public doors: opening, reference counting, and what can be asked of the file. */
#include "model/forward.h"
#include "quant/types.h"

#include <string.h>

static pe_status load(pe_model *model) {
    pe_status status = pe_gguf_parse(model->map.data, model->map.size, pe_quant_row_size, &model->gguf);
    if (!status) status = pe_model_load_weights(model);
    if (!status) status = pe_model_load_vocab(model);
    if (status) return status;
    pe_view name = {"", 0};
    status = pe_gguf_string(&model->gguf, "general.name", false, &name);
    if (status) return status;
    model->name = pe_arena_string(&model->arena, name.data, name.size);
    return model->name ? PE_OK : PE_ERR_NOMEM;
}

static pe_status finish_open(pe_model *model, pe_model **out) {
    pe_status status = load(model);
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

pe_status pe_model_open(const char *path, pe_model **out) {
    if (!path || !out) return pe_fail(PE_ERR_ARG, "pe_model_open needs a path and a place for the model");
    *out = NULL;
    pe_model *model = model_create();
    if (!model) return PE_ERR_NOMEM;
    pe_status status = pe_filemap_open(path, &model->map);
    if (status) {
        pe_model_release(model);
        return status;
    }
    status = finish_open(model, out);
    return status ? pe_fail_within(status, "%s", path) : PE_OK;
}

pe_status pe_model_open_memory(const void *data, size_t size, pe_model **out) {
    if (!data || !out) return pe_fail(PE_ERR_ARG, "pe_model_open_memory needs data and a place for the model");
    *out = NULL;
    if ((uintptr_t)data % 32) return pe_fail(PE_ERR_ARG, "the model's memory must be aligned to 32 bytes");
    pe_model *model = model_create();
    if (!model) return PE_ERR_NOMEM;
    model->map = (pe_filemap){data, size, false};
    return finish_open(model, out);
}

void pe_model_retain(pe_model *model) { atomic_fetch_add(&model->references, 1); }

void pe_model_release(pe_model *model) {
    if (!model || atomic_fetch_sub(&model->references, 1) != 1) return;
    pe_tokenizer_free(model->tokenizer);
    pe_gguf_free(&model->gguf);
    pe_filemap_close(&model->map);
    pe_arena_free(&model->arena);
    pe_mem_free(model);
}

void pe_model_get_info(const pe_model *model, pe_model_info *out) {
    const pe_config *c = &model->config;
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
        .file_size = model->map.size,
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
