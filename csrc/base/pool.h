/* A pool of threads that run one job at a time: n_tasks calls of one function, each task done by exactly one thread.
 * Workers spin briefly between jobs (a token has hundreds of them, microseconds apart), then sleep. */
#ifndef PE_BASE_POOL_H
#define PE_BASE_POOL_H

#include "base/status.h"

#include <stdatomic.h>

typedef struct pe_pool pe_pool;

/* One task; `thread` in 0..n_threads-1 picks the thread's own scratch. */
typedef void (*pe_task)(void *context, size_t task, int thread);

pe_status pe_pool_create(int n_threads, pe_pool **out);
void pe_pool_free(pe_pool *pool);
int pe_pool_threads(const pe_pool *pool);
/* Run tasks 0..n_tasks-1 and return when all are done. Which thread runs a task is not determined: a task's result
 * must not depend on it. One caller at a time. */
void pe_pool_run(pe_pool *pool, pe_task task, void *context, size_t n_tasks);
/* Within a task: wait until `count` has reached n. Only tasks with lower numbers may be waited for, and they may not
 * wait themselves: those are done or at work by then. */
void pe_pool_await(const atomic_uint *count, unsigned n);

#endif
