/* How the tables of system calls are written. */
#ifndef CSB_SYSCALL_RULES_H
#define CSB_SYSCALL_RULES_H

#include <stdint.h>

#include "syscalls.h"

#define ALLOW(name) {name, CSB_ALLOW, 0, NULL}
#define DENY(name, err) {name, CSB_ERRNO, err, NULL}
#define KILL(name) {name, CSB_KILL, 0, NULL}
#define NARROW(name, checks, err) {name, CSB_NARROW, err, checks}
#define END {NULL, CSB_ALLOW, 0, NULL}

/* The kernel reads most arguments as 32-bit integers and drops the rest of
 * the register, so a test of all 64 bits could be passed by a number that
 * the kernel takes for another: tests look at what the kernel looks at. */
#define INT_IS(arg, value) {arg, UINT32_MAX, (uint32_t)(value)}
#define INT_BITS(arg, mask, value) {arg, (uint32_t)(mask), (uint32_t)(value)}
#define POINTER_IS_NULL(arg) {arg, UINT64_MAX, 0}

#define ALLOW_IF(...) {{__VA_ARGS__}, CSB_ALLOW, 0}
#define ERRNO_IF(err, ...) {{__VA_ARGS__}, CSB_ERRNO, err}
#define END_CHECKS {{{0, 0, 0}}, CSB_ALLOW, 0}

/* Of the second argument: the low four bits are the type. */
#define UNIX_STREAM                                                           \
    ALLOW_IF(INT_IS(0, AF_UNIX), INT_BITS(1, 0xf, SOCK_STREAM), INT_IS(2, 0))

/* A thread and nothing else, as every libc makes it: one that had a table of
 * descriptors of its own would multiply what RLIMIT_NOFILE bounds.  The
 * kernel takes the low 32 bits; CLONE_NEWTIME is not a flag here, its bit is
 * part of the exit signal. */
#define THREAD                                                                \
    (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_FILES | CLONE_FS |       \
     CLONE_SYSVSEM)
#define NO_CHILD_OF_OURS                                                      \
    (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |              \
     CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_PTRACE |           \
     CLONE_UNTRACED | CLONE_PARENT | CLONE_PIDFD)
#define CLONE_A_THREAD                                                        \
    ALLOW_IF(INT_BITS(0, THREAD | NO_CHILD_OF_OURS | CLONE_VFORK, THREAD))

#define FUTEX_EITHER(op)                                                      \
    ALLOW_IF(INT_BITS(1, ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME), op))

/* The rules of a run that may have several processes, in the place of those
 * for one that may not. */
extern const struct csb_syscall_rule csb_syscalls_of_several[];

#endif
