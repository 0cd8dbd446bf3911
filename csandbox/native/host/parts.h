/* Buffers of Python's, each with the place in a store that it is to have.
 *
 * Used by the host for inputs, and by the Python of a cell for a result. */
#ifndef CSB_PARTS_H
#define CSB_PARTS_H

#include "module.h"

struct csb_part {
    Py_buffer buffer;
    uint64_t at;
};

struct csb_parts {
    struct csb_part *part;
    Py_ssize_t count; /* of those that are held */
    uint64_t end;     /* of the last one */
};

/* Takes hold of a list of (place, buffer), in the order of their places.  0,
 * or -1 with an exception set. */
int csb_parts_hold(PyObject *list, struct csb_parts *ret_parts);
void csb_parts_release(struct csb_parts *parts);

/* Copies what belongs between two places, to memory that stands for the first
 * of them.  Without the GIL, as below. */
void csb_parts_copy(const struct csb_parts *parts, uint64_t from, uint64_t to,
                    char *ret_memory);

/* Writes what comes from a place on.  0 or -errno. */
int csb_parts_write(const struct csb_parts *parts, uint64_t from, int store);

/* fill(store, job, parts): see its docstring. */
PyObject *csb_parts_fill_method(PyObject *module, PyObject *args);
extern const char csb_parts_fill_doc[];

#endif
