#define _GNU_SOURCE
#include "notify.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "syscalls.h"
#include "watch.h"

/* So many denials are answered at once; then one in a while, so that a flood
 * of them waits, and not the host's processors. */
#define ANSWERS_AT_ONCE 256
#define ANSWER_PERIOD 1000000ll /* ns */

void
csb_notify_take(struct csb_notify *notify, int listener, unsigned filter)
{
    notify->listener = listener;
    notify->filter = filter;
    /* On its own processor, as it sleeps: sooner than the end of a child can
     * interrupt it, which fork() would fail with.  Before Linux 6.6 it is not
     * to be had. */
    (void)ioctl(listener, CSB_NOTIF_SET_FLAGS, CSB_NOTIF_SYNC_WAKE_UP);
}

/* Returns 0 when it was heard. */
static int
respond(const struct csb_notify *notify, uint64_t id, int err, int64_t value,
        unsigned flags)
{
    struct seccomp_notif_resp response = {
        .id = id,
        .error = -err,
        .val = value,
        .flags = flags,
    };
    return ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static struct csb_violations *
violations_of(struct csb_notify *notify)
{
    if (notify->violations == NULL) {
        notify->violations = calloc(1, sizeof *notify->violations);
    }
    return notify->violations; /* NULL: no memory, and then nothing is told */
}

/* --- denials ------------------------------------------------------------- */

/* OpenMP's libraries ask so how large a set of processors is. */
static int
is_probe(const struct seccomp_notif *request)
{
    return request->data.nr == SYS_sched_setaffinity &&
           request->data.args[2] == 0;
}

static void
note(struct csb_notify *notify, const struct seccomp_notif *request,
     const struct csb_denial *denial, int err, int64_t now)
{
    struct csb_violations *violations = violations_of(notify);
    struct csb_violation violation = {
        .denial = denial,
        .number = request->data.nr,
        .err = err,
    };
    if (violations == NULL || denial == NULL || is_probe(request)) {
        return;
    }
    for (unsigned i = 0; i < CSB_DENIAL_ARGS; i++) {
        violation.arguments[i] =
            csb_denial_argument(denial, i, request->data.args[i]);
    }
    csb_violations_note(violations, (pid_t)request->pid, &violation, now);
}

/* Who asks for many waits for them: a flood shall not keep the host busy. */
static void
count_answer(struct csb_notify *notify, int64_t now)
{
    if (++notify->answered > ANSWERS_AT_ONCE) {
        csb_pace_hush(&notify->pace, now, ANSWER_PERIOD);
    }
}

static int
deny(struct csb_notify *notify, const struct seccomp_notif *request,
     const char *name, int guest, int64_t now)
{
    struct csb_syscall_rule rule = {.fate = CSB_KILL};
    /* The filter came of the same table, so there is a rule. */
    (void)csb_syscall_find(name, notify->filter, &rule);
    int fatal = rule.fate == CSB_KILL;
    int err = fatal ? 0 : rule.err;

    if (guest) {
        note(notify, request, csb_denial_find(name), err, now);
    }
    if (fatal) {
        return CSB_NOTICE_FATAL;
    }
    count_answer(notify, now);
    /* ENOENT: who asked has been killed. */
    (void)respond(notify, request->id, err, 0, 0);
    return CSB_NOTICE_NOTHING;
}

/* --- forks --------------------------------------------------------------- */

static int
answer_fork(struct csb_notify *notify, const struct seccomp_notif *request,
            const char *name, int cell, int init, int64_t now)
{
    struct csb_forks *forks = &notify->forks;
    pid_t thread = (pid_t)request->pid;

    int result = csb_forks_decide(forks, thread, cell, init, now);
    if (result > 0) {
        if (respond(notify, request->id, 0, 0,
                    SECCOMP_USER_NOTIF_FLAG_CONTINUE) != 0) {
            /* A signal came, or it was killed. */
            csb_forks_withdraw(forks, thread);
        }
        return CSB_NOTICE_FORK;
    }
    csb_pace_hush(&notify->pace, now, csb_forks_silence(forks));
    note(notify, request, csb_denial_find(name), EAGAIN, now);
    (void)respond(notify, request->id, EAGAIN, 0, 0);
    return result < 0 && result != -ESRCH ? result /* it is ending */
                                          : CSB_NOTICE_FORK;
}

/* --- what is asked ------------------------------------------------------- */

static int
is_question(const struct seccomp_notif *request)
{
    return request->data.nr == SYS_prctl &&
           (uint32_t)request->data.args[CSB_QUESTION_OPTION] == CSB_QUESTION;
}

static void
answer_question(struct csb_notify *notify, const struct seccomp_notif *request,
                int64_t now)
{
    uint64_t arguments[6];
    int64_t value = 0;

    for (unsigned i = 0; i < 6; i++) {
        arguments[i] = request->data.args[i];
    }
    if (notify->violations != NULL) {
        value = csb_violations_answer(notify->violations, (pid_t)request->pid,
                                      arguments, now);
    }
    count_answer(notify, now);
    (void)respond(notify, request->id, 0, value, 0);
}

static int
answer(struct csb_notify *notify, const struct seccomp_notif *request,
       int cell, int init, int guest, int64_t now)
{
    if (is_question(request)) {
        answer_question(notify, request, now);
        return CSB_NOTICE_NOTHING;
    }
    char *name =
        seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, request->data.nr);
    if (name == NULL) {
        (void)respond(notify, request->id, EPERM, 0, 0);
        return CSB_NOTICE_NOTHING;
    }
    int result = csb_syscall_is_asked(name, notify->filter)
                     ? answer_fork(notify, request, name, cell, init, now)
                     : deny(notify, request, name, guest, now);
    free(name);
    return result;
}

int
csb_notify_answer(struct csb_notify *notify, int cell, int init, int guest,
                  int64_t now)
{
    struct seccomp_notif request;

    memset(&request, 0, sizeof request); /* or the kernel refuses it */
    if (ioctl(notify->listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) {
        return CSB_NOTICE_NOTHING; /* who asked has been killed */
    }
    int result = answer(notify, &request, cell, init, guest, now);
    csb_pace_pay(&notify->pace, now, csb_watch_clock());
    return result;
}

void
csb_notify_end(struct csb_notify *notify)
{
    csb_close(&notify->listener);
    free(notify->violations);
    notify->violations = NULL;
}
