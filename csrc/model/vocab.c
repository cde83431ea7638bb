/* The tokenizer's part of the file: views and numbers handed to text/, which checks what they mean. */
#include "model/model.h"

#include <string.h>

static bool view_is(pe_view view, const char *text) {
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

/* An array of the given item type with one item a token. */
static pe_status token_array(const pe_model *model, const char *key, pe_meta_type item, const uint8_t **out) {
    const pe_gguf_kv *kv = pe_gguf_find(&model->gguf, key);
    if (!kv) return PE_OK;
    if (kv->type != PE_META_ARRAY || kv->item_type != item)
        return pe_fail(PE_ERR_FORMAT, "%s is not an array of the expected item type %d", key, item);
    if (kv->n_items != model->vocab.n_tokens)
        return pe_fail(PE_ERR_FORMAT, "%s has %llu items but tokenizer.ggml.tokens has %zu; expected as many", key,
                       (unsigned long long)kv->n_items, model->vocab.n_tokens);
    *out = kv->data;
    return PE_OK;
}

static pe_status token_id(const pe_model *model, const char *key, int32_t *out) {
    uint32_t id = 0;
    if (!pe_gguf_find(&model->gguf, key)) return PE_OK;
    pe_status status = pe_gguf_u32(&model->gguf, key, true, &id);
    if (status) return status;
    if (id >= model->vocab.n_tokens)
        return pe_fail(PE_ERR_FORMAT, "%s is %u; expected less than the %zu tokens of the vocabulary", key, id,
                       model->vocab.n_tokens);
    *out = (int32_t)id;
    return PE_OK;
}

static pe_status read_lists(pe_model *model) {
    pe_vocab *v = &model->vocab;
    const pe_gguf_kv *tokens = pe_gguf_find(&model->gguf, "tokenizer.ggml.tokens"); /* checked with the config */
    v->n_tokens = tokens->n_items;
    v->tokens = tokens->strings;
    pe_status status = token_array(model, "tokenizer.ggml.scores", PE_META_F32, &v->scores);
    if (!status) status = token_array(model, "tokenizer.ggml.token_type", PE_META_I32, &v->types);
    if (status || v->kind != PE_VOCAB_BPE) return status;
    const pe_gguf_kv *merges = pe_gguf_find(&model->gguf, "tokenizer.ggml.merges");
    if (!merges || merges->type != PE_META_ARRAY || !merges->strings)
        return pe_fail(PE_ERR_FORMAT, "tokenizer.ggml.merges is missing or is no list of strings");
    v->merges = merges->strings;
    v->n_merges = merges->n_items;
    return PE_OK;
}

pe_status pe_model_load_vocab(pe_model *model) {
    const pe_gguf *gguf = &model->gguf;
    pe_vocab *v = &model->vocab;
    pe_view kind;
    pe_status status = pe_gguf_string(gguf, "tokenizer.ggml.model", true, &kind);
    if (!status) status = pe_gguf_string(gguf, "tokenizer.ggml.pre", false, &v->pre);
    if (status) return status;
    if (view_is(kind, "gpt2"))
        v->kind = PE_VOCAB_BPE;
    else if (view_is(kind, "llama"))
        v->kind = PE_VOCAB_SPM;
    else if (view_is(kind, "nano") || (view_is(kind, "t5") && view_is(v->pre, "nano")))
        v->kind = PE_VOCAB_NANO;
    else
        return pe_fail(PE_ERR_UNSUPPORTED, "tokenizer.ggml.model '%.*s' is not supported; gpt2 and llama are",
                       kind.size < 32 ? (int)kind.size : 32, kind.data);
    if ((status = pe_gguf_string(gguf, "general.name", false, &v->model_name))) return status;
    if ((status = read_lists(model))) return status;
    if ((status = pe_vocab_set_defaults(v))) return status;
    v->spaces_escaped = view_is(kind, "t5");
    const struct {
        const char *key;
        bool *out;
    } flags[] = {
        {"tokenizer.ggml.add_bos_token", &v->add_bos},
        {"tokenizer.ggml.add_eos_token", &v->add_eos},
        {"tokenizer.ggml.add_space_prefix", &v->add_space_prefix},
        {"tokenizer.ggml.ignore_merges", &v->ignore_merges},
        {"tokenizer.ggml.remove_extra_whitespaces", &v->remove_extra_whitespaces},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if ((status = pe_gguf_bool(gguf, flags[i].key, false, flags[i].out))) return status;
    const pe_gguf_kv *map = pe_gguf_find(gguf, "tokenizer.ggml.precompiled_charsmap");
    if (map && map->n_items)
        return pe_fail(PE_ERR_UNSUPPORTED, "tokenizer.ggml.precompiled_charsmap asks for characters to be replaced "
                                           "before tokenizing, which is not supported");
    const struct {
        const char *key;
        int32_t *out;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &v->bos_id},     {"tokenizer.ggml.eos_token_id", &v->eos_id},
        {"tokenizer.ggml.unknown_token_id", &v->unk_id}, {"tokenizer.ggml.eot_token_id", &v->eot_id},
        {"tokenizer.ggml.eom_token_id", &v->eom_id},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if ((status = token_id(model, ids[i].key, ids[i].out))) return status;
    pe_view chat = {0};
    if ((status = pe_gguf_string(gguf, "tokenizer.chat_template", false, &chat))) return status;
    if (chat.data && !(model->chat_template = pe_arena_string(&model->arena, chat.data, chat.size)))
        return PE_ERR_NOMEM;
    return pe_tokenizer_create(v, &model->tokenizer);
}
