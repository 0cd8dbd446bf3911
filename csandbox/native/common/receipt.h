/* The receipt: what confines a cell, as the kernel says it does.  Written by
 * the cell into its READY report, before any guest byte, and checked by the
 * host against what the plan asks for. */
#ifndef CSB_RECEIPT_H
#define CSB_RECEIPT_H

#include <stdint.h>

/* Kinds of namespaces, by their names in /proc/PID/ns. */
#define CSB_NAMESPACES(X) X(user) X(mnt) X(pid) X(net) X(ipc) X(uts) X(cgroup)

enum csb_namespace {
#define X(name) CSB_NS_##name,
    CSB_NAMESPACES(X)
#undef X
        CSB_NS_COUNT
};

/* Limits that are read back, by their names in getrlimit(2). */
#define CSB_RECEIPT_LIMITS(X) X(AS) X(DATA) X(NPROC) X(NOFILE) X(CPU) X(CORE)

enum csb_receipt_limit {
#define X(name) CSB_LIMIT_##name,
    CSB_RECEIPT_LIMITS(X)
#undef X
        CSB_LIMIT_COUNT
};

/* Sets of capabilities, by their names in /proc/PID/status. */
#define CSB_RECEIPT_CAPS(X) X(CapInh) X(CapPrm) X(CapEff) X(CapBnd) X(CapAmb)

enum csb_receipt_caps {
#define X(name) CSB_CAPS_##name,
    CSB_RECEIPT_CAPS(X)
#undef X
        CSB_CAPS_COUNT
};

struct csb_receipt {
    uint64_t namespaces[CSB_NS_COUNT]; /* inode numbers; 0: not to be seen */
    uint64_t caps[CSB_CAPS_COUNT];
    uint64_t limits[CSB_LIMIT_COUNT]; /* hard ones; UINT64_MAX: none */
    uint32_t uid;                     /* effective, as the host sees it */
    uint32_t no_new_privs;
    uint32_t seccomp;        /* mode: 2 is a filter */
    uint32_t filters_before; /* that the zygote had from outside */
    uint32_t filters;        /* 0 of both: this kernel does not say */
    uint32_t landlock;       /* what it alone forbids was refused */
};

/* The number of one namespace of the calling process, by a descriptor of a
 * /proc; 0 if it is not to be seen. */
uint64_t csb_receipt_namespace(int proc, enum csb_namespace kind);

/* Those of all kinds. */
void csb_receipt_namespaces(int proc, uint64_t *ret_namespaces);

/* Fills what a /proc/PID/status says, read from where it is; 0 or -errno. */
int csb_receipt_read(int status, struct csb_receipt *ret_receipt);

/* The same and the namespaces, of the calling process: what its forks begin
 * with. */
int csb_receipt_begin(int proc, struct csb_receipt *ret_receipt);

#endif
