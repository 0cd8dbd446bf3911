/* The zygote's program, called from its bootstrap in Python. */
#ifndef CSB_SERVE_H
#define CSB_SERVE_H

#include "../host/module.h"

/* serve(preload) -> None.  Confines this process, calls preload(names), says
 * READY, and forks a cell for every request; returns in each cell, locked
 * down, and never in the zygote, which ends with its host. */
PyObject *csb_serve_method(PyObject *module, PyObject *preload);
extern const char csb_serve_doc[];

#endif
