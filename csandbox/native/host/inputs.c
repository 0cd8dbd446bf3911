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
    int fd;
    uint64_t size;
} InputsObject;

/* Copies huge page after huge page, each while its zeroes are still in the
 * processor's cache, as far as there are any.  Returns how far. */
static uint64_t
copy_pages(int fd, const struct csb_parts *parts)
{
    uint64_t done = 0;
    void *memory;

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

/* Without the GIL.  0 or -errno. */
static int
fill(InputsObject *self, const struct csb_parts *parts)
{
    uint64_t done = 0;
    int result = csb_store_make(parts->end, &self->fd, &self->size);
    if (result < 0) {
        return result;
    }
    if (self->size < parts->end) {
        return -EFBIG;
    }
    if (parts->end >= CSB_HUGE_PAGE) {
        done = copy_pages(self->fd, parts);
    }
    result = csb_parts_write(parts, done, self->fd);
    return result < 0 ? result : csb_store_seal(self->fd);
}

static PyObject *
inputs_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"parts", NULL};
    struct csb_parts parts;
    PyObject *list;
    int result;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!", names, &PyList_Type,
                                     &list)) {
        return NULL;
    }
    InputsObject *self = (InputsObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->fd = -1;
    if (csb_parts_hold(list, &parts) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = fill(self, &parts);
    Py_END_ALLOW_THREADS
    csb_parts_release(&parts);
    if (result < 0) {
        Py_DECREF(self);
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
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
        PyErr_SetString(PyExc_ValueError, "these inputs are closed");
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
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(inputs_doc,
             "Inputs(parts)\n--\n\n"
             "A copy of parts, a list of pairs of a place, in bytes, and a "
             "contiguous\nbuffer, of which the last ends last.  A cell can "
             "map it and nobody can\nchange it.  Raises OSError if there is "
             "no memory or descriptor for it.");

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
