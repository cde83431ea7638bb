/* Answering: tokens to text that may be shown, and the loop of sampling. A token may end inside a character, and a stop
 * string may lie across tokens: both are held back until they are decided. */
#include "cli/cli.h"
#include "cli/utf8.h"

#include <string.h>

/* ---- opening ---------------------------------------------------------------------------------------------------- */

int cli_open(const cli_options *options, pe_model **model, pe_session **session) {
    if (pe_model_open(options->models[0], model)) return cli_core_failed();
    const pe_session_options wanted = {.n_ctx = (uint32_t)options->context,
                                       .n_threads = options->threads,
                                       .isa = options->isa,
                                       .memory_limit = options->memory_limit};
    if (!pe_session_create(*model, &wanted, session)) return CLI_OK;
    pe_model_release(*model);
    *model = NULL;
    return cli_core_failed();
}

int cli_tokenize(const pe_model *model, const char *text, size_t size, unsigned flags, cli_ids *out) {
    size_t capacity = size / 3 + 16;
    *out = (cli_ids){cli_alloc(capacity, sizeof *out->ids), 0};
    pe_status status = pe_tokenize(model, text, size, flags, out->ids, capacity, &out->n);
    if (!status && out->n > capacity) {
        capacity = out->n;
        out->ids = cli_grow(out->ids, capacity, sizeof *out->ids);
        status = pe_tokenize(model, text, size, flags, out->ids, capacity, &out->n);
    }
    if (!status) return CLI_OK;
    cli_free(out->ids);
    *out = (cli_ids){0};
    return cli_core_failed();
}

/* ---- text that may be shown ------------------------------------------------------------------------------------- */

typedef struct text_stream {
    const char *const *stops;
    size_t n_stops;
    unsigned char partial[4]; /* of an unfinished character */
    size_t n_partial;
    cli_text held; /* whole characters that may become a stop string */
    bool stopped;
} text_stream;

static void decode(text_stream *s, unsigned char byte) {
    if (s->n_partial && !utf8_may_follow(s->partial[0], s->n_partial, byte)) {
        cli_put(&s->held, utf8_replacement);
        s->n_partial = 0;
    }
    if (s->n_partial == 0 && utf8_size(byte) == 0) {
        cli_put(&s->held, utf8_replacement);
        return;
    }
    s->partial[s->n_partial++] = byte;
    if (s->n_partial < utf8_size(s->partial[0])) return;
    cli_add(&s->held, (const char *)s->partial, s->n_partial);
    s->n_partial = 0;
}

/* Bytes at the end of the held text that begin a stop string and are not all of it. */
static size_t overlap(const cli_text *held, const char *stop) {
    size_t size = strlen(stop) - 1;
    if (size > held->size) size = held->size;
    while (size > 0 && memcmp(held->data + held->size - size, stop, size) != 0) size--;
    return size;
}

static bool starts_at(const cli_text *held, size_t at, const char *stop) {
    const size_t size = strlen(stop);
    return held->size - at >= size && memcmp(held->data + at, stop, size) == 0;
}

/* What is settled of the held text goes to the answer and to `out`. */
static void settle(text_stream *s, bool last, cli_text *answer, FILE *out) {
    if (s->stopped || s->held.size == 0) return;
    size_t shown = s->held.size, keep = 0;
    for (size_t at = 0; at < s->held.size && !s->stopped; at++)
        for (size_t i = 0; i < s->n_stops && !s->stopped; i++)
            if (starts_at(&s->held, at, s->stops[i])) {
                s->stopped = true;
                shown = at;
            }
    for (size_t i = 0; i < s->n_stops && !s->stopped && !last; i++) {
        const size_t size = overlap(&s->held, s->stops[i]);
        if (size > keep) keep = size;
    }
    shown -= keep;
    cli_add(answer, s->held.data, shown);
    if (out) {
        fwrite(s->held.data, 1, shown, out);
        fflush(out);
    }
    memmove(s->held.data, s->held.data + shown, s->held.size - shown);
    s->held.size -= shown;
}

static void finish(text_stream *s, cli_text *answer, FILE *out) {
    if (s->n_partial) cli_put(&s->held, utf8_replacement);
    s->n_partial = 0;
    settle(s, true, answer, out);
    cli_free(s->held.data);
    s->held = (cli_text){0};
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void keep_token(cli_answer *a, int32_t id, float logprob) {
    if (a->n == a->capacity) {
        a->capacity = 2 * a->capacity + 64;
        a->tokens = cli_grow(a->tokens, a->capacity, sizeof *a->tokens);
        a->logprobs = cli_grow(a->logprobs, a->capacity, sizeof *a->logprobs);
    }
    a->tokens[a->n] = id;
    a->logprobs[a->n++] = logprob;
}

/* Choose, show, evaluate, until something ends it; PE_ERR_CANCELLED is an end like any other. */
static pe_status answer_loop(pe_session *session, const pe_model *model, const cli_options *options,
                             pe_sampler *sampler, bool settled, FILE *out, text_stream *stream, cli_answer *a,
                             double started) {
    for (int32_t step = 1; step <= options->max_tokens; step++) {
        int32_t id;
        float logprob;
        pe_status status = pe_session_sample(session, sampler, &id, &logprob);
        if (status) return status;
        if (step == 1) a->ttft = cli_seconds() - started;
        const unsigned attributes = pe_token_attributes(model, id);
        if (attributes & PE_TOKEN_END) {
            a->reason = "stop";
            return PE_OK;
        }
        pe_sampler_accept(sampler, id);
        keep_token(a, id, logprob);
        const char *bytes = "";
        size_t size = 0;
        if (!(attributes & PE_TOKEN_CONTROL) && (status = pe_token_bytes(model, id, &bytes, &size))) return status;
        for (size_t i = 0; i < size; i++) decode(stream, (unsigned char)bytes[i]);
        settle(stream, false, &a->text, out);
        const bool full = pe_session_position(session) >= pe_session_capacity(session);
        const bool last = full || stream->stopped || step == options->max_tokens;
        if (stream->stopped) a->reason = "stop";
        if (last && (full || !settled)) return PE_OK;
        const double before = cli_seconds();
        const size_t left = last ? 0 : (size_t)(options->max_tokens - step);
        status = pe_session_step(session, id, options->lookup ? left : 0);
        a->decode_seconds += cli_seconds() - before;
        if (status || last) return status;
    }
    return PE_OK;
}

int cli_answer_run(pe_session *session, const pe_model *model, const cli_options *options, cli_ids prompt, bool settled,
                   FILE *out, cli_answer *a) {
    const double started = cli_seconds();
    *a = (cli_answer){.reason = "length"};
    cli_put(&a->text, "");
    const uint32_t position = pe_session_position(session), capacity = pe_session_capacity(session);
    if (prompt.n > capacity - position) {
        a->overflow = true;
        return cli_fail("the prompt has %zu tokens and %d more were asked for, but the context holds %u; ask for a "
                        "longer one with -c, or shorten the prompt",
                        prompt.n + position, (int)options->max_tokens, capacity);
    }
    if (prompt.n + position == 0) return cli_fail("the prompt is empty: give at least one token to continue from");
    pe_sampler *sampler = NULL;
    if (pe_sampler_create(&options->sampling, &sampler)) return cli_core_failed();
    if (options->sampling.repeat_penalty != 1) {
        for (uint32_t i = 0; i < position; i++) pe_sampler_accept(sampler, pe_session_tokens(session)[i]);
        for (size_t i = 0; i < prompt.n; i++) pe_sampler_accept(sampler, prompt.ids[i]);
    }
    uint64_t drafted, accepted;
    pe_session_lookups(session, &drafted, &accepted);
    text_stream stream = {.stops = options->stops, .n_stops = options->n_stops};
    pe_status status = pe_session_eval(session, prompt.ids, prompt.n, prompt.n, NULL);
    a->prompt_seconds = cli_seconds() - started;
    if (!status) status = answer_loop(session, model, options, sampler, settled, out, &stream, a, started);
    finish(&stream, &a->text, out);
    pe_session_lookups(session, &a->drafted, &a->accepted);
    a->drafted -= drafted;
    a->accepted -= accepted;
    pe_sampler_release(sampler);
    if (status == PE_ERR_CANCELLED) {
        a->reason = "cancelled";
        return CLI_OK;
    }
    return status ? cli_core_failed() : CLI_OK;
}

void cli_answer_free(cli_answer *a) {
    cli_free(a->text.data);
    cli_free(a->tokens);
    cli_free(a->logprobs);
    *a = (cli_answer){0};
}
