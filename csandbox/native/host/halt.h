/* Stopping a process for a moment, to look at what it has while nothing of it
 * moves. */
#ifndef CSB_HALT_H
#define CSB_HALT_H

#include <sys/types.h>

/* Stops a process of this user's and waits, a few milliseconds at most, until
 * all of its threads stand. */
void csb_halt(pid_t pid);

/* Lets it go on. */
void csb_halt_end(pid_t pid);

#endif
