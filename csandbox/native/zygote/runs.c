/* Runs that are alive.  A run is over when both its init and its cell are
 * reaped: only then is nothing left in its PID namespace.  The cell's end
 * kills the init, the init's end kills the cell. */
#define _GNU_SOURCE
#include "runs.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../common/fdio.h"

static void *
map_unforked(size_t size, int advice, int flags)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    if (madvise(memory, size, advice) < 0) {
        (void)munmap(memory, size); /* cannot fail on a whole mapping */
        return NULL;
    }
    return memory;
}

int
csb_runs_make(struct csb_runs **ret_runs)
{
    struct csb_runs *runs = map_unforked(sizeof *runs, MADV_WIPEONFORK, 0);
    if (runs == NULL) {
        return -errno;
    }
    *ret_runs = runs;
    return 0;
}

static char *
take_stack(struct csb_runs *runs)
{
    if (runs->free_count > 0) {
        return runs->free_stacks[--runs->free_count];
    }
    return map_unforked(CSB_INIT_STACK, MADV_DONTFORK, MAP_STACK);
}

static void
give_stack(struct csb_runs *runs, char *stack)
{
    /* Stacks are as many as runs were at once, so there is room. */
    runs->free_stacks[runs->free_count++] = stack;
}

int
csb_runs_reserve(struct csb_runs *runs, struct csb_run **ret_run)
{
    if (runs->count == CSB_RUNS_MAX) {
        return -EAGAIN;
    }
    char *stack = take_stack(runs);
    if (stack == NULL) {
        return -ENOMEM;
    }
    struct csb_run *run = &runs->run[runs->count];
    *run =
        (struct csb_run){.init = -1, .cell = -1, .status = -1, .stack = stack};
    *ret_run = run;
    return 0;
}

uint64_t
csb_runs_stacks(const struct csb_runs *runs)
{
    /* One is in a slot that is reserved. */
    return (uint64_t)(runs->free_count + runs->count + 1) * CSB_INIT_STACK;
}

void
csb_runs_add(struct csb_runs *runs)
{
    runs->count++;
}

void
csb_runs_cancel(struct csb_runs *runs, struct csb_run *run)
{
    give_stack(runs, run->stack);
}

static int64_t
microseconds(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static void
note_death(struct csb_run *run, pid_t pid, int status,
           const struct rusage *usage)
{
    /* The init's, too: of all orphans, which it has reaped. */
    run->exit.user_usec += microseconds(usage->ru_utime);
    run->exit.system_usec += microseconds(usage->ru_stime);
    if (pid == run->init) {
        run->init_gone = 1;
        return;
    }
    run->cell_gone = 1;
    run->exit.kind = CSB_STATUS_EXITED;
    run->exit.wait_status = status;
    run->exit.peak_kib = usage->ru_maxrss;
    if (run->init < 0) {
        run->init_gone = 1; /* there was none */
    } else if (!run->init_gone) {
        (void)kill(run->init, SIGKILL); /* ours and not reaped: it exists */
    }
}

static void
finish(struct csb_runs *runs, unsigned index)
{
    struct csb_run *run = &runs->run[index];
    if (!run->hung_up) {
        /* A host that is gone needs no answer. */
        (void)csb_send(run->status, &run->exit, sizeof run->exit, NULL, 0);
    }
    if (runs->left_count < CSB_RUNS_MAX) {
        runs->left[runs->left_count++] = run->status;
    } else {
        csb_close(&run->status);
    }
    give_stack(runs, run->stack);
    *run = runs->run[--runs->count];
}

void
csb_runs_reap(struct csb_runs *runs)
{
    struct rusage usage;
    int status;
    pid_t pid;

    while ((pid = wait4(-1, &status, WNOHANG | __WALL, &usage)) > 0) {
        for (unsigned i = 0; i < runs->count; i++) {
            struct csb_run *run = &runs->run[i];
            if (pid != run->init && (run->cell_gone || pid != run->cell)) {
                continue; /* a number of the past may be another's now */
            }
            note_death(run, pid, status, &usage);
            if (run->cell_gone && run->init_gone) {
                finish(runs, i);
            }
            break;
        }
    }
}

int
csb_runs_take_left(struct csb_runs *runs)
{
    return runs->left_count > 0 ? runs->left[--runs->left_count] : -1;
}

static void
kill_run(const struct csb_run *run)
{
    /* Ours and not reaped: it exists. */
    if (run->init >= 0 && !run->init_gone) {
        (void)kill(run->init, SIGKILL);
    } else if (run->init < 0 && !run->cell_gone) {
        (void)kill(run->cell, SIGKILL);
    }
}

void
csb_runs_hang_up(struct csb_runs *runs, unsigned index)
{
    struct csb_run *run = &runs->run[index];
    run->hung_up = 1;
    kill_run(run);
}

void
csb_runs_give_up(struct csb_runs *runs, unsigned index)
{
    struct csb_run *run = &runs->run[index];
    run->given_up = 1;
    kill_run(run);
}
