/* The system calls that a zygote makes for its cells, or a cell for itself,
 * and a guest may not make, or not in that way.  All stand in the tables. */
#ifndef CSB_SETUP_CALLS_H
#define CSB_SETUP_CALLS_H

#define CSB_SETUP_CALLS(X)                                                    \
    X(capset)                                                                 \
    X(clone)                                                                  \
    X(fsconfig)                                                               \
    X(fsmount)                                                                \
    X(fsopen)                                                                 \
    X(io_uring_register)                                                      \
    X(io_uring_setup)                                                         \
    X(kill)                                                                   \
    X(landlock_add_rule)                                                      \
    X(landlock_create_ruleset)                                                \
    X(landlock_restrict_self)                                                 \
    X(madvise)                                                                \
    X(move_mount)                                                             \
    X(open_tree)                                                              \
    X(pidfd_open)                                                             \
    X(prctl)                                                                  \
    X(prlimit64)                                                              \
    X(recvmsg)                                                                \
    X(seccomp)                                                                \
    X(sendmsg)                                                                \
    X(setns)                                                                  \
    X(shutdown)                                                               \
    X(unshare)

#define CSB_COUNT_SETUP_CALL(name) +1
#define CSB_SETUP_CALL_COUNT (0 CSB_SETUP_CALLS(CSB_COUNT_SETUP_CALL))

#endif
