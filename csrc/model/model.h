/* A loaded model: hyperparameters and pointers into the file. Immutable after load, shared by threads and sessions. */
#ifndef PE_MODEL_MODEL_H
#define PE_MODEL_MODEL_H

#include "base/filemap.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

#include <stdatomic.h>

/* What a LoRA adapter adds to a matrix: scale * B (A x). Of the embeddings it adds a row: scale * B a[id]. */
typedef struct pe_delta {
    const uint8_t *a; /* [rank, n_in]; of the embeddings [n_vocab, rank] */
    const uint8_t *b; /* B transposed: [rank, n_out], rows b_stride values apart */
    size_t b_stride;
    bool f32; /* else halves */
    uint32_t rank;
    float scale;
} pe_delta;

static inline size_t pe_delta_bytes(const pe_delta *delta) { /* of one value */ return delta->f32 ? 4 : 2; }

/* A matrix as it lies in the file: y [n_out] = W x [n_in] + bias. */
typedef struct pe_weight {
    const uint8_t *data; /* NULL: the file has none */
    int type, slot;      /* GGML type number, kernel slot */
    uint32_t n_in, n_out;
    size_t row_bytes;
    const float *bias;            /* [n_out] or NULL */
    const pe_gguf_tensor *tensor; /* that it is, or whose rows it is */
    uint32_t matrix;              /* which expert's */
    uint32_t n_deltas;
    const pe_delta *deltas; /* [n_deltas]: what a session's adapters add */
} pe_weight;

typedef struct pe_norm {
    const float *weight; /* NULL: the input goes on as it is */
    const float *bias;   /* of layer norms, or NULL */
} pe_norm;

enum { PE_NO_ROPE = -1, PE_ROPE_FULL, PE_ROPE_WINDOW };

typedef struct pe_layer {
    pe_weight q, k, v, o, gate, up, down;    /* no gate: activation(up) alone */
    pe_weight qkv;                           /* as some files have them; q, k and v are its parts */
    pe_weight router;                        /* [n_embd -> n_expert], or none; then the next three hold all experts: */
    pe_weight gate_exps, up_exps, down_exps; /* expert e is rows e * n_out .. */
    const float *expert_bias;                /* [n_expert] added where the best are chosen, or NULL */
    pe_norm attn_norm, ffn_norm;             /* [n_embd], before a block */
    pe_norm attn_post_norm, ffn_post_norm;   /* [n_embd], after it */
    pe_norm q_norm, k_norm;                  /* see pe_qk_norm */
    pe_weight conv_in,
        conv_out; /* of a short convolution instead of attention: to b, c and x of [n_embd] each, and back */
    pe_weight conv_b, conv_c, conv_x; /* the parts of conv_in */
    const float *conv;                /* [n_embd, n_conv] */
    bool is_conv;
    uint32_t cache_index; /* among the layers of its kind */
    bool parallel;        /* both blocks read the layer's input */
    bool windowed;        /* sees the last `window` positions only */
    int rope;             /* table of angles, or PE_NO_ROPE */
} pe_layer;

typedef enum pe_rope_scaling { PE_SCALE_NONE, PE_SCALE_LINEAR, PE_SCALE_YARN, PE_SCALE_LONG } pe_rope_scaling;

typedef struct pe_config {
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_ff;
    uint32_t head_dim, n_rot, window;
    uint32_t n_expert, n_expert_used;
    uint32_t n_ff_expert, n_dense_layer; /* width of an expert; layers before the first that has experts */
    uint32_t n_conv, n_conv_layer;       /* positions that a short convolution sees; layers that have one */
    bool expert_norm;                    /* the weights of a token's experts add up to 1 */
    bool parallel;                       /* the blocks of every layer are side by side */
    float norm_eps, rope_base, rope_base_window;
    pe_rope_scaling rope_scaling; /* of what the windowed layers use only where the architecture says so */
    float rope_factor, rope_attn; /* how far the context is stretched; factor of cosines and sines */
    float yarn_fast, yarn_slow;   /* turns in the original context above and below which frequencies are kept, scaled */
    uint32_t n_ctx_original;      /* before it was stretched */
    float score_scale, score_cap; /* of attention scores; cap 0: none */
    float score_growth;           /* factor 1 + growth * log(1 + floor(position / n_ctx_original)) of queries */
    float embd_scale, residual_scale, logit_scale, logit_cap;
} pe_config;

/* Layers that a tensor belongs to, where they differ: attention or a short convolution, one feed-forward or experts. */
typedef enum pe_layers {
    PE_EVERY_LAYER,
    PE_ATTENTION_LAYERS,
    PE_CONV_LAYERS,
    PE_DENSE_LAYERS,
    PE_EXPERT_LAYERS
} pe_layers;

typedef enum pe_activation { PE_SILU, PE_GELU_TANH, PE_GELU_ERF, PE_RELU_SQUARED } pe_activation;

/* How the scores of a router become the weights of its best experts. */
typedef enum pe_routing {
    PE_NO_EXPERTS,
    PE_SOFTMAX_BEST, /* their softmax */
    PE_SOFTMAX_ALL,  /* their part of the softmax over all */
    PE_SIGMOID       /* their sigmoids, made to add up to 1 */
} pe_routing;

/* What the norms of Q and K cover: each head with the same weights, each with its own, or all heads as one vector. */
typedef enum pe_qk_norm { PE_QK_HEAD, PE_QK_EACH, PE_QK_ALL } pe_qk_norm;

typedef enum pe_dim {
    PE_DIM_ONE,
    PE_DIM_EMBD,
    PE_DIM_EMBD_THRICE,
    PE_DIM_CONV,
    PE_DIM_VOCAB,
    PE_DIM_CONTEXT,
    PE_DIM_FF,
    PE_DIM_FF_TWICE,
    PE_DIM_FF_EXPERT,
    PE_DIM_EXPERT,
    PE_DIM_Q,
    PE_DIM_KV,
    PE_DIM_QKV,
    PE_DIM_HEAD,
    PE_DIM_HEADS,
    PE_DIM_KV_HEADS,
    PE_DIM_ROT_HALF
} pe_dim;

typedef enum pe_tensor_kind {
    PE_KIND_MATRIX, /* pe_weight; its bias is placed where the file has one */
    PE_KIND_STACK,  /* pe_weight: one matrix [in, out] for each expert */
    PE_KIND_NORM,   /* pe_norm; the same */
    PE_KIND_VECTOR, /* float pointer */
    PE_KIND_BIAS    /* the same, of a name that ends in .bias */
} pe_tensor_kind;

/* One tensor of an architecture: where its name puts it, and the shape it must have. Small, and without pointers that
 * the linker would have to relocate, since there are hundreds. */
typedef struct pe_tensor_rule {
    char name[28];  /* without ".weight" or ".bias"; "%u" stands for the layer */
    uint16_t field; /* offset in pe_layer (names with %u) or pe_model */
    uint8_t kind;   /* pe_tensor_kind */
    bool optional;
    uint8_t in, out; /* pe_dim */
    uint8_t layers;  /* pe_layers */
} pe_tensor_rule;
_Static_assert(sizeof(pe_layer) < UINT16_MAX, "a rule's field is an offset of 16 bits");

/* What tells one architecture from another, as data. See arch/<name>.c. */
typedef struct pe_arch {
    const char *name;
    const pe_tensor_rule *rules;
    size_t n_rules;
    pe_activation activation;
    bool layer_norm;       /* with the mean taken off and perhaps a bias, else RMS */
    bool rope_split;       /* rotates i with i + n/2, else neighbours */
    bool no_rope;          /* positions have learned vectors instead */
    bool scale_embeddings; /* by sqrt(n_embd) */
    bool parallel;         /* every layer; else those that have no norm for their feed-forward */
    bool parallel_key;     /* the file says whether (use_parallel_residual) */
    bool short_conv;       /* layers without key heads are short convolutions */
    bool plain_norm;       /* norms have no weights */
    bool needs_scales;     /* of embeddings, residuals and logits: a file without them is an error */
    bool norm_after_rope;  /* of heads */
    pe_routing routing;
    bool experts_optional; /* a file without experts is dense */
    pe_qk_norm qk_norm;
    uint32_t window_pattern;    /* of this many layers all but the last are windowed; PE_ALL_LAYERS; 0: none */
    uint32_t window_default;    /* where the file names none; 0: see window_optional */
    bool window_optional;       /* a file without a window has none; else it is an error */
    bool window_unscaled;       /* rope of windowed layers: no scaling, and a base of their own where there is one */
    bool rope_window_only;      /* rope in windowed layers only */
    bool logit_divisor;         /* logits are divided by logit_scale, not multiplied */
    uint32_t no_rope_step;      /* each of so many layers' last has no rope; 0: all have it */
    uint32_t wide_scale_layers; /* the size whose scores are scaled by n_embd / n_head, not by head_dim; 0: none */
    /* What conversion to GGUF changes, and adapters in the names of Hugging Face have as it was before: */
    bool permuted_heads;    /* rows of Q and K: rotated pairs lie side by side, not half a head apart */
    bool grouped_qkv;       /* rows of QKV: all Q, all K, all V, not one KV head after the other */
    bool shifted_norms;     /* weights of norms: 1 was added */
    float rope_base;        /* where the file names none */
    float rope_base_window; /* 0: as the others */
} pe_arch;

#define PE_ALL_LAYERS UINT32_MAX

struct pe_model {
    atomic_int references;
    pe_filemap map;
    pe_filemap *parts; /* [n_parts]: of a model in several files, those after the first */
    size_t n_parts;
    pe_gguf gguf;
    const pe_arch *arch;
    pe_config config;
    pe_layer *layers;                    /* [n_layer] */
    pe_weight embeddings, output;        /* output is the embeddings again where they are tied */
    pe_weight positions;                 /* [n_embd, n_ctx_train] learned vectors, where the architecture has them */
    pe_norm output_norm;                 /* [n_embd] */
    const float *rope_factors;           /* [n_rot / 2] divisors of the frequencies, or NULL */
    const float *rope_long, *rope_short; /* the same for contexts beyond and within n_ctx_original */
    pe_vocab vocab;
    pe_tokenizer *tokenizer;
    char *name, *chat_template;
    uint64_t n_params;
    bool no_weights; /* those that would be repacked are not: see pe_model_options */
    pe_arena arena;
};

const pe_arch *pe_arch_find(const char *name, size_t size);
/* What a dimension of a tensor rule is in this model. */
uint64_t pe_rule_extent(const pe_model *model, unsigned dim);
/* Whether a layer has tensors of this rule. */
bool pe_rule_belongs(const pe_model *model, const pe_tensor_rule *rule, uint32_t layer);
/* Fill config from the keys of model->gguf. */
pe_status pe_model_read_config(pe_model *model);
/* Say of each layer what it is, whether it is windowed and which rope it has. */
pe_status pe_model_plan_layers(pe_model *model);
/* Fill config, layers and tensors from model->gguf. */
pe_status pe_model_load_weights(pe_model *model);
/* Fill vocab, tokenizer and chat_template from model->gguf. */
pe_status pe_model_load_vocab(pe_model *model);

#endif
