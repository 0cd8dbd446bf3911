/* Resource limits, soft and hard alike. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <sys/resource.h>

#define MIB (1024 * 1024ull)
#define STACK (8 * MIB)
/* Address space that a thread reserves without using it: its stack and a
 * malloc arena (HEAP_MAX_SIZE twice, to align it). */
#define PER_THREAD (STACK + 128 * MIB)
#define TIMERS 128
#define STACKS_MOST 64

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

/* The stacks of threads are not the heap that `memory` means, but too many of
 * them would make that meaningless. */
static uint64_t
stacks(const struct csb_limits *given)
{
    return (given->threads < STACKS_MOST ? given->threads : STACKS_MOST) *
           STACK;
}

int
csb_limits_apply(const struct csb_cell *cell)
{
    const struct csb_limits *given = cell->limits;
    const struct limit limits[] = {
        {RLIMIT_CORE, 0},
        {RLIMIT_NOFILE, given->descriptors},
        {RLIMIT_NPROC, given->threads + 1ull},
        {RLIMIT_CPU, given->cpu_seconds},
        {RLIMIT_DATA, cell->data + given->memory + stacks(given)},
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
    return 0;
}
