/* What the guest may ask of the kernel when it may only compute: what is in
 * memory, the streams it began with, and the time.  All that is not here and
 * that other guests may do answers EPERM; what they may not either is
 * answered as for them.
 *
 * The set was measured: it is what the standard library's pure modules, numpy
 * and pandas ask for once they are imported, less what they do without.  What
 * glibc reads from the vDSO (the clock of most machines, the processor's
 * number) asks for nothing. */
#define _GNU_SOURCE
#include "syscall_rules.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "../common/plan.h"

/* Never executable, and mprotect is refused: no byte that the guest wrote
 * becomes an instruction.  No file but the store of its inputs is at hand. */
static const struct csb_arg_check mmap_of_data[] = {
    ALLOW_IF(INT_BITS(2, PROT_EXEC, 0),
             INT_BITS(3, MAP_SHARED | MAP_HUGETLB, 0)),
    END_CHECKS,
};

/* numpy asks for huge pages, malloc() gives pages back. */
static const struct csb_arg_check madvise_of_allocators[] = {
    ALLOW_IF(INT_IS(2, MADV_DONTNEED)),
    ALLOW_IF(INT_IS(2, MADV_HUGEPAGE)),
    END_CHECKS,
};

/* A lock with a timeout waits, even where nobody could let it go. */
#define PRIVATELY(op)                                                         \
    ALLOW_IF(INT_BITS(1, ~FUTEX_CLOCK_REALTIME, (op) | FUTEX_PRIVATE_FLAG))
static const struct csb_arg_check futex_of_locks[] = {
    PRIVATELY(FUTEX_WAIT),
    PRIVATELY(FUTEX_WAKE),
    PRIVATELY(FUTEX_WAIT_BITSET),
    PRIVATELY(FUTEX_WAKE_BITSET),
    END_CHECKS,
};

/* The negative ones are those of other processes, or of descriptors. */
static const struct csb_arg_check clocks[] = {
    ALLOW_IF(INT_BITS(0, 1u << 31, 0)),
    END_CHECKS,
};

/* raise() and abort(). */
static const struct csb_arg_check tgkill_self[] = {
    ALLOW_IF(INT_IS(0, CSB_GUEST_PID)),
    END_CHECKS,
};

static const struct csb_syscall_rule rules[] = {
    ALLOW("read"),  /* stdin, the job */
    ALLOW("write"), /* stdout, stderr, the result and its store */
    ALLOW("close"), /* of inputs that are mapped, and of the receipt's file */
    ALLOW("exit_group"),
    ALLOW("brk"), /* malloc(), from here on */
    NARROW("mmap", mmap_of_data, EPERM),
    ALLOW("munmap"),
    ALLOW("mremap"), /* lists that grow: a copy else */
    NARROW("madvise", madvise_of_allocators, EINVAL),
    NARROW("clock_gettime", clocks, EINVAL),   /* of processor time */
    NARROW("clock_nanosleep", clocks, EINVAL), /* time.sleep() */
    ALLOW("getrandom"), /* os.urandom(), seeds, uuid4() */
    NARROW("futex", futex_of_locks, ENOSYS),
    ALLOW("rt_sigaction"), /* signal.signal(), which the guest's side uses */
    ALLOW("rt_sigreturn"), /* out of its handlers */
    ALLOW("rt_sigprocmask"),
    ALLOW("restart_syscall"), /* a sleep goes on after SIGSTOP */
    NARROW("tgkill", tgkill_self, EPERM),
    ALLOW("getpid"), /* raise(), as the next; and log records */
    ALLOW("gettid"),
    /* What makes a stream asks these, and takes "a pipe" for an answer. */
    DENY("ioctl", ENOTTY),
    DENY("lseek", ESPIPE),
    END,
};

struct csb_syscall_rule
csb_syscall_rule_for(unsigned filter, const struct csb_syscall_rule *rule)
{
    const struct csb_syscall_rule *bare =
        filter & CSB_FILTER_SHARED_PIDS
            ? csb_syscalls_bare_find(filter, rule->name)
            : NULL;
    if (bare != NULL) {
        return *bare;
    }
    if ((filter & CSB_FILTER_COMPUTE) == 0) {
        return *rule;
    }
    for (const struct csb_syscall_rule *own = rules; own->name != NULL;
         own++) {
        if (strcmp(own->name, rule->name) == 0) {
            return *own;
        }
    }
    if (rule->fate == CSB_ALLOW || rule->fate == CSB_NARROW ||
        (rule->fate == CSB_ERRNO && rule->err == 0)) {
        return (struct csb_syscall_rule)DENY(rule->name, EPERM);
    }
    return *rule;
}
