/* The decoder's entry points, and the one value that must be left. */
#include "decode.h"

#include "decode_state.h"

/* Units of work free of charge: some 20 ms. */
#define FREE_WORK ((size_t)2 << 20)

const char csb_decode_doc[] =
    "decode($module, data, /, *, region=None, items=10_000_000, "
    "depth=1000,\n       memory=1073741824)\n--\n\n"
    "Return the plain value that data, one pickle from a hostile writer, "
    "holds.\n\n"
    "data is bytes-like and must not change meanwhile.  Only the data opcodes "
    "of protocols 2 to 5 and a closed table of constructors are known; "
    "nothing is imported or called by name.  region, which must not change "
    "ever, is the buffer that arrays in it lie in.  items bounds the objects "
    "made "
    "and the elements put in containers; depth (at most 10000) the levels of "
    "containers; memory the bytes that the value takes.  Raises ValueError "
    "for anything else than one well-formed pickle of permitted values "
    "within these bounds.";

/* Takes the value that STOP leaves.  Returns a new reference. */
static PyObject *
finish(struct csb_decoder *d)
{
    struct csb_entry *last = d->stack;

    if (d->next != d->end) {
        (void)csb_decode_refuse(d, "%zu bytes after it",
                                (size_t)(d->end - d->next));
        return NULL;
    }
    if (d->used != 1 || d->marks_used != 0) {
        (void)csb_decode_refuse(d, "%zu values where there should be one",
                                d->used);
        return NULL;
    }
    if (last->kind > CSB_BACK) {
        (void)csb_decode_refuse(d, "it is not a value and may not cross");
        return NULL;
    }
    if (last->height > d->depth_limit) {
        (void)csb_decode_refuse(d, "nested too deep");
        return NULL;
    }
    if (d->cyclic && csb_decode_check_depth(d, last->object) < 0) {
        return NULL;
    }
    return Py_NewRef(last->object);
}

PyObject *
csb_decode(PyObject *module, const unsigned char *data, size_t size,
           const struct csb_decode_limits *limits, PyObject *region)
{
    struct csb_decoder d = {
        .state = csb_module_state(module),
        .region = region,
        .start = data,
        .next = data,
        .limit = data + size,
        .end = data + size,
        .items_left = limits->items,
        .memory_left = limits->memory,
        .work_left = FREE_WORK,
        .depth_limit = limits->depth,
    };
    PyObject *value = NULL;

    if (d.depth_limit > CSB_DECODE_MAX_DEPTH) {
        d.depth_limit = CSB_DECODE_MAX_DEPTH;
    }
    csb_decode_pause_gc(&d);
    if (csb_decode_run(&d) == 0) {
        value = finish(&d);
    }
    csb_decode_resume_gc(&d);
    csb_decode_free(&d);
    return value;
}

PyObject *
csb_decode_method(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "region", "items", "depth", "memory", NULL};
    PyObject *region = Py_None;
    Py_ssize_t items = 10000000;
    Py_ssize_t depth = 1000;
    Py_ssize_t memory = (Py_ssize_t)1 << 30;
    Py_buffer data;
    PyObject *value = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|$Onnn:decode", names,
                                     &data, &region, &items, &depth,
                                     &memory)) {
        return NULL;
    }
    if (items < 0 || memory < 0 || depth < 0 || depth > CSB_DECODE_MAX_DEPTH) {
        PyErr_Format(PyExc_ValueError,
                     "items, memory and depth may not be negative, nor depth "
                     "above %d",
                     CSB_DECODE_MAX_DEPTH);
    } else {
        struct csb_decode_limits limits = {
            .items = (size_t)items,
            .depth = (size_t)depth,
            .memory = (size_t)memory,
        };
        value = csb_decode(module, data.buf, (size_t)data.len, &limits,
                           region == Py_None ? NULL : region);
    }
    PyBuffer_Release(&data);
    return value;
}
