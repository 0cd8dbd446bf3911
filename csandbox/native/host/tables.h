/* The core's tables, as Python data. */
#ifndef CSB_TABLES_H
#define CSB_TABLES_H

#include "module.h"

/* syscalls() -> [(group, name, fate, errno)] */
PyObject *csb_tables_syscalls(PyObject *module, PyObject *ignored);
extern const char csb_tables_syscalls_doc[];

/* Adds STEPS, MECHANISMS and the frames' constants; -1 with an exception. */
int csb_tables_add(PyObject *module);

#endif
