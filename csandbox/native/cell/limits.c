/* Resource limits, soft and hard alike. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

#define MIB (1024 * 1024ull)
#define STACK (8 * MIB)
#define STACK_LEAST (256 * 1024ull)
/* Address space that a thread reserves without using it: its stack and a
 * malloc arena (HEAP_MAX_SIZE twice, to align it). */
#define PER_THREAD (STACK + 128 * MIB)
#define TIMERS 128

struct limit {
    int resource;
    uint64_t value;
};

static int
apply(const struct limit *limit)
{
    struct rlimit current;
    if (getrlimit(limit->resource, &current) < 0) {
        return -errno;
    }
    /* A lower limit of the host stays. */
    rlim_t value =
        limit->value < current.rlim_max ? limit->value : current.rlim_max;
    struct rlimit both = {.rlim_cur = value, .rlim_max = value};
    return setrlimit(limit->resource, &both) < 0 ? -errno : 0;
}

/* What a thread reserves for its stack counts as data, used or not: all of
 * them together shall take a quarter at the most. */
static int
limit_stacks(const struct csb_limits *given)
{
    pthread_attr_t attributes;
    uint64_t size =
        given->threads > 0 ? given->memory / 4 / given->threads : STACK;
    size = size > STACK ? STACK : size < STACK_LEAST ? STACK_LEAST : size;
    size &= ~(uint64_t)(STACK_LEAST - 1);
    int result = -pthread_attr_init(&attributes);
    if (result == 0) {
        result = -pthread_attr_setstacksize(&attributes, size);
    }
    if (result == 0) {
        result = -pthread_setattr_default_np(&attributes);
    }
    (void)pthread_attr_destroy(&attributes);
    return result;
}

/* Beside the data itself there are page tables, and a run that reaches its
 * limit shall be told by malloc(), not be killed by the host. */
static uint64_t
data_limit(const struct csb_cell *cell)
{
    uint64_t memory = cell->limits->memory;
    return cell->data + memory - memory / 64;
}

/* Tasks are counted per user.  Of one who has others the host counts what the
 * run has. */
static uint64_t
task_limit(const struct csb_cell *cell)
{
    const struct csb_limits *given = cell->limits;
    return csb_plan_is_bare(cell->plan) && cell->uid == 0
               ? RLIM_INFINITY
               : given->threads + given->processes + 1ull;
}

/* Elsewhere the file system of /tmp is the limit. */
static uint64_t
file_limit(const struct csb_cell *cell)
{
    const struct csb_limits *given = cell->limits;
    return csb_plan_is_bare(cell->plan) ? given->scratch + given->mapped
                                        : RLIM_INFINITY;
}

int
csb_limits_apply(const struct csb_cell *cell)
{
    const struct csb_limits *given = cell->limits;
    const struct limit limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_NOFILE, given->descriptors},
        {RLIMIT_NPROC, task_limit(cell)},
        {RLIMIT_FSIZE, file_limit(cell)},
        {RLIMIT_CPU, given->cpu_seconds},
        {RLIMIT_DATA, data_limit(cell)},
#ifndef CSB_SANITIZED /* their shadow memory is terabytes wide */
        /* For what RLIMIT_DATA does not count: shared memory. */
        {RLIMIT_AS, cell->size + given->memory + given->mapped +
                        given->threads * PER_THREAD},
#endif
        {RLIMIT_STACK, STACK},
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_SIGPENDING, TIMERS},
        {RLIMIT_NICE, 0},
        {RLIMIT_RTPRIO, 0},
    };
    for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) {
        int result = apply(&limits[i]);
        if (result < 0) {
            return result;
        }
    }
    return limit_stacks(given);
}
