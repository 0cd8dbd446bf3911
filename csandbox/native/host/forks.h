/* Forks of a run, which its processes ask for by the filter of cell/notify.c:
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
    unsigned most;        /* children at a time, set by the caller */
    unsigned peak;        /* processes that were alive, the first included */
    unsigned refused;     /* forks, in a row */
    struct csb_kin known; /* the living, when they were last counted */
    int muddled; /* a new child need not be of who has a grant, until there are
                    none */
    unsigned grants;
    struct csb_grant grant[CSB_GRANTS_MAX];
};

/* Decides on the fork that a thread asks for.  cell and init: pidfds of the
 * run.  1 with a grant noted, 0, or -errno if /proc does not tell. */
int csb_forks_decide(struct csb_forks *forks, pid_t thread, int cell, int init,
                     int64_t now);

/* Takes a grant back that did not reach its thread. */
void csb_forks_withdraw(struct csb_forks *forks, pid_t thread);

/* How long who was refused shall wait: longer each time, ns. */
int64_t csb_forks_silence(struct csb_forks *forks);

#endif
