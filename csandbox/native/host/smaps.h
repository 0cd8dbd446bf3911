/* The exact memory of a process, mapping by mapping. */
#ifndef CSB_SMAPS_H
#define CSB_SMAPS_H

#include <stdint.h>
#include <sys/types.h>

/* The bytes that a process alone holds: its pages of anonymous memory that
 * nobody else has, or if `part` its part of those, and its part of shared
 * memory, but for files of the scratch
 * space, which are counted there, and stores of the host's.  0, or -errno:
 * -EACCES where the host may not look, -E2BIG if it has so many mappings that
 * looking would take long. */
int csb_smaps_measure(pid_t pid, pid_t tid, int scratch, int part,
                      uint64_t *ret_bytes);

#endif
