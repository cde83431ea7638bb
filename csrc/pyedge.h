/* pyedge: language models on the machine at hand. The one public header of the C core.
 *
 * Every function that can fail returns a pe_status; on failure pe_last_error() gives one sentence for the calling
 * thread that says what was wrong, where, and what would be right. Nothing is printed, nothing ends the process.
 *
 * Objects: a pe_model is immutable and may be used by any number of threads. A pe_session is one timeline (KV cache,
 * position) and serves one thread at a time; a second caller gets PE_ERR_BUSY. A pe_sampler belongs to one thread.
 * Handles are reference counted or owned as their functions say; releasing NULL is allowed.
 */
#ifndef PYEDGE_H
#define PYEDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define PE_API
#else
#define PE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- results ---------------------------------------------------------------------------------------------------- */

typedef enum pe_status {
    PE_OK = 0,
    PE_ERR_ARG,         /* an argument is outside of what the function accepts */
    PE_ERR_IO,          /* the system refused a file operation */
    PE_ERR_FORMAT,      /* a file contradicts its format */
    PE_ERR_UNSUPPORTED, /* well formed, but of a kind that this build does not run */
    PE_ERR_NOMEM,       /* no memory, or the caller's memory limit would be exceeded */
    PE_ERR_CONTEXT,     /* the tokens do not fit into the session's context */
    PE_ERR_CANCELLED,   /* pe_session_cancel() was called; the session is as before the call */
    PE_ERR_BUSY,        /* the session is in use by another thread */
} pe_status;

/* The message of the last failed call of this thread; valid until the next failed call of the same thread. */
PE_API const char *pe_last_error(void);
PE_API const char *pe_version(void);

/* ---- machine ---------------------------------------------------------------------------------------------------- */

typedef struct pe_isa_info {
    const char *name;   /* "scalar", "avx2", ... */
    bool usable;        /* the processor and the operating system both allow it */
    const char *reason; /* why not, where it is not usable; else what it needs */
} pe_isa_info;

/* Instruction sets compiled into this library, weakest first. False past the end. */
PE_API bool pe_isa_get(size_t index, pe_isa_info *out);
/* The instruction set that sessions use: PYEDGE_ISA where it is set, else the best usable one.
 * PE_ERR_UNSUPPORTED where PYEDGE_ISA names one that is unknown or that this machine lacks. */
PE_API pe_status pe_isa_select(const char **name);
/* Threads that are worth using: affinity mask and cgroup quota respected, PYEDGE_THREADS first. At least 1. */
PE_API int pe_threads_default(void);
/* The same, with its reasons: processors allowed, cgroup quota in processors (0: none), PYEDGE_THREADS (0: unset; -1:
 * not a number from 1 to 512, so that it is not followed here, and pe_session_create refuses to guess). */
PE_API int pe_threads_explain(int *allowed, double *quota, int *forced);

/* ---- model ------------------------------------------------------------------------------------------------------ */

typedef struct pe_model pe_model;

typedef struct pe_model_info {
    const char *name; /* general.name, or "" */
    const char *arch; /* "llama", "gemma3", ... */
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, n_ff;
    uint64_t n_params;
    uint64_t file_size;
    int32_t bos_id, eos_id;    /* -1: none */
    bool add_bos;              /* PE_TOKENIZE_SPECIAL puts BOS first */
    const char *chat_template; /* Jinja source, or NULL */
} pe_model_info;

/* Map the file read-only and check everything that evaluation relies on. The weights stay in the file's pages: they
 * are never copied. If the file shrinks while it is mapped, the system ends the process on access (SIGBUS), as with
 * any mapping: replace model files by renaming, never by truncating. */
PE_API pe_status pe_model_open(const char *path, pe_model **out);

typedef struct pe_model_options { /* all zero: as pe_model_open */
    /* The pre-tokeniser to use where the file names none, or one that is not known; NULL: an unknown one is
     * PE_ERR_UNSUPPORTED. The names are those of tokenizer.ggml.pre, such as "default". */
    const char *pretokenizer;
    /* Path of the vocabulary of a model that has none in its own file (llama2.c); NULL: tokenizer.bin beside it. */
    const char *tokenizer;
    /* For tools that read facts, vocabulary and directory: weights that have to be put in order at load (Nano's and
     * llama2.c's of 8 and 4 bits) are not, and pe_session_create refuses the model. */
    bool no_weights;
} pe_model_options;
PE_API pe_status pe_model_open_with(const char *path, const pe_model_options *options, pe_model **out);
/* The same over memory that the caller keeps unchanged until the last reference is gone, 32-byte aligned: of one file,
 * or of all the files of a split model in order. Formats that have their vocabulary in another file are not opened so.
 */
PE_API pe_status pe_model_open_memory(const void *data, size_t size, pe_model **out);
PE_API pe_status pe_model_open_parts(const void *const *data, const size_t *sizes, size_t n_parts, pe_model **out);
PE_API void pe_model_retain(pe_model *model);
PE_API void pe_model_release(pe_model *model);
PE_API void pe_model_get_info(const pe_model *model, pe_model_info *out);

typedef enum pe_meta_type { /* the numbers of GGUF */
                            PE_META_U8,
                            PE_META_I8,
                            PE_META_U16,
                            PE_META_I16,
                            PE_META_U32,
                            PE_META_I32,
                            PE_META_F32,
                            PE_META_BOOL,
                            PE_META_STRING,
                            PE_META_ARRAY,
                            PE_META_U64,
                            PE_META_I64,
                            PE_META_F64,
} pe_meta_type;

typedef struct pe_meta {
    const char *key; /* NUL-terminated copy */
    pe_meta_type type;
    pe_meta_type item_type; /* of an array; else equal to type */
    uint64_t n_items;       /* of an array; else 1 */
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
    } value;              /* scalars */
    const char *string;   /* PE_META_STRING: not NUL-terminated, points into the file */
    uint64_t string_size; /* bytes */
} pe_meta;

PE_API size_t pe_model_meta_count(const pe_model *model);
PE_API pe_status pe_model_meta(const pe_model *model, size_t index, pe_meta *out);
/* One item of an array value (of numbers, booleans or strings). */
PE_API pe_status pe_model_meta_item(const pe_model *model, size_t index, uint64_t item, pe_meta *out);

typedef struct pe_tensor_info {
    const char *name;      /* NUL-terminated */
    int type;              /* GGML type number, from 1000 on this library's; see pe_type_get */
    uint32_t n_dims;       /* 1..4 */
    uint64_t dims[4];      /* dims[0] is the contiguous one; 1 past n_dims */
    uint64_t offset, size; /* bytes, from the start of the file */
} pe_tensor_info;

PE_API size_t pe_model_tensor_count(const pe_model *model);
PE_API pe_status pe_model_tensor(const pe_model *model, size_t index, pe_tensor_info *out);

/* Bytes that a session of this context would take at most, besides the file's pages: KV cache and scratch. */
PE_API uint64_t pe_model_session_bytes(const pe_model *model, uint32_t n_ctx, const char *kv_type);

/* ---- tensor types ----------------------------------------------------------------------------------------------- */

typedef struct pe_type_info {
    int type;         /* GGML type number */
    const char *name; /* "Q4_K" */
    uint32_t block_elements, block_bytes;
} pe_type_info;

PE_API bool pe_type_get(size_t index, pe_type_info *out); /* false past the end */
/* Decode n elements (a multiple of the block) from `size` bytes into out [n]. */
PE_API pe_status pe_dequantize(int type, const void *data, size_t size, float *out, size_t n);
/* Whether pe_quantize_rows can write the type. */
PE_API bool pe_type_can_quantize(int type);

typedef struct pe_quantize_result {
    double squared_error; /* sum over all weights of (input - what a reader of the output finds)^2 */
    double squared_sum;   /* sum of input^2 */
} pe_quantize_result;

/* Rows of type `from`, in [n_rows, n_per_row], into rows of type `to`, with small squared error. n_per_row is a
 * multiple of the blocks of both types. importance [n_per_row] (may be NULL) weighs the squared error of each column.
 * n_threads 0: pe_threads_default(); the bytes do not depend on it. result may be NULL. PE_ERR_FORMAT names an input
 * that is not finite, PE_ERR_ARG one that the output type cannot hold. */
PE_API pe_status pe_quantize_rows(void *out, size_t out_size, int to, const void *in, size_t in_size, int from,
                                  size_t n_rows, size_t n_per_row, const float *importance, int n_threads,
                                  pe_quantize_result *result);

/* ---- text ------------------------------------------------------------------------------------------------------- */

enum {
    PE_TOKENIZE_SPECIAL = 1, /* add BOS/EOS where the file asks for them */
    PE_TOKENIZE_PARSE = 2,   /* recognise special tokens written in the text */
};
/* Writes at most `cap` ids; *n_ids is the whole count, so n_ids > cap means: call again with room. Any bytes are
 * accepted, valid UTF-8 or not. */
PE_API pe_status pe_tokenize(const pe_model *model, const char *text, size_t size, unsigned flags, int32_t *ids,
                             size_t cap, size_t *n_ids);
/* The bytes a token stands for; the pointer lives as long as the model. */
PE_API pe_status pe_token_bytes(const pe_model *model, int32_t id, const char **bytes, size_t *size);
/* Text of a token list, as bytes; the inverse of pe_tokenize. *n_bytes is the whole size, as above. */
PE_API pe_status pe_detokenize(const pe_model *model, const int32_t *ids, size_t n_ids, bool skip_special, char *text,
                               size_t cap, size_t *n_bytes);

enum { /* bits of pe_token_attributes */
       PE_TOKEN_UNKNOWN = 1,
       PE_TOKEN_CONTROL = 2,
       PE_TOKEN_USER = 4,
       PE_TOKEN_UNUSED = 8,
       PE_TOKEN_BYTE = 16,
       PE_TOKEN_END = 32, /* ends an answer: EOS, end of turn and their kin */
};
PE_API unsigned pe_token_attributes(const pe_model *model, int32_t id); /* 0 for an id out of range */

/* ---- session ---------------------------------------------------------------------------------------------------- */

typedef struct pe_session pe_session;

typedef struct pe_session_options {
    uint32_t n_ctx;        /* 0: the model's own context length */
    int n_threads;         /* 0: pe_threads_default() */
    const char *kv_type;   /* "f16" (NULL) or "f32" */
    const char *isa;       /* NULL: pe_isa_select() */
    uint64_t memory_limit; /* bytes besides the file's pages; 0: none */
    /* NULL, or what the thread that evaluates asks before each layer: while it says true, evaluations end as by
     * pe_session_cancel. For where nothing can be called meanwhile, as from WebAssembly's other side. */
    bool (*interrupted)(void *context);
    void *interrupted_context;
} pe_session_options;

PE_API pe_status pe_session_create(pe_model *model, const pe_session_options *options, pe_session **out);
PE_API void pe_session_release(pe_session *session);
/* Evaluate ids [n_ids] at the current position. logits [n_ids - first_logit, n_vocab] receives the rows of
 * ids[first_logit..]; first_logit == n_ids asks for none (logits may be NULL). The last row is kept for
 * pe_session_sample as well. On any failure the session is as before the call. */
PE_API pe_status pe_session_eval(pe_session *session, const int32_t *ids, size_t n_ids, size_t first_logit,
                                 float *logits);
/* Evaluate one id, as pe_session_eval(session, &id, 1, 1, NULL) does, for callers that are going to choose and evaluate
 * more. Up to `ahead` tokens that may come next are evaluated along with it: what followed the last tokens where the
 * session held them before, as many as have paid so far. An id that was foreseen then takes no time. Nothing else
 * changes: position, tokens, cache and logits are those of the id alone, bit for bit. 0 never looks ahead. */
PE_API pe_status pe_session_step(pe_session *session, int32_t id, size_t ahead);
/* Of all steps of the session: tokens evaluated ahead, and how many of them came. */
PE_API void pe_session_lookups(const pe_session *session, uint64_t *drafted, uint64_t *accepted);
/* Natural-log probabilities of a text: evaluates ids [n_ids] and writes out[i] = log p(ids[i + 1] | ids[..i]) for
 * i in first..n_ids-2, into out [n_ids - 1 - first]. */
PE_API pe_status pe_session_score(pe_session *session, const int32_t *ids, size_t n_ids, size_t first, float *out);
/* The output of the last norm, per token: out [n_ids, n_embd]. For embeddings. */
PE_API pe_status pe_session_hidden(pe_session *session, const int32_t *ids, size_t n_ids, float *out);
/* From now on, sum the squares of what each matrix multiplies, from zero; or stop, and forget them. Off at first, and
 * in forks. While it is on, evaluation takes a little longer and gives the same. */
PE_API pe_status pe_session_collect(pe_session *session, bool on);

typedef struct pe_collected {
    const char *tensor;
    uint64_t n_matrices, n_columns; /* several matrices: experts */
    const double *sums;             /* [n_matrices, n_columns]; NULL: the tensor is no matrix */
    const uint64_t *counts;         /* [n_matrices] tokens that were summed; 0: the matrix was not used */
} pe_collected;
/* The sums of the tensor of this index, for as long as nothing is evaluated; false past the end, or where
 * nothing is collected. */
PE_API bool pe_session_collected(const pe_session *session, size_t index, pe_collected *out);
PE_API uint32_t pe_session_position(const pe_session *session);
PE_API uint32_t pe_session_capacity(const pe_session *session); /* n_ctx */
PE_API int pe_session_threads(const pe_session *session);
PE_API const char *pe_session_isa(const pe_session *session);
PE_API uint64_t pe_session_bytes(const pe_session *session); /* allocated now: KV cache and scratch */
/* The tokens evaluated so far; valid until the session changes. */
PE_API const int32_t *pe_session_tokens(const pe_session *session);
PE_API pe_status pe_session_rewind(pe_session *session, uint32_t position); /* keep the first `position` tokens */
/* A second timeline from here on. Full KV pages are shared, not copied. */
PE_API pe_status pe_session_fork(pe_session *session, pe_session **out);
PE_API pe_status pe_session_save(pe_session *session, const char *path);
PE_API pe_status pe_session_load(pe_session *session, const char *path);
/* From any thread: the running evaluation, or else the next one, ends with PE_ERR_CANCELLED. */
PE_API void pe_session_cancel(pe_session *session);
/* Bytes that evaluating one token at `position` reads: weights (of an embedding that is not the output as well, one
 * row), and the keys and values of the positions before it. */
PE_API uint64_t pe_session_token_bytes(const pe_session *session, uint32_t position);
/* Read these weights once, in the order of the file, on the session's threads, and do nothing else with them: the time
 * it takes bounds that of a token. *sum (may be NULL) is the sum, modulo 2^64, of the bytes as 64-bit words. */
PE_API pe_status pe_session_read_weights(pe_session *session, uint64_t *sum);

/* ---- adapters --------------------------------------------------------------------------------------------------- */

/* A LoRA adapter for one model: immutable, counted by reference, attached to any number of sessions. The base weights
 * are never touched. Read from a folder of PEFT (adapter_config.json and adapter_model.safetensors), a safetensors file
 * with adapter_config.json beside it, a GGUF adapter, or an adapter of Nano; the format is told by the content. */
typedef struct pe_adapter pe_adapter;

typedef struct pe_adapter_info {
    const char *format;  /* "PEFT", "GGUF", "Nano" */
    uint32_t rank;       /* the largest */
    uint32_t n_targets;  /* tensors of the model that it changes */
    uint64_t n_params;   /* its own values */
    uint64_t bytes;      /* of memory that it takes */
    uint32_t n_sessions; /* that it is attached to now */
} pe_adapter_info;

/* Everything is checked: an adapter that opens fits the model. The files are not needed afterwards. Failures are
 * PE_ERR_IO (a file), PE_ERR_FORMAT (it contradicts its format or does not fit the model) and PE_ERR_UNSUPPORTED. */
PE_API pe_status pe_adapter_open(pe_model *model, const char *path, pe_adapter **out);
/* The same from bytes, which are not needed afterwards: of a safetensors file with the text of its adapter_config.json,
 * or of the other formats with config NULL. */
PE_API pe_status pe_adapter_open_memory(pe_model *model, const void *data, size_t size, const char *config,
                                        size_t config_size, pe_adapter **out);
PE_API void pe_adapter_retain(pe_adapter *adapter);
PE_API void pe_adapter_release(pe_adapter *adapter); /* sessions that it is attached to keep it */
PE_API void pe_adapter_get_info(const pe_adapter *adapter, pe_adapter_info *out);
/* Attach exactly these adapters [n] with these scales [n], finite, of any sign, in place of what was attached; n 0:
 * none. An adapter with scale 0 is not attached; the order does not matter. One that replaces whole tensors
 * (modules_to_save) takes scale 1 only. Tokens that the session holds are evaluated anew, all at once, by the next call
 * that needs them, unless the set is again the one that they were evaluated with. On failure nothing changes. */
PE_API pe_status pe_session_set_adapters(pe_session *session, pe_adapter *const *adapters, const float *scales,
                                         size_t n);
/* Of all changes of adapters so far: tokens evaluated anew, and the seconds that took. */
PE_API void pe_session_reevaluated(const pe_session *session, uint64_t *tokens, double *seconds);
/* One of the changes of an adapter, to be merged into the tensor of the model that it belongs to: rows first..end-1 of
 * scale * B A are added to `rows` [end - first, n_in]; a replacement is written over them. `index` counts the targets;
 * *tensor is the tensor's name, valid as long as the adapter. rows NULL: the name alone. */
PE_API pe_status pe_adapter_merge(const pe_adapter *adapter, size_t index, float scale, size_t first, size_t end,
                                  float *rows, const char **tensor);

/* ---- sampling --------------------------------------------------------------------------------------------------- */

typedef struct pe_sampler pe_sampler;

typedef struct pe_logit_bias {
    int32_t id;
    float bias; /* added to the logit; -INFINITY forbids the token */
} pe_logit_bias;

typedef struct pe_sampler_options {
    float temperature;     /* 0: greedy */
    int32_t top_k;         /* 0: off */
    float top_p;           /* 1: off */
    float min_p;           /* 0: off */
    float repeat_penalty;  /* 1: off */
    int32_t repeat_last_n; /* tokens looked back on; -1: all */
    uint64_t seed;
    bool has_seed;             /* false: fresh entropy */
    const pe_logit_bias *bias; /* [n_bias], copied */
    size_t n_bias;
} pe_sampler_options;

PE_API pe_sampler_options pe_sampler_defaults(void);
PE_API pe_status pe_sampler_create(const pe_sampler_options *options, pe_sampler **out);
PE_API void pe_sampler_release(pe_sampler *sampler);
PE_API uint64_t pe_sampler_seed(const pe_sampler *sampler);     /* the seed in use, given or drawn */
PE_API void pe_sampler_accept(pe_sampler *sampler, int32_t id); /* a token that the repetition penalty should see */
/* Choose from logits [n_vocab]. *logprob (may be NULL): natural log of the model's own probability of the choice,
 * before temperature, penalties and filters. Does not accept the token. */
PE_API pe_status pe_sampler_sample(pe_sampler *sampler, const float *logits, size_t n_vocab, int32_t *id,
                                   float *logprob);
/* The same from the last evaluated logits of the session. */
PE_API pe_status pe_session_sample(pe_session *session, pe_sampler *sampler, int32_t *id, float *logprob);
/* The k most probable tokens of the last evaluated logits, best first: ids [k], logprobs [k]. */
PE_API pe_status pe_session_top(pe_session *session, size_t k, int32_t *ids, float *logprobs);

#ifdef __cplusplus
}
#endif
#endif
