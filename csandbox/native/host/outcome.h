#ifndef CSB_HOST_OUTCOME_H
#define CSB_HOST_OUTCOME_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct csb_watch;

/* A new dict of what communicate() returns, or NULL with an exception. */
PyObject *csb_outcome_dict(PyObject *module, struct csb_watch *watch);

#endif
