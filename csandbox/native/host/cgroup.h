/* The cgroup v2 leaf of one run, below the base of this process (see
 * csandbox/cgroups.py): it bounds memory and processes, however the run holds
 * them, and counts what all its processes used, dead ones included.
 *
 * Knows nothing of Python.  Functions return 0 or -errno. */
#ifndef CSB_HOST_CGROUP_H
#define CSB_HOST_CGROUP_H

#include <stdint.h>

#define CSB_CGROUP_NAME 32

struct csb_cgroup_limits {
    uint64_t memory; /* bytes */
    uint64_t tasks;  /* processes and threads, all together */
};

struct csb_cgroup_cpu {
    int64_t total_usec, user_usec, system_usec;
};

enum csb_oom {
    CSB_OOM_NONE,
    CSB_OOM_LEAF,  /* the run reached its own limit */
    CSB_OOM_OTHER, /* the machine's, or that of a cgroup above */
};

struct csb_cgroup {
    int base; /* a copy of the base's descriptor; -1: there is no leaf */
    int leaf; /* its directory */
    int memory_current;
    int cpu_stat;
    int memory_events;
    uint64_t memory_max; /* bytes, as it is set */
    int removed;
    char name[CSB_CGROUP_NAME];
    /* What csb_cgroup_finish() found. */
    int counted; /* cpu is known */
    struct csb_cgroup_cpu cpu;
    uint64_t peak; /* bytes charged at once; 0: this kernel does not say */
};

#define CSB_CGROUP_NOTHING                                                    \
    {.base = -1,                                                              \
     .leaf = -1,                                                              \
     .memory_current = -1,                                                    \
     .cpu_stat = -1,                                                          \
     .memory_events = -1}

/* Makes a leaf below base, which stays the caller's, with its limits set.
 * *ret_procs: what a process of the run writes "0" to; the caller's.  *cgroup
 * is CSB_CGROUP_NOTHING before, and again after a failure. */
int csb_cgroup_make(int base, const char *name,
                    const struct csb_cgroup_limits *limits,
                    struct csb_cgroup *cgroup, int *ret_procs);

/* Allows more: copies of what the run's first process inherited, which was
 * charged elsewhere, are charged to the leaf. */
int csb_cgroup_allow(struct csb_cgroup *cgroup, uint64_t bytes);

/* Bytes charged to it now, page cache included. */
int csb_cgroup_read_memory(const struct csb_cgroup *cgroup,
                           uint64_t *ret_bytes);

/* From its cpu.stat, a descriptor. */
int csb_cgroup_read_cpu(int cpu_stat, struct csb_cgroup_cpu *ret_cpu);

/* Whether the kernel's OOM killer killed something in it, and why. */
enum csb_oom csb_cgroup_oom(const struct csb_cgroup *cgroup);

/* The run is over: takes the last figures and removes the leaf, killing what
 * may be left in it.  -EBUSY: something is, dying; call it again, or let
 * csandbox/cgroups.py sweep. */
int csb_cgroup_finish(struct csb_cgroup *cgroup);

/* Closes everything, having tried to remove what is not removed yet. */
void csb_cgroup_close(struct csb_cgroup *cgroup);

/* In a fork of the host: closes everything, and leaves the leaf alone. */
void csb_cgroup_forget(struct csb_cgroup *cgroup);

/* Whether a process of ours may enter a leaf of base: tried with one. */
int csb_cgroup_try(int base);

#endif
