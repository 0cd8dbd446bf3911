/* The zygote: the single-threaded template that forks cells.
 *
 * Runs as PID 1 of its own namespaces, on a fresh Python; functions return 0
 * or -errno and, where they take a report, have filled it when they fail. */
#ifndef CSB_ZYGOTE_H
#define CSB_ZYGOTE_H

#include <stdint.h>
#include <sys/types.h>

#include "../cell/cell.h"
#include "../common/frames.h"
#include "../common/plan.h"

struct csb_zygote {
    const struct csb_plan *plan;
    int self;     /* pidfd of itself: the way back to its PID namespace */
    int proc;     /* O_PATH on /proc, outside the view */
    int statm;    /* /proc/self/statm */
    int signals;  /* signalfd of SIGCHLD */
    int copying;  /* for which pages are copied in forks; -1: there is none */
    int filtered; /* it has the most part of its cells' filter */
    int quiet;    /* forks need nothing of Python's */
    int forked;   /* from the host, to serve one run; not PID 1 of anything */
    struct csb_landlock_paths paths;
    struct csb_receipt receipt; /* what it began with */
};

/* --- boot.c ------------------------------------------------------------- */

/* Takes over a fresh process: signals, plan, descriptors on /proc. */
int csb_boot(struct csb_zygote *ret_zygote, struct csb_report *ret_report);

/* While on, a zygote whose host has died ends within a second, whatever it
 * is doing (importing a package, say).  Uses SIGALRM. */
void csb_boot_watch_host(int on);

/* --- filtered.c --------------------------------------------------------- */

/* Loads of the cells' filter all that this zygote can live with, which takes
 * ten times as long as what is left to them.  Where it cannot be done, each
 * loads all of it. */
void csb_filtered_begin(struct csb_zygote *zygote);

/* --- identity.c --------------------------------------------------------- */

/* From root to the plan's uid, keeping capabilities; 0: stays as it is. */
int csb_identity_become(const struct csb_plan *plan);

/* Keeps the capabilities that arming a cell needs, and no other. */
int csb_identity_drop(void);

/* --- bare.c ------------------------------------------------------------- */

/* Whether a plan without namespaces can give all guarantees: 0 or -errno. */
int csb_bare_check(const struct csb_plan *plan, struct csb_report *ret_report);

/* Keeps the capabilities that give each cell a user of its own, if it has
 * them, and no other. */
int csb_bare_drop(void);

/* --- view.c ------------------------------------------------------------- */

/* Makes the plan's view the root of this mount namespace. */
int csb_view_enter(const struct csb_plan *plan, struct csb_report *ret_report);

/* --- scratch.c ---------------------------------------------------------- */

/* A tmpfs of the size that the limits say, not mounted anywhere yet. */
int csb_scratch_make(const struct csb_limits *limits, int *ret_mount);

/* --- paths.c ------------------------------------------------------------ */

/* Opens what Landlock shall allow, in the view if there is one. */
int csb_paths_open(const struct csb_plan *plan,
                   struct csb_landlock_paths *ret_paths,
                   struct csb_report *ret_report);

/* --- init.c ------------------------------------------------------------- */

#define CSB_INIT_STACK (16 * 1024)

/* Starts PID 1 of a new PID namespace on this process's memory and the given
 * stack, which must stay until it is reaped.  `self` is a pidfd of this
 * process, with which it shall end, or -1 if the kernel sees to that.
 * 0 or -errno. */
int csb_init_start(char *stack, int self, pid_t *ret_pid, int *ret_pidfd);

/* What it does, until it is killed; for its address. */
int csb_init_main(void *argument);

#endif
