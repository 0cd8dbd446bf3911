#define _GNU_SOURCE
#include "inputs.h"

#include <structmember.h>

#include <errno.h>

#include "../common/fdio.h"
#include "../common/store.h"
#include "forklock.h"
#include "parts.h"

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    int fd; /* -1 until write(), and after close() */
    int used;
    uint64_t size;
} InputsObject;

/* Copies huge page after huge page, each while its zeroes are still in the
 * processor's cache, as far as there are any.  Returns how far. */
static uint64_t
copy_pages(int fd, const struct csb_parts *parts)
{
    uint64_t done = 0;
    void *memory = NULL;

    csb_forklock_enter();
    int result = csb_store_map(fd, 0, (size_t)parts->end, 1, &memory);
    csb_forklock_leave();
    if (result < 0) {
        return 0;
    }
    while (done + CSB_HUGE_PAGE <= parts->end &&
           csb_store_make_huge((char *)memory + done) == 0) {
        csb_parts_copy(parts, done, done + CSB_HUGE_PAGE,
                       (char *)memory + done);
        done += CSB_HUGE_PAGE;
    }
    csb_store_unmap(memory, (size_t)parts->end);
    return done;
}

int
csb_inputs_fill(int fd, const struct csb_parts *parts)
{
    uint64_t done = 0, size = 0;

    int result = csb_store_resize(fd, parts->end, &size);
    if (result == 0 && size < parts->end) {
        result = -EFBIG;
    }
    if (result < 0) {
        return result;
    }
    if (size >= CSB_HUGE_PAGE) {
        done = copy_pages(fd, parts);
    }
    result = csb_parts_write(parts, done, fd);
    return result < 0 ? result : csb_store_seal(fd);
}

/* Without the GIL.  0 or -errno. */
static int
fill(InputsObject *self, const struct csb_parts *parts)
{
    csb_forklock_enter(); /* so that a fork knows of it, and closes it */
    int result = csb_store_create(CSB_STORE_NAME, &self->fd);
    csb_forklock_leave();
    self->size = parts->end;
    return result < 0 ? result : csb_inputs_fill(self->fd, parts);
}

static PyObject *
inputs_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "", names)) {
        return NULL;
    }
    InputsObject *self = (InputsObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->fd = -1;
    }
    return (PyObject *)self;
}

PyDoc_STRVAR(write_doc,
             "write($self, parts, /)\n--\n\n"
             "Hold a copy of parts, a list of pairs of a place, in bytes, and "
             "a\ncontiguous buffer, in the order of their places.  Once.  "
             "Raises OSError\nif there is no memory or descriptor for it.");

static PyObject *
inputs_write(PyObject *op, PyObject *list)
{
    InputsObject *self = (InputsObject *)op;
    struct csb_parts parts;
    int result;

    if (self->used) {
        PyErr_SetString(PyExc_RuntimeError, "write() is for once");
        return NULL;
    }
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "parts must be a list");
        return NULL;
    }
    if (csb_parts_hold(list, &parts) < 0) {
        return NULL;
    }
    self->used = 1;
    Py_BEGIN_ALLOW_THREADS
    result = fill(self, &parts);
    Py_END_ALLOW_THREADS
    csb_parts_release(&parts);
    if (result < 0) {
        csb_close(&self->fd);
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

int
csb_inputs_get(PyObject *module, PyObject *inputs, int *ret_fd,
               uint64_t *ret_size)
{
    if (inputs == Py_None) {
        *ret_fd = -1;
        *ret_size = 0;
        return 0;
    }
    if (!Py_IS_TYPE(inputs, csb_module_state(module)->inputs_type)) {
        PyErr_SetString(PyExc_TypeError, "inputs must be Inputs or None");
        return -1;
    }
    const InputsObject *self = (const InputsObject *)inputs;
    if (self->fd < 0) {
        PyErr_SetString(PyExc_ValueError,
                        "these inputs are closed, or not written");
        return -1;
    }
    *ret_fd = self->fd;
    *ret_size = self->size;
    return 0;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Close the descriptor.  May be called again.");

static PyObject *
inputs_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    csb_close(&((InputsObject *)op)->fd);
    Py_RETURN_NONE;
}

static void
inputs_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    if (((InputsObject *)op)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    csb_close(&((InputsObject *)op)->fd);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(InputsObject, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    {"close", inputs_close, METH_NOARGS, close_doc},
    {"write", inputs_write, METH_O, write_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(inputs_doc,
             "Inputs()\n--\n\n"
             "Room for what a cell can map and nobody can change.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)inputs_doc}, {Py_tp_new, inputs_new},
    {Py_tp_dealloc, inputs_dealloc}, {Py_tp_methods, methods},
    {Py_tp_members, members},        {0, NULL},
};

PyType_Spec csb_inputs_spec = {
    .name = "csandbox._csandbox.Inputs",
    .basicsize = sizeof(InputsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
