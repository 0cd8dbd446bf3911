/* What the files of the extension module share.  Needs Python.h. */
#ifndef CSB_MODULE_H
#define CSB_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct csb_decode_types; /* decode_types.c */

struct csb_module_state {
    PyTypeObject *zygote_type;             /* zygote.c */
    PyTypeObject *run_type;                /* run.c */
    PyTypeObject *inputs_type;             /* inputs.c */
    PyTypeObject *region_type;             /* region.c */
    PyTypeObject *place_type;              /* places.c */
    PyObject *setup_error;                 /* SetupError */
    struct csb_decode_types *decode_types; /* NULL until first used */
};

struct csb_module_state *csb_module_state(PyObject *module);

#endif
