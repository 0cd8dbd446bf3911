/* The cell: what happens between fork and the first guest byte.
 *
 * Everything here runs in the child of a single-threaded zygote, before any
 * Python: no malloc, no stdio, no Python.h; functions return 0 or -errno. */
#ifndef CSB_CELL_H
#define CSB_CELL_H

#include <stdint.h>
#include <sys/types.h>

#include "../common/frames.h"
#include "../common/plan.h"

#define CSB_LANDLOCK_PATHS_MAX 96

/* O_PATH descriptors on what Landlock shall allow. */
struct csb_landlock_paths {
    int abi; /* of the kernel, clamped to what we know; 0: no Landlock */
    unsigned count;
    struct {
        int fd;
        int writable; /* a device: may be written to */
    } path[CSB_LANDLOCK_PATHS_MAX];
};

/* What is read back while the cell locks itself down. */
struct csb_readback {
    int status; /* of its own in /proc, until it is CSB_CELL_STATUS */
    struct csb_receipt receipt;
};

struct csb_cell {
    const struct csb_plan *plan;
    const struct csb_limits *limits;
    const struct csb_landlock_paths *paths;
    int proc;              /* O_PATH on a /proc outside the view */
    int fds[CSB_FD_COUNT]; /* by enum csb_run_fd; -1: not for the cell */
    int status;            /* the run's socket to the host */
    const struct csb_receipt *inherited; /* what the zygote is confined by */
    struct csb_readback *readback;
    int scratch;           /* the mount of its scratch space */
    pid_t zygote;          /* its parent */
    uint32_t uid;          /* of a bare cell: who it becomes; 0: stays */
    const char *directory; /* of a bare cell: its scratch space; "": none */
    uint64_t size;         /* bytes of address space inherited */
    uint64_t data;         /* ... of private writable memory */
    uint64_t anonymous;    /* bytes that it holds of anonymous memory */
    int filtered;          /* its zygote has the most part of its filter */
    int *listened;         /* set if the host listens to what is denied */
};

/* Locks the calling process down for good, in the one order that works, and
 * reports READY or the failed step on the result pipe.  Returns only when
 * everything that the plan asks for is in force; ends the process otherwise.
 * Afterwards the descriptors are 0 to 2 and CSB_CELL_RESULT to
 * CSB_CELL_INPUTS, the last only if there are inputs. */
void csb_cell_lock(struct csb_cell *cell);

/* The steps, each in the file of its name. */
int csb_cgroup_enter(const struct csb_cell *cell);
int csb_mounts_unshare(const struct csb_cell *cell);
int csb_mounts_scratch(const struct csb_cell *cell);
int csb_session_start(const struct csb_cell *cell);
int csb_userns_enter(const struct csb_cell *cell);
int csb_limits_apply(const struct csb_cell *cell);
int csb_caps_drop(const struct csb_cell *cell);
int csb_landlock_apply(const struct csb_cell *cell);
int csb_root_empty(const struct csb_cell *cell);
int csb_bare_start(const struct csb_cell *cell);
int csb_bare_become(const struct csb_cell *cell);
/* Puts the pid in the filters, before any is loaded. */
int csb_seccomp_name_oneself(const struct csb_cell *cell);
int csb_notify_begin(const struct csb_cell *cell);
int csb_fds_place(const struct csb_cell *cell);
int csb_emulate_install(const struct csb_cell *cell);
int csb_seccomp_load(const struct csb_cell *cell);

/* What the receipt says: opened before the lock-down, taken before the
 * descriptors go, and finished when all is in force. */
int csb_receipt_open(const struct csb_cell *cell);
int csb_receipt_take(const struct csb_cell *cell);
int csb_receipt_finish(struct csb_readback *readback);

/* Writes text to a file of /proc such as "self/uid_map"; 0 or -errno. */
int csb_procfile_write(const struct csb_cell *cell, const char *name,
                       const char *text);

/* Tries forbidden things: early, before the filter, those that a filter for
 * computing would refuse to tell of; else all others.  0, or the number of
 * the first that was not refused as it should be. */
unsigned csb_canary_try(const struct csb_cell *cell, int early);

/* In place of a number: there was no timer to be had. */
#define CSB_CANARY_TIMER 99u

#endif
