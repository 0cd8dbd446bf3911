/* A fork of the host on its way to be a zygote: trusted code on the host's
 * own memory still, in which nothing of the host may be left that reaches
 * outside: no descriptor, no handler, no memory in common. */
#define _GNU_SOURCE
#include "forked.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/frames.h"
#include "../common/missing.h"

/* Above every number that a descriptor gets. */
#define SAFE_FD 16

void
csb_forked_calm(void)
{
    for (int number = 1; number < NSIG; number++) {
        /* As a fresh Python has it.  SIGKILL and libc's own fail. */
        (void)signal(number, number == SIGPIPE || number == SIGXFSZ ? SIG_IGN
                                                                    : SIG_DFL);
    }
    __fpurge(stdout);
    __fpurge(stderr);
}

static int
fail(struct csb_report *ret_report, enum csb_step step, int error,
     const char *text)
{
    csb_report_fill(step, -error, 0, text, ret_report);
    return error;
}

/* A host that has used up its numbers shall not keep the fork from its own. */
static void
raise_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* then lift() fails */
    }
}

static int
lift(int fd, int *ret_fd)
{
    int lifted = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, SAFE_FD);
    if (lifted < 0) {
        return errno == EINVAL ? -EMFILE : -errno;
    }
    *ret_fd = lifted;
    return 0;
}

static int
open_host(pid_t host, int *ret_fd)
{
    int fd = (int)syscall(SYS_pidfd_open, host, 0);
    if (fd < 0) {
        return -errno;
    }
    *ret_fd = fd;
    /* Or it has died, and its number may be another's. */
    return getppid() == host ? 0 : -ESRCH;
}

static int
place(const int *fds)
{
    for (int i = 0; i < CSB_ZYGOTE_FDS; i++) {
        if (dup2(fds[i], i) < 0) {
            return -errno;
        }
    }
    return syscall(SYS_close_range, CSB_ZYGOTE_FDS, ~0U, 0) < 0 ? -errno : 0;
}

static int
place_fds(const struct csb_forked *forked)
{
    int fds[CSB_ZYGOTE_FDS] = {0}, host = -1, null = -1;

    raise_nofile();
    /* The control socket first: by it a failure of the rest is told. */
    int result = lift(forked->control, &fds[CSB_ZYGOTE_CONTROL]);
    if (result == 0) {
        result = lift(forked->log, &fds[STDERR_FILENO]);
    }
    if (result == 0) {
        result = lift(forked->plan, &fds[CSB_ZYGOTE_PLAN]);
    }
    if (result == 0) {
        result = open_host(forked->host, &host);
    }
    if (result == 0) {
        result = lift(host, &fds[CSB_ZYGOTE_HOST]);
    }
    if (result == 0) {
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        result = null < 0 ? -errno : lift(null, &fds[STDIN_FILENO]);
    }
    if (result == 0) {
        fds[STDOUT_FILENO] = fds[STDIN_FILENO];
        result = place(fds);
    }
    return result; /* on failure the process ends, and closes the rest */
}

static int
part_namespaces(const struct csb_forked *forked)
{
    if (forked->namespaces == 0) {
        return 0; /* a filter may refuse even to ask for none */
    }
    /* The files in /proc, through which the host maps its ids, belong to a
     * process that is dumpable; csb_identity_drop() undoes it. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    return unshare(forked->namespaces) < 0 ? -errno : 0;
}

static int
fault(const struct csb_forked *forked, enum csb_step step)
{
    return forked->fault_step == step ? -forked->fault_errno : 0;
}

int
csb_forked_adopt(const struct csb_forked *forked,
                 struct csb_report *ret_report)
{
    int result = place_fds(forked);
    if (result < 0) {
        /* Whatever came of it, the host must be told. */
        (void)dup2(forked->control, CSB_ZYGOTE_CONTROL);
    } else {
        result = fault(forked, CSB_STEP_ZYGOTE_FDS);
    }
    if (result < 0) {
        return fail(ret_report, CSB_STEP_ZYGOTE_FDS, result, NULL);
    }
    (void)setsid();    /* a new process leads no group */
    (void)!chdir("/"); /* the host's may be deleted */
    result = csb_shared_part();
    if (result < 0) {
        return fail(ret_report, CSB_STEP_BOOT, result,
                    "memory that the host shares with others");
    }
    result = fault(forked, CSB_STEP_NAMESPACES);
    if (result == 0) {
        result = part_namespaces(forked);
    }
    return result < 0 ? fail(ret_report, CSB_STEP_NAMESPACES, result, NULL)
                      : 0;
}
