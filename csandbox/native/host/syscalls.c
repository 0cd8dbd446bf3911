#define _GNU_SOURCE
#include "syscalls.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../common/missing.h"
#include "../common/plan.h"
#include "syscall_rules.h"

const char *const csb_fate_names[] = {
    [CSB_ALLOW] = "allow", [CSB_ERRNO] = "errno",   [CSB_KILL] = "kill",
    [CSB_TRAP] = "trap",   [CSB_NARROW] = "narrow",
};

/* No RWF_NOWAIT: it tells whether a page of a file that other runs share is
 * in the cache, which is why mincore is refused too. */
static const struct csb_arg_check preadv2_flags[] = {
    ALLOW_IF(INT_IS(5, 0)),
    END_CHECKS,
};

static const struct csb_arg_check pwritev2_flags[] = {
    ALLOW_IF(INT_BITS(5, ~(RWF_DSYNC | RWF_SYNC | RWF_APPEND), 0)),
    END_CHECKS,
};

static const struct csb_syscall_rule io[] = {
    ALLOW("read"),
    ALLOW("write"),
    ALLOW("readv"),
    ALLOW("writev"),
    ALLOW("pread64"),
    ALLOW("pwrite64"),
    ALLOW("preadv"),
    ALLOW("pwritev"),
    NARROW("preadv2", preadv2_flags, EOPNOTSUPP),
    NARROW("pwritev2", pwritev2_flags, EOPNOTSUPP),
    ALLOW("lseek"),
    ALLOW("close"),
    ALLOW("dup"),
    ALLOW("dup2"),
    ALLOW("dup3"),
    ALLOW("pipe"),
    ALLOW("pipe2"),
    /* ENOTSOCK, not ENOSYS: "these two cannot" is the one answer on which
     * both shutil and pathlib (3.14) copy by read and write instead. */
    DENY("sendfile", ENOTSOCK),
    /* EXDEV for the same reason. */
    DENY("copy_file_range", EXDEV),
    DENY("splice", EPERM),
    DENY("tee", EPERM),
    DENY("vmsplice", EPERM),
    /* Asynchronous I/O acts where this filter cannot see it. */
    DENY("io_setup", ENOSYS),
    DENY("io_destroy", ENOSYS),
    DENY("io_submit", ENOSYS),
    DENY("io_cancel", ENOSYS),
    DENY("io_getevents", ENOSYS),
    DENY("io_pgetevents", ENOSYS),
    DENY("io_uring_setup", ENOSYS),
    DENY("io_uring_enter", ENOSYS),
    DENY("io_uring_register", ENOSYS),
    END,
};

static const struct csb_syscall_rule waiting[] = {
    ALLOW("poll"),
    ALLOW("ppoll"),
    ALLOW("select"),
    ALLOW("pselect6"),
    ALLOW("epoll_create"),
    ALLOW("epoll_create1"),
    ALLOW("epoll_ctl"),
    ALLOW("epoll_wait"),
    ALLOW("epoll_pwait"),
    ALLOW("eventfd"),
    ALLOW("eventfd2"),
    ALLOW("timerfd_create"),
    ALLOW("timerfd_settime"),
    ALLOW("timerfd_gettime"),
    ALLOW("signalfd"),
    ALLOW("signalfd4"),
    END,
};

/* Callers of these fall back when they answer ENOSYS. */
static const struct csb_syscall_rule recent[] = {
    ALLOW("close_range"),
    ALLOW("epoll_pwait2"),
    ALLOW("faccessat2"),
    END,
};

/* The view has no device nodes to make and no files of the host to change;
 * a FIFO is only a name for a pipe. */
static const struct csb_arg_check mknod_fifo[] = {
    ALLOW_IF(INT_BITS(1, S_IFMT, S_IFIFO)),
    END_CHECKS,
};

static const struct csb_arg_check mknodat_fifo[] = {
    ALLOW_IF(INT_BITS(2, S_IFMT, S_IFIFO)),
    END_CHECKS,
};

static const struct csb_syscall_rule files[] = {
    ALLOW("open"),
    ALLOW("openat"),
    ALLOW("creat"),
    /* Its flags are in memory, out of the filter's sight. */
    DENY("openat2", ENOSYS),
    ALLOW("stat"),
    ALLOW("fstat"),
    ALLOW("lstat"),
    ALLOW("newfstatat"),
    ALLOW("statx"),
    ALLOW("access"),
    ALLOW("faccessat"),
    ALLOW("readlink"),
    ALLOW("readlinkat"),
    ALLOW("getcwd"),
    ALLOW("chdir"),
    ALLOW("fchdir"),
    ALLOW("getdents"),
    ALLOW("getdents64"),
    ALLOW("mkdir"),
    ALLOW("mkdirat"),
    ALLOW("rmdir"),
    ALLOW("unlink"),
    ALLOW("unlinkat"),
    ALLOW("rename"),
    ALLOW("renameat"),
    ALLOW("renameat2"),
    ALLOW("link"),
    ALLOW("linkat"),
    ALLOW("symlink"),
    ALLOW("symlinkat"),
    NARROW("mknod", mknod_fifo, EPERM),
    NARROW("mknodat", mknodat_fifo, EPERM),
    ALLOW("chmod"),
    ALLOW("fchmod"),
    ALLOW("fchmodat"),
    ALLOW("chown"),
    ALLOW("fchown"),
    ALLOW("lchown"),
    ALLOW("fchownat"),
    ALLOW("utime"),
    ALLOW("utimes"),
    ALLOW("futimesat"),
    ALLOW("utimensat"),
    ALLOW("umask"),
    ALLOW("truncate"),
    ALLOW("ftruncate"),
    ALLOW("fallocate"),
    /* 0, "done": only memory can be written to, and on a file of the view
     * it would flush the host's disk. */
    DENY("fsync", 0),
    DENY("fdatasync", 0),
    DENY("sync", EPERM),
    DENY("syncfs", EPERM),
    DENY("sync_file_range", EPERM),
    DENY("sync_file_range2", EPERM),
    DENY("fadvise64", ENOSYS),
    DENY("readahead", ENOSYS),
    DENY("ustat", EACCES),
    DENY("sysfs", EPERM),
    /* Activity on the shared files would be a channel between runs. */
    DENY("inotify_init", ENOSYS),
    DENY("inotify_init1", ENOSYS),
    DENY("inotify_add_watch", ENOSYS),
    DENY("inotify_rm_watch", ENOSYS),
    DENY("fanotify_init", ENOSYS),
    DENY("fanotify_mark", ENOSYS),
    /* File handles reach past the view. */
    DENY("name_to_handle_at", EPERM),
    DENY("open_by_handle_at", EPERM),
    DENY("lookup_dcookie", EPERM),
    END,
};

/* As on a file system without extended attributes, which copying tools
 * take in their stride. */
static const struct csb_syscall_rule xattrs[] = {
    DENY("getxattr", EOPNOTSUPP),
    DENY("lgetxattr", EOPNOTSUPP),
    DENY("fgetxattr", EOPNOTSUPP),
    DENY("listxattr", EOPNOTSUPP),
    DENY("llistxattr", EOPNOTSUPP),
    DENY("flistxattr", EOPNOTSUPP),
    DENY("setxattr", EOPNOTSUPP),
    DENY("lsetxattr", EOPNOTSUPP),
    DENY("fsetxattr", EOPNOTSUPP),
    DENY("removexattr", EOPNOTSUPP),
    DENY("lremovexattr", EOPNOTSUPP),
    DENY("fremovexattr", EOPNOTSUPP),
    END,
};

/* A classic POSIX lock never conflicts with its own process, so for the one
 * process there is, "granted" is the true answer of F_SETLK; a real lock on
 * a file of the shared view would be a channel between runs.  F_GETLK must
 * run: its answer is in memory.  The locks that do conflict inside one
 * process (F_OFD_*, flock) cannot be had. */
static const struct csb_arg_check fcntl_commands[] = {
    ALLOW_IF(INT_IS(1, F_DUPFD)),
    ALLOW_IF(INT_IS(1, F_DUPFD_CLOEXEC)),
    ALLOW_IF(INT_IS(1, F_GETFD)),
    ALLOW_IF(INT_IS(1, F_SETFD)),
    ALLOW_IF(INT_IS(1, F_GETFL)),
    ALLOW_IF(INT_IS(1, F_SETFL)),
    ALLOW_IF(INT_IS(1, F_GETLK)),
    ALLOW_IF(INT_IS(1, F_GETPIPE_SZ)),
    ERRNO_IF(0, INT_IS(1, F_SETLK)),
    ERRNO_IF(0, INT_IS(1, F_SETLKW)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_GETLK)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_SETLK)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_SETLKW)),
    END_CHECKS,
};

/* Programs probe with ioctl ("is this a terminal?"), so all the rest
 * answers ENOTTY: "not a device that can".  That covers TIOCSTI and
 * TIOCLINUX, which would type into a terminal the host lent us.  pathlib
 * (3.14) probes for reflinks and takes EOPNOTSUPP for no, ENOTTY for a
 * failure. */
static const struct csb_arg_check ioctl_commands[] = {
    ALLOW_IF(INT_IS(1, TCGETS)),
    ALLOW_IF(INT_IS(1, TCGETS2)),
    ALLOW_IF(INT_IS(1, TIOCGWINSZ)),
    ALLOW_IF(INT_IS(1, FIONREAD)),
    ALLOW_IF(INT_IS(1, FIONBIO)),
    ALLOW_IF(INT_IS(1, FIOCLEX)),
    ALLOW_IF(INT_IS(1, FIONCLEX)),
    ERRNO_IF(EOPNOTSUPP, INT_IS(1, FICLONE)),
    ERRNO_IF(EOPNOTSUPP, INT_IS(1, FICLONERANGE)),
    END_CHECKS,
};

static const struct csb_syscall_rule descriptors[] = {
    NARROW("ioctl", ioctl_commands, ENOTTY),
    DENY("flock", ENOLCK),
    END,
};

/* Advice about the guest's own pages.  MADV_FREE and the rest change what
 * it sees; HWPOISON, MERGEABLE (a side channel), COLD and PAGEOUT change
 * what others see. */
static const struct csb_arg_check madvise_advice[] = {
    ALLOW_IF(INT_IS(2, MADV_NORMAL)),
    ALLOW_IF(INT_IS(2, MADV_RANDOM)),
    ALLOW_IF(INT_IS(2, MADV_SEQUENTIAL)),
    ALLOW_IF(INT_IS(2, MADV_WILLNEED)),
    ALLOW_IF(INT_IS(2, MADV_DONTNEED)),
    ALLOW_IF(INT_IS(2, MADV_FREE)),
    ALLOW_IF(INT_IS(2, MADV_HUGEPAGE)),
    ALLOW_IF(INT_IS(2, MADV_NOHUGEPAGE)),
    ALLOW_IF(INT_IS(2, MADV_DONTFORK)),
    ALLOW_IF(INT_IS(2, MADV_DOFORK)),
    ALLOW_IF(INT_IS(2, MADV_DONTDUMP)),
    ALLOW_IF(INT_IS(2, MADV_DODUMP)),
    END_CHECKS,
};

/* Huge pages are a stock that the host has set aside.  Anonymous memory that
 * is shared is a file without a name or an owner: its pages stay as long as
 * one of them is mapped somewhere, and no limit counts those that are not. */
static const struct csb_arg_check mmap_flags[] = {
    ALLOW_IF(INT_BITS(3, MAP_HUGETLB | MAP_ANONYMOUS, 0)),
    ALLOW_IF(
        INT_BITS(3, MAP_HUGETLB | MAP_ANONYMOUS | MAP_SHARED, MAP_ANONYMOUS)),
    END_CHECKS,
};

static const struct csb_syscall_rule memory[] = {
    NARROW("mmap", mmap_flags, ENOMEM),
    ALLOW("munmap"),
    ALLOW("mprotect"), /* also to PROT_EXEC: ctypes callbacks, JITs */
    ALLOW("mremap"),
    ALLOW("brk"),
    DENY("msync", 0), /* like fsync */
    NARROW("madvise", madvise_advice, EINVAL),
    DENY("mincore", ENOSYS),
    DENY("memfd_create", ENOSYS),
    DENY("memfd_secret", ENOSYS),
    DENY("userfaultfd", ENOSYS),
    DENY("remap_file_pages", ENOSYS),
    DENY("pkey_mprotect", ENOSYS),
    DENY("pkey_alloc", ENOSYS),
    DENY("pkey_free", ENOSYS),
    DENY("mlock", EPERM),
    DENY("mlock2", EPERM),
    DENY("munlock", EPERM),
    DENY("mlockall", EPERM),
    DENY("munlockall", EPERM),
    DENY("mbind", EPERM),
    DENY("get_mempolicy", EPERM),
    DENY("set_mempolicy", EPERM),
    DENY("set_mempolicy_home_node", EPERM),
    DENY("migrate_pages", EPERM),
    DENY("move_pages", EPERM),
    END,
};

static const struct csb_arg_check clone_thread[] = {
    CLONE_A_THREAD,
    END_CHECKS,
};

/* No priority inheritance: kernel code with a history, and unused here.
 *
 * A futex that is not private is found by the file behind its page: on a
 * file of the shared view, one run could wake another.  Waiting must be
 * allowed, as pthread_join() waits so for the kernel's own wake; waking must
 * not, and libc ignores EINVAL.  (With /dev/shm absent, nothing in libc has
 * a reason to wake so.) */
#define FUTEX_PRIVATE(op)                                                     \
    ALLOW_IF(INT_BITS(1, ~FUTEX_CLOCK_REALTIME, (op) | FUTEX_PRIVATE_FLAG)),  \
        ERRNO_IF(EINVAL, INT_BITS(1, ~FUTEX_CLOCK_REALTIME, op))
static const struct csb_arg_check futex_operations[] = {
    FUTEX_EITHER(FUTEX_WAIT),         FUTEX_EITHER(FUTEX_WAIT_BITSET),
    FUTEX_PRIVATE(FUTEX_WAKE),        FUTEX_PRIVATE(FUTEX_WAKE_BITSET),
    FUTEX_PRIVATE(FUTEX_WAKE_OP),     FUTEX_PRIVATE(FUTEX_REQUEUE),
    FUTEX_PRIVATE(FUTEX_CMP_REQUEUE), END_CHECKS,
};

/* Barriers for one's own threads; the global ones interrupt every processor
 * of the machine. */
static const struct csb_arg_check membarrier_commands[] = {
    ALLOW_IF(INT_IS(0, MEMBARRIER_CMD_QUERY)),
    ALLOW_IF(INT_IS(0, MEMBARRIER_CMD_PRIVATE_EXPEDITED)),
    ALLOW_IF(INT_IS(0, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)),
    END_CHECKS,
};

static const struct csb_syscall_rule threads[] = {
    /* ENOSYS makes libc fall back to clone, whose flags can be read. */
    DENY("clone3", ENOSYS),
    DENY("futex_waitv", ENOSYS),
    ALLOW("set_robust_list"),
    DENY("get_robust_list", EPERM),
    ALLOW("rseq"),
    ALLOW("set_tid_address"),
    NARROW("membarrier", membarrier_commands, EPERM),
    ALLOW("getcpu"),
    ALLOW("gettid"),
    ALLOW("exit"),
    END,
};

static const struct csb_syscall_rule scheduling[] = {
    ALLOW("sched_yield"),
    ALLOW("sched_getaffinity"),
    ALLOW("sched_getparam"),
    ALLOW("sched_getscheduler"),
    ALLOW("sched_get_priority_max"),
    ALLOW("sched_get_priority_min"),
    ALLOW("sched_rr_get_interval"),
    ALLOW("getpriority"),
    DENY("sched_setaffinity", EPERM),
    DENY("sched_setparam", EPERM),
    DENY("sched_setscheduler", EPERM),
    DENY("sched_setattr", EPERM),
    DENY("sched_getattr", EPERM),
    DENY("setpriority", EPERM),
    DENY("ioprio_set", EPERM),
    DENY("ioprio_get", EPERM),
    END,
};

static const struct csb_syscall_rule time_and_chance[] = {
    ALLOW("clock_gettime"),
    ALLOW("clock_getres"),
    ALLOW("clock_nanosleep"),
    ALLOW("nanosleep"),
    ALLOW("gettimeofday"),
    ALLOW("time"),
    ALLOW("times"),
    ALLOW("alarm"),
    ALLOW("getitimer"),
    ALLOW("setitimer"),
    ALLOW("timer_create"),
    ALLOW("timer_settime"),
    ALLOW("timer_gettime"),
    ALLOW("timer_getoverrun"),
    ALLOW("timer_delete"),
    ALLOW("getrandom"),
    DENY("clock_settime", EPERM),
    DENY("clock_adjtime", EPERM),
    DENY("adjtimex", EPERM),
    DENY("settimeofday", EPERM),
    END,
};

static const struct csb_arg_check own_pid_limits[] = {
    ALLOW_IF(INT_IS(0, 0)),
    ALLOW_IF(INT_IS(0, CSB_GUEST_PID)),
    END_CHECKS,
};

/* PR_SET_VMA names memory for /proc/self/maps; allocators use it.  A name of
 * the process (threads have themselves named) would stand in the host's ps
 * and kernel log: 0, "done". */
static const struct csb_arg_check prctl_options[] = {
    ERRNO_IF(0, INT_IS(0, PR_SET_NAME)),
    ALLOW_IF(INT_IS(0, PR_GET_NAME)),
    ALLOW_IF(INT_IS(0, PR_GET_DUMPABLE)),
    ALLOW_IF(INT_IS(0, PR_GET_SECCOMP)),
    ALLOW_IF(INT_IS(0, PR_GET_NO_NEW_PRIVS)),
    ALLOW_IF(INT_IS(0, PR_CAPBSET_READ)),
    ALLOW_IF(INT_IS(0, PR_SET_VMA)),
    END_CHECKS,
};

static const struct csb_syscall_rule process[] = {
    ALLOW("exit_group"),
    ALLOW("wait4"), /* there is no child: the honest answer is ECHILD */
    ALLOW("waitid"),
    ALLOW("getpid"),
    ALLOW("getppid"),
    ALLOW("getpgrp"),
    ALLOW("getpgid"),
    ALLOW("setpgid"),
    ALLOW("getsid"),
    ALLOW("setsid"),
    ALLOW("uname"),
    ALLOW("getrusage"),
    ALLOW("getrlimit"),
    ALLOW("setrlimit"), /* down only: raising takes a capability */
    NARROW("prctl", prctl_options, EPERM),
    DENY("personality", EPERM),
    DENY("sysinfo", EPERM), /* the host's memory and load */
    DENY("seccomp", EPERM),
    DENY("landlock_create_ruleset", ENOSYS),
    DENY("landlock_add_rule", ENOSYS),
    DENY("landlock_restrict_self", ENOSYS),
    END,
};

/* kill(0) signals the caller's process group, across PID namespaces: the
 * cell must have a session of its own before the filter. */
static const struct csb_arg_check kill_self[] = {
    ALLOW_IF(INT_IS(0, CSB_GUEST_PID)),
    ALLOW_IF(INT_IS(0, 0)),
    END_CHECKS,
};

static const struct csb_arg_check tgkill_self[] = {
    ALLOW_IF(INT_IS(0, CSB_GUEST_PID)),
    END_CHECKS,
};

static const struct csb_syscall_rule signals[] = {
    ALLOW("rt_sigaction"),
    ALLOW("rt_sigprocmask"),
    ALLOW("rt_sigreturn"),
    ALLOW("rt_sigpending"),
    ALLOW("rt_sigtimedwait"),
    ALLOW("rt_sigsuspend"),
    ALLOW("sigaltstack"),
    ALLOW("pause"),
    ALLOW("restart_syscall"),
    DENY("pidfd_getfd", EPERM),
    END,
};

static const struct csb_syscall_rule identity[] = {
    ALLOW("getuid"),          ALLOW("geteuid"),
    ALLOW("getgid"),          ALLOW("getegid"),
    ALLOW("getresuid"),       ALLOW("getresgid"),
    DENY("getgroups", 0), /* 0, "there are none": those are the host's */
    ALLOW("capget"),          DENY("capset", EPERM),
    DENY("setuid", EPERM),    DENY("setgid", EPERM),
    DENY("setreuid", EPERM),  DENY("setregid", EPERM),
    DENY("setresuid", EPERM), DENY("setresgid", EPERM),
    DENY("setfsuid", EPERM),  DENY("setfsgid", EPERM),
    DENY("setgroups", EPERM), END,
};

/* A stream pair, for the self-pipe of asyncio. */
static const struct csb_arg_check unix_stream[] = {
    UNIX_STREAM,
    END_CHECKS,
};

/* send() is sendto() without an address.  All 64 bits of the pointer.  No
 * out-of-band data: kernel code with a history (CVE-2025-38236). */
static const struct csb_arg_check no_destination[] = {
    ALLOW_IF(INT_BITS(3, MSG_OOB, 0), POINTER_IS_NULL(4)),
    END_CHECKS,
};

static const struct csb_arg_check in_band[] = {
    ALLOW_IF(INT_BITS(3, MSG_OOB, 0)),
    END_CHECKS,
};

/* What programs ask of any socket.  The rest loads BPF into the kernel, or
 * tells of the host: groups, processes, network namespaces. */
#define SOCKET_OPTION(name) ALLOW_IF(INT_IS(1, SOL_SOCKET), INT_IS(2, name))
/* 0, "done", for the size of its buffers: they are the kernel's memory, which
 * no limit of the run counts. */
#define SOCKET_BUFFER(name) ERRNO_IF(0, INT_IS(1, SOL_SOCKET), INT_IS(2, name))
static const struct csb_arg_check set_options[] = {
    SOCKET_OPTION(SO_REUSEADDR), SOCKET_OPTION(SO_KEEPALIVE),
    SOCKET_OPTION(SO_LINGER),    SOCKET_BUFFER(SO_SNDBUF),
    SOCKET_BUFFER(SO_RCVBUF),    SOCKET_OPTION(SO_SNDTIMEO),
    SOCKET_OPTION(SO_RCVTIMEO),  END_CHECKS,
};

static const struct csb_arg_check get_options[] = {
    SOCKET_OPTION(SO_REUSEADDR),
    SOCKET_OPTION(SO_KEEPALIVE),
    SOCKET_OPTION(SO_LINGER),
    SOCKET_OPTION(SO_SNDBUF),
    SOCKET_OPTION(SO_RCVBUF),
    SOCKET_OPTION(SO_SNDTIMEO),
    SOCKET_OPTION(SO_RCVTIMEO),
    SOCKET_OPTION(SO_TYPE),
    SOCKET_OPTION(SO_DOMAIN),
    SOCKET_OPTION(SO_PROTOCOL),
    SOCKET_OPTION(SO_ERROR),
    SOCKET_OPTION(SO_ACCEPTCONN),
    END_CHECKS,
};

static const struct csb_syscall_rule sockets[] = {
    NARROW("socketpair", unix_stream, EACCES),
    NARROW("sendto", no_destination, EACCES),
    NARROW("recvfrom", in_band, EOPNOTSUPP),
    DENY("sendmmsg", EPERM),
    DENY("recvmmsg", EPERM),
    ALLOW("shutdown"),
    ALLOW("getsockname"),
    ALLOW("getpeername"),
    NARROW("getsockopt", get_options, ENOPROTOOPT),
    NARROW("setsockopt", set_options, ENOPROTOOPT),
    END,
};

/* What differs when a run may have several processes. */
static const struct csb_syscall_rule alone[] = {
    NARROW("clone", clone_thread, EPERM),
    DENY("fork", EPERM),
    DENY("vfork", EPERM),
    DENY("execve", EPERM),
    DENY("execveat", EPERM),
    DENY("arch_prctl", EPERM),
    NARROW("futex", futex_operations, ENOSYS),
    NARROW("fcntl", fcntl_commands, EPERM),
    NARROW("prlimit64", own_pid_limits, EPERM),
    /* The size of the host's disk, and how full it is. */
    DENY("statfs", EACCES),
    DENY("fstatfs", EACCES),
    NARROW("kill", kill_self, EPERM),
    NARROW("tgkill", tgkill_self, EPERM),
    DENY("tkill", EPERM),
    DENY("rt_sigqueueinfo", EPERM),
    DENY("rt_tgsigqueueinfo", EPERM),
    DENY("pidfd_open", EPERM),
    DENY("pidfd_send_signal", EPERM),
    DENY("socket", EACCES),
    DENY("bind", EACCES),
    DENY("connect", EACCES),
    DENY("listen", EACCES),
    DENY("accept", EACCES),
    DENY("accept4", EACCES),
    DENY("sendmsg", EPERM), /* could carry descriptors */
    DENY("recvmsg", EPERM),
    END,
};

static const struct csb_syscall_rule ipc[] = {
    DENY("shmget", ENOSYS),
    DENY("shmat", ENOSYS),
    DENY("shmdt", ENOSYS),
    DENY("shmctl", ENOSYS),
    DENY("semget", ENOSYS),
    DENY("semop", ENOSYS),
    DENY("semtimedop", ENOSYS),
    DENY("semctl", ENOSYS),
    DENY("msgget", ENOSYS),
    DENY("msgsnd", ENOSYS),
    DENY("msgrcv", ENOSYS),
    DENY("msgctl", ENOSYS),
    DENY("mq_open", ENOSYS),
    DENY("mq_unlink", ENOSYS),
    DENY("mq_timedsend", ENOSYS),
    DENY("mq_timedreceive", ENOSYS),
    DENY("mq_notify", ENOSYS),
    DENY("mq_getsetattr", ENOSYS),
    END,
};

/* Libraries try some of these and go on without; hence not KILL. */
static const struct csb_syscall_rule others[] = {
    DENY("ptrace", EPERM),
    DENY("process_vm_readv", EPERM),
    DENY("process_vm_writev", EPERM),
    DENY("process_madvise", EPERM),
    DENY("process_mrelease", EPERM),
    DENY("kcmp", EPERM),
    DENY("perf_event_open", EPERM),
    DENY("bpf", EPERM),
    DENY("keyctl", EPERM),
    DENY("add_key", EPERM),
    DENY("request_key", EPERM),
    DENY("unshare", EPERM),
    DENY("setns", EPERM),
    DENY("mount", EPERM),
    DENY("umount2", EPERM),
    DENY("pivot_root", EPERM),
    DENY("chroot", EPERM),
    DENY("fsopen", EPERM),
    DENY("fsconfig", EPERM),
    DENY("fsmount", EPERM),
    DENY("fspick", EPERM),
    DENY("mount_setattr", EPERM),
    DENY("open_tree", EPERM),
    DENY("move_mount", EPERM),
    DENY("sethostname", EPERM),
    DENY("setdomainname", EPERM),
    DENY("syslog", EPERM),
    DENY("vhangup", EPERM),
    END,
};

/* The machine itself: no honest program tries. */
static const struct csb_syscall_rule machine[] = {
    KILL("modify_ldt"),
    KILL("iopl"),
    KILL("ioperm"),
    KILL("kexec_load"),
    KILL("kexec_file_load"),
    KILL("create_module"),
    KILL("init_module"),
    KILL("finit_module"),
    KILL("delete_module"),
    KILL("query_module"),
    KILL("get_kernel_syms"),
    KILL("reboot"),
    KILL("swapon"),
    KILL("swapoff"),
    KILL("acct"),
    KILL("quotactl"),
    KILL("quotactl_fd"),
    KILL("nfsservctl"),
    KILL("uselib"),
    END,
};

/* Numbers without a system call behind them. */
static const struct csb_syscall_rule vacant[] = {
    DENY("_sysctl", ENOSYS),         DENY("getpmsg", ENOSYS),
    DENY("putpmsg", ENOSYS),         DENY("afs_syscall", ENOSYS),
    DENY("tuxcall", ENOSYS),         DENY("security", ENOSYS),
    DENY("vserver", ENOSYS),         DENY("epoll_ctl_old", ENOSYS),
    DENY("epoll_wait_old", ENOSYS),  DENY("set_thread_area", ENOSYS),
    DENY("get_thread_area", ENOSYS), END,
};

/* Newer than the libseccomp of most hosts, which would answer the same. */
static const struct csb_syscall_rule newer[] = {
    DENY("cachestat", ENOSYS), /* mincore, for files */
    DENY("fchmodat2", ENOSYS), /* libc falls back */
    DENY("map_shadow_stack", ENOSYS),
    DENY("futex_wake", ENOSYS),
    DENY("futex_wait", ENOSYS),
    DENY("futex_requeue", ENOSYS),
    DENY("statmount", ENOSYS),
    DENY("listmount", ENOSYS),
    DENY("lsm_get_self_attr", ENOSYS),
    DENY("lsm_set_self_attr", ENOSYS),
    DENY("lsm_list_modules", ENOSYS),
    DENY("mseal", ENOSYS),
    DENY("setxattrat", ENOSYS),
    DENY("getxattrat", ENOSYS),
    DENY("listxattrat", ENOSYS),
    DENY("removexattrat", ENOSYS),
    DENY("open_tree_attr", ENOSYS),
    DENY("file_getattr", ENOSYS),
    DENY("file_setattr", ENOSYS),
    DENY("listns", ENOSYS),
    /* Past every filter since Linux 6.14, and harmless: a probe that is not
     * there answers SIGILL or ENXIO. */
    DENY("uretprobe", ENOSYS),
    DENY("uprobe", ENOSYS),
    END,
};

const struct csb_syscall_group csb_syscall_groups[] = {
    {"io", "reading and writing descriptors", io, 0},
    {"waiting", "waiting on descriptors", waiting, 0},
    {"recent", "allowed, with a fallback", recent, CSB_MAY_BE_MISSING},
    {"files", "paths and files of the private view", files, 0},
    {"xattrs", "extended attributes", xattrs, 0},
    {"descriptors", "commands on descriptors, locks", descriptors, 0},
    {"memory", "the guest's own memory", memory, 0},
    {"threads", "threads and their locks", threads, 0},
    {"scheduling", "reading how we are scheduled", scheduling, 0},
    {"time", "clocks, timers, randomness", time_and_chance, 0},
    {"process", "the process itself", process, 0},
    {"signals", "receiving signals", signals, 0},
    {"identity", "reading who we are", identity, 0},
    {"sockets", "a socket pair and no network", sockets, 0},
    {"alone", "threads and signals of one process", alone, CSB_IF_ALONE},
    {"several", "processes of the run, and what they share",
     csb_syscalls_of_several, CSB_IF_SEVERAL},
    {"ipc", "System V and POSIX queues", ipc, 0},
    {"others", "other processes, namespaces, mounts", others, 0},
    {"machine", "the machine itself", machine, 0},
    {"vacant", "numbers without a call", vacant, 0},
    {"newer", "calls of later kernels", newer, CSB_MAY_BE_MISSING},
    {NULL, NULL, NULL, 0},
};
