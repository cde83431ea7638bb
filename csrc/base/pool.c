/* Fork and join over one atomic word, the ticket: number of the job, its tasks, and the next one to take. A thread that
 * adds 1 to the ticket learns all three at once, so it can never mistake one job's task for another's, however late it
 * comes. The caller works too and then waits for tasks, not for threads: a worker that the system keeps from running
 * delays nobody unless it holds a task. */
#include "base/pool.h"
#include "base/arena.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

enum {
#ifdef __wasm__
    SPINS = 60000, /* there is no instruction that waits a little */
#else
    SPINS = 4000, /* some tens of microseconds: longer than the serial parts between two jobs of one token */
#endif
    MAX_TASKS = 1 << 22,
};

typedef struct worker {
    struct pe_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct pe_pool {
    int n_threads, n_workers; /* workers that really run: fewer where the system gave no more */
    worker *workers;
    pe_task task; /* of the current job; steady while any of its tasks is not done */
    void *context;
    _Alignas(64) _Atomic uint64_t ticket; /* job << 48 | tasks << 24 | next task */
    _Alignas(64) atomic_uint done;        /* tasks of the current job that are finished */
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

/* Let another thread have the processor. */
static inline void yield(void) {
#ifdef __wasm_atomics__
    /* Emscripten's sched_yield only asks JavaScript for the time, whose every answer is an object on the heap. */
    static int32_t nobody;
    __builtin_wasm_memory_atomic_wait32(&nobody, 0, 1000);
#else
    sched_yield();
#endif
}

static unsigned job_of(uint64_t ticket) { return (unsigned)(ticket >> 48); }

static void take_tasks(pe_pool *pool, int thread) {
    for (;;) {
        const uint64_t ticket = atomic_fetch_add(&pool->ticket, 1);
        const unsigned n_tasks = ticket >> 24 & 0xffffff, task = ticket & 0xffffff;
        if (task >= n_tasks) return;
        pool->task(pool->context, task, thread);
        atomic_fetch_add_explicit(&pool->done, 1, memory_order_release);
    }
}

void pe_pool_await(const atomic_uint *count, unsigned n) {
    for (int i = 0; atomic_load_explicit(count, memory_order_acquire) < n; i++) {
        if (i < SPINS)
            relax();
        else
            yield(); /* a worker lost its processor within a task: do not hold another one */
    }
}

/* Wait until there is another job than `seen`. */
static unsigned await_job(pe_pool *pool, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        const unsigned job = job_of(atomic_load_explicit(&pool->ticket, memory_order_acquire));
        if (job != seen) return job;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    unsigned job;
    while ((job = job_of(atomic_load(&pool->ticket))) == seen && !atomic_load(&pool->ending))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static void *work(void *argument) {
    worker *self = argument;
    pe_pool *pool = self->pool;
    for (unsigned seen = 0;;) {
        seen = await_job(pool, seen);
        if (atomic_load(&pool->ending)) return NULL;
        take_tasks(pool, self->index);
    }
}

/* Publish a job under the next number. */
static void announce(pe_pool *pool, size_t n_tasks) {
    const uint64_t job = (job_of(atomic_load(&pool->ticket)) + 1) & 0xffff;
    atomic_store(&pool->ticket, job << 48 | (uint64_t)n_tasks << 24);
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
    announce(pool, 0);
    for (int i = 0; i < pool->n_workers; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->wake);
    pe_mem_free(pool->workers);
    pe_mem_free(pool);
}

int pe_pool_threads(const pe_pool *pool) { return pool->n_threads; }

void pe_pool_run(pe_pool *pool, pe_task task, void *context, size_t n_tasks) {
    if (pool->n_workers == 0 || n_tasks <= 1 || n_tasks > MAX_TASKS) {
        for (size_t i = 0; i < n_tasks; i++) task(context, i, 0);
        return;
    }
    pool->task = task;
    pool->context = context;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    announce(pool, n_tasks);
    take_tasks(pool, 0);
    pe_pool_await(&pool->done, (unsigned)n_tasks);
}
