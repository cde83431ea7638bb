#include "cli/row.h"
#include "cli/cli.h"
#include "cli/conversation.h"
#include "cli/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- statistics ------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double row_median(const double *samples, int n) {
    double *sorted = cli_alloc((size_t)n, sizeof *sorted);
    memcpy(sorted, samples, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    const double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    cli_free(sorted);
    return median;
}

static double mean(const bench_row *r) {
    double sum = 0;
    for (int i = 0; i < r->n_samples; i++) sum += r->samples[i];
    return sum / r->n_samples;
}

static double deviation(const bench_row *r) {
    const double middle = mean(r);
    double sum = 0;
    for (int i = 0; i < r->n_samples; i++) sum += (r->samples[i] - middle) * (r->samples[i] - middle);
    return r->n_samples > 1 ? sqrt(sum / (r->n_samples - 1)) : 0;
}

/* ---- columns ---------------------------------------------------------------------------------------------------- */

typedef enum field_kind { TEXT, INTEGER, NUMBER, BOOL, SAMPLES } field_kind;

typedef struct field {
    const char *name;
    field_kind kind;
    const char *text; /* "": null */
    int64_t integer;  /* of BOOL: 1, 0, -1 for null */
    double number;
} field;

enum { MAX_FIELDS = 48 };

static void put_text(field **at, const char *name, const char *text) { *(*at)++ = (field){name, TEXT, text, 0, 0}; }
static void put_number(field **at, const char *name, double value) { *(*at)++ = (field){name, NUMBER, "", 0, value}; }
static void put_integer(field **at, const char *name, uint64_t value) {
    *(*at)++ = (field){name, INTEGER, "", (int64_t)value, 0};
}
static void put_bool(field **at, const char *name, int value) { *(*at)++ = (field){name, BOOL, "", value, 0}; }

static size_t fields_of(const bench_row *r, field out[MAX_FIELDS]) {
    field *at = out;
    const device_facts *d = r->facts;
    put_text(&at, "model_filename", r->model_filename);
    put_text(&at, "model_type", r->model_type);
    put_integer(&at, "model_size", r->model_size);
    put_integer(&at, "model_n_params", r->model_n_params);
    put_text(&at, "cpu_info", d->cpu_info);
    put_text(&at, "isa", r->isa);
    put_integer(&at, "n_threads", (uint64_t)r->n_threads);
    put_integer(&at, "n_prompt", r->n_prompt);
    put_integer(&at, "n_gen", r->n_gen);
    put_integer(&at, "n_depth", r->n_depth);
    *at++ = (field){"samples_ts", SAMPLES, "", 0, 0};
    put_number(&at, "avg_ts", mean(r));
    put_number(&at, "stddev_ts", deviation(r));
    put_number(&at, "median_ts", row_median(r->samples, r->n_samples));
    put_number(&at, "load_ms", r->load_ms);
    put_number(&at, "ttft_ms", r->ttft_ms);
    put_number(&at, "peak_rss_bytes", r->peak_rss_bytes ? (double)r->peak_rss_bytes : NAN);
    put_number(&at, "weights_gb_per_s", r->weights_gb_per_s);
    put_text(&at, "output_hash", r->output_hash);
    put_number(&at, "bound_gb_per_s", r->bound_gb_per_s);
    put_number(&at, "bound_percent", r->bound_percent);
    put_number(&at, "start_ms", r->start_ms);
    put_text(&at, "door", "native");
    put_text(&at, "version", pe_version());
    put_integer(&at, "seed", r->seed);
    put_text(&at, "model_sha256", r->model_sha256);
    put_bool(&at, "emulated", d->emulated);
    put_text(&at, "machine", d->machine);
    put_text(&at, "board", d->board);
    put_text(&at, "kernel", d->kernel);
    put_text(&at, "cpu_features", d->cpu_features);
    put_integer(&at, "n_processors", (uint64_t)d->n_processors);
    put_integer(&at, "memory_bytes", d->memory_bytes);
    put_text(&at, "governor", d->governor);
    put_number(&at, "freq_max_mhz", d->freq_max_mhz);
    put_number(&at, "freq_before_mhz", r->before.freq_mhz);
    put_number(&at, "freq_after_mhz", r->after.freq_mhz);
    put_number(&at, "temp_before_c", r->before.temp_c);
    put_number(&at, "temp_after_c", r->after.temp_c);
    put_number(&at, "power_w", device_power(&r->before, &r->after));
    put_bool(&at, "throttled", device_throttled(&r->before, &r->after));
    return (size_t)(at - out);
}

static void write_json(FILE *file, const bench_row *row, const field *fields, size_t n) {
    cli_json j = {file, 0};
    json_open(&j, NULL, '{');
    for (size_t i = 0; i < n; i++) {
        const field *f = &fields[i];
        if (f->kind == INTEGER)
            json_integer(&j, f->name, f->integer);
        else if (f->kind == NUMBER)
            json_number(&j, f->name, f->number);
        else if (f->kind == TEXT)
            json_text(&j, f->name, *f->text ? f->text : NULL);
        else if (f->kind == BOOL && f->integer >= 0)
            json_bool(&j, f->name, f->integer);
        else if (f->kind == BOOL)
            json_null(&j, f->name);
        else {
            json_open(&j, f->name, '[');
            for (int k = 0; k < row->n_samples; k++) json_number(&j, NULL, row->samples[k]);
            json_close(&j, ']');
        }
    }
    json_close(&j, '}');
}

static void write_csv_text(FILE *file, const char *text) {
    const bool quoted = strpbrk(text, ",\"\n\r") != NULL;
    if (quoted) fputc('"', file);
    for (; *text; text++) {
        if (*text == '"') fputc('"', file);
        fputc(*text, file);
    }
    if (quoted) fputc('"', file);
}

static void write_csv(FILE *file, const bench_row *row, const field *fields, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const field *f = &fields[i];
        if (i) fputc(',', file);
        if (f->kind == INTEGER)
            fprintf(file, "%" PRId64, f->integer);
        else if (f->kind == NUMBER && isfinite(f->number))
            fprintf(file, "%.10g", f->number);
        else if (f->kind == TEXT)
            write_csv_text(file, f->text);
        else if (f->kind == BOOL && f->integer >= 0)
            fputs(f->integer ? "True" : "False", file);
        for (int k = 0; f->kind == SAMPLES && k < row->n_samples; k++)
            fprintf(file, "%s%.3f", k ? " " : "", row->samples[k]);
    }
    fputc('\n', file);
}

static void write_cell(FILE *file, double value, int digits) {
    if (isfinite(value))
        fprintf(file, " %.*f |", digits, value);
    else
        fputs("  |", file);
}

static void write_md(FILE *file, const bench_row *r) {
    char test[64], depth[32] = "";
    if (r->n_depth) snprintf(depth, sizeof depth, " @ d%u", r->n_depth);
    if (isfinite(r->start_ms))
        snprintf(test, sizeof test, "start");
    else
        snprintf(test, sizeof test, "%s%u%s", r->n_prompt ? "pp" : "tg", r->n_prompt ? r->n_prompt : r->n_gen, depth);
    fprintf(file, "| %s | %s | %s | %d | %s |", r->model_type, cli_base_name(r->model_filename), r->isa, r->n_threads,
            test);
    write_cell(file, row_median(r->samples, r->n_samples), 2);
    write_cell(file, deviation(r), 2);
    write_cell(file, r->weights_gb_per_s, 1);
    write_cell(file, r->bound_percent, 0);
    write_cell(file, isfinite(r->start_ms) ? r->start_ms : r->ttft_ms, 1);
    write_cell(file, r->load_ms, 1);
    write_cell(file, r->peak_rss_bytes ? (double)r->peak_rss_bytes / 1048576 : NAN, 0);
    fputc('\n', file);
}

void row_begin(FILE *file, row_format format) {
    if (format == ROW_JSON) fputs("[\n", file);
    if (format == ROW_MD)
        fputs("| model | file | isa | threads | test | tokens/s | +- | weights GB/s | % of the bound | first token ms "
              "| load ms | peak MiB |\n|---|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|\n",
              file);
}

void row_write(FILE *file, row_format format, const bench_row *row, bool first) {
    field fields[MAX_FIELDS];
    const size_t n = fields_of(row, fields);
    if (format == ROW_MD) {
        write_md(file, row);
    } else if (format == ROW_CSV) {
        for (size_t i = 0; first && i < n; i++) fprintf(file, "%s%s", i ? "," : "", fields[i].name);
        if (first) fputc('\n', file);
        write_csv(file, row, fields, n);
    } else {
        if (format == ROW_JSON) fputs(first ? " " : ",\n ", file);
        write_json(file, row, fields, n);
        if (format == ROW_JSONL) fputc('\n', file);
    }
    fflush(file);
}

void row_end(FILE *file, row_format format, const device_facts *facts) {
    if (format == ROW_JSON) fputs("\n]\n", file);
    if (format == ROW_MD && facts) fprintf(file, "\n%s%s\n", facts->cpu_info, facts->emulated ? " (emulated)" : "");
}
