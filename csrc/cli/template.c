/* What each family writes around a message. A row is chosen by pieces that its templates must have and by others that
 * they must not have; what varies within a family (a default system message, BOS, trimmed contents, today's date) is
 * read from the template as well. Sources: the chat templates that the models' makers publish with them. */
#define _POSIX_C_SOURCE 200809L /* localtime_r */

#include "cli/template.h"

#include <string.h>
#include <time.h>

enum { MAX_MARKS = 5, MAX_BANS = 8 };

typedef enum system_rule {
    SYSTEM_OWN,     /* a message of its own */
    SYSTEM_IN_USER, /* before the first user message, followed by an empty line */
    SYSTEM_LLAMA2,  /* the same between <<SYS>> marks */
    SYSTEM_DATES,   /* always there, and begins with two dates */
    SYSTEM_NO,      /* the template has no place for it */
} system_rule;

typedef struct family {
    const char *name;
    const char *marks[MAX_MARKS];                   /* all of them are in the template */
    const char *bans[MAX_BANS];                     /* none of them is */
    const char *system[2], *user[2], *assistant[2]; /* before and after the content; \1 is BOS, \2 is EOS */
    const char *opening;                            /* of the answer that is asked for */
    system_rule rule;
} family;

/* What other makers do with the same marks: tools and dates that are always written, thoughts that are opened. */
#define BANS "strftime_now", "xml_tools", "custom_instructions", "<|channel"

static const family families[] = {
    {.name = "chatml",
     .marks = {"<|im_start|>", "<|im_end|>", "<|im_start|>assistant"},
     .bans = {BANS, "<|im_sep|>", "<|im_middle|>", "add_generation_prompt_think", "<think>\n' }}"},
     .system = {"<|im_start|>system\n", "<|im_end|>\n"},
     .user = {"<|im_start|>user\n", "<|im_end|>\n"},
     .assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"},
     .opening = "<|im_start|>assistant\n",
     .rule = SYSTEM_OWN},
    {.name = "phi-4",
     .marks = {"<|im_start|>user<|im_sep|>", "<|im_end|>", "<|im_start|>assistant<|im_sep|>"},
     .bans = {BANS, "<think>"},
     .system = {"<|im_start|>system<|im_sep|>", "<|im_end|>"},
     .user = {"<|im_start|>user<|im_sep|>", "<|im_end|>"},
     .assistant = {"<|im_start|>assistant<|im_sep|>", "<|im_end|>"},
     .opening = "<|im_start|>assistant<|im_sep|>",
     .rule = SYSTEM_OWN},
    {.name = "llama-3",
     .marks = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     .bans = {"Cutting Knowledge", "xml_tools", "<think>", "<|eom_id|>"},
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
     .opening = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .rule = SYSTEM_OWN},
    {.name = "llama-3.1",
     .marks = {"<|start_header_id|>", "<|eot_id|>", "Cutting Knowledge Date: December 2023", "Today Date: "},
     .bans = {"xml_tools", "<think>"},
     .system = {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     .user = {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     .assistant = {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
     .opening = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .rule = SYSTEM_DATES},
    {.name = "gemma",
     .marks = {"<start_of_turn>", "<end_of_turn>", "model", "raise_exception("},
     .bans = {BANS, "first_user_prefix"},
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
     .opening = "<start_of_turn>model\n",
     .rule = SYSTEM_NO},
    {.name = "gemma-3",
     .marks = {"<start_of_turn>", "<end_of_turn>", "first_user_prefix"},
     .bans = {BANS},
     .user = {"<start_of_turn>user\n", "<end_of_turn>\n"},
     .assistant = {"<start_of_turn>model\n", "<end_of_turn>\n"},
     .opening = "<start_of_turn>model\n",
     .rule = SYSTEM_IN_USER},
    {.name = "phi-3",
     .marks = {"<|user|>", "<|end|>", "<|assistant|>", "'<|user|>' + '\n'"},
     .bans = {BANS, "system"},
     .user = {"<|user|>\n", "<|end|>\n"},
     .assistant = {"<|assistant|>\n", "<|end|>\n"},
     .opening = "<|assistant|>\n",
     .rule = SYSTEM_NO},
    {.name = "phi-3.5",
     .marks = {"'<|user|>\n' + message['content'] + '<|end|>\n'", "'<|system|>\n'", "'<|assistant|>\n'"},
     .bans = {BANS},
     .system = {"<|system|>\n", "<|end|>\n"},
     .user = {"<|user|>\n", "<|end|>\n"},
     .assistant = {"<|assistant|>\n", "<|end|>\n"},
     .opening = "<|assistant|>\n",
     .rule = SYSTEM_OWN},
    {.name = "zephyr",
     .marks = {"'<|user|>\n' + message['content'] + eos_token }}\n", "'<|assistant|>' }}\n", "'<|system|>\n'"},
     .bans = {BANS},
     .system = {"<|system|>\n", "\2\n"},
     .user = {"<|user|>\n", "\2\n"},
     .assistant = {"<|assistant|>\n", "\2\n"},
     .opening = "<|assistant|>\n",
     .rule = SYSTEM_OWN},
    {.name = "olmo-2",
     .marks = {"'<|user|>\n' + message['content'] + '\n'", "'<|system|>\n' + message['content'] + '\n'",
               "message['content'] + eos_token + '\n'"},
     .bans = {BANS},
     .system = {"<|system|>\n", "\n"},
     .user = {"<|user|>\n", "\n"},
     .assistant = {"<|assistant|>\n", "\2\n"},
     .opening = "<|assistant|>\n",
     .rule = SYSTEM_OWN},
    {.name = "llama-2",
     .marks = {"'[INST] ' + content.strip() + ' [/INST]'", "<<SYS>>\n", "<</SYS>>\n\n", "bos_token + '[INST] '",
               "' '  + content.strip() + ' ' + eos_token"},
     .bans = {BANS},
     .user = {"\1[INST] ", " [/INST]"},
     .assistant = {" ", " \2"},
     .opening = "",
     .rule = SYSTEM_LLAMA2},
    {.name = "mistral",
     .marks = {"'[INST] ' + message['content'] + ' [/INST]'", "message['content'] + eos_token}}"},
     .bans = {BANS, "<<SYS>>", "system"},
     .user = {"[INST] ", " [/INST]"},
     .assistant = {"", "\2"},
     .opening = "",
     .rule = SYSTEM_NO},
    {.name = "granite",
     .marks = {"<|start_of_role|>system<|end_of_role|>", "<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"},
     .bans = {BANS, "Knowledge Cutoff", "You are Granite"},
     .system = {"<|start_of_role|>system<|end_of_role|>", "<|end_of_text|>\n"},
     .user = {"<|start_of_role|>user<|end_of_role|>", "<|end_of_text|>\n"},
     .assistant = {"<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>\n"},
     .opening = "<|start_of_role|>assistant<|end_of_role|>",
     .rule = SYSTEM_OWN},
    {.name = "nano",
     .marks = {"<|instruct_mark|>", "<|response_mark|>", "<|eos|>"},
     .bans = {BANS},
     .user = {"<|instruct_mark|>", "<|response_mark|>"},
     .assistant = {"", "<|eos|>"},
     .opening = "",
     .rule = SYSTEM_NO},
};
enum { N_FAMILIES = sizeof families / sizeof *families };

/* The template with the escapes of its string literals written out, so that one spelling has to be looked for. */
static char *plain(const char *source) {
    cli_text text = {0};
    cli_put(&text, "");
    for (const char *at = source; *at; at++) {
        const bool escape = at[0] == '\\' && (at[1] == 'n' || at[1] == '\'' || at[1] == '"');
        if (escape) at++;
        cli_add(&text, escape && *at == 'n' ? "\n" : at, 1);
    }
    return text.data;
}

static bool has_all(const char *text, const char *const *items, size_t most) {
    for (size_t i = 0; i < most && items[i]; i++)
        if (!strstr(text, items[i])) return false;
    return true;
}

static bool has_any(const char *text, const char *const *items, size_t most) {
    for (size_t i = 0; i < most && items[i]; i++)
        if (strstr(text, items[i])) return true;
    return false;
}

static const family *find(const char *text) {
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (has_all(text, families[i].marks, MAX_MARKS) && !has_any(text, families[i].bans, MAX_BANS))
            return &families[i];
    return NULL;
}

const char *cli_template_family(const char *source) {
    char *text = plain(source);
    const family *f = find(text);
    cli_free(text);
    return f ? f->name : NULL;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

typedef struct writer {
    const family *family;
    const char *text; /* the template, escapes written out */
    const char *bos, *eos;
    bool trims;    /* the template strips contents */
    bool thoughts; /* it leaves them out of earlier answers */
    cli_text *out;
} writer;

static void put_mark(writer *w, const char *mark) {
    for (; mark && *mark; mark++) {
        if (*mark == 1)
            cli_put(w->out, w->bos);
        else if (*mark == 2)
            cli_put(w->out, w->eos);
        else
            cli_add(w->out, mark, 1);
    }
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void put_content(writer *w, const char *content) {
    size_t size = strlen(content);
    while (w->trims && size && is_space(content[size - 1])) size--;
    while (w->trims && size && is_space(*content)) content++, size--;
    cli_add(w->out, content, size);
}

static void put_message(writer *w, const char *const *around, const char *content) {
    put_mark(w, around[0]);
    put_content(w, content);
    put_mark(w, around[1]);
}

/* The system message that a ChatML template writes where none is given: it stands whole in one literal. */
static void put_default_system(writer *w) {
    const char *before = w->family->system[0], *after = w->family->system[1];
    for (const char *at = w->text; before && (at = strstr(at, before)); at += strlen(before)) {
        const char *start = at + strlen(before), *end = strstr(start, after);
        if (!end || end == start || memchr(start, '\'', (size_t)(end - start)) ||
            memchr(start, '{', (size_t)(end - start)) || memchr(start, '"', (size_t)(end - start)))
            continue;
        cli_add(w->out, at, (size_t)(end - at) + strlen(after));
        return;
    }
}

/* Llama 3.1 and later open with the dates that their training had there. */
static void put_dates(writer *w, const char *system) {
    char today[32] = "26 Jul 2024"; /* what templates without a clock have */
    const time_t now = time(NULL);
    struct tm parts;
    if (strstr(w->text, "strftime_now") && localtime_r(&now, &parts)) strftime(today, sizeof today, "%d %b %Y", &parts);
    put_mark(w, w->family->system[0]);
    cli_put(w->out, "Cutting Knowledge Date: December 2023\nToday Date: ");
    cli_put(w->out, today);
    cli_put(w->out, "\n\n");
    put_content(w, system ? system : "");
    put_mark(w, w->family->system[1]);
}

static void put_first_user(writer *w, const char *system, const char *content) {
    const bool marks = w->family->rule == SYSTEM_LLAMA2;
    cli_text joined = {0};
    if (marks) cli_put(&joined, "<<SYS>>\n");
    cli_put(&joined, system);
    cli_put(&joined, marks ? "\n<</SYS>>\n\n" : "\n\n");
    if (marks) {
        cli_put(&joined, content);
        put_message(w, w->family->user, joined.data);
    } else { /* the prefix is not trimmed, the message is */
        put_mark(w, w->family->user[0]);
        cli_put(w->out, joined.data);
        put_content(w, content);
        put_mark(w, w->family->user[1]);
    }
    cli_free(joined.data);
}

static void put_assistant(writer *w, const char *content) {
    static const char close[] = "</think>";
    for (const char *end; w->thoughts && (end = strstr(content, close));) {
        content = end + strlen(close);
        while (*content == '\n') content++;
    }
    put_message(w, w->family->assistant, content);
}

static const char *write_all(writer *w, const cli_message *messages, size_t n_messages) {
    const family *f = w->family;
    const char *system = NULL;
    if (n_messages && strcmp(messages[0].role, "system") == 0) system = messages++->content, n_messages--;
    if (system && f->rule == SYSTEM_NO) return "the model's chat template has no place for a system message";
    if (n_messages == 0 || strcmp(messages[0].role, "user") != 0) return "a conversation begins with the user";
    if (strstr(w->text, "bos_token") && !(f->user[0] && f->user[0][0] == 1)) cli_put(w->out, w->bos);
    if (f->rule == SYSTEM_DATES) {
        put_dates(w, system);
    } else if (f->rule == SYSTEM_OWN) {
        if (system)
            put_message(w, f->system, system);
        else
            put_default_system(w);
        system = NULL;
    }
    const bool in_user = f->rule == SYSTEM_IN_USER || f->rule == SYSTEM_LLAMA2;
    for (size_t i = 0; i < n_messages; i++) {
        if (strcmp(messages[i].role, "assistant") == 0)
            put_assistant(w, messages[i].content);
        else if (in_user && system && i == 0)
            put_first_user(w, system, messages[i].content);
        else
            put_message(w, f->user, messages[i].content);
    }
    put_mark(w, f->opening);
    return NULL;
}

const char *cli_template_render(const char *source, const char *bos, const char *eos, const cli_message *messages,
                                size_t n_messages, cli_text *out) {
    char *text = plain(source);
    writer w = {.family = find(text), .text = text, .bos = bos, .eos = eos, .out = out};
    const char *problem = "the model's chat template is of no family that this program knows; --raw completes plain "
                          "text, and the Python package runs any template";
    if (w.family) {
        w.trims = strstr(text, "trim") || strstr(text, ".strip()");
        w.thoughts = strstr(text, "</think>") != NULL;
        problem = write_all(&w, messages, n_messages);
    }
    cli_free(text);
    return problem;
}
