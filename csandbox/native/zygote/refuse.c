/* Words for what the kernel refuses with an errno.  It refuses with or without
 * them: a guest that gets round this hook gets the errno. */
#include "refuse.h"

#include <errno.h>
#include <string.h>

const char csb_refuse_files_doc[] = PyDoc_STR(
    "refuse_files($module, /)\n--\n\n"
    "Have all that opens a file by its name say from now on, in this\n"
    "process and its forks, that profile=\"compute\" opens none.");

static int
refuse(const char *event, PyObject *args, void *data)
{
    (void)data;
    if (strcmp(event, "open") != 0 || PyTuple_GET_SIZE(args) < 1) {
        return 0;
    }
    PyObject *path = PyTuple_GET_ITEM(args, 0);
    if (PyLong_Check(path)) {
        return 0; /* a descriptor, which is open */
    }
    PyObject *error = PyObject_CallFunction(
        PyExc_PermissionError, "isO", EPERM,
        "profile=\"compute\" opens no file; pass its content as inputs=",
        path);
    if (error != NULL) {
        PyErr_SetObject(PyExc_PermissionError, error);
        Py_DECREF(error);
    }
    return -1;
}

PyObject *
csb_refuse_files_method(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    (void)module;
    if (PySys_AddAuditHook(refuse, NULL) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
