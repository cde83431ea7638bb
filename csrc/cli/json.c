#include "cli/json.h"
#include "cli/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Gives the bytes it has used. */
static size_t write_character(FILE *file, const unsigned char *at) {
    const size_t size = utf8_size(*at);
    size_t n = 1;
    while (n < size && utf8_may_follow(*at, n, at[n])) n++;
    if (n == size)
        fwrite(at, 1, n, file);
    else
        fputs(utf8_replacement, file);
    return n;
}

static void write_text(FILE *file, const char *text) {
    fputc('"', file);
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at == '"' || *at == '\\')
            fprintf(file, "\\%c", *at);
        else if (*at == '\n')
            fputs("\\n", file);
        else if (*at < 0x20 || *at == 0x7f)
            fprintf(file, "\\u%04x", *at);
        else
            at += write_character(file, at) - 1;
    }
    fputc('"', file);
}

static void begin(cli_json *json, const char *key) {
    if (json->count++) fputs(", ", json->file);
    if (!key) return;
    write_text(json->file, key);
    fputs(": ", json->file);
}

void json_open(cli_json *json, const char *key, char bracket) {
    begin(json, key);
    fputc(bracket, json->file);
    json->count = 0;
}

void json_close(cli_json *json, char bracket) {
    fputc(bracket, json->file);
    json->count = 1;
}

void json_text(cli_json *json, const char *key, const char *value) {
    begin(json, key);
    if (value)
        write_text(json->file, value);
    else
        fputs("null", json->file);
}

void json_integer(cli_json *json, const char *key, int64_t value) {
    begin(json, key);
    fprintf(json->file, "%" PRId64, value);
}

/* The shortest form that reads back as the same number. */
void json_number(cli_json *json, const char *key, double value) {
    char text[40];
    if (!isfinite(value)) {
        json_null(json, key);
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    begin(json, key);
    fputs(text, json->file);
}

void json_bool(cli_json *json, const char *key, bool value) {
    begin(json, key);
    fputs(value ? "true" : "false", json->file);
}

void json_null(cli_json *json, const char *key) {
    begin(json, key);
    fputs("null", json->file);
}
