/* Constructors of builtin types, called with checked arguments. */
#include "decode_types.h"

static PyObject *
argument(const struct csb_entry *args, Py_ssize_t index)
{
    return PyTuple_GET_ITEM(args->object, index);
}

static Py_ssize_t
count_args(const struct csb_entry *args)
{
    return PyTuple_GET_SIZE(args->object);
}

/* Fills the empty set in made with the list that is the one argument, which
 * is how protocols 2 and 3 write sets. */
static int
fill_set(struct csb_decoder *d, const struct csb_entry *args,
         struct csb_entry *made)
{
    PyObject *list = argument(args, 0); /* nobody else changes it */
    size_t count;

    if (!PyList_CheckExact(list)) {
        return csb_decode_refuse(d, "what the set holds is not a list");
    }
    /* The weight is the list's: see csb_decode_tuple. */
    if (args->weight == CSB_UNHASHABLE_WEIGHT ||
        args->height > CSB_DECODE_KEY_DEPTH + 2) {
        return csb_decode_refuse(d, "what the set holds is not hashable");
    }
    count = (size_t)PyList_GET_SIZE(list);
    if (csb_decode_charge_items(d, count) < 0 ||
        csb_decode_charge_memory(d, count * CSB_SIZE_SET_ITEM) < 0 ||
        csb_decode_charge_work(d, args->weight > 32 * count
                                      ? args->weight - 32 * count
                                      : 0) < 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (csb_decode_breathe_at(d, i) < 0 ||
            csb_decode_add_key(d, made, d->used,
                               PyList_GET_ITEM(list, (Py_ssize_t)i), 0,
                               (uint32_t)1 << args->heaviest, NULL) < 0) {
            return -1;
        }
    }
    made->weight = csb_decode_add_weight(made->weight, args->weight);
    made->height = (uint16_t)(args->height - 1);
    return 0;
}

static int
make_set(struct csb_decoder *d, const struct csb_entry *args,
         PyObject *(*make)(PyObject *), struct csb_entry *ret_made)
{
    struct csb_entry made = {.kind = CSB_OPEN, .height = 1, .weight = 1};

    if (csb_decode_charge_memory(d, CSB_SIZE_SET) < 0) {
        return -1;
    }
    made.object = make(NULL);
    if (made.object == NULL) {
        return -1;
    }
    if (count_args(args) == 1 && fill_set(d, args, &made) < 0) {
        Py_DECREF(made.object);
        return -1;
    }
    *ret_made = made;
    return 0;
}

int
csb_decode_build_set(struct csb_decoder *d, const struct csb_entry *args,
                     struct csb_entry *ret_made)
{
    if (make_set(d, args, PySet_New, ret_made) < 0) {
        return -1;
    }
    /* Its shadow was made for a slot that is not where it comes to stand. */
    ret_made->shadowed = 0;
    if (count_args(args) == 1) {
        ret_made->kind = CSB_UNHASHABLE;
    }
    return 0;
}

int
csb_decode_build_frozenset(struct csb_decoder *d, const struct csb_entry *args,
                           struct csb_entry *ret_made)
{
    size_t work_before = d->work_left;

    if (make_set(d, args, PyFrozenSet_New, ret_made) < 0) {
        return -1;
    }
    csb_decode_finish_frozenset(d, ret_made, work_before);
    return 0;
}

int
csb_decode_build_bytes(struct csb_decoder *d, const struct csb_entry *args,
                       struct csb_entry *ret_made)
{
    (void)d;
    (void)args; /* none: the empty bytes of protocol 2 */
    ret_made->object = PyBytes_FromStringAndSize(NULL, 0);
    return ret_made->object == NULL ? -1 : 0;
}

/* _codecs.encode(text, "latin1"): the bytes of protocol 2. */
int
csb_decode_build_encode(struct csb_decoder *d, const struct csb_entry *args,
                        struct csb_entry *ret_made)
{
    PyObject *text = argument(args, 0);
    PyObject *codec = argument(args, 1);

    if (!PyUnicode_CheckExact(text) || !PyUnicode_CheckExact(codec) ||
        PyUnicode_CompareWithASCIIString(codec, "latin1") != 0) {
        return csb_decode_refuse(d, "it takes a text and latin1 only");
    }
    if (csb_decode_charge_memory(d, 40 + (size_t)PyUnicode_GET_LENGTH(text)) <
        0) {
        return -1;
    }
    ret_made->object = PyUnicode_AsLatin1String(text);
    if (ret_made->object == NULL) {
        return csb_decode_wrap(d, "its text is not latin1");
    }
    return 0;
}

int
csb_decode_build_bytearray(struct csb_decoder *d, const struct csb_entry *args,
                           struct csb_entry *ret_made)
{
    const char *content = NULL;
    Py_ssize_t size = 0;

    if (count_args(args) == 1) {
        if (!PyBytes_CheckExact(argument(args, 0))) {
            return csb_decode_refuse(d, "a bytearray takes bytes only");
        }
        content = PyBytes_AS_STRING(argument(args, 0));
        size = PyBytes_GET_SIZE(argument(args, 0));
    }
    if (csb_decode_charge_memory(d, 64 + (size_t)size) < 0) {
        return -1;
    }
    ret_made->object = PyByteArray_FromStringAndSize(content, size);
    ret_made->kind = CSB_UNHASHABLE;
    ret_made->weight = CSB_UNHASHABLE_WEIGHT;
    return ret_made->object == NULL ? -1 : 0;
}

int
csb_decode_build_complex(struct csb_decoder *d, const struct csb_entry *args,
                         struct csb_entry *ret_made)
{
    PyObject *real = argument(args, 0);
    PyObject *imaginary = argument(args, 1);

    if (!PyFloat_CheckExact(real) || !PyFloat_CheckExact(imaginary)) {
        return csb_decode_refuse(d, "complex takes two floats only");
    }
    if (csb_decode_charge_memory(d, 32) < 0) {
        return -1;
    }
    ret_made->object = PyComplex_FromDoubles(PyFloat_AS_DOUBLE(real),
                                             PyFloat_AS_DOUBLE(imaginary));
    return ret_made->object == NULL ? -1 : 0;
}

int
csb_decode_build_range(struct csb_decoder *d, const struct csb_entry *args,
                       struct csb_entry *ret_made)
{
    for (Py_ssize_t i = 0; i < 3; i++) {
        if (!PyLong_CheckExact(argument(args, i))) {
            return csb_decode_refuse(d, "range takes three ints only");
        }
    }
    /* Its length is a division, quadratic in the size of huge ints. */
    if (csb_decode_charge_memory(d, 80) < 0 ||
        csb_decode_charge_work(d, args->weight > 32
                                      ? (size_t)args->weight * args->weight
                                      : 0) < 0) {
        return -1;
    }
    ret_made->object =
        PyObject_CallObject((PyObject *)&PyRange_Type, args->object);
    if (ret_made->object == NULL) {
        return csb_decode_wrap(d, "not a range");
    }
    ret_made->weight = csb_decode_add_weight(8, args->weight);
    return 0;
}

/* Deallocating nested slices recurses in C, so a slice holds scalars only. */
int
csb_decode_build_slice(struct csb_decoder *d, const struct csb_entry *args,
                       struct csb_entry *ret_made)
{
    if (args->kind != CSB_VALUE || args->height > 1) {
        return csb_decode_refuse(d, "a slice of what is not a scalar");
    }
    if (csb_decode_charge_memory(d, 64) < 0) {
        return -1;
    }
    ret_made->object =
        PySlice_New(argument(args, 0), argument(args, 1), argument(args, 2));
    ret_made->kind = CSB_UNHASHABLE;
    ret_made->weight = CSB_UNHASHABLE_WEIGHT;
    return ret_made->object == NULL ? -1 : 0;
}
