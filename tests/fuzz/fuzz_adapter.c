/* libFuzzer target of the adapter readers: the bytes as an adapter of a small model, opened from memory, attached and
 * merged. The first byte says which of two models it is for; the next two how many bytes at the end are the text of
 * adapter_config.json, 0xffff for none.
 *
 *   python tests/py/loramake.py SEEDS
 *
 * A crash is a bug in a reader. So is an adapter that opens and then changes nothing, or what is not finite, or that
 * takes much more memory than its file: those are traps. */
#include "base/arena.h"
#include "format/builder.h"
#include "kernels/kernels.h"
#include "model/adapter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PROMISE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) __builtin_trap();                                                                            \
    } while (0)

enum { EMBD = 8, HEADS = 2, KV_HEADS = 1, FF = 8, VOCAB = 16, LAYERS = 2, HEAD = EMBD / HEADS, ROWS = 24 };

/* What loading would have made of a file: only what adapters are bound to. */
static pe_model *small_model(const char *arch) {
    static pe_layer layers[2][LAYERS];
    static pe_model models[2];
    const int which = arch[0] == 'p';
    pe_model *m = &models[which];
    if (m->arch) return m;
    m->arch = pe_arch_find(arch, strlen(arch));
    PROMISE(m->arch);
    m->config = (pe_config){.n_vocab = VOCAB,
                            .n_ctx_train = 32,
                            .n_embd = EMBD,
                            .n_layer = LAYERS,
                            .n_head = HEADS,
                            .n_head_kv = KV_HEADS,
                            .n_ff = FF,
                            .head_dim = HEAD,
                            .n_rot = HEAD};
    m->layers = layers[which];
    static const uint8_t present[1]; /* matrices are looked for, never read */
    for (size_t i = 0; i < LAYERS; i++) {
        pe_layer *l = &m->layers[i];
        l->q.data = l->k.data = l->v.data = l->o.data = l->gate.data = l->up.data = l->down.data = present;
        l->qkv.data = which ? present : NULL;
    }
    m->embeddings.data = m->output.data = present;
    atomic_init(&m->references, 1);
    return m;
}

static void walk(const pe_adapter *adapter) {
    float rows[ROWS * EMBD];
    for (size_t i = 0; i < adapter->n_changes; i++) {
        const pe_change *change = &adapter->changes[i];
        const size_t n_in = (size_t)pe_rule_extent(adapter->model, change->rule->in);
        const size_t n_out = (size_t)pe_rule_extent(adapter->model, change->rule->out);
        const char *name;
        PROMISE(n_in <= EMBD && n_out <= ROWS);
        memset(rows, 0, sizeof rows);
        PROMISE(pe_adapter_merge(adapter, i, 0.0f, 0, n_out, rows, &name) == PE_OK);
        PROMISE(name && strlen(name) > 7);
        PROMISE(change->delta.rank == 0 || isfinite(change->delta.scale));
        for (size_t j = 0; j < n_in * n_out; j++) PROMISE(isfinite(rows[j]));
    }
    const char *name;
    PROMISE(pe_adapter_merge(adapter, adapter->n_changes, 1.0f, 0, 0, NULL, &name) == PE_ERR_ARG);
    const pe_attachment attachment = {(pe_adapter *)adapter, 1.0f};
    pe_weights weights;
    if (pe_weights_attach(adapter->model, &attachment, 1, &weights) == PE_OK) pe_weights_free(&weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) return 0;
    pe_model *model = small_model(data[0] & 1 ? "phi3" : "llama");
    const size_t said = data[1] | (size_t)data[2] << 8, left = size - 3;
    const size_t config_size = said == 0xffff ? 0 : said < left ? said : left;
    const size_t weights_size = left - config_size;
    /* Each with an end of its own. */
    uint8_t *weights = malloc(weights_size ? weights_size : 1);
    char *config = malloc(config_size ? config_size : 1);
    if (!weights || !config) abort();
    memcpy(weights, data + 3, weights_size);
    memcpy(config, data + 3 + weights_size, config_size);
    pe_adapter *adapter = NULL;
    const pe_status status =
        pe_adapter_open_memory(model, weights, weights_size, said == 0xffff ? NULL : config, config_size, &adapter);
    free(weights); /* not needed afterwards */
    free(config);
    if (status != PE_OK) {
        PROMISE(adapter == NULL && strlen(pe_last_error()) > 10);
        return 0;
    }
    PROMISE(adapter->n_changes > 0 && adapter->arena.total <= 32 * size + (1 << 20));
    walk(adapter);
    pe_adapter_release(adapter);
    return 0;
}
