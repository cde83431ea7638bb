#include "format/llama2c.h"
#include "base/half.h"
#include "format/builder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MAGIC = 0x616b3432,
    OLD_HEADER_BYTES = 28,
    HEADER_BYTES = 256,
    MAX_KV = 32,
    ENTRY_BYTES = 8, /* of a token, before its text */
    N_SPECIAL = 3,   /* <unk>, <s>, </s> come first, then, in all known vocabularies, the bytes */
    TYPE_NORMAL = 1, /* tokenizer.ggml.token_type */
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
    TYPE_BYTE = 6,
};

typedef struct checkpoint {
    const uint8_t *data;
    size_t size;
    uint32_t version, group;
    uint64_t header; /* bytes */
    pe_plain_config config;
} checkpoint;

/* ---- header ----------------------------------------------------------------------------------------------------- */

/* The seven numbers at `at`. */
static pe_plain_config read_config(const uint8_t *data, size_t at) {
    uint32_t field[7];
    for (size_t i = 0; i < 7; i++) field[i] = pe_load_u32(data + at + 4 * i);
    return (pe_plain_config){.n_embd = field[0],
                             .n_ff = field[1],
                             .n_layer = field[2],
                             .n_head = field[3],
                             .n_head_kv = field[4],
                             .n_vocab = field[5],
                             .n_ctx = field[6]};
}

/* Version 0: a negative number of tokens says that the output is a matrix of its own. */
static pe_plain_config read_old_config(const uint8_t *data) {
    pe_plain_config config = read_config(data, 0);
    config.tied = config.n_vocab < UINT32_C(0x80000000);
    if (!config.tied) config.n_vocab = 0u - config.n_vocab;
    return config;
}

bool pe_llama2c_is(const uint8_t *data, size_t size) {
    if (size < OLD_HEADER_BYTES) return false;
    if (pe_load_u32(data) == MAGIC) return true;
    const pe_plain_config config = read_old_config(data);
    const char *why;
    return pe_plain_check(&config, &why);
}

static pe_status read_header(checkpoint *c) {
    const char *why;
    if (c->size < OLD_HEADER_BYTES || pe_load_u32(c->data) != MAGIC) {
        c->header = OLD_HEADER_BYTES;
        if (c->size >= OLD_HEADER_BYTES) c->config = read_old_config(c->data);
        if (pe_plain_check(&c->config, &why)) return PE_OK;
        return pe_fail(PE_ERR_FORMAT, "offset 0: this is no checkpoint of llama2.c: %s", why);
    }
    if (c->size < HEADER_BYTES)
        return pe_fail(PE_ERR_FORMAT, "the header takes %d bytes but the file has %zu; it is cut short", HEADER_BYTES,
                       c->size);
    c->version = pe_load_u32(c->data + 4);
    if (c->version != 1 && c->version != 2)
        return pe_fail(c->version ? PE_ERR_UNSUPPORTED : PE_ERR_FORMAT,
                       "offset 4: version %" PRIu32 " of llama2.c's checkpoints is unknown; 0, 1 and 2 are read",
                       c->version);
    c->header = HEADER_BYTES;
    c->config = read_config(c->data, 8);
    const uint8_t tied = c->data[36];
    if (tied > 1)
        return pe_fail(PE_ERR_FORMAT, "offset 36: the flag of the shared output is %d; it must be 0 or 1", tied);
    c->config.tied = tied;
    if (!pe_plain_check(&c->config, &why)) return pe_fail(PE_ERR_FORMAT, "the header is wrong: %s", why);
    if (c->version == 1) return PE_OK;
    c->group = pe_load_u32(c->data + 37);
    if (c->group == 0 || c->group > PE_BUILD_MAX_DIM)
        return pe_fail(PE_ERR_FORMAT, "offset 37: the group size is %" PRIu32 "; expected 1 to %d", c->group,
                       PE_BUILD_MAX_DIM);
    return PE_OK;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

static void add(pe_builder *b, const checkpoint *c, const char *name, uint32_t n_in, uint32_t n_out) {
    pe_builder_tensors(b, name, c->config.n_layer, (pe_shape){n_in, n_out, n_out == 1 ? 0 : c->group});
}

static void lay_out(pe_builder *b, const checkpoint *c) {
    const pe_plain_config *f = &c->config;
    const uint32_t n = f->n_embd, head = n / f->n_head, kv = head * f->n_head_kv;
    if (c->version == 0) {
        add(b, c, "token_embd.weight", n, f->n_vocab);
        add(b, c, "blk.%u.attn_norm.weight", n, 1);
    } else {
        add(b, c, "blk.%u.attn_norm.weight", n, 1);
        add(b, c, "blk.%u.ffn_norm.weight", n, 1);
        add(b, c, "output_norm.weight", n, 1);
        add(b, c, "token_embd.weight", n, f->n_vocab);
    }
    add(b, c, "blk.%u.attn_q.weight", n, n);
    add(b, c, "blk.%u.attn_k.weight", n, kv);
    add(b, c, "blk.%u.attn_v.weight", n, kv);
    add(b, c, "blk.%u.attn_output.weight", n, n);
    if (c->version == 0) add(b, c, "blk.%u.ffn_norm.weight", n, 1);
    add(b, c, "blk.%u.ffn_gate.weight", n, f->n_ff);
    add(b, c, "blk.%u.ffn_down.weight", f->n_ff, n);
    add(b, c, "blk.%u.ffn_up.weight", n, f->n_ff);
    if (c->version == 0) {
        add(b, c, "output_norm.weight", n, 1);
        pe_builder_skip(b, (uint64_t)f->n_ctx * head * sizeof(float)); /* tables of rope, which nothing reads */
    }
    if (!f->tied) add(b, c, "output.weight", n, f->n_vocab);
}

static pe_status check_length(const checkpoint *c) {
    pe_builder measure = pe_builder_measure(c->header);
    lay_out(&measure, c);
    if (measure.status || measure.at == c->size) return measure.status;
    return pe_fail(PE_ERR_FORMAT,
                   "the header, taken for llama2.c's version %" PRIu32 ", implies a file of %" PRIu64
                   " bytes, but this one has %zu; it is cut short, damaged or no model",
                   c->version, measure.at, c->size);
}

/* ---- vocabulary ------------------------------------------------------------------------------------------------- */

typedef struct vocabulary {
    const uint8_t *data;
    size_t size, at;
    pe_view *tokens;
    uint8_t *scores, *types; /* 4 bytes an item */
    char *text;              /* where the next one goes */
} vocabulary;

/* Whether `text` is the byte piece of the place `id`: <0xHH>, or, in files of 2023, that byte as a character. */
static bool is_byte(const char *text, size_t size, uint32_t id) {
    static const char hex[] = "0123456789ABCDEF";
    const uint32_t byte = id - N_SPECIAL;
    if (id < N_SPECIAL || byte > 255) return false;
    if (size == 6 && memcmp(text, "<0x", 3) == 0)
        return text[3] == hex[byte >> 4] && text[4] == hex[byte & 15] && text[5] == '>';
    if (byte < 0x80) return size == 1 && (uint8_t)text[0] == byte;
    return size == 2 && (uint8_t)text[0] == (0xC0 | byte >> 6) && (uint8_t)text[1] == (0x80 | (byte & 63));
}

/* The text as other files of SentencePiece's vocabularies have it: spaces as U+2581, and the marks of a text's borders
 * without the line breaks that llama2.c puts around them. */
static pe_view respell(vocabulary *v, const char *text, size_t size, uint32_t id) {
    pe_view out = {v->text, 0};
    for (size_t i = 0; i < size; i++) {
        if (id < N_SPECIAL && text[i] == '\n') continue;
        if (text[i] == ' ') {
            memcpy(v->text, "\xE2\x96\x81", 3);
            v->text += 3;
        } else {
            *v->text++ = text[i];
        }
    }
    out.size = (size_t)(v->text - out.data);
    return out;
}

static pe_status read_token(vocabulary *v, uint32_t id, uint32_t count) {
    const size_t left = v->size - v->at;
    if (left < ENTRY_BYTES)
        return pe_fail(PE_ERR_FORMAT, "it ends after %" PRIu32 " tokens; the model has %" PRIu32 ": is it another's?",
                       id, count);
    const uint8_t *entry = v->data + v->at;
    const uint32_t size = pe_load_u32(entry + 4);
    if (size > left - ENTRY_BYTES)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: token %" PRIu32 " takes %" PRIu32 " bytes but the file has %zu left",
                       v->at, id, size, left - ENTRY_BYTES);
    memcpy(v->scores + 4 * (size_t)id, entry, 4);
    const char *text = (const char *)entry + ENTRY_BYTES;
    const bool byte = is_byte(text, size, id);
    if (byte) {
        v->tokens[id] = (pe_view){v->text, (size_t)snprintf(v->text, 7, "<0x%02X>", (unsigned)(id - N_SPECIAL))};
        v->text += v->tokens[id].size;
    } else {
        v->tokens[id] = respell(v, text, size, id);
    }
    v->types[4 * (size_t)id] = id == 0 ? TYPE_UNKNOWN : id < N_SPECIAL ? TYPE_CONTROL : byte ? TYPE_BYTE : TYPE_NORMAL;
    v->at += ENTRY_BYTES + size;
    return PE_OK;
}

static pe_status add_vocabulary(pe_builder *b, const checkpoint *c, const uint8_t *data, size_t size) {
    const uint32_t count = c->config.n_vocab;
    if (size < 4 || count > (size - 4) / ENTRY_BYTES)
        return pe_fail(PE_ERR_FORMAT, "%zu bytes are too few for the %" PRIu32 " tokens of the model: is it another's?",
                       size, count);
    vocabulary v = {.data = data, .size = size, .at = 4};
    v.tokens = pe_arena_alloc(&b->out->arena, count, sizeof *v.tokens);
    v.text = pe_arena_alloc(&b->out->arena, size, 3); /* a space becomes three bytes; an entry has eight more */
    v.scores = pe_builder_fill(b, "tokenizer.ggml.scores", PE_META_F32, count);
    v.types = pe_builder_fill(b, "tokenizer.ggml.token_type", PE_META_I32, count);
    if (!v.tokens || !v.text || !v.scores || !v.types) return PE_ERR_NOMEM;
    pe_status status = PE_OK;
    for (uint32_t id = 0; id < count && !status; id++) status = read_token(&v, id, count);
    if (!status && v.at != size)
        status = pe_fail(PE_ERR_FORMAT,
                         "offset %zu: it goes on after the %" PRIu32 " tokens that the model has: is it another's?",
                         v.at, count);
    if (status) return status;
    pe_builder_text(b, "tokenizer.ggml.model", "llama");
    pe_builder_texts(b, "tokenizer.ggml.tokens", v.tokens, count);
    if (count >= N_SPECIAL) {
        pe_builder_u32(b, "tokenizer.ggml.unknown_token_id", 0);
        pe_builder_u32(b, "tokenizer.ggml.bos_token_id", 1);
        pe_builder_u32(b, "tokenizer.ggml.eos_token_id", 2);
        pe_builder_u32(b, "tokenizer.ggml.eot_token_id", 1); /* BOS: models of stories end one by beginning the next */
    }
    pe_builder_bool(b, "tokenizer.ggml.add_bos_token", true);
    pe_builder_bool(b, "tokenizer.ggml.add_space_prefix", true);
    return PE_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

pe_status pe_llama2c_read(const uint8_t *data, size_t size, const uint8_t *vocab, size_t vocab_size, pe_gguf *out) {
    static const char *const names[] = {"llama2.c version 0 (F32)", "llama2.c version 1 (F32)",
                                        "llama2.c version 2 (int8)"};
    *out = (pe_gguf){0};
    checkpoint c = {.data = data, .size = size};
    pe_status status = read_header(&c);
    if (!status) status = check_length(&c);
    if (status) return status;
    pe_builder b = pe_builder_begin(data, size, c.header, MAX_KV, (size_t)9 * c.config.n_layer + 3, out);
    pe_plain_keys(&b, &c.config, names[c.version]);
    if (!b.status) {
        status = add_vocabulary(&b, &c, vocab, vocab_size);
        if (status && !b.status) b.status = pe_fail_within(status, "the vocabulary, tokenizer.bin");
    }
    lay_out(&b, &c);
    return pe_builder_finish(&b);
}
