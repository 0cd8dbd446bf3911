/* The runs that are alive: one init and one cell each.  A cell must not read
 * of other runs, so none of this memory is the same after a fork. */
#ifndef CSB_RUNS_H
#define CSB_RUNS_H

#include <poll.h>

#include "zygote.h"

struct csb_run {
    pid_t init; /* -1: a bare cell has none */
    pid_t cell;
    int status;             /* socket to the host */
    char *stack;            /* the init's */
    struct csb_status exit; /* of the cell, once it is reaped; times are of
                               all processes */
    int cell_gone;
    int init_gone;
    int given_up; /* the host wants no more of it but its end */
    int hung_up;  /* ... and not even that */
};

/* More than one zygote serves at once; address space, until it is used. */
#define CSB_RUNS_MAX 4096
#define CSB_RUNS_FIRST 3 /* what else serve() waits for */

struct csb_runs {
    struct csb_run run[CSB_RUNS_MAX]; /* the first count of them */
    char *free_stacks[CSB_RUNS_MAX];
    unsigned count;
    unsigned free_count;
    /* Sockets of runs that are over: the host may have left a request. */
    int left[CSB_RUNS_MAX];
    unsigned left_count;
    struct pollfd events[CSB_RUNS_FIRST + CSB_RUNS_MAX]; /* of serve() */
};

/* Zeroed memory for the runs, which a fork finds zeroed; 0 or -errno. */
int csb_runs_make(struct csb_runs **ret_runs);

/* Bytes of stacks, which a fork does not have. */
uint64_t csb_runs_stacks(const struct csb_runs *runs);

/* A slot for one more run with a stack for its init; 0 or -errno.  The slot
 * counts only after csb_runs_add. */
int csb_runs_reserve(struct csb_runs *runs, struct csb_run **ret_run);
void csb_runs_add(struct csb_runs *runs);
/* Gives a reserved slot's stack back. */
void csb_runs_cancel(struct csb_runs *runs, struct csb_run *run);

/* Reaps what has died; tells the host of each run that is wholly gone. */
void csb_runs_reap(struct csb_runs *runs);

/* A socket of a run that is over, the caller's to close; -1: no more. */
int csb_runs_take_left(struct csb_runs *runs);

/* The host gave up the run at this index: kills it. */
void csb_runs_hang_up(struct csb_runs *runs, unsigned index);
/* The same, but the host is still told of its end. */
void csb_runs_give_up(struct csb_runs *runs, unsigned index);

#endif
