/* pyedge bench: the tests of pyedge/cli/measure.py, step for step, so that figures and output hashes of the native
 * command and of the Python door can be laid beside each other. */
#define _GNU_SOURCE /* wait4 */

#include "cli/conversation.h"
#include "cli/row.h"
#include "cli/sha256.h"

#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char prompt_text[] = "The quick brown fox";
static const char sentence[] = "The quick brown fox jumps over the lazy dog. ";
enum {
    ROOM = 64, /* positions for the short prompt, and for where a text is cut into other tokens than planned */
    READS = 3, /* of all weights, before each sample of generation */
    WARM_STEPS = 8,
};

typedef struct bench {
    const cli_options *options;
    const char *path;
    device_facts facts;
    pe_model *model;
    pe_model_info info;
    int n_threads;
    uint32_t context;
    uint64_t seed;
    row_format format;
    bool first;
    bench_row row; /* what all tests of a model share */
} bench;

/* Random tokens that every door makes alike: xorshift with 13, 17, 5 (Marsaglia 2003), modulo the vocabulary. */
typedef struct random_ids {
    uint32_t state, n_vocab;
} random_ids;

static random_ids random_begin(const bench *b) {
    const uint32_t state = (uint32_t)(b->seed ^ b->seed >> 32);
    return (random_ids){state ? state : 1, b->info.n_vocab};
}

static int32_t *random_take(random_ids *r, uint32_t n) {
    int32_t *ids = cli_alloc(n ? n : 1, sizeof *ids);
    for (uint32_t i = 0; i < n; i++) {
        r->state ^= r->state << 13;
        r->state ^= r->state >> 17;
        r->state ^= r->state << 5;
        ids[i] = (int32_t)(r->state % r->n_vocab);
    }
    return ids;
}

/* ---- facts ------------------------------------------------------------------------------------------------------ */

static int hash_file(const char *path, char hex[65]) {
    static unsigned char block[1 << 16];
    FILE *file = fopen(path, "re");
    if (!file) return cli_fail("%s: cannot be read", path);
    sha256 hash;
    sha256_begin(&hash);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) sha256_add(&hash, block, n);
    const bool failed = ferror(file);
    fclose(file);
    sha256_end(&hash, hex);
    return failed ? cli_fail("%s: cannot be read to its end", path) : CLI_OK;
}

/* The tokens as Python's json.dumps writes them. */
static void hash_output(const int32_t *ids, size_t n, char out[17]) {
    sha256 hash;
    char text[24], hex[65];
    sha256_begin(&hash);
    sha256_add(&hash, "[", 1);
    for (size_t i = 0; i < n; i++)
        sha256_add(&hash, text, (size_t)snprintf(text, sizeof text, "%s%d", i ? ", " : "", (int)ids[i]));
    sha256_add(&hash, "]", 1);
    sha256_end(&hash, hex);
    memcpy(out, hex, 16);
    out[16] = 0;
}

static const char *type_name(int number) {
    static pe_type_info type;
    for (size_t i = 0; pe_type_get(i, &type); i++)
        if (type.type == number) return type.name;
    return "?";
}

/* Architecture, parameters, and the type that most of the file's matrices have. */
static void describe(bench *b) {
    enum { MAX_TYPES = 128 };
    struct {
        int type;
        uint64_t size;
    } sizes[MAX_TYPES];
    size_t n = 0, best = 0;
    bench_row *r = &b->row;
    r->model_size = 0;
    pe_tensor_info t;
    for (size_t i = 0; i < pe_model_tensor_count(b->model); i++) {
        if (pe_model_tensor(b->model, i, &t)) continue;
        r->model_size += t.size;
        if (t.n_dims < 2) continue;
        size_t k = 0;
        while (k < n && sizes[k].type != t.type) k++;
        if (k == n && n < MAX_TYPES) sizes[n].type = t.type, sizes[n++].size = 0;
        if (k < n) sizes[k].size += t.size;
    }
    for (size_t k = 1; k < n; k++)
        if (sizes[k].size > sizes[best].size) best = k;
    snprintf(r->model_type, sizeof r->model_type, "%s %.0fM %s", b->info.arch, (double)b->info.n_params / 1e6,
             n ? type_name(sizes[best].type) : "?");
    r->model_n_params = b->info.n_params;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int open_session(const bench *b, pe_model *model, pe_session **out) {
    const pe_session_options wanted = {.n_ctx = b->context, .n_threads = b->n_threads, .isa = b->options->isa};
    return pe_session_create(model, &wanted, out) ? cli_core_failed() : CLI_OK;
}

static pe_sampler *greedy(void) {
    pe_sampler_options options = pe_sampler_defaults();
    options.temperature = 0;
    options.top_k = 0;
    options.top_p = 1;
    options.min_p = 0;
    options.repeat_penalty = 1;
    options.has_seed = true;
    pe_sampler *sampler = NULL;
    (void)pe_sampler_create(&options, &sampler); /* no memory: the first sample says so */
    return sampler;
}

static pe_status advance(pe_session *session, pe_sampler *sampler, const int32_t *ids, size_t n, int32_t *next) {
    if (!sampler) return PE_ERR_NOMEM;
    pe_status status = pe_session_eval(session, ids, n, n, NULL);
    return status ? status : pe_session_sample(session, sampler, next, NULL);
}

/* ---- the tests -------------------------------------------------------------------------------------------------- */

static int run_prompt(const bench *b, pe_session *session, const int32_t *ids, bench_row *row) {
    pe_sampler *sampler = greedy();
    pe_status status = PE_OK;
    int32_t next = 0;
    for (int i = -1; i < b->options->repeat && !status; i++) { /* the first run warms up */
        status = pe_session_rewind(session, row->n_depth);
        const double before = cli_seconds();
        if (!status) status = advance(session, sampler, ids, row->n_prompt, &next);
        if (i >= 0) row->samples[i] = row->n_prompt / (cli_seconds() - before);
    }
    pe_sampler_release(sampler);
    hash_output(&next, 1, row->output_hash);
    return status ? cli_core_failed() : CLI_OK;
}

static int run_generation(const bench *b, pe_session *session, cli_ids prompt, bench_row *row) {
    pe_sampler *sampler = greedy();
    int32_t *output = cli_alloc((size_t)row->n_gen + 1, sizeof *output);
    pe_status status = PE_OK;
    double best = INFINITY;
    for (int i = -1; i < b->options->repeat && !status; i++) {
        for (int read = 0; read < READS && !status; read++) {
            const double before = cli_seconds();
            status = pe_session_read_weights(session, NULL);
            best = fmin(best, cli_seconds() - before);
        }
        if (!status) status = pe_session_rewind(session, row->n_depth);
        if (!status) status = advance(session, sampler, prompt.ids, prompt.n, &output[0]);
        const uint32_t steps = i < 0 && row->n_gen > WARM_STEPS ? WARM_STEPS : row->n_gen;
        const double before = cli_seconds();
        for (uint32_t k = 0; k < steps && !status; k++)
            status = advance(session, sampler, &output[k], 1, &output[k + 1]);
        if (i >= 0) row->samples[i] = row->n_gen / (cli_seconds() - before);
    }
    if (!status) {
        hash_output(output, (size_t)row->n_gen + 1, row->output_hash);
        const uint32_t from = row->n_depth + (uint32_t)prompt.n;
        const double weights = (double)pe_session_token_bytes(session, 0);
        double whole = 0;
        for (uint32_t k = 0; k < row->n_gen; k++) whole += (double)pe_session_token_bytes(session, from + k);
        const double median = row_median(row->samples, row->n_samples);
        row->weights_gb_per_s = weights * median / 1e9;
        row->bound_gb_per_s = weights / best / 1e9;
        row->bound_percent = 100 * (whole / row->n_gen * median / 1e9) / row->bound_gb_per_s;
    }
    cli_free(output);
    pe_sampler_release(sampler);
    return status ? cli_core_failed() : CLI_OK;
}

/* A text of about n tokens; a short one for 0. */
static int text_of(const bench *b, uint32_t n, cli_text *out) {
    if (n == 0) {
        cli_put(out, prompt_text);
        return CLI_OK;
    }
    cli_text whole = {0};
    for (uint32_t i = 0; i < n / 8 + 1; i++) cli_put(&whole, sentence);
    cli_ids ids;
    int status = cli_tokenize(b->model, whole.data, whole.size, PE_TOKENIZE_SPECIAL, &ids);
    if (!status) {
        size_t size = 0, capacity = whole.size + 1;
        char *text = cli_alloc(capacity, 1);
        if (ids.n > n) ids.n = n;
        if (pe_detokenize(b->model, ids.ids, ids.n, true, text, capacity, &size)) status = cli_core_failed();
        cli_add(out, text, size < capacity ? size : capacity);
        if (out->size == 0) cli_put(out, prompt_text);
        cli_free(text);
        cli_free(ids.ids);
    }
    cli_free(whole.data);
    return status;
}

/* From a text to the first token, the first call in a model that was just loaded. */
static int first_token(const bench *b, bench_row *row) {
    cli_text text = {0};
    int status = text_of(b, row->n_prompt, &text);
    double *samples = cli_alloc((size_t)b->options->repeat, sizeof *samples);
    for (int i = 0; i < b->options->repeat && !status; i++) {
        pe_model *model = NULL;
        pe_session *session = NULL;
        cli_ids ids = {0};
        int32_t next;
        pe_sampler *sampler = greedy();
        if (pe_model_open(b->path, &model)) status = cli_core_failed();
        const double before = cli_seconds();
        if (!status) status = open_session(b, model, &session);
        if (!status) status = cli_tokenize(model, text.data, text.size, PE_TOKENIZE_SPECIAL | PE_TOKENIZE_PARSE, &ids);
        if (!status && advance(session, sampler, ids.ids, ids.n, &next)) status = cli_core_failed();
        samples[i] = 1e3 * (cli_seconds() - before);
        cli_free(ids.ids);
        pe_sampler_release(sampler);
        pe_session_release(session);
        pe_model_release(model);
    }
    row->ttft_ms = row_median(samples, b->options->repeat);
    cli_free(samples);
    cli_free(text.data);
    return status;
}

static bench_row new_row(const bench *b, uint32_t n_prompt, uint32_t n_gen, uint32_t n_depth) {
    bench_row row = b->row;
    row.n_threads = b->n_threads;
    row.n_prompt = n_prompt;
    row.n_gen = n_gen;
    row.n_depth = n_depth;
    row.seed = b->seed;
    row.n_samples = b->options->repeat;
    row.samples = cli_alloc((size_t)row.n_samples, sizeof *row.samples);
    row.ttft_ms = row.weights_gb_per_s = row.bound_gb_per_s = row.bound_percent = row.start_ms = NAN;
    return row;
}

static void finish_row(bench *b, bench_row *row, int status) {
    if (!status) {
        row_write(stdout, b->format, row, b->first);
        b->first = false;
    }
    cli_free(row->samples);
}

static int run_test(bench *b, uint32_t n_prompt, uint32_t n_gen, uint32_t n_depth) {
    bench_row row = new_row(b, n_prompt, n_gen, n_depth);
    int status = n_depth ? CLI_OK : first_token(b, &row);
    pe_session *session = NULL;
    device_reset_peak();
    if (!status) status = open_session(b, b->model, &session);
    random_ids random = random_begin(b);
    int32_t *before = random_take(&random, n_depth), *ids = random_take(&random, n_prompt);
    if (!status && n_depth && pe_session_eval(session, before, n_depth, n_depth, NULL)) status = cli_core_failed();
    device_get_state(&row.before);
    if (!status && n_prompt) {
        status = run_prompt(b, session, ids, &row);
    } else if (!status) {
        cli_ids prompt;
        status = cli_tokenize(b->model, prompt_text, strlen(prompt_text), PE_TOKENIZE_SPECIAL, &prompt);
        if (!status) {
            status = run_generation(b, session, prompt, &row);
            cli_free(prompt.ids);
        }
    }
    device_get_state(&row.after);
    row.peak_rss_bytes = device_peak_rss();
    cli_free(before);
    cli_free(ids);
    pe_session_release(session);
    finish_row(b, &row, status);
    return status;
}

/* ---- whole processes -------------------------------------------------------------------------------------------- */

extern char **environ;

/* Seconds and peak memory of a whole process that generates one token. */
static int run_process(const bench *b, const char *program, double *seconds, uint64_t *peak) {
    char threads[16];
    snprintf(threads, sizeof threads, "%d", b->n_threads);
    const char *arguments[] = {program,
                               "generate",
                               prompt_text,
                               "-m",
                               b->path,
                               "-t",
                               threads,
                               "-n",
                               "1",
                               "-c",
                               "512",
                               "--raw",
                               "--temp",
                               "0",
                               b->options->isa ? "--isa" : NULL,
                               b->options->isa,
                               NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child;
    const double before = cli_seconds();
    int error = posix_spawnp(&child, program, &actions, NULL, (char *const *)(uintptr_t)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) return cli_fail("%s cannot be started: %s", program, strerror(error));
    int state = 0;
    struct rusage usage = {0};
    if (wait4(child, &state, 0, &usage) != child) return cli_fail("the end of %s was missed", program);
    *seconds = cli_seconds() - before;
    const uint64_t most = 1024 * (uint64_t)usage.ru_maxrss;
    if (most > *peak) *peak = most;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return CLI_OK;
    return cli_fail("%s failed where it should have generated one token", program);
}

static int run_starts(bench *b, const char *program) {
    bench_row row = new_row(b, 0, 1, 0);
    int status = CLI_OK;
    device_get_state(&row.before);
    double seconds = 0;
    for (int i = -1; i < row.n_samples && !status; i++) {
        status = run_process(b, program, &seconds, &row.peak_rss_bytes);
        if (!status && i >= 0) row.samples[i] = 1 / seconds;
    }
    device_get_state(&row.after);
    if (!status) row.start_ms = 1e3 / row_median(row.samples, row.n_samples);
    finish_row(b, &row, status);
    return status;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static uint32_t largest(const uint32_t *items, size_t n, uint32_t most) {
    for (size_t i = 0; i < n; i++)
        if (items[i] > most) most = items[i];
    return most;
}

static int run_model(bench *b, const char *program) {
    const cli_options *o = b->options;
    pe_session *session = NULL;
    b->model = NULL;
    const double before = cli_seconds();
    if (pe_model_open(b->path, &b->model)) return cli_core_failed();
    int status = open_session(b, b->model, &session);
    b->row.load_ms = 1e3 * (cli_seconds() - before);
    if (!status) {
        pe_model_get_info(b->model, &b->info);
        b->row.isa = pe_session_isa(session); /* the name lives as long as the library */
        describe(b);
    }
    pe_session_release(session);
    if (!status && o->start) status = run_starts(b, program);
    for (size_t d = 0; d < o->n_depths; d++) {
        for (size_t i = 0; i < o->n_lengths && !status; i++)
            if (o->lengths[i]) status = run_test(b, o->lengths[i], 0, o->depths[d]);
        for (size_t i = 0; i < o->n_steps && !status; i++)
            if (o->steps[i]) status = run_test(b, 0, o->steps[i], o->depths[d]);
    }
    pe_model_release(b->model);
    return status;
}

int cli_bench(const cli_options *options, const char *program) {
    bench *b = cli_alloc(1, sizeof *b);
    b->options = options;
    b->first = true;
    b->seed = options->sampling.has_seed ? options->sampling.seed : 1;
    b->format = strcmp(options->output, "json") == 0    ? ROW_JSON
                : strcmp(options->output, "jsonl") == 0 ? ROW_JSONL
                : strcmp(options->output, "csv") == 0   ? ROW_CSV
                                                        : ROW_MD;
    b->context = largest(options->depths, options->n_depths, 0) + ROOM +
                 largest(options->steps, options->n_steps, largest(options->lengths, options->n_lengths, 0));
    if (access("/proc/self/exe", X_OK) == 0) program = "/proc/self/exe";
    device_get_facts(&b->facts);
    b->facts.emulated |= options->emulated;
    b->row.facts = &b->facts;
    row_begin(stdout, b->format);
    int status = CLI_OK;
    for (size_t m = 0; m < options->n_models && !status; m++) {
        b->path = b->row.model_filename = options->models[m];
        status = hash_file(b->path, b->row.model_sha256);
        for (size_t t = 0; t < (options->n_counts ? options->n_counts : 1) && !status; t++) {
            b->n_threads = options->n_counts ? (int)options->counts[t] : pe_threads_default();
            status = run_model(b, program);
        }
    }
    row_end(stdout, b->format, b->first ? NULL : &b->facts);
    cli_free(b);
    return status;
}
