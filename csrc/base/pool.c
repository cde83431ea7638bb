/* Fork and join over one atomic word. `state` counts jobs; a worker that sees it change takes tasks from the shared
 * counter until none is left, then reports in `busy`. The caller works too, so n threads mean n - 1 workers. */
#include "base/pool.h"
#include "base/arena.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { SPINS = 20000 }; /* some tens of microseconds: longer than the serial parts between two jobs of one token */

typedef struct worker {
    struct pe_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct pe_pool {
    int n_threads, n_workers; /* workers that really run: fewer where the system gave no more */
    worker *workers;
    pe_task task;
    void *context;
    size_t n_tasks;
    _Alignas(64) atomic_uint job;    /* number of the current job */
    _Alignas(64) atomic_size_t next; /* first task not yet taken */
    _Alignas(64) atomic_int busy;    /* workers still in the job */
    atomic_bool ending;
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static void take_tasks(pe_pool *pool, int thread) {
    for (;;) {
        size_t task = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (task >= pool->n_tasks) return;
        pool->task(pool->context, task, thread);
    }
}

/* Wait until the job number differs from `seen`. */
static unsigned await_job(pe_pool *pool, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        unsigned job = atomic_load_explicit(&pool->job, memory_order_acquire);
        if (job != seen) return job;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    unsigned job;
    while ((job = atomic_load(&pool->job)) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static void *work(void *argument) {
    worker *self = argument;
    pe_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = await_job(pool, seen);
        if (atomic_load(&pool->ending)) return NULL;
        take_tasks(pool, self->index);
        atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_release);
    }
}

static void announce(pe_pool *pool) {
    atomic_fetch_add(&pool->job, 1);
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

pe_status pe_pool_create(int n_threads, pe_pool **out) {
    pe_pool *pool = pe_mem_alloc(1, sizeof *pool);
    worker *workers = pe_mem_alloc((size_t)n_threads, sizeof *workers);
    if (!pool || !workers) {
        pe_mem_free(pool);
        pe_mem_free(workers);
        return PE_ERR_NOMEM;
    }
    pool->n_threads = n_threads;
    pool->workers = workers;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (int i = 0; i < n_threads - 1; i++) {
        worker *w = &workers[pool->n_workers];
        w->pool = pool;
        w->index = i + 1;
        int error = pthread_create(&w->thread, NULL, work, w);
        if (error) {
            pe_pool_free(pool);
            return pe_fail(PE_ERR_NOMEM, "cannot start thread %d of %d: %s; ask for fewer threads", i + 2, n_threads,
                           strerror(error));
        }
        pool->n_workers++;
    }
    *out = pool;
    return PE_OK;
}

void pe_pool_free(pe_pool *pool) {
    if (!pool) return;
    atomic_store(&pool->ending, true);
    announce(pool);
    for (int i = 0; i < pool->n_workers; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pe_mem_free(pool->workers);
    pe_mem_free(pool);
}

int pe_pool_threads(const pe_pool *pool) { return pool->n_threads; }

void pe_pool_run(pe_pool *pool, pe_task task, void *context, size_t n_tasks) {
    if (pool->n_workers == 0 || n_tasks <= 1) {
        for (size_t i = 0; i < n_tasks; i++) task(context, i, 0);
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->n_tasks = n_tasks;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->n_workers, memory_order_relaxed);
    announce(pool);
    take_tasks(pool, 0);
    for (int i = 0; atomic_load_explicit(&pool->busy, memory_order_acquire) > 0; i++) {
        if (i < SPINS)
            relax();
        else
            sched_yield(); /* a worker lost its processor: do not hold another one */
    }
}
