/* One line of a benchmark's result, with the columns that bench/schema.json lists: the native command, Python and the
 * browser write the same ones. */
#ifndef PE_CLI_ROW_H
#define PE_CLI_ROW_H

#include "cli/device.h"

#include <stdio.h>

typedef struct bench_row {
    const char *model_filename;
    char model_type[96], model_sha256[65];
    uint64_t model_size, model_n_params;
    const device_facts *facts;
    device_state before, after;
    const char *isa;
    int n_threads;
    uint32_t n_prompt, n_gen, n_depth;
    uint64_t seed;
    double *samples; /* [n_samples] tokens/s */
    int n_samples;
    double load_ms;
    double ttft_ms, weights_gb_per_s, bound_gb_per_s, bound_percent, start_ms; /* NAN: not of this test */
    uint64_t peak_rss_bytes;
    char output_hash[17]; /* "": none */
} bench_row;

typedef enum row_format { ROW_MD, ROW_JSON, ROW_JSONL, ROW_CSV } row_format;

double row_median(const double *samples, int n);
/* Rows one after the other: first is true for the first one, and what a format needs around the rows is written by
 * row_begin and row_end (facts may be NULL there where there were no rows). */
void row_begin(FILE *file, row_format format);
void row_write(FILE *file, row_format format, const bench_row *row, bool first);
void row_end(FILE *file, row_format format, const device_facts *facts);

#endif
