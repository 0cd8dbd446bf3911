/* What the guest may ask of the kernel when it may have several processes: to
 * make them, to signal and wait for them, and to talk to them.  They are all
 * in PID, network and IPC namespaces of the run's own, and so meet no other.
 */
#define _GNU_SOURCE
#include "syscall_rules.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <stddef.h>
#include <sys/socket.h>

#include "../common/missing.h"

/* A thread; a child on memory of its own; one on its parent's, which waits. */
static const struct csb_arg_check clone_any[] = {
    CLONE_A_THREAD,
    ALLOW_IF(INT_BITS(0, CLONE_THREAD | CLONE_VM | NO_CHILD_OF_OURS, 0)),
    ALLOW_IF(INT_BITS(0,
                      CLONE_THREAD | CLONE_VM | CLONE_VFORK | NO_CHILD_OF_OURS,
                      CLONE_VM | CLONE_VFORK)),
    END_CHECKS,
};

/* Semaphores of multiprocessing lie in shared memory: waking must be allowed
 * there too.  As one run can then wake another by a file of the shared view,
 * two that both may have processes can signal each other. */
static const struct csb_arg_check futex_shared[] = {
    FUTEX_EITHER(FUTEX_WAIT),        FUTEX_EITHER(FUTEX_WAIT_BITSET),
    FUTEX_EITHER(FUTEX_WAKE),        FUTEX_EITHER(FUTEX_WAKE_BITSET),
    FUTEX_EITHER(FUTEX_WAKE_OP),     FUTEX_EITHER(FUTEX_REQUEUE),
    FUTEX_EITHER(FUTEX_CMP_REQUEUE), END_CHECKS,
};

/* Record locks, which several processes may need: in the shared view they are
 * one more way to signal. */
static const struct csb_arg_check fcntl_with_locks[] = {
    ALLOW_IF(INT_IS(1, F_DUPFD)),
    ALLOW_IF(INT_IS(1, F_DUPFD_CLOEXEC)),
    ALLOW_IF(INT_IS(1, F_GETFD)),
    ALLOW_IF(INT_IS(1, F_SETFD)),
    ALLOW_IF(INT_IS(1, F_GETFL)),
    ALLOW_IF(INT_IS(1, F_SETFL)),
    ALLOW_IF(INT_IS(1, F_GETLK)),
    ALLOW_IF(INT_IS(1, F_GETPIPE_SZ)),
    ALLOW_IF(INT_IS(1, F_SETLK)),
    ALLOW_IF(INT_IS(1, F_SETLKW)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_GETLK)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_SETLK)),
    ERRNO_IF(ENOLCK, INT_IS(1, F_OFD_SETLKW)),
    END_CHECKS,
};

/* Its own: that of another could be lowered as well. */
static const struct csb_arg_check own_limits[] = {
    ALLOW_IF(INT_IS(0, 0)),
    END_CHECKS,
};

#ifdef ARCH_SET_FS
/* As a program begins, its loader sets the register of thread-local data. */
static const struct csb_arg_check thread_register[] = {
    ALLOW_IF(INT_IS(0, ARCH_SET_FS)),
    ALLOW_IF(INT_IS(0, ARCH_GET_FS)),
    END_CHECKS,
};
#endif

static const struct csb_arg_check unix_stream[] = {
    UNIX_STREAM,
    END_CHECKS,
};

static const struct csb_arg_check in_band[] = {
    ALLOW_IF(INT_BITS(2, MSG_OOB, 0)),
    END_CHECKS,
};

const struct csb_syscall_rule csb_syscalls_of_several[] = {
    NARROW("clone", clone_any, EPERM),
    ALLOW("fork"),
    ALLOW("vfork"),
    ALLOW("execve"),
    ALLOW("execveat"),
#ifdef ARCH_SET_FS
    NARROW("arch_prctl", thread_register, EPERM),
#endif
    NARROW("futex", futex_shared, ENOSYS),
    NARROW("fcntl", fcntl_with_locks, EPERM),
    NARROW("prlimit64", own_limits, EPERM),
    /* multiprocessing looks for room in /dev/shm before it shares a value.
     * There is no telling it from the host's disk. */
    ALLOW("statfs"),
    ALLOW("fstatfs"),
    /* Any process that has a number here is of this run. */
    ALLOW("kill"),
    ALLOW("tgkill"),
    ALLOW("tkill"),
    ALLOW("rt_sigqueueinfo"),
    ALLOW("rt_tgsigqueueinfo"),
    ALLOW("pidfd_open"),
    ALLOW("pidfd_send_signal"),
    /* Managers, listeners and the fork server of multiprocessing. */
    NARROW("socket", unix_stream, EACCES),
    ALLOW("bind"),
    ALLOW("connect"),
    ALLOW("listen"),
    ALLOW("accept"),
    ALLOW("accept4"),
    NARROW("sendmsg", in_band, EOPNOTSUPP),
    NARROW("recvmsg", in_band, EOPNOTSUPP),
    END,
};
