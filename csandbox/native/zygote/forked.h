/* What makes a zygote of a fork of the host. */
#ifndef CSB_FORKED_H
#define CSB_FORKED_H

#include <stdint.h>
#include <sys/types.h>

#include "../common/report.h"

/* What the fork has of its host; the descriptors are copies. */
struct csb_forked {
    pid_t host;
    int namespaces;      /* flags of unshare() */
    int log;             /* becomes 2 */
    int control;         /* becomes CSB_ZYGOTE_CONTROL */
    int plan;            /* becomes CSB_ZYGOTE_PLAN */
    uint32_t fault_step; /* tests: this step fails, 0: none ... */
    int fault_errno;     /* ... with this errno */
};

/* Takes the host's signal handlers from the calling process, a fork of it in
 * which all signals are blocked, and the text that C's streams hold. */
void csb_forked_calm(void);

/* Gives up everything else that it shares with the host: descriptors,
 * session, directory, memory that both could write to, namespaces; the
 * descriptors are then those of a zygote.  Returns 0, or -errno with the
 * report filled; and then too CSB_ZYGOTE_CONTROL is open. */
int csb_forked_adopt(const struct csb_forked *forked,
                     struct csb_report *ret_report);

/* Makes memory private that this process shares with others, by copies:
 * csb_forked_adopt() does.  0 or -errno. */
int csb_shared_part(void);

#endif
