/* Processor time of all processes of a run, of those too that have ended and
 * that nobody has waited for: a parent that ignores SIGCHLD never gets it. */
#ifndef CSB_SPENT_H
#define CSB_SPENT_H

#include <stdint.h>
#include <sys/types.h>

struct csb_kin;

struct csb_spent {
    struct csb_spent_seen *seen; /* at the last look; NULL: none yet */
    unsigned count;
    uint64_t init; /* ticks of orphans that the init had waited for */
    uint64_t lost; /* ... of what ended without being waited for */
};

/* Looks at the processes, and at what the init has got of others.  *ret_ns:
 * ns that they have used together.  What one used since the last look, and
 * one that came and went between two, is not in it if nobody waited for it.
 * 0 or -ENOMEM. */
int csb_spent_look(struct csb_spent *spent, pid_t init,
                   const struct csb_kin *kin, int64_t *ret_ns);

void csb_spent_end(struct csb_spent *spent);

#endif
