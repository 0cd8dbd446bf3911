#define _GNU_SOURCE
#include "late.h"

#include <stddef.h>
#include <unistd.h>

#include "kin.h"
#include "launch.h"

#define MOST 64

/* Of the process, as its children are; under the GIL of the main interpreter,
 * or when Python has ended. */
static struct {
    int pidfd;
    pid_t pid; /* whose it is */
} killed[MOST];
static int count;
static pid_t owner;

static void
reap_all(void)
{
    /* A fork at exit has these too, and they are no children of it. */
    int mine = owner == getpid();
    while (count > 0) {
        int pidfd = killed[--count].pidfd;
        pid_t pid;
        /* An exit function of others may have closed it, and the number be of
         * a file of theirs. */
        if (mine && csb_kin_number(pidfd, &pid) == 0 &&
            pid == killed[count].pid) {
            csb_launch_reap(&pidfd);
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
    pid_t pid;
    if (PyInterpreterState_Get() != PyInterpreterState_Main() ||
        count == MOST || csb_kin_number(*pidfd, &pid) < 0 ||
        (count == 0 && Py_AtExit(reap_all) < 0)) {
        return -1;
    }
    csb_launch_kill(*pidfd);
    killed[count].pid = pid;
    killed[count++].pidfd = *pidfd; /* stolen */
    *pidfd = -1;
    return 0;
}
