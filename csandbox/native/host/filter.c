#define _GNU_SOURCE
#include "filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/denials.h"
#include "../common/fdio.h"
#include "../common/setup_calls.h"
#include "../common/store.h"
#include "syscalls.h"

/* libseccomp gives a call whose arguments match no rule the action of an
 * unknown call, and it cannot express "else EPERM".  So it decides only what
 * is allowed; where its program would return UNKNOWN, it jumps to a tail that
 * picks the errno by number.  The tail can only refuse. */
#define UNKNOWN SCMP_ACT_ERRNO(ENOSYS)
/* Stands for SECCOMP_RET_USER_NOTIF, which libseccomp knows only where the
 * kernel does. */
#define TOLD SCMP_ACT_ERRNO(4094)

struct program {
    struct sock_filter *code; /* room for BPF_MAXINSNS */
    unsigned length;
};

static void
release_context(scmp_filter_ctx *context)
{
    if (*context != NULL) {
        seccomp_release(*context);
    }
}

static void
free_program(struct program *program)
{
    free(program->code);
}

static uint32_t
action_of(enum csb_fate fate, int err)
{
    switch (fate) {
    case CSB_ALLOW:
        return SCMP_ACT_ALLOW;
    case CSB_ERRNO:
        return SCMP_ACT_ERRNO(err);
    case CSB_TRAP:
        return SCMP_ACT_TRAP;
    default:
        return SCMP_ACT_KILL_PROCESS;
    }
}

/* *ret_number is negative if this machine has no such call: an open, a fork
 * on aarch64.  A call to be allowed that libseccomp has never heard of is a
 * mistake in the table, -ENOENT; one to be denied needs no rule. */
static int
resolve(const struct csb_syscall_group *group,
        const struct csb_syscall_rule *rule, int *ret_number)
{
    int number = seccomp_syscall_resolve_name(rule->name);
    bool allows = rule->fate == CSB_ALLOW || rule->fate == CSB_NARROW;
    if (number == __NR_SCMP_ERROR && allows &&
        (group->flags & CSB_MAY_BE_MISSING) == 0) {
        return -ENOENT;
    }
    *ret_number = number;
    return 0;
}

static int
add_check(scmp_filter_ctx context, int number,
          const struct csb_arg_check *check)
{
    struct scmp_arg_cmp tests[CSB_TESTS_MAX];
    unsigned count = 0;
    while (count < CSB_TESTS_MAX && check->all[count].mask != 0) {
        const struct csb_arg_test *test = &check->all[count];
        tests[count++] = (struct scmp_arg_cmp){
            .arg = test->arg,
            .op = SCMP_CMP_MASKED_EQ,
            .datum_a = test->mask,
            .datum_b = test->value,
        };
    }
    return seccomp_rule_add_exact_array(
        context, action_of(check->fate, check->err), number, count, tests);
}

static int
add_checks(scmp_filter_ctx context, int number,
           const struct csb_syscall_rule *rule)
{
    for (const struct csb_arg_check *check = rule->checks;
         check->all[0].mask != 0; check++) {
        int result = add_check(context, number, check);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int
add_action(scmp_filter_ctx context, int number, uint32_t action)
{
    /* libseccomp refuses a rule that says what the default says. */
    return action == UNKNOWN ? 0
                             : seccomp_rule_add_exact_array(context, action,
                                                            number, 0, NULL);
}

/* --- the filter to which the host listens ---------------------------------
 */

/* A fork, and not a thread: the host decides.  (Flags that it may not have the
 * other filter refuses.)  In a register, no other thread can change them. */
static int
add_asked(scmp_filter_ctx context, int number,
          const struct csb_syscall_rule *rule)
{
    const struct scmp_arg_cmp is_process = {
        .arg = 0,
        .op = SCMP_CMP_MASKED_EQ,
        .datum_a = CLONE_THREAD,
        .datum_b = 0,
    };
    int is_clone = rule->fate == CSB_NARROW;
    return seccomp_rule_add_exact_array(context, TOLD, number,
                                        is_clone ? 1 : 0, &is_process);
}

static int
add_listened(scmp_filter_ctx context, int number,
             const struct csb_syscall_rule *rule, unsigned flags)
{
    if (csb_syscall_is_asked(rule->name, flags)) {
        return add_asked(context, number, rule);
    }
    if (!csb_syscall_is_told(rule)) {
        return 0;
    }
    return rule->fate == CSB_NARROW ? add_checks(context, number, rule)
                                    : add_action(context, number, TOLD);
}

/* Whether the tail tells of what add_checks() did not allow. */
static int
is_told_in_tail(const struct csb_syscall_rule *rule, unsigned flags)
{
    return rule->fate == CSB_NARROW && csb_syscall_is_told(rule) &&
           !csb_syscall_is_asked(rule->name, flags);
}

/* What asks the host why a call failed; see denials.h. */
static int
add_question(scmp_filter_ctx context, unsigned flags)
{
    const struct scmp_arg_cmp is_question = {
        .arg = 0,
        .op = SCMP_CMP_MASKED_EQ,
        .datum_a = UINT32_MAX,
        .datum_b = CSB_QUESTION,
    };
    uint32_t action = flags & CSB_FILTER_LISTENER ? TOLD : SCMP_ACT_ALLOW;
    return seccomp_rule_add_exact_array(context, action,
                                        seccomp_syscall_resolve_name("prctl"),
                                        1, &is_question);
}

/* --- rules of either ------------------------------------------------------
 */

/* Whether the filter lets all of these calls pass, as the listener's holds
 * up those that are denied. */
static int
is_left_to_listener(const struct csb_syscall_rule *rule, unsigned flags)
{
    return (flags & CSB_FILTER_NOTIFY) != 0 && csb_syscall_is_told(rule) &&
           !csb_syscall_is_asked(rule->name, flags);
}

/* Whether the filter says nothing of these calls, as that of the zygote, which
 * says the rest, has all to say. */
static bool
is_left_to_zygote(const struct csb_syscall_rule *rule, unsigned flags)
{
    static const char *const setup[] = {
#define X(name) #name,
        CSB_SETUP_CALLS(X)
#undef X
    };
    for (unsigned i = 0; i < CSB_SETUP_CALL_COUNT; i++) {
        if (strcmp(rule->name, setup[i]) == 0) {
            return false;
        }
    }
    return (flags & CSB_FILTER_OWN) != 0;
}

static int
add_rule(scmp_filter_ctx context, int number,
         const struct csb_syscall_rule *rule, unsigned flags)
{
    if (is_left_to_zygote(rule, flags) ||
        (flags & CSB_FILTER_OWN && rule->fate != CSB_NARROW)) {
        return 0; /* the latter stand in the tail */
    }
    if (flags & CSB_FILTER_LISTENER) {
        return add_listened(context, number, rule, flags);
    }
    if (is_left_to_listener(rule, flags)) {
        return add_action(context, number, SCMP_ACT_ALLOW);
    }
    return rule->fate == CSB_NARROW
               ? add_checks(context, number, rule)
               : add_action(context, number, action_of(rule->fate, rule->err));
}

static int
add_rules(scmp_filter_ctx context, unsigned flags)
{
    for (const struct csb_syscall_group *group = csb_syscall_groups;
         group->name != NULL; group++) {
        if (!csb_syscall_group_applies(group, flags)) {
            continue;
        }
        for (const struct csb_syscall_rule *rule = group->rules;
             rule->name != NULL; rule++) {
            const struct csb_syscall_rule own =
                csb_syscall_rule_for(flags, rule);
            int number;
            int result = resolve(group, &own, &number);
            if (result == 0 && number >= 0) {
                result = add_rule(context, number, &own, flags);
            }
            if (result < 0) {
                return result;
            }
        }
    }
    return 0;
}

/* Reads back what libseccomp exports, which goes to a descriptor only. */
static int
export_program(scmp_filter_ctx context, struct program *program)
{
    __attribute__((cleanup(csb_close))) int fd = -1;
    int result = csb_store_create("csandbox-filter", &fd);
    if (result < 0) {
        return result;
    }
    result = seccomp_export_bpf(context, fd);
    if (result < 0) {
        return result;
    }
    size_t room = BPF_MAXINSNS * sizeof *program->code;
    ssize_t got = pread(fd, program->code, room, 0);
    if (got < 0) {
        return -errno;
    }
    if (got == 0 || got % sizeof *program->code != 0) {
        return -EIO;
    }
    program->length = (unsigned)(got / sizeof *program->code);
    return 0;
}

static int
emit(struct program *program, struct sock_filter instruction)
{
    /* One program that fills all the room may have been cut short. */
    if (program->length >= BPF_MAXINSNS) {
        return -E2BIG;
    }
    program->code[program->length++] = instruction;
    return 0;
}

static void
redirect_unknown(struct program *program)
{
    for (unsigned at = 0; at < program->length; at++) {
        struct sock_filter *code = &program->code[at];
        if (code->code == (BPF_RET | BPF_K) && code->k == UNKNOWN) {
            /* Jumps count from the next instruction. */
            *code = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA,
                                                 program->length - at - 1);
        } else if (code->code == (BPF_RET | BPF_K) && code->k == TOLD) {
            code->k = SECCOMP_RET_USER_NOTIF;
        }
    }
}

static int
emit_answer(struct program *program, int number, uint32_t action)
{
    int result =
        emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                   (unsigned)number, 0, 1));
    if (result < 0) {
        return result;
    }
    return emit(program,
                (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* Of what no check has matched. */
static int
emit_rest(struct program *program, int number,
          const struct csb_syscall_rule *rule, unsigned flags)
{
    if (flags & CSB_FILTER_LISTENER) {
        return is_told_in_tail(rule, flags)
                   ? emit_answer(program, number, SECCOMP_RET_USER_NOTIF)
                   : 0;
    }
    if (is_left_to_listener(rule, flags) || is_left_to_zygote(rule, flags)) {
        return 0;
    }
    if (rule->fate != CSB_NARROW) {
        return emit_answer(program, number, action_of(rule->fate, rule->err));
    }
    return emit_answer(program, number,
                       rule->err == CSB_ELSE_TRAP ? SCMP_ACT_TRAP
                                                  : SCMP_ACT_ERRNO(rule->err));
}

static int
emit_tail(struct program *program, unsigned flags)
{
    int result =
        emit(program,
             (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                          offsetof(struct seccomp_data, nr)));
    for (const struct csb_syscall_group *group = csb_syscall_groups;
         group->name != NULL; group++) {
        if (!csb_syscall_group_applies(group, flags)) {
            continue;
        }
        for (const struct csb_syscall_rule *rule = group->rules;
             rule->name != NULL && result == 0; rule++) {
            const struct csb_syscall_rule own =
                csb_syscall_rule_for(flags, rule);
            int number = seccomp_syscall_resolve_name(own.name);
            if ((own.fate == CSB_NARROW || flags & CSB_FILTER_OWN) &&
                number >= 0) {
                result = emit_rest(program, number, &own, flags);
            }
        }
    }
    if (result < 0) {
        return result;
    }
    /* What the listener's does not hold up is the other's to decide, and what
     * is not of the set-up the zygote's. */
    uint32_t rest = flags & (CSB_FILTER_LISTENER | CSB_FILTER_OWN)
                        ? SCMP_ACT_ALLOW
                        : UNKNOWN;
    return emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, rest));
}

static int
fill_context(scmp_filter_ctx context, unsigned flags)
{
    /* x32 and int 0x80 number the calls otherwise: they die. */
    int result = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH,
                                  SCMP_ACT_KILL_PROCESS);
    if (result == 0) {
        /* 2: a binary tree, not a list. */
        result = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    if (result == 0) {
        result = add_rules(context, flags);
    }
    if (result == 0 && flags & (CSB_FILTER_NOTIFY | CSB_FILTER_LISTENER)) {
        result = add_question(context, flags);
    }
    return result;
}

int
csb_filter_compile(unsigned flags, struct sock_filter **ret_program,
                   unsigned short *ret_length)
{
    __attribute__((cleanup(release_context))) scmp_filter_ctx context =
        seccomp_init(UNKNOWN);
    __attribute__((cleanup(free_program))) struct program program = {
        .code = calloc(BPF_MAXINSNS, sizeof *program.code),
    };
    if (context == NULL || program.code == NULL) {
        return -ENOMEM;
    }
    int result = fill_context(context, flags);
    if (result == 0) {
        result = export_program(context, &program);
    }
    if (result < 0) {
        return result;
    }
    redirect_unknown(&program);
    result = emit_tail(&program, flags);
    if (result < 0) {
        return result;
    }
    *ret_program = program.code;
    program.code = NULL;
    *ret_length = (unsigned short)program.length;
    return 0;
}
