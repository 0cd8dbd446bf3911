/* The processes of a run, as the host's /proc lists them. */
#ifndef CSB_KIN_H
#define CSB_KIN_H

#include <sys/types.h>

#define CSB_KIN_MAX 2048

/* Too big for the small stack that a thread of the host may have. */
struct csb_kin {
    unsigned count;
    pid_t pid[CSB_KIN_MAX]; /* the first process, then its descendants, then
                               orphans and theirs; the init is not in it */
};

/* Lists what descends from a run's first process, and the orphans that its
 * init has got, zombies included.  One that changes its parent meanwhile may
 * be missed.  0; -E2BIG if there are more than fit; or -errno. */
int csb_kin_list(pid_t cell, pid_t init, struct csb_kin *ret_kin);

/* The same without zombies, and nobody is missed: two lists in succession say
 * the same, and a process can only be hidden from both by the end of another
 * that is in them.  -EAGAIN if they never do. */
int csb_kin_list_living(pid_t cell, pid_t init, struct csb_kin *ret_kin);

/* Keeps one of those that run on the same memory, as the child of vfork() and
 * its parent do. */
void csb_kin_drop_sharers(struct csb_kin *kin);

int csb_kin_has(const struct csb_kin *kin, pid_t pid);

/* Threads of a process that have not ended, as far as /proc tells. */
unsigned csb_kin_threads(pid_t pid);

/* The number that the process of a pidfd has in /proc; 0 or -errno, -ESRCH if
 * it is dead. */
int csb_kin_number(int pidfd, pid_t *ret_pid);

#endif
