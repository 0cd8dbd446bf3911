/* The first steps of a zygote, before its view and its packages. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"

/* What a host ignored stays ignored over execve; Python ignores SIGPIPE and
 * SIGXFSZ itself, and its SIGINT handler is set in the guest. */
static int
reset_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (number == SIGPIPE || number == SIGXFSZ ||
            sigaction(number, NULL, &action) < 0) {
            continue; /* libc keeps some numbers for itself */
        }
        if (action.sa_handler == SIG_IGN &&
            signal(number, SIG_DFL) == SIG_ERR) {
            return -errno;
        }
    }
    sigset_t all;
    (void)sigfillset(&all);
    return sigprocmask(SIG_SETMASK, &all, NULL) < 0 ? -errno : 0;
}

/* The host's soft limit may be too low for many runs at once. */
static void
raise_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* then fewer runs fit */
    }
}

/* A host that runs ahead of others must not lend that to its guests.  To go
 * down is always allowed, so a failure means that it was down before. */
static void
lower_priority(void)
{
    const struct sched_param ordinary = {.sched_priority = 0};
    (void)sched_setscheduler(0, SCHED_OTHER, &ordinary);
    errno = 0;
    if (getpriority(PRIO_PROCESS, 0) < 0 && errno == 0) {
        (void)setpriority(PRIO_PROCESS, 0, 0);
    }
    (void)syscall(SYS_ioprio_set, 1 /* process */, 0, 0 /* by nice */);
}

/* An empty session keyring instead of the host's.  Where it is refused, the
 * filter alone keeps cells from the host's keys. */
static void
leave_keyring(void)
{
    (void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

static int
map_plan(const struct csb_plan **ret_plan)
{
    struct stat info;
    if (fstat(CSB_ZYGOTE_PLAN, &info) < 0) {
        return -errno;
    }
    size_t size = (size_t)info.st_size;
    void *plan = mmap(NULL, size, PROT_READ, MAP_PRIVATE, CSB_ZYGOTE_PLAN, 0);
    if (plan == MAP_FAILED) {
        return -errno;
    }
    int result = csb_plan_check(plan, size);
    if (result == 0) {
        *ret_plan = plan;
    }
    return result;
}

static int
open_own_files(struct csb_zygote *ret_zygote)
{
    sigset_t child;

    if (!csb_plan_is_bare(ret_zygote->plan)) {
        ret_zygote->self = (int)syscall(SYS_pidfd_open, getpid(), 0);
        if (ret_zygote->self < 0) {
            return -errno;
        }
    }
    ret_zygote->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    ret_zygote->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    ret_zygote->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (ret_zygote->proc < 0 || ret_zygote->statm < 0 ||
        ret_zygote->signals < 0) {
        return -errno; /* of the last that failed; the process ends */
    }
    return 0;
}

int
csb_boot(struct csb_zygote *ret_zygote, struct csb_report *ret_report)
{
    enum csb_step step = CSB_STEP_BOOT;
    (void)umask(022); /* the host's may refuse it its own directories */
    int result = reset_signals();
    if (result == 0) {
        raise_nofile();
        leave_keyring();
        lower_priority();
        step = CSB_STEP_PLAN;
        result = map_plan(&ret_zygote->plan);
    }
    if (result == 0) {
        result = csb_plan_fault(ret_zygote->plan, CSB_STEP_PLAN);
    }
    if (result == 0) {
        step = CSB_STEP_BOOT;
        result = csb_plan_fault(ret_zygote->plan, CSB_STEP_BOOT);
    }
    if (result == 0) {
        result = open_own_files(ret_zygote);
    }
    if (result == 0) {
        result = csb_receipt_begin(ret_zygote->proc, &ret_zygote->receipt);
    }
    if (result < 0) {
        csb_report_fill(step, -result, 0, NULL, ret_report);
    }
    return result;
}

static void
on_alarm(int number)
{
    struct pollfd host = {.fd = CSB_ZYGOTE_HOST, .events = POLLIN};
    int saved = errno;

    (void)number;
    if (poll(&host, 1, 0) > 0) {
        _exit(0);
    }
    errno = saved;
}

void
csb_boot_watch_host(int on)
{
    const struct itimerval every = {{on, 0}, {on, 0}};
    const struct sigaction action = {
        .sa_handler = on ? on_alarm : SIG_DFL,
        .sa_flags = SA_RESTART,
    };
    sigset_t alarm;

    (void)sigemptyset(&alarm);
    (void)sigaddset(&alarm, SIGALRM);
    /* None of these fails with valid arguments. */
    (void)sigprocmask(on ? SIG_UNBLOCK : SIG_BLOCK, &alarm, NULL);
    (void)setitimer(ITIMER_REAL, &every, NULL);
    (void)sigaction(SIGALRM, &action, NULL);
}
