/* What a run was denied, as Python data. */
#ifndef CSB_TOLD_H
#define CSB_TOLD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "notify.h"

/* A list of dicts of "syscall", "category", "arguments", "reason", "field",
 * "limited", "count", "line", "file" and "fatal"; a new reference, or NULL
 * with an exception. */
PyObject *csb_told_list(const struct csb_notify *notify);

#endif
