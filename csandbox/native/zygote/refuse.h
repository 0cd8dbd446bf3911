/* What the Python of a cell says when it may only compute. */
#ifndef CSB_REFUSE_H
#define CSB_REFUSE_H

#include "../host/module.h"

/* refuse_files() -> None: see its docstring. */
PyObject *csb_refuse_files_method(PyObject *module, PyObject *ignored);
extern const char csb_refuse_files_doc[];

#endif
