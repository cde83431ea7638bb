/* The command without Python: what its parts share. It sees pyedge.h only, as the other doors do; being a program and
 * no library, it has a heap of its own, prints, and ends with a status: 0, 1 with one line on standard error, 2 for
 * wrong usage. Options have the names that the Python command line gives them. */
#ifndef PE_CLI_H
#define PE_CLI_H

#include "pyedge.h"

#include <stdio.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_MAX_LIST = 16 };

/* ---- errors and memory ---- */

/* One line "pyedge: ..." on standard error; gives CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2))); /* the same; gives CLI_USAGE */
int cli_core_failed(void);                                                    /* with the core's own message */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* These end the program with a message where there is no memory. */
void *cli_alloc(size_t count, size_t size);
void *cli_grow(void *block, size_t count, size_t size);
char *cli_join(const char *a, const char *b);

/* Text that grows. */
typedef struct cli_text {
    char *data; /* NUL-terminated once something was added */
    size_t size, capacity;
} cli_text;
void cli_add(cli_text *text, const char *data, size_t size);
void cli_put(cli_text *text, const char *string);
void cli_free(void *block);
/* All of a stream; false where reading failed. */
bool cli_read_all(FILE *file, cli_text *text);
double cli_seconds(void); /* of a clock that only goes forward */

/* ---- options ---- */

typedef struct cli_options {
    const char *prompt; /* NULL: standard input */
    const char *models[CLI_MAX_LIST];
    size_t n_models;
    const char *system;
    const char *stops[CLI_MAX_LIST];
    size_t n_stops;
    int32_t max_tokens;
    pe_sampler_options sampling;
    bool raw, json, lookup;
    int32_t context; /* 0: the model's own */
    uint64_t memory_limit;
    int threads;     /* 0: what the machine allows */
    const char *isa; /* NULL: the best */
    /* bench */
    uint32_t lengths[CLI_MAX_LIST], steps[CLI_MAX_LIST], depths[CLI_MAX_LIST], counts[CLI_MAX_LIST];
    size_t n_lengths, n_steps, n_depths, n_counts;
    int32_t repeat;
    const char *output; /* md, json, jsonl, csv */
    bool start, emulated;
} cli_options;

typedef enum cli_command { CLI_GENERATE = 1, CLI_CHAT = 2, CLI_BENCH = 4 } cli_command;

/* CLI_OK, or CLI_USAGE after a message. --help prints and sets *done. */
int cli_parse(cli_command command, int argc, char **argv, cli_options *out, bool *done);
void cli_help(FILE *file);

/* ---- the commands ---- */

int cli_generate(const cli_options *options);
int cli_chat(const cli_options *options);
int cli_bench(const cli_options *options, const char *program);

/* ---- what generate and chat share ---- */

/* Opens the model that -m names; CLI_OK, or a status after its message. */
int cli_open(const cli_options *options, pe_model **model, pe_session **session);

typedef struct cli_ids {
    int32_t *ids;
    size_t n;
} cli_ids;
int cli_tokenize(const pe_model *model, const char *text, size_t size, unsigned flags, cli_ids *out);

typedef struct cli_answer {
    cli_text text; /* whole characters, nothing of a stop string */
    int32_t *tokens;
    float *logprobs;
    size_t n, capacity;
    const char *reason; /* "stop", "length", "cancelled" */
    double ttft, prompt_seconds, decode_seconds;
    uint64_t drafted, accepted;
    bool overflow; /* the prompt does not fit into the context; cli_answer_run has said so */
} cli_answer;

/* Evaluate ids and answer. Pieces go to `out` as they come (NULL: nowhere). With `settle`, the session can go on. */
int cli_answer_run(pe_session *session, const pe_model *model, const cli_options *options, cli_ids prompt, bool settle,
                   FILE *out, cli_answer *answer);
void cli_answer_free(cli_answer *answer);

#endif
