#include "region.h"

#include <errno.h>

#include "../common/store.h"

typedef struct {
    PyObject_HEAD
    void *memory; /* NULL if it is empty */
    size_t size;
} RegionObject;

PyObject *
csb_region_map(PyObject *module, int store, size_t size)
{
    PyTypeObject *type = csb_module_state(module)->region_type;
    RegionObject *self = (RegionObject *)type->tp_alloc(type, 0);
    if (self == NULL || size == 0) {
        return (PyObject *)self;
    }
    int result = csb_store_map(store, 0, size, 0, &self->memory);
    if (result < 0) {
        Py_DECREF(self);
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    self->size = size;
    return (PyObject *)self;
}

PyObject *
csb_region_slice(PyObject *region, size_t at, size_t size)
{
    PyObject *view = PyMemoryView_FromObject(region);
    if (view == NULL) {
        return NULL;
    }
    PyObject *part =
        PySequence_GetSlice(view, (Py_ssize_t)at, (Py_ssize_t)(at + size));
    Py_DECREF(view);
    return part;
}

const char csb_region_open_doc[] = PyDoc_STR(
    "open_region(fd, size, /)\n--\n\n"
    "Map the first size bytes of a sealed store for reading: a Region.  fd\n"
    "stays the caller's.  Raises OSError.");

PyObject *
csb_region_open_method(PyObject *module, PyObject *args)
{
    Py_ssize_t size;
    int fd;

    if (!PyArg_ParseTuple(args, "in", &fd, &size)) {
        return NULL;
    }
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "size may not be negative");
        return NULL;
    }
    return csb_region_map(module, fd, (size_t)size);
}

static int
region_getbuffer(PyObject *op, Py_buffer *view, int flags)
{
    RegionObject *self = (RegionObject *)op;
    return PyBuffer_FillInfo(view, op, self->size > 0 ? self->memory : "",
                             (Py_ssize_t)self->size, 1, flags);
}

static Py_ssize_t
region_length(PyObject *op)
{
    return (Py_ssize_t)((RegionObject *)op)->size;
}

static void
region_dealloc(PyObject *op)
{
    RegionObject *self = (RegionObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    if (self->size > 0) {
        csb_store_unmap(self->memory, self->size);
    }
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(region_doc, "A store that nobody can change, as a buffer.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)region_doc},
    {Py_tp_dealloc, region_dealloc},
    {Py_sq_length, region_length},
    {Py_bf_getbuffer, region_getbuffer},
    {0, NULL},
};

PyType_Spec csb_region_spec = {
    .name = "csandbox._csandbox.Region",
    .basicsize = sizeof(RegionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};
