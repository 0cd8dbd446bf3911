/* Zygote.fork(): a zygote that is a fork of the host instead of a fresh
 * program, for one run on the host's own objects. */
#define _GNU_SOURCE
#include "zygote_object.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "../common/plan.h"
#include "../zygote/forked.h"
#include "../zygote/serve.h"
#include "launch.h"

const char csb_zygote_fork_doc[] = PyDoc_STR(
    "fork($self, settle, main, /)\n--\n\n"
    "Fork this process instead of launch(), once, for one run.  The fork\n"
    "calls settle() while it still has the descriptors of this process, and\n"
    "confines itself; its cell calls main(), which must not return.  Raises\n"
    "SetupError(step, errno, detail), and is dead then.");

/* What the host is handling is not the context of the guest's exceptions.
 * Generators each have an entry, hence not PyErr_SetHandledException().  Not
 * destroyed, as nothing of the host is in a guest. */
static void
forget_exceptions(void)
{
    _PyErr_StackItem *item = PyThreadState_Get()->exc_info;
    for (; item != NULL; item = item->previous_item) {
        item->exc_value = NULL;
    }
}

/* In the fork: does not return. */
__attribute__((noreturn)) static void
be_zygote(ZygoteObject *self, PyObject *settle, PyObject *main)
{
    const struct csb_plan *plan =
        (const void *)PyBytes_AS_STRING(self->plan_bytes);
    const struct csb_forked forked = {
        .host = self->owner,
        .namespaces = csb_launch_namespaces(plan->mechanisms),
        .log = self->child_log,
        .control = self->child_control,
        .plan = self->plan,
        .fault_step = plan->fault_step,
        .fault_errno = plan->fault_errno,
    };
    struct csb_report report;

    csb_forked_calm();
    PyOS_AfterFork_Child();
    PyObject *settled = PyObject_CallNoArgs(settle);
    int result = csb_forked_adopt(&forked, &report);
    if (result == 0 && settled == NULL) {
        result = -EINVAL;
        csb_serve_report_exception(CSB_STEP_BOOT, &report);
        report.err = EINVAL; /* without one it would be a hello */
    }
    csb_serve_forked(result, &report);
    forget_exceptions();
    (void)PyObject_CallNoArgs(main);
    _exit(1);
}

/* Forks with every signal blocked: no handler of the host may run in the
 * fork, whose init will be on its memory. */
static pid_t
fork_host(ZygoteObject *self, PyObject *settle, PyObject *main)
{
    sigset_t all, saved;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &saved); /* cannot fail */
    PyOS_BeforeFork();
    pid_t pid = fork();
    int error = errno;
    if (pid == 0) {
        be_zygote(self, settle, main);
    }
    PyOS_AfterFork_Parent();
    (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return pid < 0 ? -error : pid;
}

/* 0; or -errno, with self->report filled. */
static int
start(ZygoteObject *self, PyObject *settle, PyObject *main)
{
    const struct csb_plan *plan =
        (const void *)PyBytes_AS_STRING(self->plan_bytes);
    int result;

    Py_BEGIN_ALLOW_THREADS
    result = plan->fault_step == CSB_STEP_HOST_FDS ? -plan->fault_errno
                                                   : csb_zygote_open(self);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        csb_report_fill(CSB_STEP_HOST_FDS, -result, 0, NULL, &self->report);
        return result;
    }
    pid_t pid = fork_host(self, settle, main);
    if (pid < 0) {
        csb_report_fill(CSB_STEP_FORK, -pid, 0, NULL, &self->report);
        return pid;
    }
    self->pid = pid;
    /* It ends only when it is told to, so the number is still its own. */
    self->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (self->pidfd < 0) {
        result = -errno;
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        csb_report_fill(CSB_STEP_HOST_FDS, -result, 0, NULL, &self->report);
    }
    return result;
}

PyObject *
csb_zygote_fork(PyObject *op, PyTypeObject *defining_class,
                PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    ZygoteObject *self = (ZygoteObject *)op;

    if (count != 2 || names != NULL || !PyCallable_Check(args[0]) ||
        !PyCallable_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "fork() takes two functions");
        return NULL;
    }
    if (self->plan_bytes == NULL || self->launched) {
        PyErr_SetString(PyExc_RuntimeError, "fork() follows a plan, once");
        return NULL;
    }
    self->launched = self->forked = 1;
    int result = start(self, args[0], args[1]);
    csb_close(&self->child_control);
    csb_close(&self->child_log);
    if (result < 0) {
        return csb_zygote_fail(PyType_GetModule(defining_class), self);
    }
    Py_RETURN_NONE;
}
