/* What several threads may do at once, for the thread sanitizer: a pool under many short jobs, sessions of one model
 * in parallel, a second caller on a busy session, cancellation, and the last reference dropped by whoever is last.
 *
 *   check_threads [model.gguf]        else PYEDGE_CHECK_MODEL names the model; without one only the pool is checked
 *
 * Prints nothing and ends with 0 where all is well. */
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_THREADS = 4, N_TASKS = 64, N_JOBS = 2000, N_IDS = 48, N_ROUNDS = 6 };

static atomic_int failures;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            atomic_fetch_add(&failures, 1);                                                                            \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, pe_last_error());                      \
        }                                                                                                              \
    } while (0)

/* ---- the pool: each task done once, by a thread whose scratch is its own ---------------------------------------- */

typedef struct pool_job {
    int done[N_TASKS];
    int per_thread[N_THREADS]; /* plain: a race here is what the sanitizer would see */
} pool_job;

static void count_task(void *context, size_t task, int thread) {
    pool_job *job = context;
    job->done[task]++;
    job->per_thread[thread]++;
}

static void *check_pool(void *unused) {
    (void)unused;
    pe_pool *pool = NULL;
    CHECK(pe_pool_create(N_THREADS, &pool) == PE_OK);
    if (!pool) return NULL;
    pool_job job = {0};
    for (int i = 0; i < N_JOBS; i++) pe_pool_run(pool, count_task, &job, (size_t)(i % N_TASKS) + 1);
    int total = 0, expected = 0;
    for (int i = 0; i < N_JOBS; i++) expected += i % N_TASKS + 1;
    for (int i = 0; i < N_THREADS; i++) total += job.per_thread[i];
    CHECK(total == expected);
    for (int i = 0; i < N_TASKS; i++) { /* jobs of more than i tasks */
        int jobs = 0;
        for (int j = 0; j < N_JOBS; j++) jobs += j % N_TASKS >= i;
        CHECK(job.done[i] == jobs);
    }
    pe_pool_free(pool);
    return NULL;
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static const int32_t ids[N_IDS] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static pe_session *new_session(pe_model *model) {
    pe_session_options options = {.n_ctx = 128, .n_threads = 2};
    pe_session *session = NULL;
    CHECK(pe_session_create(model, &options, &session) == PE_OK);
    return session;
}

static void *evaluate_alone(void *context) {
    pe_model *model = context;
    pe_session *session = new_session(model);
    pe_model_release(model); /* the session holds its own reference */
    for (int i = 0; session && i < N_ROUNDS; i++) {
        CHECK(pe_session_eval(session, ids, N_IDS, N_IDS, NULL) == PE_OK);
        CHECK(pe_session_rewind(session, (uint32_t)(i % 2)) == PE_OK);
        pe_session *fork = NULL;
        CHECK(pe_session_fork(session, &fork) == PE_OK);
        CHECK(pe_session_eval(session, ids, 8, 8, NULL) == PE_OK);
        if (fork) CHECK(pe_session_eval(fork, ids, 8, 8, NULL) == PE_OK);
        pe_session_release(fork);
    }
    pe_session_release(session);
    return NULL;
}

static void *evaluate_shared(void *context) {
    pe_session *session = context;
    for (int i = 0; i < N_ROUNDS; i++) {
        pe_status status = pe_session_eval(session, ids, 8, 8, NULL);
        CHECK(status == PE_OK || status == PE_ERR_BUSY || status == PE_ERR_CANCELLED);
    }
    return NULL;
}

static void *cancel_often(void *context) {
    for (int i = 0; i < 50; i++) pe_session_cancel(context);
    return NULL;
}

static void run_all(void *(*const functions[])(void *), void *const contexts[], size_t n) {
    pthread_t threads[8];
    bool started[8];
    for (size_t i = 0; i < n; i++) started[i] = pthread_create(&threads[i], NULL, functions[i], contexts[i]) == 0;
    for (size_t i = 0; i < n; i++) {
        CHECK(started[i]);
        if (started[i]) pthread_join(threads[i], NULL);
    }
}

static void check_sessions(const char *path) {
    pe_model *model = NULL;
    CHECK(pe_model_open(path, &model) == PE_OK);
    if (!model) return;
    pe_session *shared = new_session(model);
    for (int i = 0; i < 2; i++) pe_model_retain(model);
    pe_model_release(model); /* from here on the threads and the shared session keep it alive */
    if (!shared) return;
    void *(*const functions[])(void *) = {evaluate_alone, evaluate_alone, evaluate_shared, evaluate_shared,
                                          cancel_often};
    void *const contexts[] = {model, model, shared, shared, shared};
    run_all(functions, contexts, sizeof functions / sizeof *functions);
    pe_session_release(shared);
}

int main(int argc, char **argv) {
    void *(*const pools[])(void *) = {check_pool, check_pool};
    void *const none[] = {NULL, NULL};
    run_all(pools, none, 2);
    const char *path = argc > 1 ? argv[1] : getenv("PYEDGE_CHECK_MODEL");
    if (path && *path) check_sessions(path);
    return atomic_load(&failures) ? 1 : 0;
}
