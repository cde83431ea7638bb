/* JSON to a stream, value by value: keys are NULL inside arrays. Bytes that are no UTF-8
 * become U+FFFD. */
#ifndef PE_CLI_JSON_H
#define PE_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct cli_json {
    FILE *file;
    int count; /* values written so far at this level; nesting is two deep at most, and commas need no more */
} cli_json;

void json_open(cli_json *json, const char *key, char bracket);
void json_close(cli_json *json, char bracket);
void json_text(cli_json *json, const char *key, const char *value); /* NULL: null */
void json_integer(cli_json *json, const char *key, int64_t value);
void json_number(cli_json *json, const char *key, double value); /* not finite: null */
void json_bool(cli_json *json, const char *key, bool value);
void json_null(cli_json *json, const char *key);

#endif
