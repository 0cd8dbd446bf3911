/* The report: one fixed-size record with which set-up says how far it came.
 *
 * A process that sets something up writes exactly one report, in one write()
 * no longer than PIPE_BUF: CSB_STEP_READY, or the step that failed with its
 * errno.  (The zygote says hello before, with CSB_STEP_BOOT and errno 0.)  No
 * text is made in the child; the host looks the words up. */
#ifndef CSB_REPORT_H
#define CSB_REPORT_H

#include <stdint.h>

#include "receipt.h"

#define CSB_REPORT_MAGIC 0x52425343u /* "CSBR" */

/* Every step that can fail, in the order in which they happen. */
#define CSB_STEPS(X)                                                          \
    X(NONE, "none")                                                           \
    X(READY, "ready")                                                         \
    /* host: launch of the zygote */                                          \
    X(HOST_FDS, "host-descriptors")                                           \
    X(NAMESPACES, "namespaces")                                               \
    X(UID_MAP, "uid-map")                                                     \
    X(AMBIENT_CAPS, "ambient-capabilities")                                   \
    X(ZYGOTE_FDS, "zygote-descriptors")                                       \
    X(EXEC, "exec")                                                           \
    X(METER, "meter")                                                         \
    X(CGROUP, "cgroup")                                                       \
    /* zygote: the template */                                                \
    X(BOOT, "boot")                                                           \
    X(PLAN, "plan")                                                           \
    X(VIEW_PRIVATE, "view-private")                                           \
    X(HOSTNAME, "hostname")                                                   \
    X(VIEW_SOURCE, "view-source")                                             \
    X(VIEW_READONLY, "view-readonly")                                         \
    X(BECOME_UID, "become-uid")                                               \
    X(VIEW_ROOT, "view-root")                                                 \
    X(VIEW_TARGET, "view-target")                                             \
    X(VIEW_MOUNT, "view-mount")                                               \
    X(VIEW_PIVOT, "view-pivot")                                               \
    X(LANDLOCK_PATHS, "landlock-paths")                                       \
    X(ZYGOTE_CAPS, "zygote-capabilities")                                     \
    X(PRELOAD, "preload")                                                     \
    /* zygote: arming a cell */                                               \
    X(SCRATCH, "scratch")                                                     \
    X(INIT, "init")                                                           \
    X(PID_NAMESPACE, "pid-namespace")                                         \
    X(FORK, "fork")                                                           \
    /* cell, in the order of csb_cell_lock() */                               \
    X(CELL, "cell") /* somewhere in it: killed, or hung */                    \
    X(CELL_CGROUP, "cell-cgroup")                                             \
    X(CELL_PID, "cell-pid")                                                   \
    X(CELL_MOUNTS, "cell-mounts")                                             \
    X(CELL_SCRATCH, "cell-scratch")                                           \
    X(CELL_SESSION, "cell-session")                                           \
    X(RECEIPT, "receipt") /* before, at and after what follows */             \
    X(CELL_ROOT, "cell-root")                                                 \
    X(CELL_USERNS, "cell-user-namespace")                                     \
    X(CELL_LIMITS, "cell-limits")                                             \
    X(CELL_CAPS, "cell-capabilities")                                         \
    X(NO_NEW_PRIVS, "no-new-privileges")                                      \
    X(LANDLOCK, "landlock")                                                   \
    X(CELL_FORKS, "cell-forks")                                               \
    X(CELL_FDS, "cell-descriptors")                                           \
    X(CELL_UNDUMPABLE, "cell-undumpable")                                     \
    X(EMULATE, "emulation")                                                   \
    X(SECCOMP, "seccomp")                                                     \
    X(CANARY, "canary")                                                       \
    /* host: what a cell that is ready says of itself */                      \
    X(REQUIRE, "require")

enum csb_step {
#define X(name, text) CSB_STEP_##name,
    CSB_STEPS(X)
#undef X
        CSB_STEP_COUNT
};

struct csb_report {
    uint32_t magic;  /* CSB_REPORT_MAGIC */
    uint32_t step;   /* enum csb_step */
    int32_t err;     /* errno, 0 with CSB_STEP_READY */
    uint32_t detail; /* READY of a cell: mechanisms in force, and from bit 16
                        the Landlock ABI; CANARY: which one sang */
    union {
        char text[240]; /* a path or message from trusted code, or "" */
        struct csb_receipt receipt; /* READY of a cell */
    };
};

/* The step's name, or "unknown" for a number outside the table. */
const char *csb_step_name(uint32_t step);

/* Fills *ret_report; text may be NULL and is cut to fit. */
void csb_report_fill(uint32_t step, int err, uint32_t detail, const char *text,
                     struct csb_report *ret_report);

#endif
