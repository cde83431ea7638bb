/* A session on disk: its tokens, KV pages and last logits, so that a long prompt need not be evaluated again.
 *
 *   header | tokens [position] i32 | pages [n_pages, page_bytes] | logits [n_vocab] f32 | hash of all before, u64
 *
 * The file belongs to this machine's byte order and to one model, told by a fingerprint; it is written beside its name
 * and renamed when it is whole. Loading checks sizes, fingerprint and hash before it changes the session. */
#include "base/hash.h"
#include "kernels/kernels.h"
#include "run/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct header {
    char magic[8];
    uint32_t version, position, kv_f32, has_logits;
    uint64_t page_bytes, n_vocab, fingerprint;
    uint64_t adapters; /* key of the set that the cache was made with */
} header;

static const char magic[] = "PYEDGE\x1aS";
enum { VERSION = 2, SAMPLE = 64 };

/* Shapes and the first bytes of every tensor: fine-tunings of one model differ in the latter. */
static uint64_t fingerprint_of(const pe_model *model) {
    uint64_t hash = pe_hash_mix(PE_HASH_START, &model->map.size, sizeof model->map.size);
    for (size_t i = 0; i < model->gguf.n_tensors; i++) {
        const pe_gguf_tensor *t = &model->gguf.tensors[i];
        hash = pe_hash_mix(hash, t->name, strlen(t->name));
        hash = pe_hash_mix(hash, t->dims, sizeof t->dims);
        hash = pe_hash_mix(hash, t->data, t->size < SAMPLE ? t->size : SAMPLE);
    }
    return hash;
}

typedef struct stream { /* a file and the hash of what went through it */
    FILE *file;
    uint64_t hash;
} stream;

static bool put(stream *s, const void *data, size_t size) {
    s->hash = pe_hash_mix(s->hash, data, size);
    return size == 0 || fwrite(data, size, 1, s->file) == 1;
}

static bool get(stream *s, void *data, size_t size) {
    if (size && fread(data, size, 1, s->file) != 1) return false;
    s->hash = pe_hash_mix(s->hash, data, size);
    return true;
}

static size_t n_pages_of(uint32_t position) { return ((size_t)position + PE_PAGE - 1) / PE_PAGE; }

static header header_of(const pe_session *s) {
    header h = {.version = VERSION,
                .position = s->position,
                .kv_f32 = s->cache.f32,
                .has_logits = s->has_logits,
                .page_bytes = s->cache.page_bytes,
                .n_vocab = s->model->config.n_vocab,
                .fingerprint = fingerprint_of(s->model),
                .adapters = s->cache_key};
    memcpy(h.magic, magic, sizeof h.magic);
    return h;
}

static bool write_all(const pe_session *s, FILE *file) {
    stream out = {file, 0};
    const header h = header_of(s);
    bool ok = put(&out, &h, sizeof h) && put(&out, s->tokens, s->position * sizeof *s->tokens);
    for (size_t i = 0; ok && i < n_pages_of(s->position); i++) ok = put(&out, s->cache.pages[i], s->cache.page_bytes);
    ok = ok && put(&out, s->logits, h.n_vocab * sizeof *s->logits);
    const uint64_t hash = out.hash;
    return ok && fwrite(&hash, sizeof hash, 1, file) == 1 && fflush(file) == 0;
}

static pe_status save(const pe_session *s, const char *path) {
    char part[4096];
    const int length = snprintf(part, sizeof part, "%s.part", path);
    if (length < 0 || (size_t)length >= sizeof part) return pe_fail(PE_ERR_ARG, "the session file's path is too long");
    FILE *file = fopen(part, "wb");
    if (!file) return pe_fail(PE_ERR_IO, "%s: cannot be written: %s", part, strerror(errno));
    errno = 0;
    bool ok = write_all(s, file);
    const int error = errno;
    ok = fclose(file) == 0 && ok;
    if (ok && rename(part, path) == 0) return PE_OK;
    remove(part);
    return pe_fail(PE_ERR_IO, "%s: cannot be written: %s", path, strerror(error ? error : errno));
}

pe_status pe_session_save(pe_session *s, const char *path) {
    if (!path) return pe_fail(PE_ERR_ARG, "pe_session_save needs a path");
    pe_status status = pe_session_enter(s);
    if (status) return status;
    status = pe_session_refresh(s);
    return pe_session_leave(s, status ? status : save(s, path));
}

static pe_status check_header(const pe_session *s, const header *h, const char *path) {
    if (memcmp(h->magic, magic, sizeof h->magic) != 0 || h->version != VERSION)
        return pe_fail(PE_ERR_FORMAT, "%s: is no session file of this version", path);
    if (h->fingerprint != fingerprint_of(s->model) || h->n_vocab != s->model->config.n_vocab)
        return pe_fail(PE_ERR_FORMAT, "%s: was saved with another model than the one that is open", path);
    if (h->adapters != s->key)
        return pe_fail(PE_ERR_FORMAT, "%s: was saved with %s adapters; attach the same ones, with their scales, first",
                       path, h->adapters ? "other" : "no");
    if (h->kv_f32 != s->cache.f32 || h->page_bytes != s->cache.page_bytes)
        return pe_fail(PE_ERR_FORMAT, "%s: was saved with kv_type %s; open the model with the same", path,
                       h->kv_f32 ? "f32" : "f16");
    if (h->position > s->n_ctx)
        return pe_fail(PE_ERR_CONTEXT, "%s: holds %u tokens; the context has %u positions", path, h->position,
                       s->n_ctx);
    return PE_OK;
}

/* Read into fresh pages and only then take the place of the old ones. */
static pe_status load(pe_session *s, FILE *file, const char *path) {
    stream in = {file, 0};
    header h;
    if (!get(&in, &h, sizeof h)) return pe_fail(PE_ERR_FORMAT, "%s: is cut off in its header", path);
    pe_status status = check_header(s, &h, path);
    if (!status) status = pe_session_reserve_tokens(s, h.position);
    if (status) return status;
    const size_t n_vocab = s->model->config.n_vocab;
    pe_kvcache fresh;
    pe_kvcache_init(&fresh, &s->model->config, s->cache.f32);
    int32_t *tokens = pe_mem_alloc(h.position ? h.position : 1, sizeof *tokens);
    float *logits = pe_mem_alloc(n_vocab, sizeof *logits);
    status = tokens && logits ? pe_kvcache_reserve(&fresh, 0, h.position) : PE_ERR_NOMEM;
    if (!status) {
        bool whole = get(&in, tokens, h.position * sizeof *tokens);
        for (size_t i = 0; whole && i < fresh.n_pages; i++) whole = get(&in, fresh.pages[i], fresh.page_bytes);
        whole = whole && get(&in, logits, n_vocab * sizeof *logits);
        uint64_t stored, hash = in.hash;
        whole = whole && fread(&stored, sizeof stored, 1, file) == 1;
        if (!whole)
            status = pe_fail(PE_ERR_FORMAT, "%s: is cut off; expected %u tokens and their cache", path, h.position);
        else if (stored != hash)
            status = pe_fail(PE_ERR_FORMAT, "%s: is damaged: its hash does not match", path);
        for (uint32_t i = 0; !status && i < h.position; i++)
            if (tokens[i] < 0 || (uint32_t)tokens[i] >= n_vocab)
                status = pe_fail(PE_ERR_FORMAT, "%s: token %d at index %u is out of range", path, (int)tokens[i], i);
    }
    if (!status) {
        memcpy(s->tokens, tokens, h.position * sizeof *tokens);
        memcpy(s->logits, logits, n_vocab * sizeof *logits);
        pe_session_drop_ahead(s);
        const pe_kvcache old = s->cache;
        s->cache = fresh;
        fresh = old;
        s->position = h.position;
        s->has_logits = h.has_logits != 0;
        s->cache_key = h.adapters;
    }
    pe_kvcache_free(&fresh);
    pe_mem_free(tokens);
    pe_mem_free(logits);
    return status;
}

pe_status pe_session_load(pe_session *s, const char *path) {
    if (!path) return pe_fail(PE_ERR_ARG, "pe_session_load needs a path");
    pe_status status = pe_session_enter(s);
    if (status) return status;
    FILE *file = fopen(path, "rb");
    if (!file) return pe_session_leave(s, pe_fail(PE_ERR_IO, "%s: cannot be read: %s", path, strerror(errno)));
    status = load(s, file, path);
    fclose(file);
    return pe_session_leave(s, status);
}
