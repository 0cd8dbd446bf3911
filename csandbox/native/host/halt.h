/* Stopping a process for a moment, to look at what it has while nothing of it
 * moves. */
#ifndef CSB_HALT_H
#define CSB_HALT_H

#include <sys/types.h>

/* Stops a process and waits, a few milliseconds at most, until all of its
 * threads stand.  By its pidfd, as its number may be another's by now: without
 * one, -1, nothing is stopped. */
void csb_halt(int pidfd, pid_t pid);

/* Lets it go on. */
void csb_halt_end(int pidfd);

#endif
