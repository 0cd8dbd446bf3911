/* Processes that are killed as Python begins to end, and reaped when it has:
 * theirs takes as long as its own. */
#ifndef CSB_LATE_H
#define CSB_LATE_H

#include "module.h"

/* Kills a process that was launched, and takes its pidfd: it is reaped when
 * the interpreter has ended.  0; or -1, with nothing done, if Python does not
 * end with this interpreter, there is no room, or its number cannot be had.
 * With the GIL, out of an atexit function.
 */
int csb_late_reap(int *pidfd);

#endif
