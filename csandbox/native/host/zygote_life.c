/* What a Zygote tells of itself: whether it is alive, its age and its use. */
#define _GNU_SOURCE
#include "zygote_object.h"

#include <structmember.h>

#include <poll.h>
#include <unistd.h>

#include "watch.h"
#include "zygote.h"

void
csb_zygote_born(ZygoteObject *self)
{
    self->born = self->used = csb_watch_clock();
}

void
csb_zygote_used(PyObject *zygote)
{
    ZygoteObject *self = (ZygoteObject *)zygote;
    self->used = csb_watch_clock();
    self->runs++;
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

static PyObject *
seconds(int64_t time)
{
    return PyFloat_FromDouble((double)time * 1e-9);
}

static PyObject *
zygote_born(PyObject *op, void *Py_UNUSED(closure))
{
    return seconds(((const ZygoteObject *)op)->born);
}

static PyObject *
zygote_used(PyObject *op, void *Py_UNUSED(closure))
{
    return seconds(((const ZygoteObject *)op)->used);
}

PyGetSetDef csb_zygote_properties[] = {
    {"alive", zygote_alive, NULL, "Whether its process runs.", NULL},
    {"pid", zygote_pid, NULL, "Its process id here.", NULL},
    {"born", zygote_born, NULL,
     "When it became ready, in time.monotonic(); 0.0 until then.", NULL},
    {"used", zygote_used, NULL,
     "When a run of it last began, or when it became ready.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyMemberDef csb_zygote_members[] = {
    {"runs", T_ULONGLONG, offsetof(ZygoteObject, runs), READONLY,
     "How many runs it has had."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ZygoteObject, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
