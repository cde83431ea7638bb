/* Whole models on the processor that this runs on, emulated ones above all, held to what other engines computed.
 *
 *   check_models PLAN [instruction set...]     else PYEDGE_CHECK_PLAN names the plan; without one nothing is checked
 *
 * The plan comes from tests/py/model_plan.py, a line each:
 *   model KV_TYPE PATH                        the file that the cases after it are of
 *   logits LARGEST RMS N_IDS N_ROWS NAME      then a line of ids, and N_ROWS lines "position logit...": how far any of
 *                                             the logits, and their root mean square, may be from these
 *   choices N_IDS N_ROWS NAME                 then a line of ids, and N_ROWS lines "position id": what is likeliest
 * there Every case is evaluated twice: all ids at once, and the last ones each by itself, as decoding does. */
#include "pyedge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IDS = 512, SINGLY = 8, MAX_ROWS = 64, PATH_SIZE = 1024 };

typedef struct plan_row {
    int position;
    int32_t id;    /* the choice */
    float *logits; /* or [n_vocab] */
} plan_row;

typedef struct plan_case {
    char name[128];
    double largest, rms; /* 0, 0: of choices */
    size_t n_ids, n_rows;
    int32_t ids[MAX_IDS];
    plan_row rows[MAX_ROWS];
} plan_case;

static size_t n_failed;

static void failed(const char *isa, const char *name, const char *what) {
    printf("%s, %s: %s\n", isa, name, what);
    n_failed++;
}

static void *taken(void *memory) {
    if (!memory) {
        fprintf(stderr, "check_models: out of memory\n");
        exit(2);
    }
    return memory;
}

/* ---- the plan --------------------------------------------------------------------------------------------------- */

static void bad_plan(const char *what) {
    fprintf(stderr, "check_models: the plan has no %s where one is due\n", what);
    exit(2);
}

static void read_rows(FILE *plan, plan_case *c, size_t n_vocab) {
    for (size_t i = 0; i < c->n_ids; i++)
        if (fscanf(plan, "%d", &c->ids[i]) != 1) bad_plan("id");
    for (size_t i = 0; i < c->n_rows; i++) {
        plan_row *row = &c->rows[i];
        if (fscanf(plan, "%d", &row->position) != 1 || row->position < 0 || (size_t)row->position >= c->n_ids)
            bad_plan("position");
        if (c->largest == 0) {
            if (fscanf(plan, "%d", &row->id) != 1) bad_plan("choice");
            continue;
        }
        row->logits = taken(malloc(n_vocab * sizeof(float)));
        for (size_t j = 0; j < n_vocab; j++)
            if (fscanf(plan, "%f", &row->logits[j]) != 1) bad_plan("logit");
    }
}

/* The rest of a case's first line and what follows it; false where the line is of another kind. */
static bool read_case(FILE *plan, const char *kind, plan_case *c, size_t n_vocab) {
    *c = (plan_case){.n_ids = 0};
    int n = 0;
    if (!strcmp(kind, "logits"))
        n = fscanf(plan, "%lf %lf %zu %zu %127s", &c->largest, &c->rms, &c->n_ids, &c->n_rows, c->name) - 5;
    else if (!strcmp(kind, "choices"))
        n = fscanf(plan, "%zu %zu %127s", &c->n_ids, &c->n_rows, c->name) - 3;
    else
        return false;
    if (n || c->n_ids < 2 || c->n_ids > MAX_IDS || c->n_rows > MAX_ROWS) bad_plan("case");
    read_rows(plan, c, n_vocab);
    return true;
}

static void free_case(plan_case *c) {
    for (size_t i = 0; i < c->n_rows; i++) free(c->rows[i].logits);
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

static void compare(const char *isa, const plan_case *c, const float *logits, size_t first, size_t n_vocab,
                    double *worst) {
    char text[128];
    double squares = 0, largest = 0;
    size_t n = 0;
    for (size_t i = 0; i < c->n_rows; i++) {
        const plan_row *row = &c->rows[i];
        if ((size_t)row->position < first) continue;
        const float *ours = logits + ((size_t)row->position - first) * n_vocab;
        if (!row->logits) {
            size_t best = 0;
            for (size_t j = 1; j < n_vocab; j++) best = ours[j] > ours[best] ? j : best;
            snprintf(text, sizeof text, "chose %zu and not %d after %d tokens", best, row->id, row->position + 1);
            if (best != (size_t)row->id) failed(isa, c->name, text);
            continue;
        }
        for (size_t j = 0; j < n_vocab; j++, n++) {
            const double off = fabs((double)ours[j] - row->logits[j]);
            squares += off * off;
            if (off > largest) largest = off; /* a NaN shows in the other sum */
        }
    }
    if (!n) return;
    const double rms = sqrt(squares / (double)n);
    snprintf(text, sizeof text, "off by %g at most, %g rms; %g and %g are allowed", largest, rms, c->largest, c->rms);
    if (!(largest <= c->largest && rms <= c->rms)) failed(isa, c->name, text);
    if (rms / c->rms > *worst) *worst = rms / c->rms;
}

static void run_case(const char *isa, pe_model *model, const char *kv_type, const plan_case *c, size_t n_vocab,
                     double *worst) {
    const size_t together = c->n_ids > SINGLY ? c->n_ids - SINGLY : 1;
    float *logits = taken(malloc(c->n_ids * n_vocab * sizeof *logits));
    for (int singly = 0; singly < 2; singly++) {
        const size_t first = singly ? together : 0;
        pe_session *session = NULL;
        const pe_session_options options = {
            .n_ctx = (uint32_t)c->n_ids, .n_threads = 1, .kv_type = kv_type, .isa = isa};
        pe_status status = pe_session_create(model, &options, &session);
        if (!status) status = pe_session_eval(session, c->ids, singly ? together : c->n_ids, first, logits);
        for (size_t i = together; singly && !status && i < c->n_ids; i++)
            status = pe_session_eval(session, c->ids + i, 1, 0, logits + (i - first) * n_vocab);
        if (status)
            failed(isa, c->name, pe_last_error());
        else
            compare(isa, c, logits, first, n_vocab, worst);
        pe_session_release(session);
    }
    free(logits);
}

static void run_plan(const char *path, const char *isa) {
    FILE *plan = fopen(path, "r");
    if (!plan) {
        fprintf(stderr, "check_models: %s cannot be opened\n", path);
        exit(2);
    }
    char kind[16], kv_type[8] = "", file[PATH_SIZE] = "";
    pe_model *model = NULL;
    size_t n_vocab = 0, n_models = 0, n_cases = 0, failed_before = n_failed;
    double worst = 0;
    plan_case *c = taken(malloc(sizeof *c));
    while (fscanf(plan, "%15s", kind) == 1) {
        if (!strcmp(kind, "model")) {
            if (fscanf(plan, "%7s %1023[^\n]", kv_type, file) != 2) bad_plan("model");
            pe_model_release(model);
            model = NULL;
            if (pe_model_open(file, &model)) {
                fprintf(stderr, "check_models: %s\n", pe_last_error());
                exit(2);
            }
            pe_model_info info;
            pe_model_get_info(model, &info);
            n_vocab = info.n_vocab;
            n_models++;
        } else if (model && read_case(plan, kind, c, n_vocab)) {
            run_case(isa, model, kv_type, c, n_vocab, &worst);
            free_case(c);
            n_cases++;
        } else {
            bad_plan("model or case");
        }
    }
    pe_model_release(model);
    free(c);
    fclose(plan);
    printf("%s: %zu models, %zu cases, %zu failed; at most %.2f of an error allowed\n", isa, n_models, n_cases,
           n_failed - failed_before, worst);
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : getenv("PYEDGE_CHECK_PLAN"), *isa = NULL;
    if (!path) {
        puts("check_models: no plan is named; tests/py/model_plan.py makes one");
        return 0;
    }
    if (argc > 2) {
        for (int i = 2; i < argc; i++) run_plan(path, argv[i]);
    } else if (pe_isa_select(&isa)) {
        fprintf(stderr, "check_models: %s\n", pe_last_error());
        return 2;
    } else {
        run_plan(path, isa);
    }
    return n_failed != 0;
}
