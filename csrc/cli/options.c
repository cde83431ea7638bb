/* Arguments to options, from one table. Every value is checked here, before a model is opened. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { TEXT, TEXTS, FLAG_ON, FLAG_OFF, COUNT, NUMBER, SEED, LIST, BYTES, FORMAT, MODEL } kind;

typedef struct option {
    int commands; /* of cli_command, joined */
    const char *short_name, *name, *help;
    kind kind;
    size_t at; /* offset in cli_options */
    double low, high;
} option;

#define AT(member) offsetof(cli_options, member)
enum { ANSWERS = CLI_GENERATE | CLI_CHAT, ALL = ANSWERS | CLI_BENCH };
static const double MOST = 2147483647.0;

static const option table[] = {
    {ALL, "-m", "--model", "path of the model file", MODEL, AT(models), 0, 0},
    {ANSWERS, "-n", "--max-tokens", "at most so many tokens", COUNT, AT(max_tokens), 0, MOST},
    {ANSWERS, NULL, "--temp", "temperature; 0 is greedy", NUMBER, AT(sampling.temperature), 0, 1e6},
    {ANSWERS, NULL, "--top-k", "0: off", COUNT, AT(sampling.top_k), 0, MOST},
    {ANSWERS, NULL, "--top-p", "1: off", NUMBER, AT(sampling.top_p), 0, 1},
    {ANSWERS, NULL, "--min-p", "0: off", NUMBER, AT(sampling.min_p), 0, 1},
    {ANSWERS, NULL, "--repeat-penalty", "1: off", NUMBER, AT(sampling.repeat_penalty), 1e-6, 1e6},
    {ALL, NULL, "--seed", "the same seed gives the same tokens", SEED, AT(sampling.seed), 0, 0},
    {CLI_GENERATE, NULL, "--stop", "end before this text; repeatable", TEXTS, AT(stops), 0, 0},
    {ANSWERS, NULL, "--lookup", NULL, FLAG_ON, AT(lookup), 0, 0},
    {ANSWERS, NULL, "--no-lookup", "evaluate repeated text one by one", FLAG_OFF, AT(lookup), 0, 0},
    {CLI_GENERATE, NULL, "--raw", "complete the text as it is, without chat template", FLAG_ON, AT(raw), 0, 0},
    {CLI_GENERATE, NULL, "--json", "print JSON", FLAG_ON, AT(json), 0, 0},
    {CLI_CHAT, NULL, "--system", "the system message", TEXT, AT(system), 0, 0},
    {ANSWERS, "-c", "--context", "positions; the model's own number if not given", COUNT, AT(context), 1, MOST},
    {ANSWERS, NULL, "--memory-limit", "bytes besides the file's pages, as 64M or 1G", BYTES, AT(memory_limit), 0, 0},
    {ANSWERS, "-t", "--threads", "what the machine allows if not given", COUNT, AT(threads), 1, 512},
    {ALL, NULL, "--isa", "force an instruction set", TEXT, AT(isa), 0, 0},
    {CLI_BENCH, "-p", "--n-prompt", "prompt lengths, as 128,512; 0: none", LIST, AT(lengths), 0, 1 << 30},
    {CLI_BENCH, "-n", "--n-gen", "tokens to generate; 0: no such test", LIST, AT(steps), 0, 1 << 30},
    {CLI_BENCH, "-d", "--n-depth", "tokens that are there before", LIST, AT(depths), 0, 1 << 30},
    {CLI_BENCH, "-t", "--threads", "thread counts, as 1,2", LIST, AT(counts), 1, 512},
    {CLI_BENCH, "-r", "--repetitions", "samples of each test", COUNT, AT(repeat), 1, 10000},
    {CLI_BENCH, "-o", "--output", "md, json, jsonl or csv", FORMAT, AT(output), 0, 0},
    {CLI_BENCH, NULL, "--start", "also whole processes that end with the first token", FLAG_ON, AT(start), 0, 0},
    {CLI_BENCH, NULL, "--emulated", "mark the results as of an emulated processor", FLAG_ON, AT(emulated), 0, 0},
};
enum { N_OPTIONS = sizeof table / sizeof *table };

void cli_help(FILE *file) {
    static const struct {
        cli_command command;
        const char *line;
    } commands[] = {
        {CLI_GENERATE, "pyedge generate \"prompt\" -m MODEL.gguf    answer a prompt (none or -: standard input)"},
        {CLI_CHAT, "pyedge chat -m MODEL.gguf                 a conversation; /help lists its commands"},
        {CLI_BENCH, "pyedge bench -m MODEL.gguf                how fast the model runs here"},
    };
    fprintf(file, "pyedge %s: language models on the machine at hand\n", pe_version());
    for (size_t c = 0; c < sizeof commands / sizeof *commands; c++) {
        fprintf(file, "\n%s\n", commands[c].line);
        for (size_t i = 0; i < N_OPTIONS; i++) {
            const option *o = &table[i];
            if (!(o->commands & commands[c].command) || !o->help) continue;
            fprintf(file, "  %-2s %-18s %s\n", o->short_name ? o->short_name : "", o->name, o->help);
        }
    }
    fputs("\nPYEDGE_ISA and PYEDGE_THREADS do what --isa and -t do.\n", file);
}

static bool read_number(const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return end != text && *end == 0 && isfinite(*out);
}

static bool read_count(const char *text, double low, double high, double *out) {
    if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 15) return false;
    *out = strtod(text, NULL);
    return *out >= low && *out <= high;
}

/* "64M": binary multiples. */
static bool read_bytes(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || errno || text[0] == '-' || value == 0) return false;
    const char *units = "KMGT", *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    const int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    if (unit) end++;
    if (*end || value > UINT64_MAX >> shift) return false;
    *out = (uint64_t)value << shift;
    return true;
}

static int read_list(const option *o, const char *text, uint32_t *items, size_t *n) {
    char item[16];
    for (*n = 0;;) {
        const size_t size = strcspn(text, ",");
        double value = 0;
        if (size >= sizeof item) return CLI_USAGE;
        memcpy(item, text, size);
        item[size] = 0;
        if (*n == CLI_MAX_LIST || !read_count(item, o->low, o->high, &value)) return CLI_USAGE;
        items[(*n)++] = (uint32_t)value;
        if (!text[size]) return CLI_OK;
        text += size + 1;
    }
}

static size_t *list_length(cli_options *out, size_t at) {
    return at == AT(lengths)  ? &out->n_lengths
           : at == AT(steps)  ? &out->n_steps
           : at == AT(depths) ? &out->n_depths
                              : &out->n_counts;
}

static int wrong(const option *o, const char *text, const char *expected) {
    return cli_usage("%s cannot be '%.60s'; expected %s", o->name, text, expected);
}

static int set(cli_options *out, const option *o, const char *text) {
    char *member = (char *)out + o->at, range[96];
    double value = 0;
    snprintf(range, sizeof range, o->kind == NUMBER ? "a number from %g to %g" : "whole numbers from %.0f to %.0f",
             o->low, o->high);
    switch (o->kind) {
    case FLAG_ON:
        *(bool *)member = true;
        break;
    case FLAG_OFF:
        *(bool *)member = false;
        break;
    case TEXT:
        *(const char **)member = text;
        break;
    case TEXTS:
        if (!*text) return wrong(o, text, "a text that is not empty");
        if (out->n_stops == CLI_MAX_LIST) return cli_usage("--stop can be given %d times at most", CLI_MAX_LIST);
        out->stops[out->n_stops++] = text;
        break;
    case MODEL:
        if (out->n_models == CLI_MAX_LIST) return cli_usage("--model can be given %d times at most", CLI_MAX_LIST);
        out->models[out->n_models++] = text;
        break;
    case COUNT:
        if (!read_count(text, o->low, o->high, &value)) return wrong(o, text, range);
        *(int32_t *)member = (int32_t)value;
        break;
    case NUMBER:
        if (!read_number(text, &value) || value < o->low || value > o->high) return wrong(o, text, range);
        *(float *)member = (float)value;
        break;
    case SEED:
        if (!*text || strspn(text, "0123456789") != strlen(text)) return wrong(o, text, "a whole number");
        errno = 0;
        out->sampling.seed = strtoull(text, NULL, 10);
        if (errno) return wrong(o, text, "a whole number below 2^64");
        out->sampling.has_seed = true;
        break;
    case LIST:
        if (read_list(o, text, (uint32_t *)member, list_length(out, o->at))) return wrong(o, text, range);
        break;
    case BYTES:
        if (!read_bytes(text, (uint64_t *)member)) return wrong(o, text, "bytes, as 67108864, 64M or 1G");
        break;
    case FORMAT:
        if (strcmp(text, "md") && strcmp(text, "json") && strcmp(text, "jsonl") && strcmp(text, "csv"))
            return wrong(o, text, "md, json, jsonl or csv");
        out->output = text;
        break;
    }
    return CLI_OK;
}

/* The option that an argument names: "-n", "--max-tokens", "--max-tokens=64"; *value is set for the last form. */
static const option *find(cli_command command, const char *argument, const char **value) {
    *value = NULL;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const option *o = &table[i];
        const size_t size = strlen(o->name);
        if (!(o->commands & command)) continue;
        if (o->short_name && strcmp(argument, o->short_name) == 0) return o;
        if (strncmp(argument, o->name, size) != 0 || (argument[size] && argument[size] != '=')) continue;
        if (argument[size] == '=') *value = argument + size + 1;
        return o;
    }
    return NULL;
}

static void defaults(cli_command command, cli_options *out) {
    *out = (cli_options){.max_tokens = command == CLI_CHAT ? 1024 : 256,
                         .lookup = true,
                         .repeat = 5,
                         .output = "md",
                         .lengths = {512},
                         .steps = {128},
                         .depths = {0},
                         .n_lengths = 1,
                         .n_steps = 1,
                         .n_depths = 1};
    out->sampling = pe_sampler_defaults();
    out->sampling.temperature = 0.8F;
    out->sampling.top_k = 40;
    out->sampling.top_p = 0.95F;
    out->sampling.min_p = 0.05F;
    out->sampling.repeat_penalty = 1;
}

int cli_parse(cli_command command, int argc, char **argv, cli_options *out, bool *done) {
    defaults(command, out);
    bool only_text = false; /* after -- */
    for (int i = 0; i < argc; i++) {
        const char *argument = argv[i], *value;
        if (!only_text && strcmp(argument, "--") == 0) {
            only_text = true;
            continue;
        }
        if (!only_text && (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)) {
            cli_help(stdout);
            *done = true;
            return CLI_OK;
        }
        if (only_text || argument[0] != '-' || !argument[1]) {
            if (command != CLI_GENERATE || out->prompt) return cli_usage("unexpected argument '%.60s'", argument);
            out->prompt = argument;
            continue;
        }
        const option *o = find(command, argument, &value);
        if (!o) return cli_usage("there is no option '%.60s'; pyedge --help lists them", argument);
        const bool flag = o->kind == FLAG_ON || o->kind == FLAG_OFF;
        if (flag && value) return cli_usage("%s takes no value", o->name);
        if (!flag && !value && ++i == argc) return cli_usage("%s needs a value", o->name);
        int status = set(out, o, flag ? "" : value ? value : argv[i]);
        if (status) return status;
    }
    if (out->n_models == 0) return cli_usage("no model: give the path of its file with -m");
    if (command != CLI_BENCH && out->n_models > 1)
        return cli_usage("one model at a time: -m is given %zu times", out->n_models);
    if (out->prompt && strcmp(out->prompt, "-") == 0) out->prompt = NULL;
    return CLI_OK;
}
