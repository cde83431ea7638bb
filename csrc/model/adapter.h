/* LoRA adapters (https://arxiv.org/abs/2106.09685): y = W x + scale * B (A x), W as it lies in the file.
 *
 * An adapter is read once, from whichever format, into the form that the products take: A [rank, n_in] and B transposed
 * [rank, n_out], both as halves, or as floats where both the adapter and what it is added to are. What other types than
 * F16 give to halves is multiplied by a power of two, undone in the scale, so that its largest value lies near 2^10 and
 * no value of weight is lost to their small range. The file is not needed afterwards.
 *
 * Attaching adapters makes a session's own view of the model: copies of the structs that point to the weights, with the
 * pairs hung on. The model itself never changes. */
#ifndef PE_MODEL_ADAPTER_H
#define PE_MODEL_ADAPTER_H

#include "model/model.h"

/* One thing that an adapter changes. */
typedef struct pe_change {
    const pe_tensor_rule *rule; /* the tensor that it belongs to */
    uint32_t layer;
    const char *tensor;  /* its name in the model's file */
    pe_delta delta;      /* a pair; rank 0: it replaces the whole instead, by one of these: */
    pe_weight matrix;    /* data NULL: none */
    const float *vector; /* the weights of a norm */
} pe_change;

struct pe_adapter {
    atomic_int references, attached; /* attached: to so many sessions */
    pe_model *model;
    pe_arena arena;
    const char *format; /* "PEFT", "GGUF", "Nano" */
    pe_change *changes; /* [n_changes] */
    size_t n_changes;
    bool replaces; /* some of them replace a whole tensor */
    uint32_t rank; /* the largest */
    uint64_t n_params, hash;
};

typedef struct pe_attachment {
    pe_adapter *adapter;
    float scale;
} pe_attachment;

/* A model's weights as a session sees them. */
typedef struct pe_weights {
    pe_layer *layers; /* [n_layer] */
    pe_weight embeddings, output;
    pe_norm output_norm;
    size_t rank; /* the sum of ranks in the layer, or the ends, where it is largest */
    pe_arena arena;
} pe_weights;

/* Bytes of an adapter: told by their content, checked, bound to the tensors of adapter->model. `config` is the text of
 * adapter_config.json, NULL where there is none. */
pe_status pe_adapter_read(pe_adapter *adapter, const uint8_t *data, size_t size, const char *config,
                          size_t config_size);

/* Fill in `tensor` of all changes. */
pe_status pe_adapter_name_targets(pe_adapter *adapter);

/* The module of a PEFT tensor name as a rule of the architecture and a layer; NULL where it has no such. */
const pe_tensor_rule *pe_adapter_module(const pe_model *model, pe_view module, uint32_t *layer);
/* The rule of a GGUF tensor, "blk.0.attn_q" (without ".weight"). */
const pe_tensor_rule *pe_adapter_tensor(const pe_model *model, pe_view name, uint32_t *layer);
/* The weights of the model alone: nothing is owned. */
pe_weights pe_weights_of(const pe_model *model);
/* The model with adapters [n] attached, of scales other than 0; the adapters must outlive it. */
pe_status pe_weights_attach(const pe_model *model, const pe_attachment *attachments, size_t n, pe_weights *out);
void pe_weights_free(pe_weights *weights);

#endif
