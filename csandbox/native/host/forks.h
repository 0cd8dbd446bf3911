/* Forks of a run, which its processes ask for by the filter of cell/forks.c:
 * each is granted as long as no more children are alive than the policy lets,
 * and refused with EAGAIN, as the kernel does at its own limit. */
#ifndef CSB_FORKS_H
#define CSB_FORKS_H

#include <stdint.h>
#include <sys/types.h>

#include "kin.h"

/* Threads of one run that may have been granted a fork each which has not
 * been seen yet. */
#define CSB_GRANTS_MAX 64

struct csb_grant {
    pid_t thread;
    int64_t ran; /* ns that it had run when it got the grant; -1: unknown */
};

struct csb_forks {
    int listener;         /* owned; -1: nothing asks */
    unsigned most;        /* children at a time, set by the caller */
    unsigned peak;        /* processes that were alive, the first included */
    int64_t silent;       /* no answers until then, ns on CLOCK_MONOTONIC */
    unsigned refused;     /* ... in a row */
    int64_t asked;        /* when it was last answered */
    int64_t owed;         /* ns that answers took, less its share since */
    struct csb_kin known; /* the living, when they were last counted */
    int muddled; /* a new child need not be of who has a grant, until there are
                    none */
    unsigned grants;
    struct csb_grant grant[CSB_GRANTS_MAX];
};

/* Takes the listener, and has whoever asks wake the host at once. */
void csb_forks_begin(struct csb_forks *forks, int listener);

/* Answers one thread that asks.  cell and init: pidfds of the run.  0, or
 * -errno if /proc does not tell. */
int csb_forks_answer(struct csb_forks *forks, int cell, int init, int64_t now);

#endif
