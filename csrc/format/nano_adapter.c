#include "format/nano_adapter.h"
#include "base/half.h"
#include "format/builder.h"

#include <inttypes.h>

enum { HEADER_BYTES = 256, KIND_ADAPTER = 10, MAX_RANK = 1 << 16 };

static pe_status read_header(const uint8_t *data, size_t size, pe_nano_adapter *h) {
    if (size < HEADER_BYTES)
        return pe_fail(PE_ERR_FORMAT, "%zu bytes are less than the header of a Nano file, which has %d", size,
                       HEADER_BYTES);
    const uint32_t kind = pe_load_u32(data + 16);
    if (kind != KIND_ADAPTER)
        return pe_fail(PE_ERR_FORMAT, "offset 16: this Nano file is of kind %" PRIu32 ", a model; an adapter is of 10",
                       kind);
    uint32_t *const fields[] = {&h->rank, &h->alpha, &h->n_layer, &h->n_embd, &h->n_head, &h->n_head_kv, &h->n_ff};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) *fields[i] = pe_load_u32(data + 24 + 4 * i);
    const pe_plain_config plain = {h->n_layer, h->n_embd, h->n_head, h->n_head_kv, h->n_ff, 1, 1, true};
    const char *why;
    if (!pe_plain_check(&plain, &why)) return pe_fail(PE_ERR_FORMAT, "the header is wrong: %s", why);
    if (h->rank == 0 || h->rank > MAX_RANK)
        return pe_fail(PE_ERR_FORMAT, "offset 24: the rank is %" PRIu32 "; expected 1 to %d", h->rank, MAX_RANK);
    return PE_OK;
}

static void lay_out(pe_builder *b, const pe_nano_adapter *h) {
    const uint32_t kv = h->n_embd / h->n_head * h->n_head_kv;
    const struct {
        const char *a, *b;
        uint32_t out;
    } pairs[] = {
        {"blk.%u.attn_q.weight.lora_a", "blk.%u.attn_q.weight.lora_b", h->n_embd},
        {"blk.%u.attn_k.weight.lora_a", "blk.%u.attn_k.weight.lora_b", kv},
        {"blk.%u.attn_v.weight.lora_a", "blk.%u.attn_v.weight.lora_b", kv},
        {"blk.%u.attn_output.weight.lora_a", "blk.%u.attn_output.weight.lora_b", h->n_embd},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        pe_builder_tensors(b, pairs[i].a, h->n_layer, (pe_shape){h->n_embd, h->rank, 0});
        pe_builder_tensors(b, pairs[i].b, h->n_layer, (pe_shape){h->rank, pairs[i].out, 0});
    }
}

pe_status pe_nano_adapter_read(const uint8_t *data, size_t size, pe_nano_adapter *header, pe_gguf *out) {
    *out = (pe_gguf){0};
    pe_status status = read_header(data, size, header);
    if (status) return status;
    pe_builder b = pe_builder_measure(HEADER_BYTES);
    lay_out(&b, header);
    if (b.status) return b.status;
    if (b.at != size)
        return pe_fail(PE_ERR_FORMAT,
                       "the header implies a file of %" PRIu64
                       " bytes, but this one has %zu; it is cut short or damaged",
                       b.at, size);
    b = pe_builder_begin(data, size, HEADER_BYTES, 1, (size_t)8 * header->n_layer, out);
    lay_out(&b, header);
    return pe_builder_finish(&b);
}
