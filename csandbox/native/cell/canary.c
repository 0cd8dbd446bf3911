/* Canaries: forbidden things tried by the cell on itself before READY.  What
 * is tested is the outcome, whichever mechanism brings it about. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "../common/fdio.h"

/* Microseconds.  The second is for a signal that comes before its call, and
 * longer than the slowest machine takes to handle one. */
#define SOON 20
#define AGAIN 2000

static bool
opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    bool opened = fd >= 0;
    csb_close(&fd);
    return opened;
}

static bool
host_file_refused(void)
{
    return !opens("/etc/passwd", O_RDONLY) && !opens("/proc", O_RDONLY) &&
           !opens("/sys", O_RDONLY);
}

static bool
write_refused(void)
{
    return !opens("/canary", O_WRONLY | O_CREAT | O_EXCL);
}

/* Landlock alone would let it ask. */
static bool
host_is_hidden(void)
{
    struct stat info;
    return stat("/etc/passwd", &info) < 0 && stat("/proc/1", &info) < 0 &&
           access("/etc/passwd", F_OK) < 0 && !opens("/etc", O_PATH);
}

static bool
holds_no_capability(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct held[2];
    if (syscall(SYS_capget, &header, held) < 0) {
        return false;
    }
    return (held[0].effective | held[0].permitted | held[0].inheritable |
            held[1].effective | held[1].permitted | held[1].inheritable) == 0;
}

static bool
has_no_capability(void)
{
    return holds_no_capability() &&
           prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0;
}

static void
interrupt_soon(void)
{
    struct itimerval timer;

    if (getitimer(ITIMER_REAL, &timer) == 0 && timer.it_interval.tv_usec > 0) {
        timer.it_value.tv_usec = SOON;
        (void)setitimer(ITIMER_REAL, &timer, NULL);
    }
}

/* A call that would not have waited was stopped by a filter if it failed with
 * this errno, or while it was the host's to answer. */
static bool
stopped(long result, int expected)
{
    return result == -1 && (errno == expected || errno == EINTR);
}

static bool
filter_answers(void)
{
    /* With a bit that only a filter of 64 bits would look at. */
    long family = (1L << 32) | AF_INET;
    interrupt_soon();
    if (!stopped(syscall(SYS_socket, family, SOCK_STREAM, 0), EACCES)) {
        return false;
    }
    interrupt_soon();
    return stopped(unshare(CLONE_NEWUSER), EPERM) &&
           prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2;
}

/* Where the host listens, the calls above are stopped by the filter that it
 * listens to: this one is the other's to stop.  It asks, and changes nothing;
 * without a filter it cannot fail. */
static bool
other_filter_answers(void)
{
    return syscall(SYS_personality, 0xffffffffl) == -1;
}

static bool
init_is_out_of_reach(void)
{
    interrupt_soon();
    return stopped(kill(1, 0), EPERM);
}

static bool
has_no_new_privs(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
           prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
}

static bool
computing_filter_answers(void)
{
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    return mmap(NULL, 1, PROT_READ | PROT_EXEC, anonymous, -1, 0) ==
               MAP_FAILED &&
           errno == EPERM && mprotect(NULL, 1, PROT_READ) == -1 &&
           errno == EPERM && dup(STDIN_FILENO) == -1 && errno == EPERM &&
           unshare(CLONE_NEWUSER) == -1 && errno == EPERM &&
           syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) == -1 &&
           errno == EACCES;
}

static void
interrupt(int signal)
{
    (void)signal;
}

/* A cell that is armed ahead has no host that looks at it, and answers: its
 * calls wait until a signal comes. */
static int
start_interrupting(struct sigaction *ret_old)
{
    const struct sigaction action = {.sa_handler = interrupt};
    const struct timeval period = {.tv_usec = AGAIN};
    const struct itimerval timer = {period, period};

    return sigaction(SIGALRM, &action, ret_old) < 0
               ? -1
               : setitimer(ITIMER_REAL, &timer, NULL);
}

static int
stop_interrupting(const struct sigaction *old)
{
    const struct itimerval none = {{0, 0}, {0, 0}};

    return setitimer(ITIMER_REAL, &none, NULL) < 0
               ? -1
               : sigaction(SIGALRM, old, NULL);
}

static unsigned
try_all(const struct csb_cell *cell, int early)
{
    const int compute = (int)cell->plan->compute;
    const int bare = csb_plan_is_bare(cell->plan);
    const struct {
        uint32_t mechanisms; /* tried when the plan has any of them */
        int asks;            /* by calls that a filter for computing refuses */
        bool (*refused)(void);
    } canaries[] = {
        {bare ? CSB_MECH_ALL : CSB_MECH_VIEW, 0, host_file_refused},
        {bare ? CSB_MECH_ALL : CSB_MECH_VIEW, 0, write_refused},
        {CSB_MECH_USERNS, 1, has_no_capability},
        {CSB_MECH_SECCOMP, 0,
         compute ? computing_filter_answers : filter_answers},
        {CSB_MECH_ALL, 1, has_no_new_privs},
        /* One of several may signal the others, and the init, which is
         * immune. */
        {cell->plan->several ? 0 : CSB_MECH_SECCOMP, 0, init_is_out_of_reach},
        {bare ? CSB_MECH_ALL : 0, 0, host_is_hidden},
        {bare ? CSB_MECH_ALL : 0, 1, holds_no_capability},
        {*cell->listened ? CSB_MECH_SECCOMP : 0, 0, other_filter_answers},
    };
    for (unsigned i = 0; i < sizeof canaries / sizeof *canaries; i++) {
        if ((cell->plan->mechanisms & canaries[i].mechanisms) != 0 &&
            ((compute || bare) && canaries[i].asks) == early &&
            !canaries[i].refused()) {
            return i + 1;
        }
    }
    return 0;
}

unsigned
csb_canary_try(const struct csb_cell *cell, int early)
{
    const bool waits = *cell->listened && !early && !cell->plan->compute &&
                       !csb_plan_is_bare(cell->plan);
    struct sigaction old;

    if (waits && start_interrupting(&old) < 0) {
        return CSB_CANARY_TIMER;
    }
    unsigned first = try_all(cell, early);
    if (first == 0 && waits && stop_interrupting(&old) < 0) {
        return CSB_CANARY_TIMER;
    }
    return first;
}
