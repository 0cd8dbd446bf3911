/* The processes of a run, as the host's /proc lists them. */
#ifndef CSB_KIN_H
#define CSB_KIN_H

#include <sys/types.h>

#define CSB_KIN_MAX 2048

struct csb_kin {
    unsigned count;
    pid_t pid[CSB_KIN_MAX]; /* the first process, then its descendants, then
                               orphans and theirs; the init is not in it */
};

/* Lists what descends from a run's first process, and the orphans that its
 * init has got, zombies included.  One that changes its parent meanwhile may
 * be missed.  0; -E2BIG if there are more than fit; or -errno. */
int csb_kin_list(pid_t cell, pid_t init, struct csb_kin *ret_kin);

/* Threads of a process that have not ended, as far as /proc tells. */
unsigned csb_kin_threads(pid_t pid);

/* The number that the process of a pidfd has in /proc; 0 or -errno, -ESRCH if
 * it is dead. */
int csb_kin_number(int pidfd, pid_t *ret_pid);

#endif
