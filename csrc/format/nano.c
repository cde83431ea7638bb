#include "format/nano.h"
#include "base/half.h"
#include "format/builder.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    HEADER_BYTES = 256,
    MAX_KV = 32,
    QUANT_F32 = 0,
    QUANT_Q80 = 0x80,
    QUANT_Q4K = 0x42,
    FRAME_BYTES = 44, /* before the blocks of a Q4K tensor */
    BLOCK_BYTES = 160,
    BLOCK_WEIGHTS = 256,
    ENTRY_BYTES = 8, /* of a token, before its characters */
    TYPE_NORMAL = 1, /* tokenizer.ggml.token_type */
    TYPE_UNKNOWN = 2,
    TYPE_CONTROL = 3,
};

/* A question and what follows it; earlier turns, which these models were not trained on, are written the same way. */
static const char chat_template[] =
    "{%- for message in messages -%}"
    "{%- set text = message.content if message.content is string else message.content|map(attribute='text')|join -%}"
    "{%- if message.role == 'user' -%}{{ '<|instruct_mark|>' + text + '<|response_mark|>' }}"
    "{%- elif message.role == 'assistant' -%}{{ text + '<|eos|>' }}"
    "{%- else -%}{{ raise_exception('Nano has roles user and assistant only, not ' + message.role) }}"
    "{%- endif -%}"
    "{%- endfor -%}";

typedef struct nano {
    const uint8_t *data;
    size_t size;
    uint32_t major, minor, quant, group;
    pe_plain_config config;
    uint32_t vocab_bytes; /* of the section after the header */
    uint64_t rope;        /* offset of the tables */
} nano;

bool pe_nano_is(const uint8_t *data, size_t size) { return size >= 8 && memcmp(data, "S4DBMLRU", 8) == 0; }

/* ---- header ----------------------------------------------------------------------------------------------------- */

static pe_status check_kind(uint32_t arch) {
    if (arch == 0) return PE_OK;
    if (arch == 10)
        return pe_fail(PE_ERR_UNSUPPORTED, "offset 16: this Nano file is an adapter (LoRA), which is no model of its "
                                           "own; open the model that it was made for");
    return pe_fail(PE_ERR_UNSUPPORTED, "offset 16: architecture %" PRIu32 "%s in a Nano file is not supported; 0 is",
                   arch,
                   arch == 2   ? " (Qwen2)"
                   : arch == 3 ? " (Qwen3)"
                               : "");
}

static pe_status read_header(nano *n) {
    if (n->size < HEADER_BYTES + 8)
        return pe_fail(PE_ERR_FORMAT, "the header of a Nano file takes %d bytes but the file has %zu; it is cut short",
                       HEADER_BYTES, n->size);
    uint32_t field[17]; /* of offset 0 .. 67 */
    for (size_t i = 0; i < 17; i++) field[i] = pe_load_u32(n->data + 4 * i);
    pe_status status = check_kind(field[4]);
    if (status) return status;
    n->major = field[2];
    n->minor = field[3];
    n->config = (pe_plain_config){.n_ctx = field[6],
                                  .n_vocab = field[7],
                                  .n_layer = field[8],
                                  .n_embd = field[9],
                                  .n_head = field[10],
                                  .n_head_kv = field[11],
                                  .n_ff = field[12]};
    n->quant = field[15];
    n->config.tied = field[13] == 1 || n->quant == QUANT_Q4K; /* the exporter of Q4K writes no other */
    if (field[13] > 1)
        return pe_fail(PE_ERR_FORMAT, "offset 52: the flag of the shared output is %" PRIu32 "; it must be 0 or 1",
                       field[13]);
    const char *why;
    if (!pe_plain_check(&n->config, &why)) return pe_fail(PE_ERR_FORMAT, "the header is wrong: %s", why);
    if (n->quant != QUANT_F32 && n->quant != QUANT_Q80 && n->quant != QUANT_Q4K)
        return pe_fail(PE_ERR_UNSUPPORTED,
                       "offset 60: weights of kind 0x%" PRIx32
                       " are not supported; 0 (floats), 0x80 (Q80) and 0x42 (Q4K) are",
                       n->quant);
    if (n->quant == QUANT_Q80) {
        n->group = field[16];
        if (n->group == 0 || n->group > PE_BUILD_MAX_DIM)
            return pe_fail(PE_ERR_FORMAT, "offset 64: the group size is %" PRIu32 "; expected 1 to %d", n->group,
                           PE_BUILD_MAX_DIM);
    }
    n->vocab_bytes = pe_load_u32(n->data + HEADER_BYTES);
    if (n->vocab_bytes < 8 || n->vocab_bytes > n->size - HEADER_BYTES)
        return pe_fail(PE_ERR_FORMAT,
                       "offset %d: the vocabulary says that it takes %" PRIu32 " bytes, but the file has %zu left",
                       HEADER_BYTES, n->vocab_bytes, n->size - HEADER_BYTES);
    return PE_OK;
}

/* ---- vocabulary ------------------------------------------------------------------------------------------------- */

/* UTF-8 of a code point to out [4]; 0 for what is no character. */
static size_t put_utf8(uint32_t c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        if (c >= 0xD800 && c < 0xE000) return 0;
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    if (c > 0x10FFFF) return 0;
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

static bool is(pe_view view, const char *text) {
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

/* One token at *at, whose text goes to *text. */
static pe_status read_token(const nano *n, size_t *at, size_t end, pe_view *tokens, uint8_t *types, char **text) {
    const uint8_t *entry = n->data + *at;
    if (end - *at < ENTRY_BYTES || (size_t)entry[0] * 4 > end - *at - ENTRY_BYTES)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: a token reaches past the end of the vocabulary", *at);
    const uint32_t id = pe_load_u32(entry + 4);
    if (id >= n->config.n_vocab || tokens[id].data)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: token id %" PRIu32 " %s", *at, id,
                       id < n->config.n_vocab ? "is there twice" : "is past the end of the vocabulary");
    if (entry[1] > 1)
        return pe_fail(PE_ERR_FORMAT, "offset %zu: the flag of a special token is %d; it must be 0 or 1", *at,
                       entry[1]);
    tokens[id].data = *text;
    for (size_t i = 0; i < entry[0]; i++) {
        const uint32_t c = pe_load_u32(entry + ENTRY_BYTES + 4 * i);
        const size_t length = put_utf8(c, *text);
        if (length == 0)
            return pe_fail(PE_ERR_FORMAT,
                           "offset %zu: token %" PRIu32 " has the code point 0x%" PRIx32 ", which is no character", *at,
                           id, c);
        *text += length;
    }
    tokens[id].size = (size_t)(*text - tokens[id].data);
    types[4 * (size_t)id] = !entry[1] ? TYPE_NORMAL : is(tokens[id], "<|unknown|>") ? TYPE_UNKNOWN : TYPE_CONTROL;
    *at += ENTRY_BYTES + 4 * (size_t)entry[0];
    return PE_OK;
}

static pe_status read_tokens(const nano *n, pe_view *tokens, uint8_t *types, char *text) {
    size_t at = HEADER_BYTES + 8, count = 0;
    const size_t end = HEADER_BYTES + (size_t)n->vocab_bytes;
    for (pe_status status; at < end; count++)
        if ((status = read_token(n, &at, end, tokens, types, &text))) return status;
    if (count == n->config.n_vocab) return PE_OK; /* ids below it, none twice: all are there */
    return pe_fail(PE_ERR_FORMAT, "the vocabulary has %zu tokens; the header says %" PRIu32, count, n->config.n_vocab);
}

/* The id of a special token as a key, where there is one. */
static bool add_id(pe_builder *b, const nano *n, const pe_view *tokens, const uint8_t *types, const char *name,
                   const char *key) {
    for (uint32_t id = 0; id < n->config.n_vocab; id++) {
        if (types[4 * (size_t)id] == TYPE_NORMAL || !is(tokens[id], name)) continue;
        if (key) pe_builder_u32(b, key, id);
        return true;
    }
    return false;
}

static pe_status add_vocabulary(pe_builder *b, const nano *n) {
    const uint32_t count = n->config.n_vocab, said = pe_load_u32(n->data + HEADER_BYTES + 4);
    if (said != count || count > n->vocab_bytes / ENTRY_BYTES)
        return pe_fail(PE_ERR_FORMAT,
                       "offset %d: the vocabulary says that it has %" PRIu32 " tokens in %" PRIu32
                       " bytes; the header says %" PRIu32 " tokens",
                       HEADER_BYTES, said, n->vocab_bytes, count);
    pe_view *tokens = pe_arena_alloc(&b->out->arena, count, sizeof *tokens);
    char *text = pe_arena_alloc(&b->out->arena, n->vocab_bytes, 1); /* UTF-8 takes no more than UTF-32 */
    uint8_t *types = pe_builder_fill(b, "tokenizer.ggml.token_type", PE_META_I32, count);
    if (!tokens || !text || !types) return PE_ERR_NOMEM;
    const pe_status status = read_tokens(n, tokens, types, text);
    if (status) return status;
    pe_builder_text(b, "tokenizer.ggml.model", "nano");
    pe_builder_texts(b, "tokenizer.ggml.tokens", tokens, count);
    add_id(b, n, tokens, types, "<|bos|>", "tokenizer.ggml.bos_token_id");
    add_id(b, n, tokens, types, "<|eos|>", "tokenizer.ggml.eos_token_id");
    /* Nano's engine stops at padding as well, and writes padding, not <|unknown|>, for a character without a token. */
    add_id(b, n, tokens, types, "<|padding|>", "tokenizer.ggml.padding_token_id");
    add_id(b, n, tokens, types, "<|padding|>", "tokenizer.ggml.eot_token_id");
    pe_builder_u32(b, "tokenizer.ggml.unknown_token_id", 0);
    if (add_id(b, n, tokens, types, "<|instruct_mark|>", NULL) &&
        add_id(b, n, tokens, types, "<|response_mark|>", NULL))
        pe_builder_text(b, "tokenizer.chat_template", chat_template);
    return PE_OK;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

/* A Q4K tensor of all layers: one head, then blocks, none of them in two rows. */
static pe_status check_frame(const pe_builder *b, const char *name, uint64_t n_blocks, uint32_t n_in) {
    const uint64_t left = b->out->size - b->at, bytes = FRAME_BYTES + BLOCK_BYTES * n_blocks;
    if (left < bytes)
        return pe_fail(PE_ERR_FORMAT,
                       "offset %" PRIu64 ": %s takes %" PRIu64 " bytes but the file has %" PRIu64 " left", b->at, name,
                       bytes, left);
    const uint8_t *p = b->out->data + b->at;
    const uint64_t said = pe_load_u32(p) | (uint64_t)pe_load_u32(p + 4) << 32;
    if (said != bytes || pe_load_u32(p + 8) != QUANT_Q4K || pe_load_u32(p + 40) != n_blocks)
        return pe_fail(PE_ERR_FORMAT,
                       "offset %" PRIu64 ": the head of %s says %" PRIu64 " bytes in %" PRIu32
                       " blocks of kind 0x%" PRIx32 "; expected %" PRIu64 " in %" PRIu64 " of kind 0x42",
                       b->at, name, said, pe_load_u32(p + 40), pe_load_u32(p + 8), bytes, n_blocks);
    const uint32_t weights = n_in < BLOCK_WEIGHTS ? n_in : BLOCK_WEIGHTS;
    p += FRAME_BYTES;
    for (uint64_t i = 0; i < n_blocks; i++, p += BLOCK_BYTES)
        if (pe_load_u32(p) != QUANT_Q4K || pe_load_u32(p + 4) != weights)
            return pe_fail(PE_ERR_FORMAT,
                           "offset %zu: block %" PRIu64 " of %s is of kind 0x%" PRIx32 " with %" PRIu32
                           " weights; expected 0x42 with %" PRIu32,
                           (size_t)(p - b->out->data), i, name, pe_load_u32(p), pe_load_u32(p + 4), weights);
    return PE_OK;
}

static void add_q4k(pe_builder *b, const char *name, uint32_t n_layers, uint32_t n_in, uint32_t n_out) {
    const uint32_t count = strstr(name, "%u") ? n_layers : 1;
    const uint64_t n_blocks = (uint64_t)n_out * ((n_in + BLOCK_WEIGHTS - 1) / BLOCK_WEIGHTS);
    const bool rows = n_in % BLOCK_WEIGHTS == 0;
    const pe_gguf_tensor tensor = {.type = rows ? PE_BUILD_NANO_Q4K : PE_BUILD_F32,
                                   .dims = {n_in, n_out},
                                   .layout = rows ? PE_LAYOUT_ROWS : PE_LAYOUT_NANO_Q4K,
                                   .size = n_blocks * BLOCK_BYTES};
    if (!b->status && !rows && n_in > BLOCK_WEIGHTS)
        b->status = pe_fail(PE_ERR_UNSUPPORTED,
                            "tensor '%s' has rows of %" PRIu32 " weights in Q4K, which Nano writes without their ends; "
                            "only rows of at most %d, or of a multiple of it, are whole",
                            name, n_in, BLOCK_WEIGHTS);
    if (b->out && !b->status) b->status = check_frame(b, name, n_blocks * count, n_in);
    pe_builder_skip(b, FRAME_BYTES);
    for (uint32_t layer = 0; layer < count && !b->status; layer++) {
        pe_builder_place(b, name, layer, &tensor);
        pe_builder_skip(b, tensor.size);
    }
}

static void add_matrix(pe_builder *b, const nano *n, const char *name, uint32_t n_in, uint32_t n_out) {
    if (n->quant == QUANT_Q4K)
        add_q4k(b, name, n->config.n_layer, n_in, n_out);
    else
        pe_builder_tensors(b, name, n->config.n_layer, (pe_shape){n_in, n_out, n->group});
}

static void lay_out(pe_builder *b, nano *n) {
    const pe_plain_config *c = &n->config;
    const uint32_t head = c->n_embd / c->n_head, kv = head * c->n_head_kv;
    pe_builder_tensors(b, "blk.%u.attn_norm.weight", c->n_layer, (pe_shape){c->n_embd, 1, 0});
    pe_builder_tensors(b, "blk.%u.ffn_norm.weight", c->n_layer, (pe_shape){c->n_embd, 1, 0});
    pe_builder_tensors(b, "output_norm.weight", 1, (pe_shape){c->n_embd, 1, 0});
    add_matrix(b, n, "token_embd.weight", c->n_embd, c->n_vocab);
    add_matrix(b, n, "blk.%u.attn_q.weight", c->n_embd, c->n_embd);
    add_matrix(b, n, "blk.%u.attn_k.weight", c->n_embd, kv);
    add_matrix(b, n, "blk.%u.attn_v.weight", c->n_embd, kv);
    add_matrix(b, n, "blk.%u.attn_output.weight", c->n_embd, c->n_embd);
    add_matrix(b, n, "blk.%u.ffn_gate.weight", c->n_embd, c->n_ff);
    add_matrix(b, n, "blk.%u.ffn_down.weight", c->n_ff, c->n_embd);
    add_matrix(b, n, "blk.%u.ffn_up.weight", c->n_embd, c->n_ff);
    n->rope = b->at;
    pe_builder_skip(b, (uint64_t)c->n_ctx * head * sizeof(float)); /* cosines, then sines, of half a head each */
    if (!c->tied) add_matrix(b, n, "output.weight", c->n_embd, c->n_vocab);
}

/* Compare the file's length with what the header implies, with the group size as written or, where the exporter halved
 * it without writing so, as it was used. */
static pe_status check_length(nano *n) {
    const uint32_t written = n->group;
    pe_builder measure = pe_builder_measure(HEADER_BYTES + (uint64_t)n->vocab_bytes);
    lay_out(&measure, n);
    if (!measure.status && measure.at == n->size) return PE_OK;
    while (n->group && n->config.n_embd % n->group) n->group /= 2;
    if (n->group != written) {
        measure = pe_builder_measure(HEADER_BYTES + (uint64_t)n->vocab_bytes);
        lay_out(&measure, n);
        if (!measure.status && measure.at == n->size) return PE_OK;
    }
    if (measure.status) return measure.status;
    return pe_fail(PE_ERR_FORMAT,
                   "the header implies a file of %" PRIu64 " bytes, but this one has %zu; it is cut short or damaged",
                   measure.at, n->size);
}

/* The second row of the tables has the frequencies: evaluation computes them, so they must be those that it uses. */
static pe_status check_rope(const nano *n) {
    const uint32_t head = n->config.n_embd / n->config.n_head, half = head / 2;
    if (n->config.n_ctx < 2) return PE_OK;
    const uint8_t *cosines = n->data + n->rope + sizeof(float) * half;
    const uint8_t *sines = cosines + sizeof(float) * half * (size_t)n->config.n_ctx;
    for (uint32_t i = 0; i < half; i++) {
        const double angle = pow(10000.0, -2.0 * i / head);
        const double c = (double)pe_float_from_bits(pe_load_u32(cosines + sizeof(float) * i));
        const double s = (double)pe_float_from_bits(pe_load_u32(sines + sizeof(float) * i));
        if (!(fabs(c - cos(angle)) < 1e-3) || !(fabs(s - sin(angle)) < 1e-3))
            return pe_fail(PE_ERR_UNSUPPORTED,
                           "offset %zu: the rope tables are not those of base 10000, which is the only one supported "
                           "in Nano files",
                           (size_t)(cosines - n->data));
    }
    return PE_OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static const char *source_name(pe_builder *b, const nano *n) {
    char text[64];
    const int size = snprintf(text, sizeof text, "Nano %" PRIu32 ".%" PRIu32 " (%s)", n->major, n->minor,
                              n->quant == QUANT_F32   ? "F32"
                              : n->quant == QUANT_Q80 ? "Q80"
                                                      : "Q4K");
    return pe_arena_string(&b->out->arena, text, (size_t)size);
}

pe_status pe_nano_read(const uint8_t *data, size_t size, pe_gguf *out) {
    *out = (pe_gguf){0};
    nano n = {.data = data, .size = size};
    pe_status status = read_header(&n);
    if (!status) status = check_length(&n);
    if (!status) status = check_rope(&n);
    if (status) return status;
    pe_builder b = pe_builder_begin(data, size, HEADER_BYTES + (uint64_t)n.vocab_bytes, MAX_KV,
                                    (size_t)9 * n.config.n_layer + 3, out);
    const char *source = b.status ? NULL : source_name(&b, &n);
    if (!source) b.status = PE_ERR_NOMEM;
    if (!b.status) pe_plain_keys(&b, &n.config, source);
    if (!b.status) b.status = add_vocabulary(&b, &n);
    lay_out(&b, &n);
    return pe_builder_finish(&b);
}
