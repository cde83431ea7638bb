/* A loaded model: hyperparameters and pointers into the file. Immutable after load, shared by threads and sessions. */
#ifndef PE_MODEL_MODEL_H
#define PE_MODEL_MODEL_H

#include "base/filemap.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

#include <stdatomic.h>

/* A matrix as it lies in the file: y [n_out] = W x [n_in]. */
typedef struct pe_weight {
    const uint8_t *data; /* NULL: the file has none */
    int type, slot;      /* GGML type number, kernel slot */
    uint32_t n_in, n_out;
    size_t row_bytes;
} pe_weight;

typedef struct pe_layer {
    pe_weight q, k, v, o, gate, up, down;
    const float *attn_norm, *ffn_norm;           /* [n_embd] */
    const float *attn_post_norm, *ffn_post_norm; /* [n_embd] or NULL */
    const float *q_norm, *k_norm;                /* [head_dim] or NULL */
    bool windowed; /* sees the last `window` positions only, and uses the second rope base */
} pe_layer;

typedef struct pe_config {
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_ff;
    uint32_t head_dim, n_rot, window;
    float norm_eps, rope_base, rope_base_window, rope_scale; /* angle = position * rope_scale / base^(2i/n_rot) */
    float score_scale, embd_scale;                           /* of attention scores; of token embeddings */
} pe_config;

typedef enum pe_activation { PE_SILU, PE_GELU_TANH } pe_activation;

typedef enum pe_dim {
    PE_DIM_ONE,
    PE_DIM_EMBD,
    PE_DIM_VOCAB,
    PE_DIM_FF,
    PE_DIM_Q,
    PE_DIM_KV,
    PE_DIM_HEAD,
    PE_DIM_ROT_HALF
} pe_dim;

/* One tensor of an architecture: where its name puts it, and the shape it must have. */
typedef struct pe_tensor_rule {
    const char *name; /* "%u" stands for the layer */
    size_t field; /* offset in pe_layer (names with %u) or pe_model; a pe_weight for matrices, else a float pointer */
    bool matrix, optional;
    pe_dim in, out;
} pe_tensor_rule;

/* What tells one architecture from another, as data. See arch/<name>.c. */
typedef struct pe_arch {
    const char *name;
    const pe_tensor_rule *rules;
    size_t n_rules;
    pe_activation activation;
    bool rope_split;                   /* rotates i with i + n/2, else neighbours */
    bool scale_embeddings;             /* by sqrt(n_embd) */
    uint32_t window_pattern;           /* of this many layers all but the last are windowed; 0: none */
    float rope_base, rope_base_window; /* where the file names none */
} pe_arch;

struct pe_model {
    atomic_int references;
    pe_filemap map;
    pe_filemap *parts; /* [n_parts]: of a model in several files, those after the first */
    size_t n_parts;
    pe_gguf gguf;
    const pe_arch *arch;
    pe_config config;
    pe_layer *layers;             /* [n_layer] */
    pe_weight embeddings, output; /* output is the embeddings again where they are tied */
    const float *output_norm;     /* [n_embd] */
    const float *rope_factors;    /* [n_rot / 2] divisors of the frequencies, or NULL */
    pe_vocab vocab;
    pe_tokenizer *tokenizer;
    char *name, *chat_template;
    uint64_t n_params;
    pe_arena arena;
};

const pe_arch *pe_arch_find(const char *name, size_t size);
/* Fill config, layers and tensors from model->gguf. */
pe_status pe_model_load_weights(pe_model *model);
/* Fill vocab, tokenizer and chat_template from model->gguf. */
pe_status pe_model_load_vocab(pe_model *model);

#endif
