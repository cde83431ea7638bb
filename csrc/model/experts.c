/* Expert after expert takes the tokens that chose it, gathered as one input. A token's sum goes through its experts in
 * their order in the file, so that its bits do not depend on which tokens are evaluated with it. */
#include "model/experts.h"
#include "model/product.h"
#include "model/stage.h"

#include <math.h>
#include <string.h>

typedef struct job {
    pe_forward *f;
    const int32_t *tokens; /* [n_tokens] rows of h that this expert takes */
    const float *weights;  /* [n_tokens] */
    size_t n_tokens;
    bool quantise;
} job;

static void quantise(const job *j, size_t first, size_t end, int thread) {
    if (j->quantise) j->f->kernels->quantize(&j->f->input, first, end, j->f->thread_scratch[thread]);
}

static void quantise_rows(void *context, size_t task, int thread) {
    const job *j = context;
    size_t first, end;
    pe_stage_range(j->f, j->n_tokens, task, &first, &end);
    quantise(j, first, end, thread);
}

static void gather(void *context, size_t task, int thread) {
    const job *j = context;
    const size_t n = j->f->model->config.n_embd;
    size_t first, end;
    pe_stage_range(j->f, j->n_tokens, task, &first, &end);
    for (size_t i = first; i < end; i++)
        memcpy(j->f->expert_rows + i * n, j->f->h + (size_t)j->tokens[i] * n, n * sizeof(float));
    quantise(j, first, end, thread);
}

static void activate(void *context, size_t task, int thread) {
    const job *j = context;
    const size_t n = j->f->model->config.n_ff_expert;
    size_t first, end;
    pe_stage_range(j->f, j->n_tokens, task, &first, &end);
    for (size_t i = first; i < end; i++) pe_stage_activate(j->f, j->f->gate + i * n, j->f->up + i * n, n);
    quantise(j, first, end, thread);
}

static void add_weighted(void *context, size_t task, int thread) {
    (void)thread;
    const job *j = context;
    const size_t n = j->f->model->config.n_embd;
    size_t first, end;
    pe_stage_range(j->f, j->n_tokens, task, &first, &end);
    for (size_t i = first; i < end; i++) {
        float *row = j->f->expert_rows + i * n;
        j->f->kernels->scale(row, j->weights[i], n);
        j->f->kernels->add(j->f->expert_sum + (size_t)j->tokens[i] * n, row, n);
    }
}

/* The router's scores [n_expert] into weights; `chosen` marks the best n_expert_used, of equal ones the first. A NaN is
 * never the best, so that too few may be chosen: the token is lost anyway. */
static void choose(const pe_config *c, bool sigmoid, const float *bias, float *scores, uint8_t *chosen) {
    float top = -INFINITY, all = 0, sum = 0;
    for (size_t e = 0; e < c->n_expert; e++) top = scores[e] > top ? scores[e] : top;
    for (size_t e = 0; e < c->n_expert; e++)
        all += scores[e] = sigmoid ? 1 / (1 + expf(-scores[e])) : expf(scores[e] - top);
    memset(chosen, 0, c->n_expert);
    for (size_t k = 0; k < c->n_expert_used; k++) {
        size_t best = c->n_expert;
        float most = 0;
        for (size_t e = 0; e < c->n_expert; e++) {
            const float score = scores[e] + (bias ? bias[e] : 0);
            if (chosen[e] || !(scores[e] >= 0) || (best < c->n_expert && !(score > most))) continue;
            best = e;
            most = score;
        }
        if (best == c->n_expert) break;
        chosen[best] = 1;
        sum += scores[best];
    }
    const float whole = c->expert_norm ? sum : sigmoid ? 1 : all;
    for (size_t e = 0; e < c->n_expert; e++) scores[e] /= whole;
}

static pe_weight expert_of(const pe_weight *stack, size_t e) {
    pe_weight w = *stack;
    w.data += e * w.n_out * w.row_bytes;
    w.matrix = (uint32_t)e;
    return w;
}

static void run_expert(job *j, const pe_layer *layer, size_t e) {
    pe_forward *f = j->f;
    const pe_config *c = &f->model->config;
    const pe_weight gate = expert_of(&layer->gate_exps, e), up = expert_of(&layer->up_exps, e),
                    down = expert_of(&layer->down_exps, e);
    j->quantise = pe_weight_is_int(&gate) || pe_weight_is_int(&up);
    pe_stage_input(f, f->expert_rows, j->n_tokens, c->n_embd);
    pe_stage_run(f, j->n_tokens, gather, j);
    pe_products(f, &f->input, 2, (const pe_weight *[]){&gate, &up}, (float *[]){f->gate, f->up});
    j->quantise = pe_weight_is_int(&down);
    pe_stage_input(f, f->gate, j->n_tokens, c->n_ff_expert);
    pe_stage_run(f, j->n_tokens, activate, j);
    pe_products(f, &f->input, 1, (const pe_weight *[]){&down}, (float *[]){f->expert_rows});
    pe_stage_run(f, j->n_tokens, add_weighted, j);
}

void pe_experts_run(pe_forward *f, const pe_layer *layer, size_t n_tokens) {
    const pe_config *c = &f->model->config;
    job j = {.f = f, .n_tokens = n_tokens, .quantise = pe_weight_is_int(&layer->router)};
    pe_stage_input(f, f->h, n_tokens, c->n_embd);
    pe_stage_run(f, n_tokens, quantise_rows, &j);
    pe_products(f, &f->input, 1, (const pe_weight *[]){&layer->router}, (float *[]){f->router});
    const bool sigmoid = f->model->arch->routing == PE_SIGMOID;
    for (size_t t = 0; t < n_tokens; t++)
        choose(c, sigmoid, layer->expert_bias, f->router + t * c->n_expert, f->chosen + t * c->n_expert);
    memset(f->expert_sum, 0, n_tokens * c->n_embd * sizeof(float));
    for (size_t e = 0; e < c->n_expert; e++) {
        j.n_tokens = 0;
        for (size_t t = 0; t < n_tokens; t++)
            if (f->chosen[t * c->n_expert + e]) {
                f->expert_tokens[j.n_tokens] = (int32_t)t;
                f->expert_weights[j.n_tokens++] = f->router[t * c->n_expert + e];
            }
        j.tokens = f->expert_tokens;
        j.weights = f->expert_weights;
        if (j.n_tokens) run_expert(&j, layer, e);
    }
    memcpy(f->h, f->expert_sum, n_tokens * c->n_embd * sizeof(float));
}
