#include "format/builder.h"
#include "format/gguf_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { QUANT_GROUP = 32, ITEM_BYTES = 4 };

pe_builder pe_builder_measure(uint64_t at) { return (pe_builder){.at = at}; }

pe_builder pe_builder_begin(const void *data, size_t size, uint64_t at, size_t max_kv, size_t max_tensors,
                            pe_gguf *out) {
    *out = (pe_gguf){.data = data, .size = size};
    out->kv = pe_arena_alloc(&out->arena, max_kv, sizeof *out->kv);
    out->tensors = pe_arena_alloc(&out->arena, max_tensors, sizeof *out->tensors);
    const pe_status status = out->kv && out->tensors ? PE_OK : PE_ERR_NOMEM;
    return (pe_builder){.out = out, .max_kv = max_kv, .max_tensors = max_tensors, .at = at, .status = status};
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

/* The next key, or NULL where there is nothing to be done. */
static pe_gguf_kv *add_key(pe_builder *b, const char *key, pe_meta_type type, size_t n) {
    if (!b->out || b->status) return NULL;
    if (b->out->n_kv == b->max_kv) {
        b->status = pe_fail(PE_ERR_UNSUPPORTED, "more than %zu keys", b->max_kv);
        return NULL;
    }
    pe_gguf_kv *kv = &b->out->kv[b->out->n_kv++];
    *kv = (pe_gguf_kv){.key = key, .type = type, .item_type = type, .n_items = n};
    return kv;
}

static void add_word(pe_builder *b, const char *key, pe_meta_type type, uint32_t word) {
    pe_gguf_kv *kv = add_key(b, key, type, 1);
    if (!kv) return;
    uint8_t *bytes = pe_arena_alloc(&b->out->arena, 1, ITEM_BYTES);
    if (!bytes) {
        b->status = PE_ERR_NOMEM;
        return;
    }
    for (int i = 0; i < ITEM_BYTES; i++) bytes[i] = (uint8_t)(word >> 8 * i);
    kv->data = bytes;
}

void pe_builder_u32(pe_builder *b, const char *key, uint32_t value) { add_word(b, key, PE_META_U32, value); }

void pe_builder_f32(pe_builder *b, const char *key, float value) {
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    add_word(b, key, PE_META_F32, word);
}

void pe_builder_bool(pe_builder *b, const char *key, bool value) { add_word(b, key, PE_META_BOOL, value); }

void pe_builder_text(pe_builder *b, const char *key, const char *text) {
    pe_gguf_kv *kv = add_key(b, key, PE_META_STRING, 1);
    if (!kv) return;
    pe_view *view = pe_arena_alloc(&b->out->arena, 1, sizeof *view);
    if (!view) {
        b->status = PE_ERR_NOMEM;
        return;
    }
    *view = (pe_view){text, strlen(text)};
    kv->strings = view;
    kv->data = (const uint8_t *)text;
}

void pe_builder_texts(pe_builder *b, const char *key, const pe_view *texts, size_t n) {
    pe_gguf_kv *kv = add_key(b, key, PE_META_ARRAY, n);
    if (!kv) return;
    kv->item_type = PE_META_STRING;
    kv->strings = texts;
}

void pe_builder_array(pe_builder *b, const char *key, pe_meta_type item, const uint8_t *bytes, size_t n) {
    pe_gguf_kv *kv = add_key(b, key, PE_META_ARRAY, n);
    if (!kv) return;
    kv->item_type = item;
    kv->data = bytes;
}

uint8_t *pe_builder_fill(pe_builder *b, const char *key, pe_meta_type item, size_t n) {
    if (!b->out || b->status) return NULL;
    uint8_t *bytes = pe_arena_alloc(&b->out->arena, n, ITEM_BYTES);
    if (!bytes) b->status = PE_ERR_NOMEM;
    pe_builder_array(b, key, item, bytes, n);
    return bytes;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

static char *name_of(pe_builder *b, const char *name, uint32_t layer) {
    char text[64];
    const char *hole = strstr(name, "%u");
    const int size = hole ? snprintf(text, sizeof text, "%.*s%" PRIu32 "%s", (int)(hole - name), name, layer, hole + 2)
                          : snprintf(text, sizeof text, "%s", name);
    return pe_arena_string(&b->out->arena, text, (size_t)size);
}

void pe_builder_skip(pe_builder *b, uint64_t bytes) {
    if (!b->status && !pe_add_u64(b->at, bytes, &b->at))
        b->status = pe_fail(PE_ERR_FORMAT, "the numbers of the header imply more than 2^64 bytes");
}

void pe_builder_place(pe_builder *b, const char *name, uint32_t layer, const pe_gguf_tensor *tensor) {
    if (!b->out || b->status) return;
    if (b->out->n_tensors == b->max_tensors) {
        b->status = pe_fail(PE_ERR_UNSUPPORTED, "more than %zu tensors", b->max_tensors);
        return;
    }
    pe_gguf_tensor *t = &b->out->tensors[b->out->n_tensors];
    *t = *tensor;
    if (b->at > b->out->size || t->size > b->out->size - b->at) {
        b->status = pe_fail(PE_ERR_FORMAT, "tensor '%s' reaches past the end of the file", name);
        return;
    }
    t->name = name_of(b, name, layer);
    t->n_dims = t->dims[1] == 1 ? 1 : 2;
    t->dims[2] = t->dims[3] = 1;
    t->offset = b->at;
    t->data = b->out->data + b->at;
    if (!t->name) {
        b->status = PE_ERR_NOMEM;
        return;
    }
    b->out->n_tensors++;
}

void pe_builder_tensors(pe_builder *b, const char *name, uint32_t n_layers, pe_shape shape) {
    const uint32_t count = strstr(name, "%u") ? n_layers : 1;
    const uint64_t n = (uint64_t)shape.n_in * shape.n_out;
    pe_gguf_tensor tensor = {.dims = {shape.n_in, shape.n_out}, .group = shape.group};
    if (shape.group) {
        const bool blocks = shape.n_in % QUANT_GROUP == 0 && shape.group % QUANT_GROUP == 0;
        if (!b->status && n % shape.group)
            b->status = pe_fail(PE_ERR_FORMAT,
                                "tensor '%s' has %" PRIu64 " weights, which are no multiple of the group size %" PRIu32,
                                name, n, shape.group);
        tensor.type = blocks ? PE_BUILD_Q8_F : PE_BUILD_F32;
        tensor.layout = PE_LAYOUT_SPLIT;
        tensor.size = n + n / shape.group * sizeof(float); /* n < 2^48: see pe_plain_check */
    } else {
        tensor.type = PE_BUILD_F32;
        tensor.size = n * sizeof(float);
    }
    for (uint32_t layer = 0; layer < count && !b->status; layer++) {
        pe_builder_place(b, name, layer, &tensor);
        pe_builder_skip(b, tensor.size);
    }
}

pe_status pe_builder_finish(pe_builder *b) {
    pe_gguf *out = b->out;
    if (!b->status) {
        out->keys = pe_gguf_index_create(&out->arena, out->n_kv);
        out->names = pe_gguf_index_create(&out->arena, out->n_tensors);
        if (!out->keys || !out->names) b->status = PE_ERR_NOMEM;
    }
    if (!b->status) {
        for (size_t i = 0; i < out->n_kv; i++)
            out->keys->entries[i] = (pe_gguf_entry){.name = out->kv[i].key, .item = i};
        for (size_t i = 0; i < out->n_tensors; i++)
            out->names->entries[i] = (pe_gguf_entry){.name = out->tensors[i].name, .item = i};
        b->status = pe_gguf_index_build(out->keys, "key");
    }
    if (!b->status) b->status = pe_gguf_index_build(out->names, "tensor");
    if (b->status) pe_gguf_free(out);
    return b->status;
}

/* ---- what Nano and llama2.c share ------------------------------------------------------------------------------- */

bool pe_plain_check(const pe_plain_config *c, const char **why) {
    const struct {
        bool ok;
        const char *why;
    } rules[] = {
        {c->n_layer >= 1 && c->n_layer <= PE_BUILD_MAX_LAYERS, "there must be 1 to 1024 layers"},
        {c->n_embd >= 1 && c->n_embd <= PE_BUILD_MAX_DIM, "the width must be 1 to 2^24"},
        {c->n_ff >= 1 && c->n_ff <= PE_BUILD_MAX_DIM, "the hidden width must be 1 to 2^24"},
        {c->n_vocab >= 1 && c->n_vocab <= PE_BUILD_MAX_TOKENS, "there must be 1 to 2^24 tokens"},
        {c->n_ctx >= 1 && c->n_ctx <= PE_BUILD_MAX_DIM, "there must be 1 to 2^24 positions"},
        {c->n_head >= 1 && c->n_embd % (c->n_head ? c->n_head : 1) == 0, "the heads must divide the width"},
        {c->n_head >= 1 && c->n_embd / (c->n_head ? c->n_head : 1) % 2 == 0, "heads must be of an even width"},
        {c->n_head_kv >= 1 && c->n_head % (c->n_head_kv ? c->n_head_kv : 1) == 0,
         "the key heads must divide the heads"},
    };
    *why = NULL;
    for (size_t i = 0; i < sizeof rules / sizeof *rules && !*why; i++)
        if (!rules[i].ok) *why = rules[i].why;
    return !*why;
}

void pe_plain_keys(pe_builder *b, const pe_plain_config *c, const char *source) {
    pe_builder_text(b, "general.architecture", "llama");
    pe_builder_text(b, "general.source.format", source);
    pe_builder_u32(b, "llama.vocab_size", c->n_vocab);
    pe_builder_u32(b, "llama.context_length", c->n_ctx);
    pe_builder_u32(b, "llama.embedding_length", c->n_embd);
    pe_builder_u32(b, "llama.block_count", c->n_layer);
    pe_builder_u32(b, "llama.feed_forward_length", c->n_ff);
    pe_builder_u32(b, "llama.attention.head_count", c->n_head);
    pe_builder_u32(b, "llama.attention.head_count_kv", c->n_head_kv);
    pe_builder_f32(b, "llama.attention.layer_norm_rms_epsilon", 1e-5f); /* what both programs compute with, */
    pe_builder_f32(b, "llama.rope.freq_base", 10000.0f);                /* since their files do not say */
    pe_builder_u32(b, "llama.rope.dimension_count", c->n_embd / c->n_head);
}
