/* The front door: which command, and the few helpers that all commands use. */
#define _POSIX_C_SOURCE 200809L

#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void say(const char *format, va_list arguments) {
    fflush(stdout);
    fputs("pyedge: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

int cli_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

int cli_usage(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    return CLI_USAGE;
}

void cli_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

int cli_core_failed(void) { return cli_fail("%s", pe_last_error()); }

void *cli_grow(void *block, size_t count, size_t size) {
    size_t bytes;
    void *grown = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes)) grown = realloc(block, bytes ? bytes : 1);
    if (!grown) exit(cli_fail("out of memory: the system refused %zu items of %zu bytes", count, size));
    return grown;
}

void *cli_alloc(size_t count, size_t size) { return memset(cli_grow(NULL, count, size), 0, count * size); }

void cli_free(void *block) { free(block); }

void cli_add(cli_text *text, const char *data, size_t size) {
    if (text->capacity - text->size < size + 1 || !text->data) {
        text->capacity = 2 * text->size + size + 64;
        text->data = cli_grow(text->data, text->capacity, 1);
    }
    if (size) memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
}

void cli_put(cli_text *text, const char *string) { cli_add(text, string, strlen(string)); }

char *cli_join(const char *a, const char *b) {
    cli_text text = {0};
    cli_put(&text, a);
    cli_put(&text, b);
    return text.data;
}

bool cli_read_all(FILE *file, cli_text *text) {
    char block[4096];
    size_t n;
    cli_put(text, "");
    while ((n = fread(block, 1, sizeof block, file)) > 0) cli_add(text, block, n);
    return !ferror(file);
}

double cli_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        cli_command command;
    } commands[] = {{"generate", CLI_GENERATE}, {"chat", CLI_CHAT}, {"bench", CLI_BENCH}};
    if (argc < 2) {
        cli_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        cli_help(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("pyedge %s\n", pe_version());
        return CLI_OK;
    }
    cli_command command = 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0) command = commands[i].command;
    if (!command)
        return cli_usage("there is no command '%s'; this program has generate, chat and bench, the rest is in the "
                         "Python package",
                         argv[1]);
    cli_options *options = cli_alloc(1, sizeof *options);
    bool done = false;
    int status = cli_parse(command, argc - 2, argv + 2, options, &done);
    if (status == CLI_OK && !done)
        status = command == CLI_GENERATE ? cli_generate(options)
                 : command == CLI_CHAT   ? cli_chat(options)
                                         : cli_bench(options, argv[0]);
    cli_free(options);
    if (fflush(stdout) != 0 && status == CLI_OK) status = cli_fail("standard output cannot be written");
    return status;
}
