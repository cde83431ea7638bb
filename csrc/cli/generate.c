/* pyedge generate: one prompt, one answer. */
#include "cli/conversation.h"
#include "cli/json.h"

#include <string.h>

static void print_json(const pe_model *model, const cli_options *options, const cli_answer *a, size_t n_prompt,
                       double load_seconds) {
    pe_model_info info;
    pe_model_get_info(model, &info);
    cli_json j = {stdout, 0};
    json_open(&j, NULL, '{');
    json_text(&j, "model", *info.name ? info.name : cli_base_name(options->models[0]));
    json_text(&j, "text", a->text.data);
    json_open(&j, "tokens", '[');
    for (size_t i = 0; i < a->n; i++) json_integer(&j, NULL, a->tokens[i]);
    json_close(&j, ']');
    json_text(&j, "finish_reason", a->reason);
    json_open(&j, "logprobs", '[');
    for (size_t i = 0; i < a->n; i++) json_number(&j, NULL, (double)a->logprobs[i]);
    json_close(&j, ']');
    json_open(&j, "timings", '{');
    json_integer(&j, "prompt_tokens", (int64_t)n_prompt);
    json_number(&j, "prompt_seconds", a->prompt_seconds);
    json_integer(&j, "decode_tokens", a->n ? (int64_t)a->n - 1 : 0);
    json_number(&j, "decode_seconds", a->decode_seconds);
    json_number(&j, "ttft_seconds", a->ttft);
    json_number(&j, "load_seconds", load_seconds);
    json_integer(&j, "drafted_tokens", (int64_t)a->drafted);
    json_integer(&j, "accepted_tokens", (int64_t)a->accepted);
    json_close(&j, '}');
    json_close(&j, '}');
    putchar('\n');
}

static int prompt_ids(const pe_model *model, const cli_options *options, const cli_text *prompt, cli_ids *ids) {
    pe_model_info info;
    pe_model_get_info(model, &info);
    if (!options->raw && info.chat_template) {
        const cli_message message = {"user", prompt->data};
        return cli_chat_ids(model, &message, 1, ids);
    }
    if (!options->raw)
        cli_note("pyedge: the model has no chat template: the prompt is completed as raw text (--raw says that this is "
                 "meant)");
    return cli_tokenize(model, prompt->data, prompt->size, PE_TOKENIZE_SPECIAL | PE_TOKENIZE_PARSE, ids);
}

int cli_generate(const cli_options *options) {
    cli_text prompt = {0};
    if (options->prompt)
        cli_put(&prompt, options->prompt);
    else if (!cli_read_all(stdin, &prompt))
        return cli_fail("standard input cannot be read");
    else if (!options->raw && prompt.size && prompt.data[prompt.size - 1] == '\n')
        prompt.data[--prompt.size] = 0; /* the end of the last line is no part of a question */
    pe_model *model = NULL;
    pe_session *session = NULL;
    const double before = cli_seconds();
    int status = cli_open(options, &model, &session);
    const double load_seconds = cli_seconds() - before;
    cli_ids ids = {0};
    cli_answer answer = {0};
    if (!status) status = prompt_ids(model, options, &prompt, &ids);
    if (!status) {
        status = cli_answer_run(session, model, options, ids, false, options->json ? NULL : stdout, &answer);
        if (!status && options->json)
            print_json(model, options, &answer, ids.n, load_seconds);
        else if (answer.text.size && answer.text.data[answer.text.size - 1] != '\n' && !options->json)
            putchar('\n');
    }
    cli_answer_free(&answer);
    cli_free(ids.ids);
    cli_free(prompt.data);
    pe_session_release(session);
    pe_model_release(model);
    return status;
}
