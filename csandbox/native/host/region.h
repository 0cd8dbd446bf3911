/* The type _csandbox.Region: a sealed store, mapped for reading: in the host
 * that of a result, in a cell that of its inputs.
 * Exports its bytes as a read-only buffer and lives as long as what uses
 * them. */
#ifndef CSB_REGION_H
#define CSB_REGION_H

#include "module.h"

extern PyType_Spec csb_region_spec;

/* Maps size bytes of a sealed store, whose descriptor stays the caller's.  A
 * new reference, or NULL with OSError set. */
PyObject *csb_region_map(PyObject *module, int store, size_t size);

/* open_region(fd, size): see its docstring. */
PyObject *csb_region_open_method(PyObject *module, PyObject *args);
extern const char csb_region_open_doc[];

/* A memoryview of a part that is known to lie in it.  A new reference. */
PyObject *csb_region_slice(PyObject *region, size_t at, size_t size);

#endif
