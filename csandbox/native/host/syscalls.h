/* What the guest may ask of the kernel: one decided fate for every system
 * call, as data.  filter.c compiles it; tests walk it.  A call that is not
 * in the table answers ENOSYS, as on a kernel that does not have it. */
#ifndef CSB_SYSCALLS_H
#define CSB_SYSCALLS_H

#include <stdbool.h>
#include <stdint.h>

#define CSB_TESTS_MAX 3

enum csb_fate {
    CSB_ALLOW,
    CSB_ERRNO,  /* answers err without being executed */
    CSB_KILL,   /* SIGSYS for the whole process */
    CSB_TRAP,   /* SIGSYS for the thread, which emulates it */
    CSB_NARROW, /* by its arguments: the check that matches, else err */
};

/* Holds if (argument & mask) == value. */
struct csb_arg_test {
    unsigned arg;   /* 0 to 5 */
    uint64_t mask;  /* 0: end of the tests */
    uint64_t value; /* no bits outside mask */
};

/* Matches if all its tests hold, each on another argument.  The checks of
 * one rule exclude each other, so their order means nothing. */
struct csb_arg_check {
    struct csb_arg_test all[CSB_TESTS_MAX]; /* no test: end of the checks */
    enum csb_fate fate;                     /* CSB_ALLOW or CSB_ERRNO */
    int err;                                /* with CSB_ERRNO; may be 0 */
};

struct csb_syscall_rule {
    const char *name; /* NULL: end of the rules */
    enum csb_fate fate;
    int err; /* CSB_ERRNO, CSB_NARROW: errno, or CSB_ELSE_TRAP; else 0 */
    const struct csb_arg_check *checks; /* CSB_NARROW, else NULL */
};

/* In the place of an errno of CSB_NARROW: trapped. */
#define CSB_ELSE_TRAP (-1)

enum csb_group_flag {
    CSB_MAY_BE_MISSING = 1, /* an old libseccomp need not know the names */
    CSB_IF_ALONE = 2,       /* of runs that may have but one process */
    CSB_IF_SEVERAL = 4,     /* ... that may have more */
};

struct csb_syscall_group {
    const char *name; /* NULL: end of the groups */
    const char *help; /* one line */
    const struct csb_syscall_rule *rules;
    unsigned flags; /* enum csb_group_flag */
};

/* What a filter is for. */
enum csb_filter_flag {
    CSB_FILTER_SEVERAL = 1,     /* runs that may have several processes */
    CSB_FILTER_COMPUTE = 2,     /* runs that may only compute */
    CSB_FILTER_NOTIFY = 4,      /* the host listens to what is denied: the
                                   filter that lets that pass */
    CSB_FILTER_LISTENER = 16,   /* ... and that which holds it up */
    CSB_FILTER_OWN = 32,        /* ... what a cell needs of the former, if its
                                   zygote has let it pass setup_calls.h */
    CSB_FILTER_SHARED_PIDS = 8, /* there is no PID namespace of the run's */
};

static inline bool
csb_syscall_group_applies(const struct csb_syscall_group *group,
                          unsigned filter)
{
    return (group->flags &
            (filter & CSB_FILTER_SEVERAL ? CSB_IF_ALONE : CSB_IF_SEVERAL)) ==
           0;
}

extern const struct csb_syscall_group csb_syscall_groups[];

/* Finds the rule for a call under a filter; false if there is none. */
bool csb_syscall_find(const char *name, unsigned filter,
                      struct csb_syscall_rule *ret_rule);

/* Whether the host decides each call of this name: a fork. */
bool csb_syscall_is_asked(const char *name, unsigned filter);

/* Whether the host is told of denied calls of this rule. */
bool csb_syscall_is_told(const struct csb_syscall_rule *rule);

/* "allow", "errno", "kill", "narrow"; indexed by enum csb_fate. */
/* What becomes of a rule of those groups in such a filter. */
struct csb_syscall_rule
csb_syscall_rule_for(unsigned filter, const struct csb_syscall_rule *rule);

/* What such a call becomes without namespaces; NULL: what it is. */
const struct csb_syscall_rule *csb_syscalls_bare_find(unsigned filter,
                                                      const char *name);

/* "allow", "errno", "kill", "trap", "narrow"; indexed by enum csb_fate. */
extern const char *const csb_fate_names[];

#endif
