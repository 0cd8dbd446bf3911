/* The type Zygote.  Descriptors belong to the object; its process is a child
 * of this one, killed and reaped by close(), or at exit, see late.h.  A fork
 * of the host inherits copies of the descriptors but not the child: there,
 * close() only closes. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/frames.h"
#include "../common/missing.h"
#include "../common/plan.h"
#include "../common/report.h"
#include "inputs.h"
#include "late.h"
#include "launch.h"
#include "meter.h"
#include "plan_build.h"
#include "run.h"
#include "stringlist.h"
#include "watch.h"
#include "zygote_object.h"

#define LOG_TEXT 4000
/* A signal may come just before poll(), or to another thread. */
#define SIGNAL_MS 100
/* For a report that has begun to come. */
#define REPORT_TIME 1000000000ll

PyObject *
csb_raise_setup_error(PyObject *module, const struct csb_report *report,
                      const char *detail)
{
    PyObject *values =
        Py_BuildValue("sis", csb_step_name(report->step), report->err, detail);
    if (values != NULL) {
        PyErr_SetObject(csb_module_state(module)->setup_error, values);
        Py_DECREF(values);
    }
    return NULL;
}

/* --- start --------------------------------------------------------------- */

/* Runs without the GIL. */
static int
launch(ZygoteObject *self)
{
    struct csb_launched launched;
    int result = csb_zygote_open(self);
    if (result < 0) {
        csb_report_fill(CSB_STEP_HOST_FDS, -result, 0, NULL, &self->report);
        return result;
    }
    const struct csb_launch launch = {
        .path = self->argv[0],
        .argv = self->argv,
        .envp = self->envp,
        .log = self->child_log,
        .control = self->child_control,
        .plan = self->plan,
        .mechanisms = self->mechanisms,
        .fault_step = self->fault_step,
        .fault_errno = self->fault_errno,
    };
    result = csb_launch(&launch, &launched, &self->report);
    if (result == 0) {
        self->pid = launched.pid;
        self->pidfd = launched.pidfd;
        self->lifeline = launched.lifeline;
    }
    return result;
}

/* One report of the zygote.  0; -EINTR when it is time to look for signals;
 * or -errno, -EPIPE if it died. */
static int
receive_report(ZygoteObject *self, int64_t deadline)
{
    struct pollfd control = {.fd = self->control, .events = POLLIN};
    int none[1], count;
    int64_t left = (deadline - csb_watch_clock()) / 1000000 + 1;

    if (left <= 0) {
        return -ETIMEDOUT;
    }
    int ready = poll(&control, 1, left < SIGNAL_MS ? (int)left : SIGNAL_MS);
    if (ready < 0) {
        return -errno;
    }
    if (ready == 0) {
        return -EINTR;
    }
    ssize_t got = csb_receive(self->control, &self->report,
                              sizeof self->report, 0, none, &count);
    self->report.text[sizeof self->report.text - 1] = '\0';
    return got == sizeof self->report ? 0 : -EPIPE;
}

/* 0; or -errno, with self->report filled; or -EINTR and an exception. */
static int
await_report(ZygoteObject *self, int64_t deadline)
{
    int result;
    do {
        Py_BEGIN_ALLOW_THREADS
        result = receive_report(self, deadline);
        Py_END_ALLOW_THREADS
        if (result == -EINTR && PyErr_CheckSignals() < 0) {
            return -EINTR;
        }
    } while (result == -EINTR);
    if (result < 0) {
        csb_report_fill(CSB_STEP_BOOT, -result, 0, NULL, &self->report);
    }
    return result;
}

static int
let_go(ZygoteObject *self)
{
    const struct csb_plan *plan =
        (const void *)PyBytes_AS_STRING(self->plan_bytes);
    int result = csb_plan_fault(plan, CSB_STEP_UID_MAP);
    if (result == 0 && !csb_plan_is_bare(plan)) {
        result = csb_launch_map_ids(self->pid, self->forked);
    }
    if (result == 0) {
        result = csb_send(self->control, "g", 1, NULL, 0);
    }
    if (result < 0) {
        csb_report_fill(CSB_STEP_UID_MAP, -result, 0, NULL, &self->report);
    }
    return result;
}

/* What cells hold and use is read in /proc, and so a zygote's too. */
static int
check_meter(ZygoteObject *self)
{
    const struct csb_plan *plan =
        (const void *)PyBytes_AS_STRING(self->plan_bytes);
    int result = csb_plan_fault(plan, CSB_STEP_METER);
    if (result == 0) {
        result = csb_meter_check(self->pidfd);
    }
    if (result < 0) {
        csb_report_fill(CSB_STEP_METER, -result, 0, NULL, &self->report);
    }
    return result;
}

/* Lets it go on once it has said hello; or the report says why not. */
static int
take_hello(ZygoteObject *self, int64_t deadline)
{
    int result = await_report(self, deadline);
    if (result < 0) {
        return result;
    }
    if (self->report.step != CSB_STEP_BOOT || self->report.err != 0) {
        return -EPROTO;
    }
    self->greeted = 1;
    return let_go(self);
}

static int
take_ready(ZygoteObject *self, int64_t deadline)
{
    int result = await_report(self, deadline);
    if (result == 0 && self->report.step != CSB_STEP_READY) {
        result = -EPROTO;
    }
    return result == 0 ? check_meter(self) : result;
}

/* From hello to READY, or from where it has come to. */
static int
bring_up(ZygoteObject *self, int64_t deadline)
{
    int result = self->greeted ? 0 : take_hello(self, deadline);
    return result == 0 ? take_ready(self, deadline) : result;
}

/* What Python wrote when it could not even start. */
static void
raise_start_error(PyObject *module, ZygoteObject *self)
{
    char text[LOG_TEXT + 1];
    ssize_t got = -1;
    if (self->report.text[0] == '\0' && self->log >= 0) {
        got = read(self->log, text, LOG_TEXT);
    }
    text[got > 0 ? got : 0] = '\0';
    (void)csb_raise_setup_error(module, &self->report,
                                got > 0 ? text : self->report.text);
}

/* Closes and frees what only the start needed. */
static void
end_start(ZygoteObject *self)
{
    csb_close(&self->log);
    csb_close(&self->child_log);
    csb_close(&self->child_control);
    csb_close(&self->plan);
    csb_strings_free(self->argv);
    csb_strings_free(self->envp);
    self->argv = self->envp = NULL;
    Py_CLEAR(self->plan_bytes);
}

static PyObject *
zygote_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"argv", "env", "mechanisms", "fault", NULL};
    PyObject *argv, *env, *fault = Py_None;
    unsigned mechanisms;
    uint32_t fault_step = CSB_STEP_NONE;
    int fault_errno = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!I|O", names,
                                     &PyList_Type, &argv, &PyList_Type, &env,
                                     &mechanisms, &fault) ||
        csb_plan_build_fault(fault, &fault_step, &fault_errno) < 0) {
        return NULL;
    }
    if (PyList_GET_SIZE(argv) == 0) {
        PyErr_SetString(PyExc_ValueError, "no program");
        return NULL;
    }
    ZygoteObject *self = (ZygoteObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->pid = self->pidfd = self->control = self->lifeline = -1;
    self->log = self->child_log = self->child_control = self->plan = -1;
    self->owner = getpid();
    self->mechanisms = mechanisms;
    self->fault_step = fault_step;
    self->fault_errno = fault_errno;
    self->argv = csb_strings_copy(argv);
    self->envp = self->argv == NULL ? NULL : csb_strings_copy(env);
    if (self->envp == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* --- methods ------------------------------------------------------------- */

PyObject *
csb_zygote_fail(PyObject *module, ZygoteObject *self)
{
    if (!PyErr_Occurred()) {
        raise_start_error(module, self);
    }
    csb_close(&self->control);
    csb_close(&self->lifeline);
    csb_launch_end(&self->pidfd);
    end_start(self);
    return NULL;
}

PyDoc_STRVAR(launch_doc,
             "launch($self, /)\n--\n\n"
             "Launch its process, once; takes milliseconds, and is no time "
             "to fork.\nRaises SetupError(step, errno, detail), and is dead "
             "then.");

static PyObject *
zygote_launch(PyObject *op, PyTypeObject *defining_class,
              PyObject *const *Py_UNUSED(args), Py_ssize_t count,
              PyObject *names)
{
    ZygoteObject *self = (ZygoteObject *)op;
    int result;

    if (count != 0 || names != NULL || self->argv == NULL || self->launched) {
        PyErr_SetString(PyExc_RuntimeError, "launch() is for once");
        return NULL;
    }
    self->launched = 1;
    Py_BEGIN_ALLOW_THREADS
    result = launch(self);
    Py_END_ALLOW_THREADS
    csb_close(&self->child_control);
    csb_close(&self->child_log);
    if (result < 0) {
        return csb_zygote_fail(PyType_GetModule(defining_class), self);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(boot_doc, "boot($self, timeout, /)\n--\n\n"
                       "Wait, after launch() or fork() and with a plan, "
                       "until it is ready to fork\ncells, timeout seconds at "
                       "the most.  Raises SetupError(step, errno, detail),\n"
                       "and is dead then.");

static PyObject *
zygote_boot(PyObject *op, PyTypeObject *defining_class, PyObject *const *args,
            Py_ssize_t count, PyObject *names)
{
    ZygoteObject *self = (ZygoteObject *)op;
    double timeout =
        count == 1 && names == NULL ? PyFloat_AsDouble(args[0]) : -1.0;

    if (timeout < 0) {
        return PyErr_Occurred()
                   ? NULL
                   : PyErr_Format(PyExc_TypeError, "boot() takes seconds");
    }
    if (self->pidfd < 0 || self->plan_bytes == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "boot() follows a launch and a plan, once");
        return NULL;
    }
    int64_t deadline = csb_watch_clock() + (int64_t)(timeout * 1e9);
    if (bring_up(self, deadline) < 0) {
        return csb_zygote_fail(PyType_GetModule(defining_class), self);
    }
    end_start(self);
    csb_zygote_born(self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(advance_doc,
             "advance($self, /)\n--\n\n"
             "Go on with a start as far as that needs no waiting; whether it "
             "is ready.\nRaises SetupError(step, errno, detail), and is dead "
             "then.");

static PyObject *
zygote_advance(PyObject *op, PyTypeObject *defining_class,
               PyObject *const *Py_UNUSED(args), Py_ssize_t count,
               PyObject *names)
{
    ZygoteObject *self = (ZygoteObject *)op;
    struct pollfd control = {.fd = self->control, .events = POLLIN};

    if (self->pidfd >= 0 && self->born != 0) {
        Py_RETURN_TRUE;
    }
    if (count != 0 || names != NULL || self->pidfd < 0 ||
        self->plan_bytes == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "advance() follows launch() and take_plan()");
        return NULL;
    }
    if (poll(&control, 1, 0) <= 0) {
        Py_RETURN_FALSE;
    }
    int greeted = self->greeted;
    int64_t deadline = csb_watch_clock() + REPORT_TIME;
    int result =
        greeted ? take_ready(self, deadline) : take_hello(self, deadline);
    if (result < 0) {
        return csb_zygote_fail(PyType_GetModule(defining_class), self);
    }
    if (!greeted) {
        Py_RETURN_FALSE;
    }
    end_start(self);
    csb_zygote_born(self);
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(
    start_doc,
    "start($self, *, memory, scratch, inodes, threads, processes,\n"
    "      descriptors, cpu_seconds, store, inputs, leaf, place)\n--\n\n"
    "Ask for a cell: a Run.  Limits in bytes, counts and seconds; "
    "store: bytes\nof room for a large result; inputs: Inputs or "
    "None; leaf: None, or the\ndescriptor of a cgroup and the name of "
    "one to make below it; place: None, or of a run without namespaces "
    "the user id\nthat it gets, 0 to stay, the descriptor and path of a "
    "directory, or -1, and the\nname of one to make in there as its /tmp.\n"
    "Raises OSError if the zygote has died or descriptors run out, "
    "SetupError if\nthere is no leaf to be had.");

static PyObject *
zygote_start(PyObject *op, PyTypeObject *defining_class, PyObject *const *args,
             Py_ssize_t count, PyObject *names)
{
    ZygoteObject *self = (ZygoteObject *)op;
    struct csb_limits limits = {0};
    unsigned long long values[8];
    static const char *const wanted[] = {
        "memory",    "scratch",     "inodes",      "threads",
        "processes", "descriptors", "cpu_seconds", "store",
        "inputs",    "leaf",        "place"};
    enum { COUNT = sizeof wanted / sizeof *wanted, NUMBERS = COUNT - 3 };

    if (count != 0 || names == NULL || PyTuple_GET_SIZE(names) != COUNT) {
        PyErr_SetString(PyExc_TypeError, "start() takes eleven keywords");
        return NULL;
    }
    for (int i = 0; i < COUNT; i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i),
                                             wanted[i]) != 0) {
            PyErr_Format(PyExc_TypeError, "start(): expected %s", wanted[i]);
            return NULL;
        }
        if (i >= NUMBERS) {
            continue;
        }
        values[i] = PyLong_AsUnsignedLongLong(args[i]);
        if (PyErr_Occurred()) {
            return NULL;
        }
        if (i >= 3 && i <= 6 && values[i] > UINT32_MAX) {
            PyErr_Format(PyExc_OverflowError, "start(): %s", wanted[i]);
            return NULL;
        }
    }
    PyObject *module = PyType_GetModule(defining_class);
    int inputs;
    uint64_t inputs_size;
    if (csb_inputs_get(module, args[NUMBERS], &inputs, &inputs_size) < 0) {
        return NULL;
    }
    limits.memory = values[0];
    limits.scratch = values[1];
    limits.scratch_inodes = values[2];
    limits.threads = (uint32_t)values[3];
    limits.processes = (uint32_t)values[4];
    limits.descriptors = (uint32_t)values[5];
    limits.cpu_seconds = (uint32_t)values[6];
    limits.mapped = values[7] + inputs_size;
    if (self->control < 0 || self->owner != getpid()) {
        errno = ECONNRESET;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return csb_run_request(module, op, self->control, &self->expected, &limits,
                           values[7], inputs, args[NUMBERS + 1],
                           args[NUMBERS + 2]);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Kill the zygote and every cell of it, and reap it.  "
                        "In a fork of the host\nthat started it, only close "
                        "the descriptors.  May be called again.");

/* As csb_channel_forget_lost() does.  The zygote has ended, as nobody holds
 * the other end. */
static void
forget_lost(ZygoteObject *self)
{
    if (self->control >= 0 && csb_inode(self->control) != self->socket) {
        self->control = self->lifeline = self->pidfd = -1;
        if (self->owner == getpid()) {
            (void)waitpid(self->pid, NULL, WNOHANG | __WALL);
        }
    }
}

/* Gives it up: the pidfd of what is to be killed, or -1. */
static int
let_go_of(ZygoteObject *self)
{
    forget_lost(self);
    int pidfd = self->pidfd;

    if (self->owner != getpid()) {
        csb_close(&self->control);
        csb_close(&self->lifeline);
        csb_close(&self->pidfd);
        end_start(self);
        return -1;
    }
    self->pidfd = -1; /* stolen: another thread finds nothing to do */
    csb_close(&self->lifeline);
    if (self->control >= 0) {
        /* Not closed: another thread may be about to use the number. */
        (void)shutdown(self->control, SHUT_RDWR);
    }
    return pidfd;
}

static PyObject *
zygote_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int pidfd = let_go_of((ZygoteObject *)op);

    Py_BEGIN_ALLOW_THREADS
    csb_launch_end(&pidfd);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyDoc_STRVAR(leave_doc, "leave($self, /)\n--\n\n"
                        "As close(), at exit: killed now, and reaped when "
                        "the interpreter has ended.");

static PyObject *
zygote_leave(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int pidfd = let_go_of((ZygoteObject *)op);

    if (pidfd >= 0 && csb_late_reap(&pidfd) < 0) {
        Py_BEGIN_ALLOW_THREADS
        csb_launch_end(&pidfd);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static void
zygote_dealloc(PyObject *op)
{
    ZygoteObject *self = (ZygoteObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    forget_lost(self);
    csb_close(&self->control);
    csb_close(&self->lifeline);
    if (self->owner == getpid()) {
        Py_BEGIN_ALLOW_THREADS
        csb_launch_end(&self->pidfd); /* milliseconds, if it is large */
        Py_END_ALLOW_THREADS
    }
    csb_close(&self->pidfd);
    end_start(self);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"launch", (PyCFunction)(void (*)(void))zygote_launch,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, launch_doc},
    {"fork", (PyCFunction)(void (*)(void))csb_zygote_fork,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, csb_zygote_fork_doc},
    {"take_plan", (PyCFunction)(void (*)(void))csb_zygote_take_plan,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, csb_zygote_take_plan_doc},
    {"boot", (PyCFunction)(void (*)(void))zygote_boot,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, boot_doc},
    {"advance", (PyCFunction)(void (*)(void))zygote_advance,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, advance_doc},
    {"start", (PyCFunction)(void (*)(void))zygote_start,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, start_doc},
    {"close", zygote_close, METH_NOARGS, close_doc},
    {"leave", zygote_leave, METH_NOARGS, leave_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    zygote_doc,
    "Zygote(argv, env, mechanisms, fault=None)\n--\n\n"
    "A program to be started, argv[0] with the environment env (a list of\n"
    "'NAME=value'), in namespaces of its own, to fork cells by a plan.\n"
    "launch() starts it; fork() instead makes a zygote of a fork of this\n"
    "process, whatever argv and env say.  mechanisms and fault are those of\n"
    "the plan that take_plan() gives it, of which a launch needs no more.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)zygote_doc},
    {Py_tp_new, zygote_new},
    {Py_tp_dealloc, zygote_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, csb_zygote_properties},
    {Py_tp_members, csb_zygote_members},
    {0, NULL},
};

PyType_Spec csb_zygote_spec = {
    .name = "csandbox._csandbox.Zygote",
    .basicsize = sizeof(ZygoteObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
