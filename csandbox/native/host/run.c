/* The type Run: a thin shell of Python around one struct csb_watch. */
#define _GNU_SOURCE
#include "run.h"

#include <structmember.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/frames.h"
#include "../common/store.h"
#include "drive.h"
#include "inputs.h"
#include "parts.h"
#include "region.h"
#include "told.h"
#include "zygote.h"

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    struct csb_watch watch;
    struct csb_relief relief; /* while the sink has the caller's thread */
    pid_t owner;              /* in a fork of it the run is not ours to kill */
    bool used;                /* communicate() was called: one job, one cell */
    bool driven;              /* ... and has not returned */
    /* What it takes to ask for another like it. */
    PyObject *zygote; /* a reference: its control socket stays open */
    int control;
    struct csb_limits limits;
    uint64_t store;
    bool stored;           /* it has inputs in a store */
    struct csb_watch next; /* the cell that has been asked for meanwhile */
    bool has_next;
} RunObject;

static void
clear_watch(struct csb_watch *watch)
{
    *watch = (struct csb_watch){
        .status = -1,
        .result = -1,
        .wake = -1,
        .relief = -1,
        .streams = {{.fd = -1}, {.fd = -1}},
        .job = {.fd = -1, .stays_open = 1},
        .store = -1,
        .inputs = -1,
        .input = {.fd = -1},
        .init = -1,
        .cell = -1,
        .scratch = -1,
        .cgroup = CSB_CGROUP_NOTHING,
        .spot = CSB_SPOT_NOTHING,
        .notify = {.listener = -1},
        .meter = {.cell = -1, .scratch = -1, .cpu_stat = -1},
    };
}

/* --- the request --------------------------------------------------------- */

/* A pipe of which the host keeps one end, which does not block. */
static int
open_pipe(int host_end, int *ret_host, int *ret_cell)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    *ret_host = ends[host_end];
    *ret_cell = ends[1 - host_end];
    return fcntl(*ret_host, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int
open_channel(struct csb_watch *watch, uint64_t store_size, int *fds)
{
    int sockets[2];
    int result = open_pipe(1, &watch->input.fd, &fds[CSB_FD_STDIN]);
    if (result == 0) {
        result = open_pipe(0, &watch->streams[0].fd, &fds[CSB_FD_STDOUT]);
    }
    if (result == 0) {
        result = open_pipe(0, &watch->streams[1].fd, &fds[CSB_FD_STDERR]);
    }
    if (result == 0) {
        result = open_pipe(1, &watch->job.fd, &fds[CSB_FD_JOB]);
    }
    if (result == 0) {
        result = open_pipe(0, &watch->result, &fds[CSB_FD_RESULT]);
    }
    if (result == 0) {
        result = csb_store_make(store_size, &watch->store, &store_size);
    }
    if (result < 0) {
        return result;
    }
    watch->chunk = malloc(CSB_CHUNK);
    if (watch->chunk == NULL) {
        return -ENOMEM;
    }
    watch->store_size = (size_t)store_size;
    watch->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch->wake < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        return -errno;
    }
    watch->status = sockets[0];
    fds[CSB_FD_STATUS] = sockets[1];
    return fcntl(watch->status, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* The leaf bounds what all of the run holds, and that may be written to the
 * store by the run, which is charged to it then.  -1 with an exception. */
static int
make_leaf(PyObject *module, struct csb_watch *watch, PyObject *leaf,
          const struct csb_limits *given, uint64_t store, int *ret_procs)
{
    const struct csb_cgroup_limits limits = {
        .memory = given->memory + store,
        .tasks = given->threads + given->processes + 1ull,
    };
    struct csb_report report;
    const char *name;
    int base, result;

    if (leaf == Py_None) {
        return 0;
    }
    if (!PyTuple_Check(leaf)) {
        PyErr_SetString(PyExc_TypeError, "a leaf is (base, name)");
        return -1;
    }
    if (!PyArg_ParseTuple(leaf, "is", &base, &name)) {
        return -1;
    }
    Py_BEGIN_ALLOW_THREADS
    result = csb_cgroup_make(base, name, &limits, &watch->cgroup, ret_procs);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        csb_report_fill(CSB_STEP_CGROUP, -result, 0, NULL, &report);
        (void)csb_raise_setup_error(module, &report, "");
        return -1;
    }
    watch->meter.cpu_stat = watch->cgroup.cpu_stat;
    return 0;
}

/* A bare run: the user that it becomes, and its directory if it may have one.
 * place: (uid, base, path of base, name), base -1 for no directory.  -1 with
 * an exception. */
static int
make_spot(PyObject *module, struct csb_watch *watch, PyObject *place,
          struct csb_request *request)
{
    struct csb_spot *spot = &watch->spot;
    struct csb_report report;
    const char *path, *name;
    int base, result;

    if (place == Py_None) {
        return 0;
    }
    if (!PyTuple_Check(place)) {
        PyErr_SetString(PyExc_TypeError, "a place is a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(place, "Iiss", &request->uid, &base, &path, &name)) {
        return -1;
    }
    if (base < 0) {
        return 0;
    }
    int length = snprintf(request->directory, sizeof request->directory,
                          "%s/%s", path, name);
    if (length >= (int)sizeof request->directory) {
        result = -ENAMETOOLONG;
    } else {
        Py_BEGIN_ALLOW_THREADS
        result = csb_spot_make(base, name, request->uid, spot);
        Py_END_ALLOW_THREADS
    }
    if (result < 0) {
        csb_report_fill(CSB_STEP_SCRATCH, -result, 0, NULL, &report);
        (void)csb_raise_setup_error(module, &report, path);
        return -1;
    }
    spot->bytes_limit = request->limits.scratch + CSB_SPOT_OWN_BYTES;
    spot->files_limit = request->limits.scratch_inodes + CSB_SPOT_OWN_FILES;
    watch->meter.spot = spot;
    return 0;
}

/* Sends the request, with those optional descriptors that there are. */
static int
send_request(int control, struct csb_request *request, const int *fds)
{
    int attached[CSB_FD_COUNT], count = CSB_FD_OPTIONAL;

    memcpy(attached, fds, sizeof attached);
    for (int i = CSB_FD_OPTIONAL; i < CSB_FD_COUNT; i++) {
        if (fds[i] >= 0) {
            attached[count++] = fds[i];
            request->attached |= 1u << i;
        }
    }
    return csb_send(control, request, sizeof *request, attached, count);
}

/* Asks for a cell; closes the descriptor of its cgroup.  Needs no GIL. */
static int
ask(struct csb_watch *watch, int control, struct csb_request *request,
    uint64_t store, int inputs, int cgroup)
{
    int fds[CSB_FD_COUNT];

    for (int i = 0; i < CSB_FD_COUNT; i++) {
        fds[i] = -1;
    }
    fds[CSB_FD_CGROUP] = cgroup;
    int result = open_channel(watch, store, fds);
    if (result == 0) {
        fds[CSB_FD_STORE] = watch->store;
        fds[CSB_FD_INPUTS] = inputs;
        result = send_request(control, request, fds);
    }
    fds[CSB_FD_STORE] = fds[CSB_FD_INPUTS] = -1; /* not this function's */
    for (int i = 0; i < CSB_FD_COUNT; i++) {
        csb_close(&fds[i]);
    }
    return result;
}

/* Inputs that are not known yet come in a store that is empty yet. */
static int
ask_for_like(RunObject *self, struct csb_watch *ret_next)
{
    struct csb_request request = {
        .magic = CSB_REQUEST_MAGIC,
        .limits = self->limits,
    };
    int result = 0;

    request.limits.mapped = self->store;
    if (self->stored) {
        request.limits.mapped += CSB_INPUTS_SPACE;
        result = csb_store_create(CSB_STORE_NAME, &ret_next->inputs);
    }
    ret_next->expected = self->watch.expected;
    ret_next->expected.limits = request.limits;
    return result < 0 ? result
                      : ask(ret_next, self->control, &request, self->store,
                            ret_next->inputs, -1);
}

/* While a cell is at its job, the next one like it is asked for. */
static void
ask_for_next(struct csb_watch *watch)
{
    RunObject *self =
        (RunObject *)((char *)watch - offsetof(RunObject, watch));
    clear_watch(&self->next);
    if (ask_for_like(self, &self->next) < 0) {
        csb_watch_close(&self->next); /* then there is none */
        return;
    }
    self->has_next = true;
}

static RunObject *
new_run(PyObject *module, PyObject *zygote)
{
    PyTypeObject *type = csb_module_state(module)->run_type;
    RunObject *self = (RunObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        clear_watch(&self->watch);
        clear_watch(&self->next);
        self->owner = getpid();
        self->zygote = Py_NewRef(zygote);
    }
    return self;
}

PyObject *
csb_run_request(PyObject *module, PyObject *zygote, int control,
                const struct csb_expected *expected,
                const struct csb_limits *limits, uint64_t store, int inputs,
                PyObject *leaf, PyObject *place)
{
    struct csb_request request = {
        .magic = CSB_REQUEST_MAGIC,
        .limits = *limits,
    };
    int cgroup = -1;

    RunObject *self = new_run(module, zygote);
    if (self == NULL) {
        return NULL;
    }
    self->control = control;
    self->limits = *limits;
    self->store = store;
    self->stored = inputs >= 0;
    self->watch.expected = *expected;
    self->watch.expected.limits = *limits;
    if (make_leaf(module, &self->watch, leaf, limits, store, &cgroup) < 0 ||
        make_spot(module, &self->watch, place, &request) < 0) {
        csb_close(&cgroup);
        Py_DECREF(self);
        return NULL;
    }
    int result = ask(&self->watch, control, &request, store, inputs, cgroup);
    if (result < 0) {
        Py_DECREF(self);
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

/* --- communicate --------------------------------------------------------- */

static const char *const ending_names[] = {
    [CSB_ENDING_NONE] = "none",
    [CSB_ENDING_SETUP] = "setup",
    [CSB_ENDING_FRAME] = "frame",
    [CSB_ENDING_EXITED] = "exited",
    [CSB_ENDING_SIGNALLED] = "signalled",
    [CSB_ENDING_TIMEOUT] = "timeout",
    [CSB_ENDING_CANCELLED] = "cancelled",
    [CSB_ENDING_TOO_BIG] = "too big",
    [CSB_ENDING_MALFORMED] = "malformed",
    [CSB_ENDING_LOST] = "lost",
    [CSB_ENDING_UNSEALED] = "unsealed",
    [CSB_ENDING_OOM] = "oom",
    [CSB_ENDING_CPU] = "cpu",
    [CSB_ENDING_MEMORY] = "memory",
    [CSB_ENDING_SCRATCH] = "scratch",
    [CSB_ENDING_THREADS] = "threads",
    [CSB_ENDING_OUTPUT] = "output",
    [CSB_ENDING_PROCESSES] = "processes",
    [CSB_ENDING_DENIED] = "denied",
};

/* The value's bytes, and the store that they may refer to: each a new
 * reference, or None.  -1 with an exception. */
static int
take_payload(PyObject *module, const struct csb_watch *watch,
             PyObject **ret_payload, PyObject **ret_region)
{
    size_t at = (size_t)watch->frame.at, length = (size_t)watch->frame.length;

    *ret_payload = *ret_region = NULL;
    if (watch->ending != CSB_ENDING_FRAME) {
        *ret_payload = Py_NewRef(Py_None);
        *ret_region = Py_NewRef(Py_None);
    } else if (watch->payload != NULL) {
        *ret_payload =
            PyBytes_FromStringAndSize(watch->payload, (Py_ssize_t)length);
        *ret_region = Py_NewRef(Py_None);
    } else {
        /* An honest guest's pickle lies behind its arrays. */
        *ret_region = csb_region_map(module, watch->store, at + length);
        if (*ret_region != NULL) {
            *ret_payload = csb_region_slice(*ret_region, at, length);
        }
    }
    if (*ret_payload == NULL) {
        Py_CLEAR(*ret_region);
        return -1;
    }
    return 0;
}

/* The most bytes that the run added to what it inherited.  The kernel's own
 * figure knows every moment, but one process and not what lies in files. */
static long long
peak_memory(const struct csb_watch *watch)
{
    if (watch->cgroup.peak > 0) {
        return (long long)watch->cgroup.peak;
    }
    long long resident = (long long)watch->exit.peak_kib * 1024 -
                         (long long)watch->meter.inherited;
    long long seen = (long long)watch->meter.peak_memory;
    long long scratch = (long long)watch->meter.peak_scratch;

    seen = seen > scratch ? seen : scratch;
    return resident > seen ? resident : seen;
}

/* Seconds of all processes of the run. */
static void
processor_time(const struct csb_watch *watch, double *ret_user,
               double *ret_system)
{
    const struct csb_cgroup *cgroup = &watch->cgroup;
    int64_t user =
        cgroup->counted ? cgroup->cpu.user_usec : watch->exit.user_usec;
    int64_t system =
        cgroup->counted ? cgroup->cpu.system_usec : watch->exit.system_usec;

    /* The kernel's figure lacks what nobody has waited for. */
    int64_t unwaited = watch->meter.cpu / 1000 - user - system;
    user += watch->meter.several && unwaited > 0 ? unwaited : 0;
    *ret_user = (double)user * 1e-6;
    *ret_system = (double)system * 1e-6;
}

static unsigned
peak_processes(const struct csb_watch *watch)
{
    return watch->notify.forks.peak > 0 ? watch->notify.forks.peak : 1;
}

static const char *
report_text(const struct csb_watch *watch)
{
    return watch->report.step == CSB_STEP_READY ? "" : watch->report.text;
}

static PyObject *
report_outcome(PyObject *module, struct csb_watch *watch)
{
    PyObject *payload, *region, *told = csb_told_list(&watch->notify);
    const struct csb_stream *out = &watch->streams[0];
    const struct csb_stream *err = &watch->streams[1];
    double wall = watch->started != 0
                      ? (double)(watch->finished - watch->started) * 1e-9
                      : 0.0;

    double user, system;

    if (told == NULL) {
        return NULL;
    }
    processor_time(watch, &user, &system);
    int taken = take_payload(module, watch, &payload, &region);
    if (taken < 0 && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear(); /* no address space for it */
        watch->ending = CSB_ENDING_UNSEALED;
        taken = take_payload(module, watch, &payload, &region);
    }
    if (taken < 0) {
        Py_DECREF(told);
        return NULL;
    }
    return Py_BuildValue(
        "{s:N, s:K, s:N, s:s, s:O, s:O, s:s, s:i, s:I, s:s, s:i, s:i, s:N, "
        "s:N, s:y#, "
        "s:y#, "
        "s:K, s:K, "
        "s:K, "
        "s:K, s:d, s:d, s:d, s:d, s:L, s:K, s:I}",
        "violations", told, "untold",
        watch->notify.violations == NULL
            ? 0ull
            : (unsigned long long)watch->notify.violations->rest,
        "receipt", csb_receipt_value(&watch->expected, &watch->report),
        "ending", ending_names[watch->ending], "silent",
        watch->silent ? Py_True : Py_False, "ready",
        watch->ready ? Py_True : Py_False, "step",
        csb_step_name(watch->report.step), "errno", (int)watch->report.err,
        "detail", (unsigned)watch->report.detail, "text", report_text(watch),
        "wait_status", (int)watch->exit.wait_status, "kind",
        watch->ending == CSB_ENDING_FRAME ? (int)watch->frame.kind : 0,
        "payload", payload, "region", region, "stdout",
        out->size > 0 ? out->data : "", (Py_ssize_t)out->size, "stderr",
        err->size > 0 ? err->data : "", (Py_ssize_t)err->size, "stdout_total",
        (unsigned long long)out->total, "stderr_total",
        (unsigned long long)err->total, "announced",
        watch->ending == CSB_ENDING_TOO_BIG
            ? (unsigned long long)watch->frame.length
            : 0ull,
        "room", (unsigned long long)watch->store_size, "ready_at",
        (double)watch->started * 1e-9, "wall", wall, "user", user, "system",
        system, "peak_memory", peak_memory(watch), "scratch",
        (unsigned long long)watch->meter.peak_scratch, "peak_processes",
        peak_processes(watch));
}

static int
prepare(RunObject *self, const Py_buffer *job, const Py_buffer *input,
        double timeout, double setup_timeout)
{
    struct csb_watch *watch = &self->watch;
    if (self->used) {
        PyErr_SetString(PyExc_RuntimeError, "this cell has had its job");
        return -1;
    }
    self->used = true;
    watch->job.data = job->buf;
    watch->job.size = (size_t)job->len;
    watch->input.data = input->buf;
    watch->input.size = (size_t)input->len;
    watch->timeout = (int64_t)(timeout * 1e9);
    watch->deadline = csb_watch_clock() + (int64_t)(setup_timeout * 1e9);
    if (watch->ready) {
        csb_watch_begin(watch);
    }
    return 0;
}

PyDoc_STRVAR(
    communicate_doc,
    "communicate($self, job, input, *, timeout, setup_timeout, cpu_time,\n"
    "            memory, tasks, processes, output, output_kills, result,\n"
    "            required, signals, sink, successor, hurried)\n"
    "--\n\n"
    "Give the cell its job (bytes, a frame and its payload) and its standard\n"
    "input (bytes), and see it to its end.  timeout seconds from the moment\n"
    "it is ready, setup_timeout until then; cpu_time seconds of processors;\n"
    "memory: bytes that it may add to what it inherits; tasks: threads that\n"
    "may run at once; processes: children at a time.  output: bytes kept of "
    "each stream; output_kills:\n"
    "whether more end the run; result: most bytes of a result; required: the\n"
    "sum of what the cell must have in force, or be refused; sink(stream,\n"
    "bytes): called as output comes, None to collect it; signals: whether to\n"
    "look for them, as the main thread must; successor: whether to ask for\n"
    "another cell of the same limits meanwhile; hurried: whether a value is\n"
    "enough, and what the run used need not be known.  Returns a dict that "
    "says how\n"
    "it ended.  An exception of a signal handler or of the sink kills the "
    "run\n"
    "and is raised.");

static PyObject *
run_communicate(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "job",     "input",    "timeout",   "setup_timeout", "cpu_time",
        "memory",  "tasks",    "processes", "output",        "output_kills",
        "result",  "required", "signals",   "sink",          "successor",
        "hurried", NULL};
    RunObject *self = (RunObject *)op;
    Py_buffer job = {.buf = NULL}, input = {.buf = NULL};
    PyObject *sink, *outcome = NULL;
    double timeout, setup_timeout, cpu_time;
    unsigned long long memory, output, result;
    unsigned tasks, processes, required;
    int signals = 0, output_kills = 0, successor = 0, hurried = 0;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "y*y*$dddKIIKpKIpOpp", names, &job, &input, &timeout,
            &setup_timeout, &cpu_time, &memory, &tasks, &processes, &output,
            &output_kills, &result, &required, &signals, &sink, &successor,
            &hurried)) {
        return NULL;
    }
    self->watch.meter.tasks = tasks + processes;
    self->watch.meter.memory_limit = memory;
    self->watch.meter.cpu_limit = (int64_t)(cpu_time * 1e9);
    if (prepare(self, &job, &input, timeout, setup_timeout) == 0) {
        self->watch.meter.cpu_limit = (int64_t)(cpu_time * 1e9);
        self->watch.meter.memory_limit = memory;
        self->watch.meter.tasks = tasks + processes;
        self->watch.meter.several = processes > 0;
        self->watch.notify.forks.most = processes;
        self->watch.expected.required = required;
        self->watch.output_limit = (size_t)output;
        self->watch.output_kills = output_kills;
        self->watch.result_limit = (size_t)result;
        self->watch.streaming = sink != Py_None;
        self->watch.hurried = hurried;
        self->watch.on_sent = successor ? ask_for_next : NULL;
        self->watch.signal_check =
            signals ? csb_watch_clock() + CSB_SIGNAL_PERIOD : 0;
        self->driven = true;
        int ended = csb_drive(&self->watch, &self->relief, sink);
        self->driven = false;
        if (ended == 0) {
            outcome =
                report_outcome(PyType_GetModule(Py_TYPE(op)), &self->watch);
        }
        csb_watch_close(&self->watch);
    }
    PyBuffer_Release(&job);
    PyBuffer_Release(&input);
    return outcome;
}

PyDoc_STRVAR(kill_doc, "kill($self, /)\n--\n\n"
                       "End the run as cancelled.  From any thread; no error "
                       "if it is over.");

static PyObject *
run_kill(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    RunObject *self = (RunObject *)op;
    const uint64_t one = 1;
    /* The GIL is held, so the descriptor cannot be closed meanwhile. */
    if (self->watch.wake >= 0 && self->owner == getpid()) {
        /* EAGAIN: it is awake already. */
        ssize_t wrote = write(self->watch.wake, &one, sizeof one);
        (void)wrote;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Kill the cell if it never had its job, and close "
                        "the descriptors.\nIn a fork of the host, only close "
                        "them.");

/* In a fork of its owner a run is not ours to kill. */
static void
abandon(RunObject *self)
{
    self->watch.exited = self->next.exited = 1;
    csb_cgroup_forget(&self->watch.cgroup);
    csb_spot_forget(&self->watch.spot);
    if (self->watch.ending == CSB_ENDING_NONE) {
        self->watch.ending = CSB_ENDING_CANCELLED;
    }
}

static PyObject *
run_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    RunObject *self = (RunObject *)op;
    if (self->owner != getpid()) {
        abandon(self);
    } else if (self->driven) {
        return run_kill(op, NULL);
    }
    csb_watch_close(&self->watch);
    csb_watch_close(&self->next);
    self->has_next = false;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(successor_doc,
             "successor($self, /)\n--\n\n"
             "The cell that communicate() has asked for, a Run, or None.");

static PyObject *
run_successor(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    RunObject *self = (RunObject *)op;
    if (!self->has_next || self->owner != getpid()) {
        Py_RETURN_NONE;
    }
    RunObject *next = new_run(PyType_GetModule(Py_TYPE(op)), self->zygote);
    if (next == NULL) {
        return NULL;
    }
    next->control = self->control;
    next->limits = self->limits;
    next->store = self->store;
    next->stored = self->stored;
    next->watch = self->next;
    clear_watch(&self->next);
    self->has_next = false;
    return (PyObject *)next;
}

PyDoc_STRVAR(take_inputs_doc,
             "take_inputs($self, parts, /)\n--\n\n"
             "Give the cell, which was armed for it, large inputs: as "
             "Inputs.write().\nBefore communicate(); once.");

static PyObject *
run_take_inputs(PyObject *op, PyObject *list)
{
    RunObject *self = (RunObject *)op;
    struct csb_parts parts;
    int result;

    if (self->used || self->watch.inputs < 0 || self->owner != getpid()) {
        PyErr_SetString(PyExc_RuntimeError, "this cell takes no inputs");
        return NULL;
    }
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "parts must be a list");
        return NULL;
    }
    if (csb_parts_hold(list, &parts) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = csb_inputs_fill(self->watch.inputs, &parts);
    Py_END_ALLOW_THREADS
    csb_parts_release(&parts);
    csb_close(&self->watch.inputs);
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(waits_doc, "waits($self, /)\n--\n\n"
                        "Whether the cell is ready for its job, or will be.");

static PyObject *
run_waits(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    RunObject *self = (RunObject *)op;
    if (self->used || self->watch.status < 0 || self->owner != getpid()) {
        Py_RETURN_FALSE;
    }
    return PyBool_FromLong(csb_watch_peek(&self->watch));
}

static void
run_dealloc(PyObject *op)
{
    RunObject *self = (RunObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    if (self->owner != getpid()) {
        abandon(self);
    }
    csb_watch_close(&self->watch);
    csb_watch_close(&self->next);
    Py_XDECREF(self->zygote);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"communicate", (PyCFunction)(void (*)(void))run_communicate,
     METH_VARARGS | METH_KEYWORDS, communicate_doc},
    {"kill", run_kill, METH_NOARGS, kill_doc},
    {"close", run_close, METH_NOARGS, close_doc},
    {"successor", run_successor, METH_NOARGS, successor_doc},
    {"take_inputs", run_take_inputs, METH_O, take_inputs_doc},
    {"waits", run_waits, METH_NOARGS, waits_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(RunObject, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(run_doc, "One cell.  Made by Zygote.start().");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)run_doc},
    {Py_tp_dealloc, run_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

PyType_Spec csb_run_spec = {
    .name = "csandbox._csandbox.Run",
    .basicsize = sizeof(RunObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
