/* Launch: a fresh program as PID 1 of namespaces of its own. */
#ifndef CSB_LAUNCH_H
#define CSB_LAUNCH_H

#include <stdint.h>
#include <sys/types.h>

#include "../common/report.h"

/* Everything the new process needs, prepared before it exists. */
struct csb_launch {
    const char *path; /* program, absolute */
    char *const *argv;
    char *const *envp;
    int log;             /* becomes 2; borrowed, like all of these */
    int control;         /* becomes CSB_ZYGOTE_CONTROL */
    int plan;            /* becomes CSB_ZYGOTE_PLAN */
    uint32_t mechanisms; /* enum csb_mechanism: which namespaces */
    uint32_t fault_step; /* tests: this step fails, 0: none ... */
    int fault_errno;     /* ... with this errno */
};

struct csb_launched {
    pid_t pid;
    int pidfd;    /* owned by the caller, as: */
    int lifeline; /* the zygote ends when it is closed; -1: by itself */
};

/* Starts it and returns when it has been exec'd.  Returns 0, or -errno with
 * *ret_report saying which step failed; then no process is left.  Host side,
 * any thread, without the GIL; blocks for some milliseconds. */
int csb_launch(const struct csb_launch *launch,
               struct csb_launched *ret_launched,
               struct csb_report *ret_report);

/* Maps the ids of a zygote that has said hello; if it was launched, and not
 * forked, there is nothing to do as root.  0 or -errno. */
int csb_launch_map_ids(pid_t pid, int forked);

/* The namespaces of a zygote, as flags of clone() and unshare(), but for a
 * PID namespace. */
int csb_launch_namespaces(uint32_t mechanisms);

/* Kills a process that was launched; it is still to be reaped. */
void csb_launch_kill(int pidfd);

/* Reaps one that was killed, and closes its pidfd.  It waits. */
void csb_launch_reap(int *pidfd);

/* Kills and reaps a process that was launched, and closes its pidfd; *pidfd
 * may be -1.  Without the GIL: it waits. */
void csb_launch_end(int *pidfd);

/* Whether this process may map every user id into a new namespace, and so
 * can give the zygote another uid: root with its capabilities. */
int csb_launch_is_root(void);

#endif
