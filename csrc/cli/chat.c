/* pyedge chat: a conversation in the terminal. One session holds it all: each turn renders the conversation anew and
 * evaluates only what differs from what the session already holds. */
#define _DEFAULT_SOURCE /* isatty, sigaction */

#include "cli/conversation.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- messages to tokens ----------------------------------------------------------------------------------------- */

const char *cli_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static char *token_text(const pe_model *model, int32_t id) {
    const char *bytes = "";
    size_t size = 0;
    if (id >= 0) (void)pe_token_bytes(model, id, &bytes, &size);
    cli_text text = {0};
    cli_add(&text, bytes, size);
    return text.data;
}

int cli_chat_ids(const pe_model *model, const cli_message *messages, size_t n_messages, cli_ids *out) {
    pe_model_info info;
    pe_model_get_info(model, &info);
    char *bos = token_text(model, info.bos_id), *eos = token_text(model, info.eos_id);
    cli_text text = {0};
    const char *problem = cli_template_render(info.chat_template, bos, eos, messages, n_messages, &text);
    int status;
    if (problem) {
        status = cli_fail("%s", problem);
    } else { /* a template that writes BOS itself must not get a second one */
        const bool has_bos = *bos && strncmp(text.data, bos, strlen(bos)) == 0;
        status = cli_tokenize(model, text.data, text.size,
                              PE_TOKENIZE_PARSE | (has_bos ? 0U : (unsigned)PE_TOKENIZE_SPECIAL), out);
    }
    cli_free(text.data);
    cli_free(bos);
    cli_free(eos);
    return status;
}

/* ---- the conversation ------------------------------------------------------------------------------------------- */

typedef struct conversation {
    pe_model *model;
    pe_session *session;
    const cli_options *options;
    cli_message *messages; /* roles are constants, contents are owned */
    size_t n, capacity;
} conversation;

static void add(conversation *c, const char *role, const char *content) {
    if (c->n == c->capacity) {
        c->capacity = 2 * c->capacity + 8;
        c->messages = cli_grow(c->messages, c->capacity, sizeof *c->messages);
    }
    c->messages[c->n++] = (cli_message){role, cli_join(content, "")};
}

static void drop(conversation *c, size_t keep) {
    while (c->n > keep) cli_free((char *)(uintptr_t)c->messages[--c->n].content);
}

static void set_system(conversation *c, const char *text) {
    drop(c, 0);
    if (text && *text) add(c, "system", text);
}

/* SIGINT stops the answer and not the program; storing a flag is all that pe_session_cancel does. */
static pe_session *volatile answering;
static void on_interrupt(int number) {
    (void)number;
    if (answering) pe_session_cancel(answering);
}

static int plain_ids(const conversation *c, cli_ids *ids) { /* for a model without a template */
    cli_text text = {0};
    for (size_t i = 0; i < c->n; i++) {
        if (i) cli_put(&text, "\n");
        cli_put(&text, c->messages[i].content);
    }
    int status = cli_tokenize(c->model, text.data, text.size, PE_TOKENIZE_SPECIAL | PE_TOKENIZE_PARSE, ids);
    cli_free(text.data);
    return status;
}

static int turn_ids(const conversation *c, cli_ids *ids) {
    pe_model_info info;
    pe_model_get_info(c->model, &info);
    return info.chat_template ? cli_chat_ids(c->model, c->messages, c->n, ids) : plain_ids(c, ids);
}

/* An interrupted answer stays in the conversation as far as it came. */
static int answer(conversation *c, const char *line) {
    const size_t before = c->n;
    add(c, "user", line);
    cli_ids ids = {0};
    int status = turn_ids(c, &ids);
    if (status) {
        drop(c, before);
        return status;
    }
    const int32_t *held = pe_session_tokens(c->session);
    const uint32_t n_held = pe_session_position(c->session);
    uint32_t common = 0; /* the last token is always evaluated: its logits are where the answer starts */
    while (common < n_held && common + 1 < ids.n && held[common] == ids.ids[common]) common++;
    cli_answer a = {0};
    if (pe_session_rewind(c->session, common)) {
        status = cli_core_failed();
    } else {
        answering = c->session;
        status = cli_answer_run(c->session, c->model, c->options, (cli_ids){ids.ids + common, ids.n - common}, true,
                                stdout, &a);
        answering = NULL;
        if (a.overflow) cli_note("/reset starts anew");
    }
    if (a.text.size)
        putchar('\n'), add(c, "assistant", a.text.data);
    else
        drop(c, before);
    cli_answer_free(&a);
    cli_free(ids.ids);
    return status;
}

/* Obey a line that starts with a slash; false to leave. */
static bool obey(conversation *c, char *line) {
    char *argument = strchr(line, ' ');
    if (argument) *argument++ = 0;
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0) return false;
    if (strcmp(line, "/help") == 0) {
        cli_note("/help          this list\n"
                 "/reset         forget the conversation, keep the system message\n"
                 "/system TEXT   set the system message (nothing: remove it) and start anew\n"
                 "/quit          leave, as does Ctrl-D\n"
                 "Ctrl-C stops an answer.");
    } else if (strcmp(line, "/reset") == 0) {
        drop(c, c->n && strcmp(c->messages[0].role, "system") == 0 ? 1 : 0);
        cli_note("the conversation is forgotten");
    } else if (strcmp(line, "/system") == 0) {
        set_system(c, argument);
        cli_note(argument && *argument ? "the system message is set" : "the system message is removed");
    } else {
        cli_note("%s is no command; /help lists them", line);
    }
    return true;
}

/* The next line without its end; false at the end of the input. */
static bool read_line(cli_text *line) {
    line->size = 0;
    cli_put(line, "");
    int c;
    while ((c = getchar()) != EOF && c != '\n') {
        const char byte = (char)c;
        cli_add(line, &byte, 1);
    }
    while (line->size && (line->data[line->size - 1] == '\r' || line->data[line->size - 1] == ' '))
        line->data[--line->size] = 0;
    return c != EOF || line->size;
}

/* Where nobody sits at the terminal, the first answer that fails ends the program with its status. */
static int talk(conversation *c, bool terminal) {
    cli_text line = {0};
    int status = CLI_OK;
    while (status == CLI_OK) {
        if (terminal) fputs("> ", stdout), fflush(stdout);
        if (!read_line(&line)) break;
        if (line.size == 0) continue;
        if (line.data[0] != '/')
            status = answer(c, line.data);
        else if (!obey(c, line.data))
            break;
        if (terminal) status = CLI_OK;
    }
    cli_free(line.data);
    if (terminal && feof(stdin)) putchar('\n');
    return status;
}

int cli_chat(const cli_options *options) {
    conversation c = {.options = options};
    int status = cli_open(options, &c.model, &c.session);
    if (status) return status;
    const bool terminal = isatty(STDIN_FILENO) == 1;
    pe_model_info info;
    pe_model_get_info(c.model, &info);
    if (!info.chat_template)
        cli_note("pyedge: the model has no chat template: the conversation is completed as raw text");
    if (terminal)
        cli_note("%s: /help lists the commands, Ctrl-D leaves",
                 *info.name ? info.name : cli_base_name(options->models[0]));
    set_system(&c, options->system);
    const struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    status = talk(&c, terminal);
    drop(&c, 0);
    cli_free(c.messages);
    pe_session_release(c.session);
    pe_model_release(c.model);
    return status;
}
