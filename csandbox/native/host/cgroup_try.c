/* Whether a process of ours may enter a leaf, found out by a process that does
 * nothing else.  Like the launch of a zygote it runs on the host's memory, on
 * a stack of its own; nobody but us can wait for it, and it sends no SIGCHLD.
 */
#define _GNU_SOURCE
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/rawcall.h"

#define STACK 2048
#define NAME "try"

struct attempt {
    int procs;
    volatile long result;
};

CSB_FOREIGN_STACK static int
enter(void *argument)
{
    static const char self[] = "0";
    struct attempt *attempt = argument;
    attempt->result =
        csb_raw(SYS_write, attempt->procs, (long)self, sizeof self - 1, 0, 0);
    return 0;
}

static int
enter_by_child(int procs)
{
    _Alignas(16) char stack[STACK];
    struct attempt attempt = {.procs = procs, .result = -ECHILD};
    sigset_t all, saved;

    /* No handler of the host may run there. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &saved); /* cannot fail */
    pid_t pid =
        clone(enter, stack + sizeof stack, CLONE_VM | CLONE_VFORK, &attempt);
    int error = errno;
    (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (pid < 0) {
        return -error;
    }
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) {
    }
    return attempt.result < 0 ? (int)attempt.result : 0;
}

int
csb_cgroup_try(int base)
{
    if (mkdirat(base, NAME, S_IRWXU) < 0) {
        return -errno;
    }
    int procs = openat(base, NAME "/cgroup.procs", O_WRONLY | O_CLOEXEC);
    int result = procs < 0 ? -errno : enter_by_child(procs);
    csb_close(&procs);
    if (unlinkat(base, NAME, AT_REMOVEDIR) < 0 && result == 0) {
        result = -errno;
    }
    return result;
}
