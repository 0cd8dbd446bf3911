/* The constructor of what is rebuilt by csandbox.values, in Python: arrays,
 * and what pandas and others make of them.
 *
 * The bytes never name a class or function of numpy or pandas: they hold
 * "csandbox.rebuild", the kind of thing and its fields, which are plain
 * values. */
#include "decode_types.h"

#include <string.h>

/* About 20 us and 2 KB for what is made, whatever it is. */
#define ITEMS_EACH 100
#define MEMORY_EACH 2048
#define WEIGHT 400
#define FLAT_DEPTH 16

/* Whether it is made of tuples and scalars alone, so that it can be no part
 * of a cycle. */
static bool
is_flat(PyObject *object, int depth)
{
    if (!PyTuple_CheckExact(object)) {
        return !PyObject_IS_GC(object);
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); i++) {
        if (depth == 0 || !is_flat(PyTuple_GET_ITEM(object, i), depth - 1)) {
            return false;
        }
    }
    return true;
}

static int
check(struct csb_decoder *d, PyObject *kind, PyObject *fields)
{
    if (!PyUnicode_CheckExact(kind) || !PyTuple_CheckExact(fields)) {
        return csb_decode_refuse(d, "it takes a kind and a tuple of fields");
    }
    /* Nothing collects a cycle that goes through an array of objects. */
    if (d->cyclic && !is_flat(fields, FLAT_DEPTH)) {
        return csb_decode_refuse(d, "a frame or series of objects in a value "
                                    "with cycles");
    }
    if (csb_decode_charge_items(d, ITEMS_EACH) < 0) {
        return -1;
    }
    return csb_decode_charge_memory(d, MEMORY_EACH);
}

/* Says what csandbox.values found wrong, in its own words. */
static int
refuse_fields(struct csb_decoder *d)
{
    PyObject *type, *value, *traceback;

    if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
        return csb_decode_wrap(d, "it cannot be rebuilt here");
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *text = PyObject_Str(value);
    if (text != NULL) {
        (void)csb_decode_refuse(d, "%U", text); /* -1 by contract */
    }
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return -1;
}

int
csb_decode_build_rebuilt(struct csb_decoder *d, const struct csb_entry *args,
                         struct csb_entry *ret_made)
{
    struct csb_decode_types *types = csb_decode_get_types(d);
    PyObject *kind = PyTuple_GET_ITEM(args->object, 0);
    PyObject *fields = PyTuple_GET_ITEM(args->object, 1);
    PyObject *function;

    if (types == NULL || check(d, kind, fields) < 0) {
        return -1;
    }
    function =
        csb_decode_import(d, &types->rebuild, "csandbox.values", "rebuild");
    if (function == NULL) {
        return -1;
    }
    PyObject *pair = PyObject_CallFunction(
        function, "OOOn", kind, fields,
        d->region != NULL ? d->region : Py_None, (Py_ssize_t)d->memory_left);
    if (pair == NULL) {
        return refuse_fields(d);
    }
    Py_ssize_t held = 0;
    PyObject *made = NULL;
    if (PyArg_ParseTuple(pair, "On", &made, &held)) {
        ret_made->object = Py_NewRef(made);
    }
    Py_DECREF(pair);
    if (made == NULL || csb_decode_charge_memory(d, (size_t)held) < 0) {
        Py_CLEAR(ret_made->object);
        return -1;
    }
    ret_made->height = args->height;
    ret_made->weight = WEIGHT;
    if (Py_TYPE(ret_made->object)->tp_hash == PyObject_HashNotImplemented) {
        ret_made->kind = CSB_UNHASHABLE;
        ret_made->weight = CSB_UNHASHABLE_WEIGHT;
    }
    return 0;
}
