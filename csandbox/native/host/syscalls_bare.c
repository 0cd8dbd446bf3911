/* What differs for a guest without namespaces: whose paths are the host's, and
 * who lies among the host's processes.
 *
 * Landlock decides what may be opened, made and renamed, but lets anybody ask
 * for the size of a file or change its mode.  So calls with paths are trapped
 * and emulated (cell/emulate.c) by the few that Landlock looks at.  These are
 * told by a mark in an argument that they do not have.  The mark is no secret
 * and no privilege: what it lets through is safe whoever makes it. */
#define _GNU_SOURCE
#include "syscall_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../common/mark.h"
#include "../common/plan.h"

#define TRAP(name) {name, CSB_TRAP, 0, NULL}
#define ELSE_TRAP(name, checks) {name, CSB_NARROW, CSB_ELSE_TRAP, checks}
#define MARKED {CSB_MARK_ARG, UINT64_MAX, CSB_MARK}
#define TMPFILE (O_TMPFILE & ~O_DIRECTORY)

/* O_PATH is not looked at by Landlock at all, and O_TRUNC without writing not
 * before its third version.  A file without a name would escape the count. */
#define OPEN_FLAGS(mask, value)                                               \
    ALLOW_IF(MARKED, INT_BITS(2, O_PATH | TMPFILE | (mask), value))
static const struct csb_arg_check marked_open[] = {
    OPEN_FLAGS(O_TRUNC, 0),
    OPEN_FLAGS(O_TRUNC | O_ACCMODE, O_TRUNC | O_WRONLY),
    OPEN_FLAGS(O_TRUNC | O_ACCMODE, O_TRUNC | O_RDWR),
    END_CHECKS,
};

static const struct csb_arg_check marked[] = {
    ALLOW_IF(MARKED),
    END_CHECKS,
};

static const struct csb_arg_check marked_fifo[] = {
    ALLOW_IF(MARKED, INT_BITS(2, S_IFMT, S_IFIFO)),
    END_CHECKS,
};

/* Of directories only: a file that is unlinked while it is open would not be
 * counted any more. */
static const struct csb_arg_check marked_rmdir[] = {
    ALLOW_IF(MARKED, INT_IS(2, AT_REMOVEDIR)),
    END_CHECKS,
};

/* For the same reason a name that is taken stays. */
static const struct csb_arg_check marked_rename[] = {
    ALLOW_IF(MARKED, INT_IS(4, RENAME_NOREPLACE)),
    ALLOW_IF(MARKED, INT_IS(4, RENAME_EXCHANGE)),
    END_CHECKS,
};

/* CPU clocks of other processes are negative numbers; that of process 0 is
 * one's own. */
#define CLOCKS(arg)                                                           \
    ALLOW_IF(INT_BITS(arg, 0x80000000u, 0)), ALLOW_IF(INT_BITS(arg, ~7u, ~7u))
static const struct csb_arg_check own_clocks[] = {CLOCKS(0), END_CHECKS};

static const struct csb_arg_check first_is_own[] = {
    ALLOW_IF(INT_IS(0, 0)),
    ALLOW_IF(INT_IS(0, CSB_PID_PLACEHOLDER)),
    END_CHECKS,
};

static const struct csb_arg_check first_is_own_pid[] = {
    ALLOW_IF(INT_IS(0, CSB_PID_PLACEHOLDER)),
    END_CHECKS,
};

static const struct csb_arg_check own_priority[] = {
    ALLOW_IF(INT_IS(0, PRIO_PROCESS), INT_IS(1, 0)),
    ALLOW_IF(INT_IS(0, PRIO_PROCESS), INT_IS(1, CSB_PID_PLACEHOLDER)),
    END_CHECKS,
};

/* F_GETLK would tell who else has a lock: emulated. */
static const struct csb_arg_check fcntl_commands[] = {
    ALLOW_IF(INT_IS(1, F_DUPFD)),
    ALLOW_IF(INT_IS(1, F_DUPFD_CLOEXEC)),
    ALLOW_IF(INT_IS(1, F_GETFD)),
    ALLOW_IF(INT_IS(1, F_SETFD)),
    ALLOW_IF(INT_IS(1, F_GETFL)),
    ALLOW_IF(INT_IS(1, F_SETFL)),
    ALLOW_IF(INT_IS(1, F_GETPIPE_SZ)),
    ERRNO_IF(0, INT_IS(1, F_SETLK)),
    ERRNO_IF(0, INT_IS(1, F_SETLKW)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_GETLK)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_SETLK)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_SETLKW)),
    END_CHECKS,
};

/* All but SIGSYS, told by its lowest bit that is not set; that one stays the
 * emulation's, and a program that has handlers for all signals need not
 * know. */
#define LOWEST_UNSET(bit)                                                     \
    ALLOW_IF(INT_BITS(0, (2u << (bit)) - 1, (1u << (bit)) - 1))
_Static_assert(SIGSYS == 31, "five bits, all of them set");
static const struct csb_arg_check other_signals[] = {
    LOWEST_UNSET(0), LOWEST_UNSET(1), LOWEST_UNSET(2),
    LOWEST_UNSET(3), LOWEST_UNSET(4), ALLOW_IF(INT_BITS(0, 63, 63)),
    END_CHECKS,
};

static const struct csb_syscall_rule rules[] = {
    TRAP("open"),
    ELSE_TRAP("openat", marked_open),
    TRAP("creat"),
    TRAP("stat"),
    TRAP("lstat"),
    TRAP("newfstatat"),
    DENY("statx", ENOSYS), /* libc falls back */
    TRAP("access"),
    TRAP("faccessat"),
    TRAP("faccessat2"),
    TRAP("readlink"),
    TRAP("readlinkat"),
    ELSE_TRAP("getcwd", marked),
    TRAP("chdir"),
    TRAP("mkdir"),
    ELSE_TRAP("mkdirat", marked),
    TRAP("rmdir"),
    TRAP("unlink"),
    ELSE_TRAP("unlinkat", marked_rmdir),
    TRAP("rename"),
    TRAP("renameat"),
    ELSE_TRAP("renameat2", marked_rename),
    DENY("link", EPERM), /* as on a FAT */
    DENY("linkat", EPERM),
    DENY("symlink", EPERM),
    DENY("symlinkat", EPERM),
    TRAP("mknod"),
    ELSE_TRAP("mknodat", marked_fifo),
    TRAP("chmod"),
    /* It takes the host's disk faster than anybody can look. */
    TRAP("fallocate"),
    DENY("fchmod", 0), /* 0, "done": it may be a file of the view */
    TRAP("fchmodat"),
    DENY("chown", EPERM),
    DENY("fchown", EPERM),
    DENY("lchown", EPERM),
    DENY("fchownat", EPERM),
    TRAP("utime"),
    TRAP("utimes"),
    TRAP("futimesat"),
    TRAP("utimensat"),
    TRAP("truncate"),
    ELSE_TRAP("fcntl", fcntl_commands),
    NARROW("rt_sigaction", other_signals, 0),
    TRAP("rt_sigprocmask"), /* a SIGSYS that is blocked kills */
    TRAP("uname"),          /* the host's name */
    DENY("getppid", 0),
    NARROW("getpgid", first_is_own, ESRCH),
    NARROW("getsid", first_is_own, ESRCH),
    NARROW("setpgid", first_is_own, ESRCH),
    NARROW("sched_getaffinity", first_is_own, ESRCH),
    NARROW("sched_getparam", first_is_own, ESRCH),
    NARROW("sched_getscheduler", first_is_own, ESRCH),
    NARROW("sched_rr_get_interval", first_is_own, ESRCH),
    NARROW("getpriority", own_priority, ESRCH),
    NARROW("prlimit64", first_is_own, EPERM),
    NARROW("kill", first_is_own, EPERM),
    NARROW("tgkill", first_is_own_pid, EPERM),
    NARROW("clock_gettime", own_clocks, EINVAL),
    NARROW("clock_getres", own_clocks, EINVAL),
    NARROW("clock_nanosleep", own_clocks, EINVAL),
    NARROW("timer_create", own_clocks, EINVAL),
    DENY("capget", EPERM), /* of any process */
    END,
};

/* Of a run that may only compute: no path, no number of a process. */
static bool
goes_with_computing(const char *name)
{
    return strcmp(name, "tgkill") == 0 || strcmp(name, "clock_gettime") == 0 ||
           strcmp(name, "clock_nanosleep") == 0;
}

const struct csb_syscall_rule *
csb_syscalls_bare_find(unsigned filter, const char *name)
{
    for (const struct csb_syscall_rule *rule = rules; rule->name != NULL;
         rule++) {
        if (strcmp(rule->name, name) == 0) {
            return filter & CSB_FILTER_COMPUTE && !goes_with_computing(name)
                       ? NULL
                       : rule;
        }
    }
    return NULL;
}
