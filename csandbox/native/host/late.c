#define _GNU_SOURCE
#include "late.h"

#include <stddef.h>
#include <unistd.h>

#include "launch.h"

#define MOST 64

/* Of the process, as its children are; all under the GIL, or when Python has
 * ended and there is but one thread. */
static int pidfds[MOST];
static int count;
static pid_t owner;

static void
reap_all(void)
{
    /* A fork at exit has these too, and they are no children of it. */
    int mine = owner == getpid();
    while (count > 0) {
        int pidfd = pidfds[--count];
        if (mine) {
            csb_launch_end(&pidfd);
        }
    }
}

int
csb_late_reap(int *pidfd)
{
    if (owner != getpid()) {
        count = 0; /* those of the process that this is a fork of */
        owner = getpid();
    }
    if (count == MOST || (count == 0 && Py_AtExit(reap_all) < 0)) {
        return -1;
    }
    csb_launch_kill(*pidfd);
    pidfds[count++] = *pidfd; /* stolen */
    *pidfd = -1;
    return 0;
}
