/* Lists of strings, as C takes them. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "stringlist.h"

#include <string.h>

void
csb_strings_free(char **strings)
{
    for (char **at = strings; at != NULL && *at != NULL; at++) {
        PyMem_Free(*at);
    }
    PyMem_Free(strings);
}

static char *
copy_string(PyObject *item)
{
    PyObject *bytes = NULL;
    char *text, *copy = NULL;
    Py_ssize_t size;

    if (PyUnicode_FSConverter(item, &bytes) && /* refuses NUL */
        PyBytes_AsStringAndSize(bytes, &text, &size) == 0) {
        copy = PyMem_Malloc((size_t)size + 1);
        if (copy == NULL) {
            PyErr_NoMemory();
        } else {
            memcpy(copy, text, (size_t)size + 1);
        }
    }
    Py_XDECREF(bytes);
    return copy;
}

char **
csb_strings_copy(PyObject *list)
{
    Py_ssize_t count = PyList_Size(list);
    if (count < 0) {
        return NULL;
    }
    char **strings = PyMem_Calloc((size_t)count + 1, sizeof *strings);
    if (strings == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        strings[i] = copy_string(PyList_GET_ITEM(list, i));
        if (strings[i] == NULL) {
            csb_strings_free(strings);
            return NULL;
        }
    }
    return strings;
}
