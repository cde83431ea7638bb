/* Evaluates N_PROMPT tokens at once, then N_DECODED one by one, on one thread, for bench/instructions.py:
 *
 *   pyedge MODEL N_PROMPT N_DECODED [INSTRUCTION SET] */
#include "pyedge.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_CTX = 1024 };

static int failed(void) {
    fprintf(stderr, "%s\n", pe_last_error());
    return 1;
}

int main(int argc, char **argv) {
    static int32_t ids[N_CTX];
    if (argc < 4) return 2;
    const int n_prompt = atoi(argv[2]), n_decoded = atoi(argv[3]);
    if (n_prompt < 0 || n_decoded < 0 || n_prompt + n_decoded > N_CTX) return 2;
    for (int i = 0; i < N_CTX; i++) ids[i] = (i * 7919 + 100) % 49000; /* as llama.cpp has them */
    pe_model *model;
    pe_session *session;
    if (pe_model_open(argv[1], &model)) return failed();
    const pe_session_options options = {.n_ctx = N_CTX, .n_threads = 1, .isa = argc > 4 ? argv[4] : NULL};
    if (pe_session_create(model, &options, &session)) return failed();
    pe_model_info info;
    pe_model_get_info(model, &info);
    float *logits = malloc(info.n_vocab * sizeof *logits); /* of the last token, as the peer gives them */
    if (!logits) return 1;
    if (n_prompt && pe_session_eval(session, ids, (size_t)n_prompt, (size_t)n_prompt - 1, logits)) return failed();
    for (int i = 0; i < n_decoded; i++)
        if (pe_session_eval(session, ids + i, 1, 0, logits)) return failed();
    free(logits);
    pe_session_release(session);
    pe_model_release(model);
    return 0;
}
