/* The same as pyedge.c with llama.cpp: MODEL N_PROMPT N_DECODED, on one thread. */
#include "llama.h"

#include <cstdlib>
#include <vector>

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const int n_ctx = 1024, n_prompt = std::atoi(argv[2]), n_decoded = std::atoi(argv[3]);
    if (n_prompt < 0 || n_decoded < 0 || n_prompt + n_decoded > n_ctx) return 2;
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_backend_init();
    llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == nullptr) return 1;
    llama_context_params params = llama_context_default_params();
    params.n_ctx = n_ctx;
    params.n_batch = params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = 1;
    llama_context *context = llama_init_from_model(model, params);
    if (context == nullptr) return 1;
    std::vector<llama_token> ids(n_ctx);
    for (int i = 0; i < n_ctx; i++) ids[i] = (i * 7919 + 100) % 49000;
    if (n_prompt > 0 && llama_decode(context, llama_batch_get_one(ids.data(), n_prompt)) != 0) return 1;
    for (int i = 0; i < n_decoded; i++)
        if (llama_decode(context, llama_batch_get_one(ids.data() + i, 1)) != 0) return 1;
    llama_free(context);
    llama_model_free(model);
    return 0;
}
