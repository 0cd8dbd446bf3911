/* The exact memory of a process, mapping by mapping. */
#ifndef CSB_SMAPS_H
#define CSB_SMAPS_H

#include <stdint.h>
#include <sys/types.h>

struct csb_smaps {
    uint64_t own;    /* bytes of anonymous memory that nobody else has */
    uint64_t part;   /* its part of what others have too, since a fork */
    uint64_t shared; /* its part of memory that is mapped as shared */
};

/* Adds what a process holds; not counted are files of the scratch space, which
 * are elsewhere, and stores of the host's.  0, or -errno: -EACCES where the
 * host may not look, -E2BIG if it has so many mappings that looking would take
 * long. */
int csb_smaps_add(pid_t pid, pid_t tid, int scratch, struct csb_smaps *sum);

#endif
