/* The plan: a policy compiled to plain data.  The host builds one block of
 * bytes, the zygote maps it once, every cell obeys it.  What may differ from
 * run to run (struct csb_limits) travels with the request instead.  Both sides
 * are the same build of this library, so the layout needs no versions. */
#ifndef CSB_PLAN_H
#define CSB_PLAN_H

#include <stddef.h>
#include <stdint.h>

struct sock_filter;

#define CSB_PLAN_MAGIC 0x50425343u /* "CSBP" */

/* The guest is process 2 of its PID namespace, and the filter counts on it. */
#define CSB_GUEST_PID 2
/* Its private, writable directory. */
#define CSB_SCRATCH "/tmp"
/* Where processes look for what they share: of the same file system. */
#define CSB_SHM "/dev/shm"

/* Mechanisms.  A policy always asks for all; tests take one away at a time. */
enum csb_mechanism {
    CSB_MECH_VIEW = 1 << 0,     /* private root, read-only */
    CSB_MECH_NETNS = 1 << 1,    /* empty network namespace */
    CSB_MECH_PIDNS = 1 << 2,    /* own PID namespace and init; without it
                                   there is no namespace at all */
    CSB_MECH_USERNS = 1 << 3,   /* nested user namespace, no capability */
    CSB_MECH_LIMITS = 1 << 4,   /* rlimits */
    CSB_MECH_LANDLOCK = 1 << 5, /* read-only view, no TCP, scopes */
    CSB_MECH_SECCOMP = 1 << 6,  /* system call allow-list */
    CSB_MECH_ALL = (1 << 7) - 1,
    CSB_MECH_NAMESPACES =
        CSB_MECH_VIEW | CSB_MECH_NETNS | CSB_MECH_PIDNS | CSB_MECH_USERNS,
    /* Of a run, not of a plan: where the host has cgroups to give; where it
     * could listen to what is denied; where it could give the run a user of
     * its own. */
    CSB_MECH_CGROUP = 1 << 7,
    CSB_MECH_NOTIFY = 1 << 8,
    CSB_MECH_UID = 1 << 9,
};

enum csb_view_kind {
    CSB_VIEW_TREE = 1,  /* directory or file of the host, read-only */
    CSB_VIEW_DEVICE,    /* device node of the host, writable */
    CSB_VIEW_SYMLINK,   /* source is the link's text */
    CSB_VIEW_MASK,      /* an empty directory over what is there */
    CSB_VIEW_DIRECTORY, /* an empty directory */
};

struct csb_view_entry {
    uint32_t kind;      /* enum csb_view_kind */
    uint32_t source_at; /* offset in the plan of a NUL-terminated string */
    uint32_t target_at; /* the same, absolute path inside the view */
};

struct csb_plan {
    uint32_t magic;      /* CSB_PLAN_MAGIC */
    uint32_t size;       /* bytes of the whole block */
    uint32_t mechanisms; /* enum csb_mechanism */
    uint32_t fault_step; /* tests: this step fails; 0: none */
    int32_t fault_errno; /* ... with this errno */
    uint32_t uid; /* user and group the zygote becomes; 0: stays as it is */
    uint32_t view_at, view_count;     /* struct csb_view_entry[] */
    uint32_t filter_at, filter_count; /* struct sock_filter[] */
    uint32_t preload_at;              /* module names, comma-separated */
    uint32_t several;                 /* runs may have more than one process */
    uint32_t compute;                 /* runs may only compute */
    /* In the place of that filter if the host listens, and that to which it
     * listens; and what they are for, enum csb_filter_flag. */
    uint32_t told_at, told_count;
    uint32_t listener_at, listener_count;
    uint32_t filter_flags;
    /* In the place of the former in cells of a zygote that has a filter. */
    uint32_t own_at, own_count;
};

/* Checks that every offset and string lies inside the block.
 * Returns 0 or -EINVAL. */
int csb_plan_check(const struct csb_plan *plan, size_t size);

/* Whether runs have no namespace: Landlock, the filter and the limits alone
 * confine them, and they lie among the host's processes. */
static inline int
csb_plan_is_bare(const struct csb_plan *plan)
{
    return (plan->mechanisms & CSB_MECH_PIDNS) == 0;
}

/* The string at an offset of a checked plan. */
const char *csb_plan_string(const struct csb_plan *plan, uint32_t at);

/* The first of plan->view_count entries. */
const struct csb_view_entry *csb_plan_view(const struct csb_plan *plan);

/* The first of plan->filter_count instructions. */
const struct sock_filter *csb_plan_filter(const struct csb_plan *plan);

/* The first of plan->told_count, and so on, instructions. */
const struct sock_filter *csb_plan_told(const struct csb_plan *plan);
const struct sock_filter *csb_plan_own(const struct csb_plan *plan);
const struct sock_filter *csb_plan_listener(const struct csb_plan *plan);

/* 0, or -errno when the plan asks for this step to fail. */
int csb_plan_fault(const struct csb_plan *plan, uint32_t step);

#endif
