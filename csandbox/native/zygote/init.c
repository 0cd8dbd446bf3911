/* init: PID 1 of a run's PID namespace.
 *
 * It shares the zygote's memory (CLONE_VM), which spares a copy of the page
 * tables, and so runs beside it on a stack of its own: no libc, no errno, raw
 * system calls only, all signals blocked.  It holds no descriptor.  It sleeps
 * and reaps orphans until it is killed, and with it everything in its
 * namespace.
 *
 * It ends with the zygote, which is PID 1 above it, or, if that was forked
 * from the host and lies in the host's PID namespace, by PDEATHSIG. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <linux/prctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/rawcall.h"

CSB_FOREIGN_STACK static void
end_with(int parent)
{
    struct pollfd event = {.fd = parent, .events = POLLIN};
    const struct timespec now = {0, 0};

    (void)csb_raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* It may have died before. */
    if (csb_raw(SYS_ppoll, (long)&event, 1, (long)&now, 0, 0) != 0) {
        (void)csb_raw(SYS_exit, 1, 0, 0, 0, 0);
    }
}

CSB_FOREIGN_STACK int
csb_init_main(void *argument)
{
    /* The kernel's own set: 64 bits, of which SIGCHLD alone is waited for. */
    const unsigned long child = 1ul << (SIGCHLD - 1);

    /* A number, not a pointer: it must not change on memory that is shared. */
    const int parent = (int)(intptr_t)argument;
    if (parent >= 0) {
        end_with(parent);
    }
    (void)csb_raw(SYS_close_range, 0, ~0U, 0, 0, 0);
    for (;;) {
        long reaped = csb_raw(SYS_wait4, -1, 0, __WALL, 0, 0);
        if (reaped == -ECHILD) {
            (void)csb_raw(SYS_rt_sigtimedwait, (long)&child, 0, 0,
                          sizeof child, 0);
        }
    }
    __builtin_unreachable();
}

int
csb_init_start(char *stack, int self, pid_t *ret_pid, int *ret_pidfd)
{
    int pidfd = -1;
    pid_t pid = clone(csb_init_main, stack + CSB_INIT_STACK,
                      CLONE_VM | CLONE_NEWPID | CLONE_PIDFD | SIGCHLD,
                      (void *)(intptr_t)self, &pidfd);
    if (pid < 0) {
        return -errno;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}
