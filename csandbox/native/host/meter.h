/* What a run holds of memory and has used of the processors, as the kernel
 * says in the host's /proc: nothing of it comes from the guest.
 *
 * Memory is what the run adds to what its first process inherited: anonymous
 * memory, swapped out or not, shared memory, page tables, and what lies in its
 * scratch space.  A first figure, cheap to have, may count a page twice: one
 * that is mapped and in a file of the scratch space, or that a parent and its
 * child have in common.  Only when that figure is over the limit is the exact
 * one taken. */
#ifndef CSB_METER_H
#define CSB_METER_H

#include <stdint.h>
#include <sys/types.h>

#include "spent.h"
#include "spot.h"

/* Limits that only the looks enforce, where the kernel does not. */
enum csb_over {
    CSB_OVER_NOTHING,
    CSB_OVER_SCRATCH,
    CSB_OVER_THREADS,
};

struct csb_meter {
    /* Set by the caller; the descriptors are its own. */
    int cell;                    /* pidfd of the first process */
    int init;                    /* pidfd of the init, if there are several */
    int bare;                    /* no user or namespace of its own */
    int several;                 /* it may have more than one process */
    int scratch;                 /* the mount of its scratch space */
    const struct csb_spot *spot; /* a directory in its stead, or NULL */
    int cpu_stat;                /* of its cgroup; -1: it has none */
    uint64_t inherited;    /* bytes of anonymous memory that it began with */
    uint64_t memory_limit; /* bytes */
    int64_t cpu_limit;     /* ns */
    unsigned tasks;        /* threads that may run at once */
    /* The figures of the last look. */
    uint64_t memory;       /* bytes; exact if over the limit */
    uint64_t scratch_used; /* bytes, of `memory` */
    int64_t cpu;           /* ns */
    enum csb_over over;    /* what else has been exceeded */
    /* The most there ever was. */
    uint64_t peak_memory;
    uint64_t peak_scratch;
    struct csb_spent spent;
    struct csb_kin *kin; /* malloc'd, of the look that is under way */
    int64_t blind_since; /* when looking began to fail; 0: it does not */
    int64_t earliest;    /* not before that */
    int64_t next; /* when to look again, ns on CLOCK_MONOTONIC; 0: not yet */
    pid_t init_pid;
    int begun;         /* the first look has been */
    pid_t pid;         /* of the cell in /proc, 0 until it is looked up */
    int64_t oom_kills; /* of the machine, at the first look; -1: unknown */
};

/* Whether /proc tells what is needed of another process: 0 or -errno. */
int csb_meter_check(int pidfd);

/* Looks, and decides when to look again: before the run can have reached a
 * limit, as fast as memory can be filled.  0; or -errno if /proc does not
 * tell, of a process that is there. */
int csb_meter_look(struct csb_meter *meter, int64_t now);

/* Sets `next` for a run that has just begun. */
void csb_meter_begin(struct csb_meter *meter, int64_t now);

/* A process may come that ends soon: has the next look come in time. */
void csb_meter_hurry(struct csb_meter *meter, int64_t now);

/* Frees what the looks have kept. */
void csb_meter_end(struct csb_meter *meter);

/* Looks at the scratch space alone, which outlives the processes. */
void csb_meter_look_at_scratch(struct csb_meter *meter);

/* Whether the kernel's OOM killer has killed anything on this machine since
 * the first look of this run. */
int csb_meter_oom_killed(const struct csb_meter *meter);

#endif
