/* From the table of calls to a program: a binary tree over their numbers, and
 * at each the checks of its arguments.  libseccomp knows the numbers, but its
 * own compiler takes 8 ms for the three filters of a plan, and cannot say
 * what becomes of a call whose arguments match no check. */
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

#include "../common/denials.h"
#include "../common/setup_calls.h"
#include "syscalls.h"

#define CALLS_MAX 512

/* Calls of x32 have this bit; but -1 is what a tracer makes of a call. */
#define X32_BIT 0x40000000u
#define NO_CALL 0xFFFFFFFFu

/* What becomes of a call, or of all from this number to the next one's. */
struct call {
    unsigned number;
    int asks; /* the question of denials.h is such a call */
    const struct csb_arg_check *checks; /* or NULL */
    uint32_t rest;                      /* the action if none matches */
};

struct calls {
    struct call call[CALLS_MAX];
    unsigned count;
    /* The same by ranges, with what lies between them. */
    struct call range[2 * CALLS_MAX + 1];
    unsigned range_count;
};

struct program {
    struct sock_filter *code; /* room for BPF_MAXINSNS */
    unsigned length;
    int full; /* it would have been longer */
};

static uint32_t
action_of(enum csb_fate fate, int err)
{
    switch (fate) {
    case CSB_ALLOW:
        return SECCOMP_RET_ALLOW;
    case CSB_ERRNO:
        return SECCOMP_RET_ERRNO | ((unsigned)err & SECCOMP_RET_DATA);
    case CSB_TRAP:
        return SECCOMP_RET_TRAP;
    default:
        return SECCOMP_RET_KILL_PROCESS;
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

/* Whether the filter lets all of these calls pass, as the listener's holds
 * up those that are denied. */
static int
is_left_to_listener(const struct csb_syscall_rule *rule, unsigned flags)
{
    return (flags & CSB_FILTER_NOTIFY) != 0 && csb_syscall_is_told(rule) &&
           !csb_syscall_is_asked(rule->name, flags);
}

/* Whether the filter says nothing of these calls, as that of the zygote says
 * all that there is to say. */
static int
is_left_to_zygote(const struct csb_syscall_rule *rule, unsigned flags)
{
    static const char *const setup[] = {
#define X(name) #name,
        CSB_SETUP_CALLS(X)
#undef X
    };
    for (unsigned i = 0; i < CSB_SETUP_CALL_COUNT; i++) {
        if (strcmp(rule->name, setup[i]) == 0) {
            return 0;
        }
    }
    return (flags & CSB_FILTER_OWN) != 0;
}

/* --- what becomes of each call -------------------------------------------
 */

/* A fork, and not a thread: the host decides.  (Flags that it may not have the
 * other filter refuses.)  In a register, no other thread can change them. */
static const struct csb_arg_check is_process[] = {
    {{{0, CLONE_THREAD, 0}}, CSB_ERRNO, EPERM}, /* told, see below */
    {{{0, 0, 0}}, 0, 0},
};

static void
decide_listened(const struct csb_syscall_rule *rule, unsigned flags,
                struct call *ret_call)
{
    if (csb_syscall_is_asked(rule->name, flags)) {
        if (rule->fate == CSB_NARROW) { /* clone */
            ret_call->checks = is_process;
            ret_call->rest = SECCOMP_RET_ALLOW;
        } else {
            ret_call->rest = SECCOMP_RET_USER_NOTIF;
        }
    } else if (csb_syscall_is_told(rule)) {
        ret_call->checks = rule->checks;
        ret_call->rest = SECCOMP_RET_USER_NOTIF;
    } else {
        /* What this one does not hold up is the other's to decide. */
        ret_call->rest = SECCOMP_RET_ALLOW;
    }
}

static void
decide(const struct csb_syscall_rule *rule, unsigned flags,
       struct call *ret_call)
{
    /* Where each prctl() is denied, so is the question. */
    ret_call->asks =
        (flags & CSB_FILTER_LISTENER ||
         (flags & CSB_FILTER_NOTIFY && rule->fate == CSB_NARROW)) &&
        strcmp(rule->name, "prctl") == 0;
    ret_call->checks = NULL;
    if (flags & CSB_FILTER_LISTENER) {
        decide_listened(rule, flags, ret_call);
    } else if (is_left_to_listener(rule, flags)) {
        ret_call->rest = SECCOMP_RET_ALLOW;
    } else if (rule->fate != CSB_NARROW) {
        ret_call->rest = action_of(rule->fate, rule->err);
    } else {
        ret_call->checks = rule->checks;
        ret_call->rest = rule->err == CSB_ELSE_TRAP
                             ? action_of(CSB_TRAP, 0)
                             : action_of(CSB_ERRNO, rule->err);
    }
}

static int
add_group(const struct csb_syscall_group *group, unsigned flags,
          struct calls *calls)
{
    for (const struct csb_syscall_rule *rule = group->rules;
         rule->name != NULL; rule++) {
        const struct csb_syscall_rule own = csb_syscall_rule_for(flags, rule);
        int number;
        int result = resolve(group, &own, &number);
        if (result < 0) {
            return result;
        }
        if (number < 0 || is_left_to_zygote(&own, flags)) {
            continue;
        }
        if (calls->count == CALLS_MAX) {
            return -E2BIG;
        }
        struct call *call = &calls->call[calls->count++];
        call->number = (unsigned)number;
        decide(&own, flags, call);
    }
    return 0;
}

static int
by_number(const void *left, const void *right)
{
    unsigned a = ((const struct call *)left)->number;
    unsigned b = ((const struct call *)right)->number;
    return (a > b) - (a < b);
}

static int
list_calls(unsigned flags, struct calls *ret_calls)
{
    for (const struct csb_syscall_group *group = csb_syscall_groups;
         group->name != NULL; group++) {
        if (!csb_syscall_group_applies(group, flags)) {
            continue;
        }
        int result = add_group(group, flags, ret_calls);
        if (result < 0) {
            return result;
        }
    }
    /* Each of the set-up, or the guest could make what is in no table. */
    if (flags & CSB_FILTER_OWN && ret_calls->count != CSB_SETUP_CALL_COUNT) {
        return -ENOENT;
    }
    qsort(ret_calls->call, ret_calls->count, sizeof *ret_calls->call,
          by_number);
    return 0;
}

static int
is_simple(const struct call *call)
{
    return call->checks == NULL && !call->asks;
}

static void
append_range(struct calls *calls, const struct call *call)
{
    if (calls->range_count > 0) {
        const struct call *last = &calls->range[calls->range_count - 1];
        if (is_simple(last) && is_simple(call) && last->rest == call->rest) {
            return; /* it goes on */
        }
    }
    calls->range[calls->range_count++] = *call;
}

static int
make_ranges(unsigned flags, struct calls *calls)
{
    struct call unknown = {.rest =
                               flags & (CSB_FILTER_LISTENER | CSB_FILTER_OWN)
                                   ? SECCOMP_RET_ALLOW
                                   : action_of(CSB_ERRNO, ENOSYS)};
    for (unsigned i = 0; i < calls->count; i++) {
        const struct call *call = &calls->call[i];
        if (call->number < unknown.number) {
            return -EEXIST; /* twice in the table, a mistake */
        }
        if (call->number > unknown.number) {
            append_range(calls, &unknown);
        }
        append_range(calls, call);
        unknown.number = call->number + 1;
    }
    append_range(calls, &unknown);
    return 0;
}

/* --- the program -----------------------------------------------------------
 */

static void
emit(struct program *program, struct sock_filter instruction)
{
    if (program->length == BPF_MAXINSNS) {
        program->full = 1;
        return;
    }
    program->code[program->length++] = instruction;
}

static void
emit_return(struct program *program, uint32_t action)
{
    emit(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void
emit_load(struct program *program, size_t at)
{
    emit(program,
         (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)at));
}

/* Goes on if half of an argument is as it shall be, else jumps to what is not
 * known yet. */
static void
emit_half(struct program *program, size_t at, uint32_t mask, uint32_t value)
{
    if (mask == 0) {
        return;
    }
    emit_load(program, at);
    if (mask != UINT32_MAX) {
        emit(program,
             (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    }
    emit(program,
         (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 0));
}

static void
emit_check(struct program *program, const struct csb_arg_check *check,
           uint32_t action)
{
    unsigned begin = program->length;
    for (unsigned i = 0; i < CSB_TESTS_MAX && check->all[i].mask != 0; i++) {
        const struct csb_arg_test *test = &check->all[i];
        /* Both machines that we know keep the lower half first. */
        size_t at = offsetof(struct seccomp_data, args) + 8 * test->arg;
        emit_half(program, at + 4, (uint32_t)(test->mask >> 32),
                  (uint32_t)(test->value >> 32));
        emit_half(program, at, (uint32_t)test->mask, (uint32_t)test->value);
    }
    emit_return(program, action);
    for (unsigned at = begin; at < program->length; at++) {
        struct sock_filter *code = &program->code[at];
        if (code->code == (BPF_JMP | BPF_JEQ | BPF_K)) {
            /* Jumps count from the next instruction. */
            code->jf = (unsigned char)(program->length - at - 1);
        }
    }
}

/* The cell asks the host why a call failed; see denials.h. */
static void
emit_question(struct program *program, unsigned flags)
{
    const struct csb_arg_check question = {
        {{0, UINT32_MAX, CSB_QUESTION}}, CSB_ALLOW, 0};
    emit_check(program, &question,
               flags & CSB_FILTER_LISTENER ? SECCOMP_RET_USER_NOTIF
                                           : SECCOMP_RET_ALLOW);
}

static void
emit_range(struct program *program, const struct call *call, unsigned flags)
{
    if (call->asks) {
        emit_question(program, flags);
    }
    for (const struct csb_arg_check *check = call->checks;
         check != NULL && check->all[0].mask != 0; check++) {
        emit_check(program, check,
                   check == is_process ? SECCOMP_RET_USER_NOTIF
                                       : action_of(check->fate, check->err));
    }
    emit_return(program, call->rest);
}

/* Lets the instruction at a place skip all behind it, if the number is not
 * below.  A conditional jump goes no further than 255. */
static void
set_skip(struct program *program, unsigned at)
{
    unsigned size = program->length - at - 1;
    struct sock_filter *code = &program->code[at];
    if (size <= UINT8_MAX) {
        code->jt = (unsigned char)size;
        return;
    }
    emit_return(program, 0); /* room for one more */
    if (program->full) {
        return;
    }
    memmove(code + 2, code + 1, size * sizeof *code);
    code[0].jf = 1;
    code[1] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, size);
}

/* Recursion, but a step deeper only for twice as many. */
static void
emit_tree(struct program *program, const struct call *ranges, unsigned count,
          unsigned flags)
{
    if (count == 1) {
        emit_range(program, ranges, flags);
        return;
    }
    unsigned half = count / 2, at = program->length;
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K,
                                               ranges[half].number, 0, 0));
    emit_tree(program, ranges, half, flags);
    if (!program->full) {
        set_skip(program, at);
    }
    emit_tree(program, ranges + half, count - half, flags);
}

/* x32 and int 0x80 number the calls otherwise: they die. */
static void
emit_head(struct program *program)
{
    emit_load(program, offsetof(struct seccomp_data, arch));
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                               seccomp_arch_native(), 1, 0));
    emit_return(program, SECCOMP_RET_KILL_PROCESS);
    emit_load(program, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K,
                                               X32_BIT, 0, 2));
    emit(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                               NO_CALL, 1, 0));
    emit_return(program, SECCOMP_RET_KILL_PROCESS);
#endif
}

static void
free_program(struct program *program)
{
    free(program->code);
}

static void
free_calls(struct calls **calls)
{
    free(*calls);
}

int
csb_filter_compile(unsigned flags, struct sock_filter **ret_program,
                   unsigned short *ret_length)
{
    __attribute__((cleanup(free_calls))) struct calls *calls =
        calloc(1, sizeof *calls);
    __attribute__((cleanup(free_program))) struct program program = {
        .code = calloc(BPF_MAXINSNS, sizeof *program.code),
    };
    if (calls == NULL || program.code == NULL) {
        return -ENOMEM;
    }
    int result = list_calls(flags, calls);
    if (result == 0) {
        result = make_ranges(flags, calls);
    }
    if (result < 0) {
        return result;
    }
    emit_head(&program);
    emit_tree(&program, calls->range, calls->range_count, flags);
    if (program.full) {
        return -E2BIG;
    }
    *ret_program = program.code;
    program.code = NULL;
    *ret_length = (unsigned short)program.length;
    return 0;
}
