/* The type Run: a thin shell of Python around one struct csb_watch. */
#define _GNU_SOURCE
#include "run.h"

#include <structmember.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/frames.h"
#include "../common/store.h"
#include "channel.h"
#include "drive.h"
#include "inputs.h"
#include "outcome.h"
#include "parts.h"
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
    bool next_is_left; /* ... when this run was over */
    bool is_left;      /* this one, when another was */
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

/* Inputs that are not known yet come in a store that is empty yet. */
static int
ask_for_like(RunObject *self, int socket, struct csb_watch *ret_next)
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
                      : csb_channel_ask(ret_next, socket, &request,
                                        self->store, ret_next->inputs, -1);
}

/* While a cell is at its job, the next one like it is asked for: when it is
 * over, in its own socket, where the zygote looks when nothing is left of it.
 * Else it would wake up for that now, and keep the processor from the caller
 * that is about to have its value. */
static void
ask_for_next(struct csb_watch *watch, int over)
{
    RunObject *self =
        (RunObject *)((char *)watch - offsetof(RunObject, watch));
    int result = -EPIPE;
    self->next_is_left = over;
    if (over) {
        clear_watch(&self->next);
        result = ask_for_like(self, watch->status, &self->next);
    }
    if (result == -EPIPE || result == -ECONNRESET) {
        /* By now it is gone, or it is not over. */
        csb_watch_close(&self->next);
        clear_watch(&self->next);
        result = ask_for_like(self, self->control, &self->next);
        self->next_is_left = false;
    }
    if (result < 0) {
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
    int result = csb_channel_ask(&self->watch, control, &request, store,
                                 inputs, cgroup);
    if (result < 0) {
        Py_DECREF(self);
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

/* --- communicate --------------------------------------------------------- */

/* What a cell is given, and its limits: the arguments of communicate(). */
struct terms {
    Py_buffer job, input;
    double timeout, setup_timeout, cpu_time;
    unsigned long long memory, output, result;
    unsigned tasks, processes, required;
    int output_kills, signals, successor, hurried;
    PyObject *sink;
};

static void
set_limits(struct csb_watch *watch, const struct terms *terms)
{
    watch->meter.tasks = terms->tasks + terms->processes;
    watch->meter.several = terms->processes > 0;
    watch->meter.memory_limit = terms->memory;
    watch->meter.cpu_limit = (int64_t)(terms->cpu_time * 1e9);
    watch->notify.forks.most = terms->processes;
    watch->expected.required = terms->required;
    watch->output_limit = (size_t)terms->output;
    watch->output_kills = terms->output_kills;
    watch->result_limit = (size_t)terms->result;
    watch->timeout = (int64_t)(terms->timeout * 1e9);
}

/* When it became ready, what this run requires was not known. */
static void
begin_armed(struct csb_watch *watch)
{
    if (csb_receipt_check(&watch->expected, &watch->report)) {
        csb_watch_begin(watch);
    } else {
        watch->ready = 0;
        csb_watch_end(watch, CSB_ENDING_SETUP);
    }
}

static int
prepare(RunObject *self, const struct terms *terms)
{
    struct csb_watch *watch = &self->watch;
    if (self->used) {
        PyErr_SetString(PyExc_RuntimeError, "this cell has had its job");
        return -1;
    }
    self->used = true;
    csb_zygote_used(self->zygote);
    set_limits(watch, terms);
    watch->job.data = terms->job.buf;
    watch->job.size = (size_t)terms->job.len;
    watch->input.data = terms->input.buf;
    watch->input.size = (size_t)terms->input.len;
    watch->streaming = terms->sink != Py_None;
    watch->hurried = terms->hurried;
    watch->on_work = terms->successor ? ask_for_next : NULL;
    int64_t now = csb_watch_clock();
    watch->signal_check = terms->signals ? now + CSB_SIGNAL_PERIOD : 0;
    watch->deadline = now + (int64_t)(terms->setup_timeout * 1e9);
    if (watch->ready) {
        begin_armed(watch);
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
    "enough, and the end of a short run need not be awaited, nor what it "
    "used\n"
    "be known.  Returns a dict that says how it ended.  An exception of a\n"
    "signal handler or of the sink kills the run and is raised.");

static PyObject *
run_communicate(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "job",     "input",    "timeout",   "setup_timeout", "cpu_time",
        "memory",  "tasks",    "processes", "output",        "output_kills",
        "result",  "required", "signals",   "sink",          "successor",
        "hurried", NULL};
    RunObject *self = (RunObject *)op;
    struct terms terms = {.timeout = 0};
    PyObject *outcome = NULL;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "y*y*$dddKIIKpKIpOpp", names, &terms.job,
            &terms.input, &terms.timeout, &terms.setup_timeout,
            &terms.cpu_time, &terms.memory, &terms.tasks, &terms.processes,
            &terms.output, &terms.output_kills, &terms.result, &terms.required,
            &terms.signals, &terms.sink, &terms.successor, &terms.hurried)) {
        return NULL;
    }
    if (prepare(self, &terms) == 0) {
        self->driven = true;
        int ended = csb_drive(&self->watch, &self->relief, terms.sink);
        self->driven = false;
        if (ended == 0) {
            outcome =
                csb_outcome_dict(PyType_GetModule(Py_TYPE(op)), &self->watch);
        }
        csb_watch_close(&self->watch);
    }
    PyBuffer_Release(&terms.job);
    PyBuffer_Release(&terms.input);
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

/* Of a cell that waited, nobody may have looked for long. */
static void
forget_lost(RunObject *self)
{
    if (!self->used) {
        csb_channel_forget_lost(&self->watch);
    }
}

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
    forget_lost(self);
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
    next->is_left = self->next_is_left;
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

/* It is wanted before the zygote had a reason to look for its request. */
static void
nudge(RunObject *self)
{
    const struct csb_request request = {.magic = CSB_NUDGE_MAGIC};
    self->is_left = false;
    /* If it fails the zygote is dying, or is awake with much to do. */
    (void)csb_send(self->control, &request, sizeof request, NULL, 0);
}

static PyObject *
run_waits(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    RunObject *self = (RunObject *)op;
    forget_lost(self);
    if (self->used || self->watch.status < 0 || self->owner != getpid()) {
        Py_RETURN_FALSE;
    }
    int alive = csb_watch_peek(&self->watch);
    if (alive && self->is_left && self->watch.init < 0) {
        nudge(self);
    }
    return PyBool_FromLong(alive);
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
    forget_lost(self);
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

static PyObject *
run_ready(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((const RunObject *)op)->watch.ready);
}

static PyGetSetDef properties[] = {
    {"ready", run_ready, NULL,
     "Whether the cell was ready for its job when it was last looked at.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(RunObject, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(run_doc, "One cell.  Made by Zygote.start().");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)run_doc}, {Py_tp_dealloc, run_dealloc},
    {Py_tp_methods, methods},     {Py_tp_members, members},
    {Py_tp_getset, properties},   {0, NULL},
};

PyType_Spec csb_run_spec = {
    .name = "csandbox._csandbox.Run",
    .basicsize = sizeof(RunObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
