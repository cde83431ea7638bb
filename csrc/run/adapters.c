/* Adapters' public doors: opening, reference counting, and attaching to sessions.
 *
 * The set of adapters and scales is part of what a cache is: each set has a key, and a cache remembers the key that it
 * was made with. Attaching only changes what the session would compute with. The first call that needs the cache then
 * compares the keys, and makes the cache anew where they differ. */
#include "base/hash.h"
#include "format/nano.h"
#include "format/safetensors.h"
#include "run/session.h"

#include <math.h>
#include <string.h>

enum { MAX_ATTACHED = 64 };

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static pe_status read_adapter(pe_model *model, const uint8_t *data, size_t size, const char *config, size_t config_size,
                              pe_adapter **out) {
    pe_adapter *adapter = pe_mem_alloc(1, sizeof *adapter);
    if (!adapter) return PE_ERR_NOMEM;
    atomic_init(&adapter->references, 1);
    adapter->model = model;
    pe_model_retain(model);
    const pe_status status = pe_adapter_read(adapter, data, size, config, config_size);
    if (status) {
        pe_adapter_release(adapter);
        return status;
    }
    *out = adapter;
    return PE_OK;
}

pe_status pe_adapter_open_memory(pe_model *model, const void *data, size_t size, const char *config, size_t config_size,
                                 pe_adapter **out) {
    if (!model || !data || !out)
        return pe_fail(PE_ERR_ARG, "pe_adapter_open_memory needs a model, bytes and a place for the adapter");
    *out = NULL;
    return read_adapter(model, data, size, config, config_size, out);
}

/* `name` in the folder `path`, or beside the file `path`. */
static char *join(pe_arena *arena, const char *path, bool beside, const char *name) {
    const char *slash = strrchr(path, '/');
    const size_t length = beside ? slash ? (size_t)(slash - path) + 1 : 0 : strlen(path);
    char *out = pe_arena_alloc(arena, length + strlen(name) + 2, 1);
    if (!out) return NULL;
    memcpy(out, path, length);
    if (!beside && length && path[length - 1] != '/') strcat(out, "/");
    strcat(out, name);
    return out;
}

static bool is_gguf_or_nano(const pe_filemap *map) {
    return (map->size >= 4 && memcmp(map->data, "GGUF", 4) == 0) || pe_nano_is(map->data, map->size);
}

static pe_status open_from(pe_model *model, const char *path, bool folder, pe_arena *arena, pe_adapter **out) {
    pe_filemap weights = {0}, config = {0};
    const char *file = folder ? join(arena, path, false, "adapter_model.safetensors") : path;
    pe_status status = file ? pe_filemap_open(file, &weights) : PE_ERR_NOMEM;
    const bool peft =
        !status && !is_gguf_or_nano(&weights) && (folder || pe_safetensors_is(weights.data, weights.size));
    if (peft) {
        const char *name = join(arena, file, true, "adapter_config.json");
        status = name ? pe_filemap_open(name, &config) : PE_ERR_NOMEM;
        if (status) status = pe_fail_within(status, "the config of an adapter lies beside its weights");
    }
    if (!status) {
        status = read_adapter(model, weights.data, weights.size, (const char *)config.data, config.size, out);
        if (status) status = pe_fail_within(status, "%s", path);
    }
    pe_filemap_close(&weights);
    pe_filemap_close(&config);
    return status;
}

pe_status pe_adapter_open(pe_model *model, const char *path, pe_adapter **out) {
    if (!model || !path || !out)
        return pe_fail(PE_ERR_ARG, "pe_adapter_open needs a model, a path and a place for the adapter");
    *out = NULL;
    pe_arena arena = {0};
    const pe_status status = open_from(model, path, pe_filemap_is_folder(path), &arena, out);
    pe_arena_free(&arena);
    return status;
}

void pe_adapter_retain(pe_adapter *adapter) { atomic_fetch_add(&adapter->references, 1); }

void pe_adapter_release(pe_adapter *adapter) {
    if (!adapter || atomic_fetch_sub(&adapter->references, 1) != 1) return;
    pe_arena_free(&adapter->arena);
    pe_model_release(adapter->model);
    pe_mem_free(adapter);
}

void pe_adapter_get_info(const pe_adapter *adapter, pe_adapter_info *out) {
    *out = (pe_adapter_info){.format = adapter->format,
                             .rank = adapter->rank,
                             .n_targets = (uint32_t)adapter->n_changes,
                             .n_params = adapter->n_params,
                             .bytes = adapter->arena.total + sizeof *adapter,
                             .n_sessions = (uint32_t)atomic_load(&adapter->attached)};
}

/* ---- attaching -------------------------------------------------------------------------------------------------- */

static pe_attachment hold(pe_attachment a) {
    pe_adapter_retain(a.adapter);
    atomic_fetch_add(&a.adapter->attached, 1);
    return a;
}

void pe_session_detach(pe_session *s) {
    for (size_t i = 0; i < s->n_attached; i++) {
        atomic_fetch_sub(&s->attached[i].adapter->attached, 1);
        pe_adapter_release(s->attached[i].adapter);
    }
    pe_mem_free(s->attached);
    s->attached = NULL;
    s->n_attached = 0;
    s->key = 0;
}

static uint64_t key_of(const pe_attachment *set, size_t n) {
    uint64_t key = n ? PE_HASH_START : 0;
    for (size_t i = 0; i < n; i++) {
        key = pe_hash_mix(key, &set[i].adapter->hash, sizeof set[i].adapter->hash);
        key = pe_hash_mix(key, &set[i].scale, sizeof set[i].scale);
    }
    return key;
}

/* Into the place of what was attached: all that can fail comes first. */
static pe_status attach(pe_session *s, const pe_attachment *set, size_t n) {
    pe_weights weights;
    pe_attachment *held = n ? pe_mem_alloc(n, sizeof *held) : NULL;
    pe_status status = n && !held ? PE_ERR_NOMEM : pe_weights_attach(s->model, set, n, &weights);
    if (status) {
        pe_mem_free(held);
        return status;
    }
    for (size_t i = 0; i < n; i++) held[i] = hold(set[i]);
    pe_session_detach(s);
    s->attached = held;
    s->n_attached = n;
    s->key = key_of(set, n);
    pe_forward_set_weights(&s->forward, &weights);
    pe_session_drop_ahead(s);
    return PE_OK;
}

pe_status pe_session_attach_as(pe_session *s, const pe_session *other) {
    return attach(s, other->attached, other->n_attached);
}

/* In an order of their own, so that sums come out the same in whatever order they were named. */
static bool before(const pe_attachment *a, const pe_attachment *b) { return a->adapter->hash < b->adapter->hash; }

static pe_status collect(const pe_session *s, pe_adapter *const *adapters, const float *scales, size_t n,
                         pe_attachment set[MAX_ATTACHED], size_t *n_set) {
    *n_set = 0;
    if (n > MAX_ATTACHED)
        return pe_fail(PE_ERR_ARG, "%zu adapters at once; at most %d can be attached", n, MAX_ATTACHED);
    for (size_t i = 0; i < n; i++) {
        pe_attachment a = {adapters[i], scales[i]};
        if (!a.adapter) return pe_fail(PE_ERR_ARG, "adapter %zu of %zu is NULL", i + 1, n);
        if (a.adapter->model != s->model)
            return pe_fail(PE_ERR_ARG, "adapter %zu of %zu was opened for another model than the session's", i + 1, n);
        if (!isfinite(a.scale)) return pe_fail(PE_ERR_ARG, "the scale of adapter %zu of %zu is not finite", i + 1, n);
        for (size_t j = 0; j < i; j++)
            if (adapters[j] == a.adapter) return pe_fail(PE_ERR_ARG, "adapter %zu of %zu is named twice", i + 1, n);
        if (a.adapter->replaces && a.scale != 0 && a.scale != 1)
            return pe_fail(PE_ERR_ARG,
                           "an adapter that replaces whole tensors (modules_to_save) has scale 1 or 0, not %g",
                           (double)a.scale);
        if (a.scale == 0) continue;
        size_t at = (*n_set)++;
        for (; at > 0 && before(&a, &set[at - 1]); at--) set[at] = set[at - 1];
        set[at] = a;
    }
    return PE_OK;
}

pe_status pe_session_set_adapters(pe_session *s, pe_adapter *const *adapters, const float *scales, size_t n) {
    if (n && (!adapters || !scales)) return pe_fail(PE_ERR_ARG, "adapters need as many scales");
    pe_status status = pe_session_enter(s);
    if (status) return status;
    pe_attachment set[MAX_ATTACHED];
    size_t n_set;
    status = collect(s, adapters, scales, n, set, &n_set);
    if (!status && key_of(set, n_set) != s->key) status = attach(s, set, n_set);
    return pe_session_leave(s, status);
}

pe_status pe_session_refresh(pe_session *s) {
    if (s->key == s->cache_key) return PE_OK;
    const uint64_t stale = s->cache_key;
    s->cache_key = s->key; /* evaluating asks for this again */
    if (s->position == 0) return PE_OK;
    const double started = pe_lookup_clock();
    const uint32_t n = s->position;
    const pe_status status = pe_session_evaluate_again(s);
    if (status) {
        s->cache_key = stale;
        return status;
    }
    s->has_logits = true;
    s->n_again += n;
    s->seconds_again += pe_lookup_clock() - started;
    return PE_OK;
}

void pe_session_reevaluated(const pe_session *s, uint64_t *tokens, double *seconds) {
    *tokens = s->n_again;
    *seconds = s->seconds_again;
}
