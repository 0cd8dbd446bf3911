/* Constructors of what collections adds to the builtin containers. */
#include "decode_types.h"

#define SIZE_DEQUE 720
#define SIZE_ORDERED 400

bool
csb_decode_is_deque(const struct csb_decoder *d, PyObject *object)
{
    const struct csb_decode_types *types = d->state->decode_types;

    return types != NULL && types->deque != NULL &&
           (PyObject *)Py_TYPE(object) == types->deque;
}

int
csb_decode_deque_append(struct csb_decoder *d, PyObject *deque, PyObject *item)
{
    PyObject *none = PyObject_CallFunctionObjArgs(
        d->state->decode_types->deque_append, deque, item, NULL);

    if (none == NULL) {
        return csb_decode_wrap(d, "a deque cannot grow");
    }
    Py_DECREF(none);
    return 0;
}

static int
count_fragile(struct csb_decoder *d)
{
    d->fragile++;
    return csb_decode_check_fragile(d);
}

static PyObject *
import_deque(struct csb_decoder *d, struct csb_decode_types *types)
{
    PyObject *type =
        csb_decode_import(d, &types->deque, "collections", "deque");

    if (type != NULL && types->deque_append == NULL) {
        types->deque_append = PyObject_GetAttrString(type, "append");
        if (types->deque_append == NULL) {
            (void)csb_decode_wrap(d, "a deque without append");
            return NULL;
        }
    }
    return type;
}

/* deque(()) or deque((), maxlen); what it holds comes by APPENDS. */
int
csb_decode_build_deque(struct csb_decoder *d, const struct csb_entry *args,
                       struct csb_entry *ret_made)
{
    struct csb_decode_types *types = csb_decode_get_types(d);
    Py_ssize_t count = PyTuple_GET_SIZE(args->object);
    PyObject *type, *first, *maxlen;

    if (types == NULL) {
        return -1;
    }
    type = import_deque(d, types);
    if (type == NULL) {
        return -1;
    }
    first = count > 0 ? PyTuple_GET_ITEM(args->object, 0) : NULL;
    maxlen = count > 1 ? PyTuple_GET_ITEM(args->object, 1) : Py_None;
    if (first != NULL &&
        (!PyTuple_CheckExact(first) || PyTuple_GET_SIZE(first) != 0)) {
        return csb_decode_refuse(d, "a deque begins empty");
    }
    if (maxlen != Py_None && !PyLong_CheckExact(maxlen)) {
        return csb_decode_refuse(d, "maxlen is not an int");
    }
    if (csb_decode_charge_memory(d, SIZE_DEQUE) < 0 || count_fragile(d) < 0) {
        return -1;
    }
    ret_made->object = PyObject_CallObject(type, args->object);
    if (ret_made->object == NULL) {
        return csb_decode_wrap(d, "maxlen is out of range");
    }
    ret_made->kind = CSB_OPEN;
    ret_made->height = 1;
    return 0;
}

int
csb_decode_build_ordered(struct csb_decoder *d, const struct csb_entry *args,
                         struct csb_entry *ret_made)
{
    (void)args; /* none; its items come by SETITEMS */
    if (csb_decode_charge_memory(d, SIZE_ORDERED) < 0) {
        return -1;
    }
    ret_made->object = PyODict_New();
    ret_made->kind = CSB_OPEN;
    ret_made->height = 1;
    return ret_made->object == NULL ? -1 : 0;
}

/* defaultdict(), or defaultdict(factory) with a name or None. */
int
csb_decode_build_defaultdict(struct csb_decoder *d,
                             const struct csb_entry *args,
                             struct csb_entry *ret_made)
{
    struct csb_decode_types *types = csb_decode_get_types(d);
    PyObject *factory = Py_None;
    PyObject *type;

    if (types == NULL) {
        return -1;
    }
    if (args->kind == CSB_FACTORY) {
        factory = (PyObject *)csb_decode_row_factory(args->row);
    } else if (PyTuple_GET_SIZE(args->object) == 1 &&
               PyTuple_GET_ITEM(args->object, 0) != Py_None) {
        return csb_decode_refuse(d, "not a default factory");
    }
    type = csb_decode_import(d, &types->defaultdict, "collections",
                             "defaultdict");
    if (type == NULL || csb_decode_charge_memory(d, CSB_SIZE_DICT) < 0 ||
        count_fragile(d) < 0) {
        return -1;
    }
    ret_made->object = PyObject_CallOneArg(type, factory);
    ret_made->kind = CSB_OPEN;
    ret_made->height = 1;
    return ret_made->object == NULL ? -1 : 0;
}

static int
fill_counter(struct csb_decoder *d, const struct csb_entry *args,
             struct csb_entry *made)
{
    PyObject *dict = PyTuple_GET_ITEM(args->object, 0);
    PyObject *key, *value;
    Py_ssize_t place = 0;
    size_t done = 0;
    size_t count;

    if (!PyDict_CheckExact(dict)) {
        return csb_decode_refuse(d, "what the Counter counts is not a dict");
    }
    if (args->weight == CSB_UNHASHABLE_WEIGHT) {
        return csb_decode_refuse(d, "keys take too long to hash");
    }
    count = (size_t)PyDict_GET_SIZE(dict);
    if (csb_decode_charge_items(d, 2 * count) < 0 ||
        csb_decode_charge_memory(d, count * CSB_SIZE_DICT_ITEM) < 0 ||
        csb_decode_charge_work(d, args->weight > 32 * count
                                      ? args->weight - 32 * count
                                      : 0) < 0) {
        return -1;
    }
    while (PyDict_Next(dict, &place, &key, &value)) {
        if (csb_decode_breathe_at(d, done++) < 0 ||
            csb_decode_add_key(d, made, d->used, key, 0,
                               (uint32_t)1 << args->heaviest, value) < 0) {
            return -1;
        }
    }
    made->height = (uint16_t)(args->height - 1);
    return 0;
}

/* Counter(dict): filled here, as its own constructor is Python code. */
int
csb_decode_build_counter(struct csb_decoder *d, const struct csb_entry *args,
                         struct csb_entry *ret_made)
{
    struct csb_decode_types *types = csb_decode_get_types(d);
    struct csb_entry made = {
        .kind = CSB_UNHASHABLE, .height = 1, .weight = CSB_UNHASHABLE_WEIGHT};
    PyObject *type;

    if (types == NULL) {
        return -1;
    }
    type = csb_decode_import(d, &types->counter, "collections", "Counter");
    if (type == NULL || csb_decode_charge_memory(d, CSB_SIZE_DICT * 2) < 0) {
        return -1;
    }
    made.object = PyObject_CallNoArgs(type);
    if (made.object == NULL) {
        return csb_decode_wrap(d, "a Counter cannot be made");
    }
    if (PyTuple_GET_SIZE(args->object) == 1 &&
        fill_counter(d, args, &made) < 0) {
        Py_DECREF(made.object);
        return -1;
    }
    made.shadowed = 0; /* it is complete */
    *ret_made = made;
    return 0;
}
