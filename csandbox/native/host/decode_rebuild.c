/* The constructor of what is rebuilt by csandbox.values, in Python: arrays,
 * and what pandas and others make of them.
 *
 * The bytes never name a class or function of numpy or pandas: they hold
 * "csandbox.rebuild", the kind of thing and its fields, which are plain
 * values. */
#include "decode_types.h"

#include <string.h>

/* Of what is made at the least, a numpy scalar: some 3 us.  csandbox.values
 * charges for all that takes longer, as memory too. */
#define ITEMS_EACH 20
#define MEMORY_EACH 512
/* Of the arguments of what holds no containers of the guest's: their own,
 * the fields, and a shape. */
#define FLAT_HEIGHT 3

/* The ids of the containers that are still being filled: a new frozenset; or
 * None, if nothing refers back to one.  Nothing collects a cycle that goes
 * through an array of objects, so the fields must not lead to any. */
static PyObject *
collect_open(struct csb_decoder *d)
{
    if (!d->cyclic) {
        return Py_NewRef(Py_None);
    }
    if (csb_decode_charge_items(d, d->used) < 0) {
        return NULL;
    }
    PyObject *ids = PyFrozenSet_New(NULL);
    for (size_t i = 0; ids != NULL && i < d->used; i++) {
        if (d->stack[i].kind != CSB_OPEN) {
            continue;
        }
        PyObject *id = PyLong_FromVoidPtr(d->stack[i].object);
        if (id == NULL || PySet_Add(ids, id) < 0) {
            Py_CLEAR(ids);
        }
        Py_XDECREF(id);
    }
    return ids;
}

static int
check(struct csb_decoder *d, PyObject *kind, PyObject *fields)
{
    if (!PyUnicode_CheckExact(kind) || !PyTuple_CheckExact(fields)) {
        return csb_decode_refuse(d, "it takes a kind and a tuple of fields");
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

/* Calls csandbox.values.rebuild, and takes what it returns: the thing, the
 * bytes to charge, and what hashing it costs. */
static int
rebuild(struct csb_decoder *d, PyObject *function, PyObject *kind,
        PyObject *fields, struct csb_entry *ret_made)
{
    PyObject *region = d->region != NULL ? d->region : Py_None;
    PyObject *object;
    Py_ssize_t spent;
    unsigned weight;

    PyObject *open = collect_open(d);
    if (open == NULL) {
        return -1;
    }
    PyObject *made =
        PyObject_CallFunction(function, "OOOnN", kind, fields, region,
                              (Py_ssize_t)d->memory_left, open);
    if (made == NULL) {
        return refuse_fields(d);
    }
    if (!PyArg_ParseTuple(made, "OnI", &object, &spent, &weight) ||
        csb_decode_charge_memory(d, (size_t)spent) < 0) {
        Py_DECREF(made);
        return -1;
    }
    ret_made->object = Py_NewRef(object);
    ret_made->weight = weight;
    Py_DECREF(made);
    return 0;
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
    if (function == NULL || rebuild(d, function, kind, fields, ret_made) < 0) {
        return -1;
    }
    ret_made->height = args->height;
    if (Py_TYPE(ret_made->object)->tp_hash == PyObject_HashNotImplemented) {
        ret_made->kind = CSB_UNHASHABLE;
        ret_made->weight = CSB_UNHASHABLE_WEIGHT;
    }
    if (args->height > FLAT_HEIGHT) {
        d->fragile++;
        if (csb_decode_check_fragile(d) < 0) {
            Py_CLEAR(ret_made->object);
            return -1;
        }
    }
    return 0;
}
