/* Arming: from a request to a locked-down cell. */
#ifndef CSB_ARM_H
#define CSB_ARM_H

#include "runs.h"

/* Forks a cell under an init of its own.  fds, CSB_FD_COUNT of them, become
 * this function's: closed, but for the status socket, which the run keeps.
 * Returns 0 in the zygote, whatever became of it (the host is told); 1 in
 * the cell, locked down.  Needs the GIL: it forks a Python. */
int csb_arm(struct csb_zygote *zygote, struct csb_runs *runs,
            const struct csb_request *request, int *fds);

/* Forks: the pid, 0 in the child, or -errno.  The child calls
 * csb_arm_forked() before anything of Python's. */
pid_t csb_arm_fork(const struct csb_zygote *zygote);
void csb_arm_forked(const struct csb_zygote *zygote);

#endif
