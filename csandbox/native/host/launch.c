/* Launch of the zygote.
 *
 * Processes: the host's calling thread, and the child, which clone() makes
 * with CLONE_VM: until its execve it runs on the host's memory beside the
 * host's threads, on a stack of its own, so nothing is copied however big the
 * host is.  It leaves its failure in that memory; the kernel clears
 * `on_our_memory` and wakes the host when it has exec'd or died.  (The end of
 * a pipe would not tell: a fork in another thread may hold a copy.)
 * Pipe: `go` (host -> child: ids are mapped, proceed).
 *
 * As root the user ids are mapped before execve: the program may lie in a
 * directory that only the mapped root may enter.  Otherwise they are mapped
 * after it: a host that is not dumpable (one that changed its uid) owns
 * /proc/PID/uid_map only of a process with memory of its own; ambient
 * capabilities carry over execve what an unmapped user would lose there. */
#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/frames.h"
#include "../common/plan.h"
#include "../common/rawcall.h"
#include "kin.h"

#define CHILD_STACK (64 * 1024)
#define MAP_TEXT 4096
/* Above every number that a descriptor gets in the zygote. */
#define SAFE_FD 16

struct pipe_ends {
    int read;
    int write;
};

static void
close_pipe(struct pipe_ends *ends)
{
    csb_close(&ends->read);
    csb_close(&ends->write);
}

/* What both see; the host leaves it alone until the child has exec'd. */
struct child {
    const struct csb_launch *launch;
    int fds[CSB_ZYGOTE_FDS]; /* by the number that each shall have */
    int null;                /* becomes 0 and 1 */
    int self;                /* pidfd of the host; or, where there is no
                                such thing, the other end of: */
    int lifeline;            /* kept by the host, -1: not needed */
    struct pipe_ends go;
    struct csb_report report;   /* written by the child: why it ended */
    volatile int on_our_memory; /* cleared by the kernel: exec'd or dead */
};

static void
close_child_fds(struct child *child)
{
    csb_close(&child->null);
    csb_close(&child->self);
    csb_close(&child->lifeline);
    for (int i = 0; i < CSB_ZYGOTE_FDS; i++) {
        csb_close(&child->fds[i]);
    }
    close_pipe(&child->go);
}

static inline int
is_bare(const struct csb_launch *launch)
{
    return (launch->mechanisms & CSB_MECH_PIDNS) == 0;
}

/* In the child, on foreign memory: raw system calls, and csb_report_fill(),
 * which touches no TLS. */

CSB_FOREIGN_STACK static long
plain(long nr, long a, long b, long c)
{
    return csb_raw(nr, a, b, c, 0, 0);
}

/* Capabilities that set-up needs after execve as an unmapped user. */
static const unsigned char ambient[] = {CAP_SYS_ADMIN, CAP_SYS_PTRACE};

CSB_FOREIGN_STACK static long
raise_ambient(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};
    long result = plain(SYS_capget, (long)&header, (long)data, 0);
    if (result < 0) {
        return result;
    }
    data[0].inheritable = data[0].permitted;
    data[1].inheritable = data[1].permitted;
    result = plain(SYS_capset, (long)&header, (long)data, 0);
    for (unsigned i = 0; i < sizeof ambient && result >= 0; i++) {
        result = csb_raw(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE,
                         ambient[i], 0, 0);
    }
    return result;
}

CSB_FOREIGN_STACK static long
place_fds(const struct child *child)
{
    for (int i = 0; i < CSB_ZYGOTE_FDS; i++) {
        /* dup3, not dup2: aarch64 has no dup2.  It clears O_CLOEXEC. */
        long result = plain(SYS_dup3, child->fds[i], i, 0);
        if (result < 0) {
            return result;
        }
    }
    /* The host's own descriptors may lack O_CLOEXEC. */
    return plain(SYS_close_range, CSB_ZYGOTE_FDS, ~0U, 0);
}

/* Waits for the host's word; an error if it dies first. */
CSB_FOREIGN_STACK static long
await_go(const struct child *child)
{
    struct pollfd events[] = {{.fd = child->go.read, .events = POLLIN},
                              {.fd = child->self, .events = POLLIN}};
    char byte;
    long result = csb_raw(SYS_ppoll, (long)events, 2, 0, 0, 0);
    if (result < 0) {
        return result;
    }
    if (events[1].revents != 0 ||
        plain(SYS_read, child->go.read, (long)&byte, 1) != 1) {
        return -ECANCELED;
    }
    return 0;
}

CSB_FOREIGN_STACK __attribute__((noreturn)) static void
give_up(struct child *child, enum csb_step step, long error)
{
    csb_report_fill(step, (int)-error, 0, NULL, &child->report);
    for (;;) {
        (void)plain(SYS_exit, 1, 0, 0); /* does not return */
    }
}

CSB_FOREIGN_STACK static long
fault(const struct child *child, enum csb_step step, long result)
{
    return child->launch->fault_step == step ? -child->launch->fault_errno
                                             : result;
}

CSB_FOREIGN_STACK static int
child_main(void *argument)
{
    struct child *child = argument;
    if (child->lifeline >= 0) {
        (void)plain(SYS_close, child->lifeline, 0, 0); /* a copy */
    }
    long result = await_go(child);
    if (result < 0) {
        give_up(child, CSB_STEP_UID_MAP, result);
    }
    result = fault(child, CSB_STEP_AMBIENT_CAPS,
                   is_bare(child->launch) ? 0 : raise_ambient());
    if (result < 0) {
        give_up(child, CSB_STEP_AMBIENT_CAPS, result);
    }
    result = fault(child, CSB_STEP_ZYGOTE_FDS, place_fds(child));
    if (result < 0) {
        give_up(child, CSB_STEP_ZYGOTE_FDS, result);
    }
    (void)plain(SYS_setsid, 0, 0, 0);        /* a new process leads no group */
    (void)plain(SYS_chdir, (long)"/", 0, 0); /* the host's may be deleted */
    result = fault(child, CSB_STEP_EXEC, 0);
    if (result == 0) {
        result = plain(SYS_execve, (long)child->launch->path,
                       (long)child->launch->argv, (long)child->launch->envp);
    }
    give_up(child, CSB_STEP_EXEC, result);
}

int
csb_launch_is_root(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct data[2];
    uint32_t needed =
        1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_DAC_OVERRIDE;
    return geteuid() == 0 && syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & needed) == needed;
}

static int
fail(struct csb_report *ret_report, enum csb_step step, int error)
{
    csb_report_fill(step, -error, 0, NULL, ret_report);
    return error;
}

static int
write_proc(pid_t pid, const char *name, const char *text)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t wrote = write(fd, text, strlen(text));
    int result = wrote < 0 ? -errno : 0;
    csb_close(&fd);
    return result;
}

/* The identity map of all that this process's own namespace maps. */
static int
identity_map(const char *name, char *ret_text)
{
    FILE *file = fopen(name, "re");
    unsigned inside, outside, count;
    int used = 0;
    if (file == NULL) {
        return -errno;
    }
    while (used < MAP_TEXT - 64 &&
           fscanf(file, "%u %u %u", &inside, &outside, &count) == 3) {
        used +=
            snprintf(ret_text + used, 64, "%u %u %u\n", inside, inside, count);
    }
    (void)fclose(file); /* read only */
    return used > 0 ? 0 : -EIO;
}

static int
map_one(pid_t pid, const char *map, int as_root, unsigned id)
{
    char path[64], text[MAP_TEXT];
    int result = 0;

    if (as_root) {
        (void)snprintf(path, sizeof path, "/proc/self/%s", map);
        result = identity_map(path, text);
    } else {
        /* Not to 0: a namespace below one's own may map that only with
         * CAP_SETFCAP (user_namespaces(7), Linux 5.12). */
        (void)snprintf(text, sizeof text, "%1$u %1$u 1\n", id);
    }
    return result < 0 ? result : write_proc(pid, map, text);
}

static int
map_ids(pid_t pid, int as_root)
{
    /* Without it an unprivileged process may not map groups. */
    int result = as_root ? 0 : write_proc(pid, "setgroups", "deny");
    if (result == 0) {
        result = map_one(pid, "uid_map", as_root, geteuid());
    }
    if (result == 0) {
        result = map_one(pid, "gid_map", as_root, getegid());
    }
    return result;
}

static int
lift(int fd, int *ret_fd)
{
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, SAFE_FD);
    if (*ret_fd < 0) {
        return errno == EINVAL ? -EMFILE : -errno; /* RLIMIT_NOFILE is less */
    }
    return 0;
}

static int
open_pipe(struct pipe_ends *ret_ends)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    int result = lift(ends[0], &ret_ends->read);
    if (result == 0) {
        result = lift(ends[1], &ret_ends->write);
    }
    csb_close(&ends[0]);
    csb_close(&ends[1]);
    return result;
}

/* What the zygote sees of the host's end. */
static int
open_self(struct child *child)
{
    struct pipe_ends ends = {-1, -1};
    child->self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (child->self >= 0) {
        return 0;
    }
    if (errno != ENOSYS && errno != EPERM) {
        return -errno;
    }
    int result = open_pipe(&ends);
    child->self = ends.read;
    child->lifeline = ends.write;
    return result;
}

static int
prepare_fds(const struct csb_launch *launch, struct child *child)
{
    child->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (child->null < 0) {
        return -errno;
    }
    int result = open_self(child);
    if (result < 0) {
        return result;
    }
    const int wanted[CSB_ZYGOTE_FDS] = {
        child->null,     child->null, launch->log,
        launch->control, child->self, launch->plan,
    };
    for (int i = 0; i < CSB_ZYGOTE_FDS; i++) {
        result = lift(wanted[i], &child->fds[i]);
        if (result < 0) {
            return result;
        }
    }
    return open_pipe(&child->go);
}

int
csb_launch_namespaces(uint32_t mechanisms)
{
    if ((mechanisms & CSB_MECH_PIDNS) == 0) {
        return 0;
    }
    int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
                CLONE_NEWCGROUP;
    return mechanisms & CSB_MECH_NETNS ? flags | CLONE_NEWNET : flags;
}

/* Clones with every signal blocked: a handler of the host must not run in
 * the child, which is on the host's memory.  The zygote unblocks them. */
static pid_t
clone_child(struct child *child, char *stack, int *ret_pidfd)
{
    sigset_t all, saved;
    int flags = csb_launch_namespaces(child->launch->mechanisms) | CLONE_VM |
                CLONE_PIDFD | CLONE_CHILD_CLEARTID | SIGCHLD;

    if (!is_bare(child->launch)) {
        flags |= CLONE_NEWPID;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &saved); /* cannot fail */
    child->on_our_memory = 1;
    pid_t pid = clone(child_main, stack + CHILD_STACK, flags, child, ret_pidfd,
                      NULL, &child->on_our_memory);
    int error = errno;
    (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return pid < 0 ? -error : pid;
}

/* Where a filter refuses the other way.  The number is its own still: it is a
 * child that nobody has reaped, or ESRCH. */
static void
kill_by_number(int pidfd)
{
    pid_t pid;
    if (csb_kin_number(pidfd, &pid) == 0) {
        (void)kill(pid, SIGKILL);
    }
}

void
csb_launch_kill(int pidfd)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 &&
        (errno == ENOSYS || errno == EPERM)) {
        kill_by_number(pidfd);
    }
}

void
csb_launch_end(int *pidfd)
{
    if (*pidfd < 0) {
        return;
    }
    csb_launch_kill(*pidfd);
    csb_launch_reap(pidfd);
}

void
csb_launch_reap(int *pidfd)
{
    /* ECHILD: the host ignores SIGCHLD, or reaped it: gone all the same. */
    while (waitid(P_PIDFD, (id_t)*pidfd, NULL, WEXITED | __WALL) < 0 &&
           errno == EINTR) {
    }
    csb_close(pidfd);
}

/* Lets the child go on, and waits until it is a program of its own. */
static int
await_exec(struct child *child, struct csb_report *ret_report)
{
    ssize_t wrote;
    do {
        wrote = write(child->go.write, "g", 1);
    } while (wrote < 0 && errno == EINTR);
    if (wrote < 0) {
        return fail(ret_report, CSB_STEP_ZYGOTE_FDS, -errno);
    }
    while (child->on_our_memory) {
        /* Not FUTEX_PRIVATE: the kernel's wake is not. */
        (void)syscall(SYS_futex, &child->on_our_memory, FUTEX_WAIT, 1, NULL);
    }
    if (child->report.step == CSB_STEP_NONE) {
        return 0;
    }
    *ret_report = child->report;
    return -child->report.err;
}

static int
bring_up(struct child *child, pid_t pid, struct csb_report *ret_report)
{
    if (child->launch->fault_step == CSB_STEP_UID_MAP) {
        return fail(ret_report, CSB_STEP_UID_MAP, -child->launch->fault_errno);
    }
    if (csb_launch_is_root() && !is_bare(child->launch)) {
        int result = map_ids(pid, 1);
        if (result < 0) {
            return fail(ret_report, CSB_STEP_UID_MAP, result);
        }
    }
    return await_exec(child, ret_report);
}

int
csb_launch_map_ids(pid_t pid, int forked)
{
    if (csb_launch_is_root()) {
        return forked ? map_ids(pid, 1) : 0;
    }
    return map_ids(pid, 0);
}

static int
start(struct child *child, struct csb_launched *ret_launched,
      struct csb_report *ret_report)
{
    struct csb_launched launched = {.pid = -1, .pidfd = -1, .lifeline = -1};
    char *stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        return fail(ret_report, CSB_STEP_NAMESPACES, -errno);
    }
    launched.pid = child->launch->fault_step == CSB_STEP_NAMESPACES
                       ? -child->launch->fault_errno
                       : clone_child(child, stack, &launched.pidfd);
    int result;
    if (launched.pid < 0) {
        result = fail(ret_report, CSB_STEP_NAMESPACES, launched.pid);
    } else {
        result = bring_up(child, launched.pid, ret_report);
        if (result < 0) {
            csb_launch_end(&launched.pidfd);
        }
    }
    /* The child has exec'd or is gone: nobody runs on it any more. */
    (void)munmap(stack, CHILD_STACK);
    if (result == 0) {
        launched.lifeline = child->lifeline; /* stolen */
        child->lifeline = -1;
        *ret_launched = launched;
    }
    return result;
}

int
csb_launch(const struct csb_launch *launch, struct csb_launched *ret_launched,
           struct csb_report *ret_report)
{
    struct child child = {
        .launch = launch,
        .null = -1,
        .self = -1,
        .lifeline = -1,
        .go = {-1, -1},
    };
    for (int i = 0; i < CSB_ZYGOTE_FDS; i++) {
        child.fds[i] = -1;
    }
    int result = launch->fault_step == CSB_STEP_HOST_FDS
                     ? -launch->fault_errno
                     : prepare_fds(launch, &child);
    if (result < 0) {
        (void)fail(ret_report, CSB_STEP_HOST_FDS, result);
    } else {
        result = start(&child, ret_launched, ret_report);
    }
    close_child_fds(&child);
    return result;
}
