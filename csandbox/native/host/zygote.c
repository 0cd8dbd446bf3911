/* The type Zygote.  Descriptors belong to the object; its process is a child
 * of this one, killed and reaped by close().  A fork of the host inherits
 * copies of the descriptors but not the child: there, close() only closes. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/frames.h"
#include "../common/missing.h"
#include "../common/plan.h"
#include "../common/report.h"
#include "launch.h"
#include "run.h"
#include "watch.h"

#define LOG_TEXT 4000

typedef struct {
    PyObject_HEAD pid_t pid;
    pid_t owner; /* the process whose child it is */
    int pidfd;
    int control;
} ZygoteObject;

/* What only the launch needs. */
struct start {
    char **argv;
    char **envp;
    int log[2];
    int sockets[2];
    int plan;
    struct csb_launched launched;
    struct csb_report report;
};

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

/* --- strings ------------------------------------------------------------- */

static void
free_strings(char **strings)
{
    for (char **at = strings; at != NULL && *at != NULL; at++) {
        PyMem_Free(*at);
    }
    PyMem_Free(strings);
}

static char *
copy_string(PyObject *item)
{
    PyObject *bytes = NULL;
    char *text, *copy = NULL;
    Py_ssize_t size;

    if (PyUnicode_FSConverter(item, &bytes) && /* refuses NUL */
        PyBytes_AsStringAndSize(bytes, &text, &size) == 0) {
        copy = PyMem_Malloc((size_t)size + 1);
        if (copy == NULL) {
            PyErr_NoMemory();
        } else {
            memcpy(copy, text, (size_t)size + 1);
        }
    }
    Py_XDECREF(bytes);
    return copy;
}

/* A NULL-terminated array of copies, so that no Python object is needed
 * while the GIL is released. */
static char **
copy_strings(PyObject *list)
{
    Py_ssize_t count = PyList_Size(list);
    if (count < 0) {
        return NULL;
    }
    char **strings = PyMem_Calloc((size_t)count + 1, sizeof *strings);
    if (strings == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        strings[i] = copy_string(PyList_GET_ITEM(list, i));
        if (strings[i] == NULL) {
            free_strings(strings);
            return NULL;
        }
    }
    return strings;
}

/* --- start --------------------------------------------------------------- */

/* The plan in a sealed memfd, which the zygote maps. */
static int
store_plan(const char *plan, size_t size, int *ret_fd)
{
    int fd = memfd_create("csandbox-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -errno;
    }
    ssize_t wrote = write(fd, plan, size);
    int result = wrote < 0 ? -errno : (size_t)wrote == size ? 0 : -ENOSPC;
    if (result == 0 &&
        fcntl(fd, F_ADD_SEALS,
              F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        result = -errno;
    }
    if (result < 0) {
        csb_close(&fd);
        return result;
    }
    *ret_fd = fd;
    return 0;
}

static int
launch(struct start *start, const char *plan, size_t size)
{
    const struct csb_plan *header = (const void *)plan;
    int result = store_plan(plan, size, &start->plan);
    if (result == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
                                  start->sockets) < 0) {
        result = -errno;
    }
    if (result == 0 && pipe2(start->log, O_CLOEXEC | O_NONBLOCK) < 0) {
        result = -errno;
    }
    if (result < 0) {
        csb_report_fill(CSB_STEP_HOST_FDS, -result, 0, NULL, &start->report);
        return result;
    }
    const struct csb_launch launch = {
        .path = start->argv[0],
        .argv = start->argv,
        .envp = start->envp,
        .log = start->log[1],
        .control = start->sockets[1],
        .plan = start->plan,
        .mechanisms = header->mechanisms,
        .fault_step = header->fault_step,
        .fault_errno = header->fault_errno,
    };
    return csb_launch(&launch, &start->launched, &start->report);
}

/* One report of the zygote.  0; -EINTR; or -errno, -EPIPE if it died. */
static int
receive_report(struct start *start, int64_t deadline)
{
    struct pollfd control = {.fd = start->sockets[0], .events = POLLIN};
    int none[1], count;
    int64_t left = deadline - csb_watch_clock();

    int ready = poll(&control, 1, left < 0 ? 0 : (int)(left / 1000000) + 1);
    if (ready <= 0) {
        return ready < 0 ? -errno : -ETIMEDOUT;
    }
    ssize_t got = csb_receive(start->sockets[0], &start->report,
                              sizeof start->report, 0, none, &count);
    start->report.text[sizeof start->report.text - 1] = '\0';
    return got == sizeof start->report ? 0 : -EPIPE;
}

/* 0; or -errno, with start->report filled; or -EINTR and an exception. */
static int
await_report(struct start *start, int64_t deadline)
{
    int result;
    do {
        Py_BEGIN_ALLOW_THREADS result = receive_report(start, deadline);
        Py_END_ALLOW_THREADS if (result == -EINTR && PyErr_CheckSignals() < 0)
        {
            return -EINTR;
        }
    } while (result == -EINTR);
    if (result < 0) {
        csb_report_fill(CSB_STEP_BOOT, -result, 0, NULL, &start->report);
    }
    return result;
}

static int
let_go(struct start *start)
{
    int result = csb_launch_map_ids(start->launched.pid);
    if (result == 0) {
        result = csb_send(start->sockets[0], "g", 1, NULL, 0);
    }
    if (result < 0) {
        csb_report_fill(CSB_STEP_UID_MAP, -result, 0, NULL, &start->report);
    }
    return result;
}

/* From launch to READY. */
static int
bring_up(struct start *start, const char *plan, size_t size, int64_t deadline)
{
    int result;
    Py_BEGIN_ALLOW_THREADS result = launch(start, plan, size);
    Py_END_ALLOW_THREADS if (result == 0)
    {
        csb_close(&start->sockets[1]);
        csb_close(&start->log[1]);
        result = await_report(start, deadline); /* hello */
    }
    if (result == 0) {
        result = let_go(start);
    }
    if (result == 0) {
        result = await_report(start, deadline);
    }
    if (result == 0 && start->report.step != CSB_STEP_READY) {
        result = -EPROTO; /* the report says why */
    }
    return result;
}

static void
destroy(int *pidfd)
{
    if (*pidfd < 0) {
        return;
    }
    (void)syscall(SYS_pidfd_send_signal, *pidfd, SIGKILL, NULL, 0);
    /* ECHILD: the host ignores SIGCHLD, or reaped it: gone all the same. */
    while (waitid(P_PIDFD, (id_t)*pidfd, NULL, WEXITED | __WALL) < 0 &&
           errno == EINTR) {
    }
    csb_close(pidfd);
}

/* What Python wrote when it could not even start. */
static void
raise_start_error(PyObject *module, struct start *start)
{
    char text[LOG_TEXT + 1];
    ssize_t got = -1;
    if (start->report.text[0] == '\0' && start->log[0] >= 0) {
        got = read(start->log[0], text, LOG_TEXT);
    }
    text[got > 0 ? got : 0] = '\0';
    (void)csb_raise_setup_error(module, &start->report,
                                got > 0 ? text : start->report.text);
}

static PyObject *
zygote_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"argv", "env", "plan", "timeout", NULL};
    PyObject *argv, *env, *module = PyType_GetModule(type);
    Py_buffer plan = {.buf = NULL};
    double timeout;
    ZygoteObject *self = NULL;
    struct start start = {.log = {-1, -1},
                          .sockets = {-1, -1},
                          .plan = -1,
                          .launched = {-1, -1}};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!y*d", names,
                                     &PyList_Type, &argv, &PyList_Type, &env,
                                     &plan, &timeout)) {
        return NULL;
    }
    if (csb_plan_check(plan.buf, (size_t)plan.len) < 0 ||
        PyList_GET_SIZE(argv) == 0) {
        PyErr_SetString(PyExc_ValueError, "not a plan, or no program");
        goto done;
    }
    start.argv = copy_strings(argv);
    start.envp = start.argv == NULL ? NULL : copy_strings(env);
    if (start.envp == NULL) {
        goto done;
    }
    self = (ZygoteObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        goto done;
    }
    self->pid = self->owner = -1;
    self->pidfd = self->control = -1;
    int64_t deadline = csb_watch_clock() + (int64_t)(timeout * 1e9);
    if (bring_up(&start, plan.buf, (size_t)plan.len, deadline) < 0) {
        if (!PyErr_Occurred()) {
            raise_start_error(module, &start);
        }
        destroy(&start.launched.pidfd);
        Py_CLEAR(self);
        goto done;
    }
    self->pid = start.launched.pid;
    self->owner = getpid();
    self->pidfd = start.launched.pidfd;
    self->control = start.sockets[0];
    start.sockets[0] = -1;
done:
    free_strings(start.argv);
    free_strings(start.envp);
    csb_close(&start.plan);
    for (int i = 0; i < 2; i++) {
        csb_close(&start.log[i]);
        csb_close(&start.sockets[i]);
    }
    PyBuffer_Release(&plan);
    return (PyObject *)self;
}

/* --- methods ------------------------------------------------------------- */

PyDoc_STRVAR(start_doc,
             "start(*, memory, scratch, inodes, threads, descriptors, "
             "cpu_seconds)\n--\n\n"
             "Ask for a cell: a Run.  Limits in bytes, counts and seconds.\n"
             "Raises OSError if the zygote has died or descriptors run out.");

static PyObject *
zygote_start(PyObject *op, PyTypeObject *defining_class, PyObject *const *args,
             Py_ssize_t count, PyObject *names)
{
    ZygoteObject *self = (ZygoteObject *)op;
    struct csb_limits limits = {0};
    unsigned long long values[6];
    static const char *const wanted[] = {"memory",      "scratch",
                                         "inodes",      "threads",
                                         "descriptors", "cpu_seconds"};

    if (count != 0 || names == NULL || PyTuple_GET_SIZE(names) != 6) {
        PyErr_SetString(PyExc_TypeError, "start() takes six keywords");
        return NULL;
    }
    for (int i = 0; i < 6; i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i),
                                             wanted[i]) != 0) {
            PyErr_Format(PyExc_TypeError, "start(): expected %s", wanted[i]);
            return NULL;
        }
        values[i] = PyLong_AsUnsignedLongLong(args[i]);
        if (PyErr_Occurred()) {
            return NULL;
        }
        if (i >= 3 && values[i] > UINT32_MAX) {
            PyErr_Format(PyExc_OverflowError, "start(): %s", wanted[i]);
            return NULL;
        }
    }
    limits.memory = values[0];
    limits.scratch = values[1];
    limits.scratch_inodes = values[2];
    limits.threads = (uint32_t)values[3];
    limits.descriptors = (uint32_t)values[4];
    limits.cpu_seconds = (uint32_t)values[5];
    if (self->control < 0 || self->owner != getpid()) {
        errno = ECONNRESET;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return csb_run_request(PyType_GetModule(defining_class), self->control,
                           &limits);
}

PyDoc_STRVAR(close_doc, "close()\n--\n\n"
                        "Kill the zygote and every cell of it, and reap it.  "
                        "In a fork of the host\nthat started it, only close "
                        "the descriptors.  May be called again.");

static PyObject *
zygote_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ZygoteObject *self = (ZygoteObject *)op;
    int pidfd = self->pidfd;

    self->pidfd = -1; /* stolen: another thread finds nothing to do */
    csb_close(&self->control);
    if (self->owner != getpid()) {
        csb_close(&pidfd);
        Py_RETURN_NONE;
    }
    Py_BEGIN_ALLOW_THREADS destroy(&pidfd);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *
zygote_alive(PyObject *op, void *Py_UNUSED(closure))
{
    const ZygoteObject *self = (const ZygoteObject *)op;
    struct pollfd process = {.fd = self->pidfd, .events = POLLIN};
    if (self->pidfd < 0 || self->owner != getpid()) {
        Py_RETURN_FALSE;
    }
    return PyBool_FromLong(poll(&process, 1, 0) == 0);
}

static PyObject *
zygote_pid(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((const ZygoteObject *)op)->pid);
}

static void
zygote_dealloc(PyObject *op)
{
    ZygoteObject *self = (ZygoteObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    csb_close(&self->control);
    if (self->owner == getpid()) {
        destroy(&self->pidfd);
    }
    csb_close(&self->pidfd);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"start", (PyCFunction)(void (*)(void))zygote_start,
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, start_doc},
    {"close", zygote_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"alive", zygote_alive, NULL, "Whether its process runs.", NULL},
    {"pid", zygote_pid, NULL, "Its process id here.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(
    zygote_doc,
    "Zygote(argv, env, plan, timeout)\n--\n\n"
    "Start argv[0] with the environment env (a list of 'NAME=value') in\n"
    "namespaces of its own, and wait until it is ready to fork cells.  plan\n"
    "is bytes from build_plan(), timeout seconds.  Raises SetupError(step,\n"
    "errno, detail).");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)zygote_doc}, {Py_tp_new, zygote_new},
    {Py_tp_dealloc, zygote_dealloc}, {Py_tp_methods, methods},
    {Py_tp_getset, properties},      {0, NULL},
};

PyType_Spec csb_zygote_spec = {
    .name = "csandbox._csandbox.Zygote",
    .basicsize = sizeof(ZygoteObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
