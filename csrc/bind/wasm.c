/* The WebAssembly door. JavaScript calls most of pyedge.h as it is: handles, sizes and pointers are 32-bit numbers
 * there. What passes structs, or 64-bit integers, goes through the functions below, which lay them out flat, as rows of
 * doubles (exact up to 2^53), so that the other side need not know how a compiler lays out a struct.
 *
 * Memory that JavaScript fills (the model file, texts, token ids) comes from malloc, which it calls itself. */
#include "pyedge.h"

#include <emscripten/em_js.h>
#include <stddef.h>

/* Whether what is evaluated is to end: asked of the other side, where another thread may have said so. */
EM_JS(bool, pew_interrupted, (void *unused), { return Module.interrupted(); });

/* Fields of a model, in the order of ModelFields in wasm/src/core.ts; texts as pointers. */
void pew_model_info(const pe_model *model, double out[14]) {
    pe_model_info info;
    pe_model_get_info(model, &info);
    const double fields[14] = {
        (double)(uintptr_t)info.name,
        (double)(uintptr_t)info.arch,
        info.n_vocab,
        info.n_ctx_train,
        info.n_embd,
        info.n_layer,
        info.n_head,
        info.n_head_kv,
        info.n_ff,
        (double)info.n_params,
        info.bos_id,
        info.eos_id,
        info.add_bos,
        (double)(uintptr_t)info.chat_template,
    };
    for (size_t i = 0; i < 14; i++) out[i] = fields[i];
}

/* The value itself as a double; integers past 2^53 as halves: low, high. */
static void put_meta(const pe_meta *meta, double out[8]) {
    const bool is_signed =
        meta->type == PE_META_I8 || meta->type == PE_META_I16 || meta->type == PE_META_I32 || meta->type == PE_META_I64;
    const bool is_float = meta->type == PE_META_F32 || meta->type == PE_META_F64;
    out[0] = (double)(uintptr_t)meta->key;
    out[1] = meta->type;
    out[2] = meta->item_type;
    out[3] = (double)meta->n_items;
    out[4] = is_float                       ? meta->value.f
             : is_signed                    ? (double)meta->value.i
             : meta->type == PE_META_BOOL   ? meta->value.b
             : meta->type == PE_META_STRING ? (double)(uintptr_t)meta->string
             : meta->type == PE_META_ARRAY  ? 0
                                            : (double)meta->value.u;
    out[5] = meta->type == PE_META_STRING ? (double)meta->string_size : 0;
    out[6] = (double)(uint32_t)meta->value.u;
    out[7] = (double)(meta->value.u >> 32);
}

/* Key `index` of the file: key, type, item type, items, value (texts: pointer), bytes of a text, 64 bits in halves. */
pe_status pew_model_meta(const pe_model *model, size_t index, double out[8]) {
    pe_meta meta;
    pe_status status = pe_model_meta(model, index, &meta);
    if (!status) put_meta(&meta, out);
    return status;
}

pe_status pew_model_meta_item(const pe_model *model, size_t index, uint32_t item, double out[8]) {
    pe_meta meta;
    pe_status status = pe_model_meta_item(model, index, item, &meta);
    if (!status) put_meta(&meta, out);
    return status;
}

/* Bytes of all tensors, and of those of each type: out [1 + 2 * room]: the sum, then pairs of a type's name (pointer)
 * and the bytes of its matrices. Returns the number of pairs. */
size_t pew_model_tensor_types(const pe_model *model, double *out, size_t room) {
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < pe_model_tensor_count(model); i++) {
        pe_tensor_info tensor;
        pe_type_info type;
        if (pe_model_tensor(model, i, &tensor)) continue;
        out[0] += (double)tensor.size;
        if (tensor.n_dims < 2) continue;
        const char *name = NULL;
        for (size_t j = 0; !name && pe_type_get(j, &type); j++)
            if (type.type == tensor.type) name = type.name;
        size_t at = 0;
        while (at < n && out[1 + 2 * at] != (double)(uintptr_t)name) at++;
        if (at == n && n < room) {
            out[1 + 2 * n] = (double)(uintptr_t)name;
            out[2 + 2 * n] = 0;
            n++;
        }
        if (at < n) out[2 + 2 * at] += (double)tensor.size;
    }
    return n;
}

pe_status pew_session_create(pe_model *model, uint32_t n_ctx, int n_threads, bool kv_f32, pe_session **out) {
    const pe_session_options options = {
        .n_ctx = n_ctx,
        .n_threads = n_threads,
        .kv_type = kv_f32 ? "f32" : "f16",
        .interrupted = pew_interrupted,
    };
    return pe_session_create(model, &options, out);
}

double pew_session_bytes(const pe_session *session) { return (double)pe_session_bytes(session); }

double pew_session_token_bytes(const pe_session *session, uint32_t position) {
    return (double)pe_session_token_bytes(session, position);
}

void pew_session_lookups(const pe_session *session, double out[2]) {
    uint64_t drafted, accepted;
    pe_session_lookups(session, &drafted, &accepted);
    out[0] = (double)drafted;
    out[1] = (double)accepted;
}

pe_status pew_sampler_create(float temperature, int32_t top_k, float top_p, float min_p, float repeat_penalty,
                             bool has_seed, uint32_t seed_low, uint32_t seed_high, const pe_logit_bias *bias,
                             size_t n_bias, pe_sampler **out) {
    pe_sampler_options options = pe_sampler_defaults();
    options.temperature = temperature;
    options.top_k = top_k;
    options.top_p = top_p;
    options.min_p = min_p;
    options.repeat_penalty = repeat_penalty;
    options.has_seed = has_seed;
    options.seed = (uint64_t)seed_high << 32 | seed_low;
    options.bias = bias;
    options.n_bias = n_bias;
    return pe_sampler_create(&options, out);
}
