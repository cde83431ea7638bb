#include "format/source.h"
#include "format/llama2c.h"
#include "format/nano.h"

#include <string.h>

static pe_status refuse_tokenizer(const char *tokenizer, const char *format) {
    if (!tokenizer) return PE_OK;
    return pe_fail(PE_ERR_ARG, "a vocabulary of its own (tokenizer) is for models of llama2.c; %s files bring theirs",
                   format);
}

/* tokenizer.bin in the folder of `path`. */
static char *beside(pe_arena *arena, const char *path) {
    static const char name[] = "tokenizer.bin";
    const char *slash = strrchr(path, '/');
    const size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    char *out = pe_arena_alloc(arena, folder + sizeof name, 1);
    if (!out) return NULL;
    memcpy(out, path, folder);
    memcpy(out + folder, name, sizeof name);
    return out;
}

static pe_status read_llama2c(const pe_filemap *map, const char *path, const char *tokenizer, pe_gguf *out) {
    if (!tokenizer && !path)
        return pe_fail(PE_ERR_UNSUPPORTED, "this is a model of llama2.c, whose vocabulary is a file of its own; only "
                                           "from files can it be opened");
    pe_arena arena = {0};
    pe_filemap vocab = {0};
    const char *name = tokenizer ? tokenizer : beside(&arena, path);
    pe_status status = name ? pe_filemap_open(name, &vocab) : PE_ERR_NOMEM;
    if (status)
        status = pe_fail_within(status, "this is a model of llama2.c, whose vocabulary is a file of its own, "
                                        "tokenizer.bin beside the model or the one that is named (tokenizer)");
    else
        status = pe_llama2c_read(map->data, map->size, vocab.data, vocab.size, out);
    pe_filemap_close(&vocab);
    pe_arena_free(&arena);
    return status;
}

pe_status pe_source_read(const pe_filemap *map, const char *path, const char *tokenizer, pe_gguf_row_size row_size,
                         pe_gguf *out) {
    *out = (pe_gguf){0};
    if (pe_nano_is(map->data, map->size)) {
        pe_status status = refuse_tokenizer(tokenizer, "Nano's");
        return status ? status : pe_nano_read(map->data, map->size, out);
    }
    const bool gguf = map->size >= 4 && memcmp(map->data, "GGUF", 4) == 0;
    if (!gguf && pe_llama2c_is(map->data, map->size)) return read_llama2c(map, path, tokenizer, out);
    pe_status status = refuse_tokenizer(tokenizer, "GGUF");
    return status ? status : pe_gguf_parse(map->data, map->size, row_size, out); /* other files are named there */
}
