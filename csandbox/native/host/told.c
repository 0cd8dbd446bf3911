#include "told.h"

#include <errno.h>

static PyObject *
tell(const struct csb_violation *violation)
{
    const struct csb_denial *denial = violation->denial;
    char arguments[CSB_DENIAL_ROOM];
    int limited = violation->err == EAGAIN;

    csb_denial_arguments(denial, violation->arguments, arguments);
    return Py_BuildValue(
        "{s:s, s:s, s:s, s:s, s:z, s:O, s:K, s:I, s:s, s:O}", "syscall",
        denial->name, "category", denial->category, "arguments", arguments,
        "reason", csb_denial_reason(denial, limited), "field",
        denial->permitted_by, "limited", limited ? Py_True : Py_False, "count",
        (unsigned long long)violation->count, "line",
        (unsigned)violation->line, "file", violation->file, "fatal",
        violation->err == 0 ? Py_True : Py_False);
}

PyObject *
csb_told_list(const struct csb_notify *notify)
{
    const struct csb_violations *violations = notify->violations;
    PyObject *list = PyList_New(0);

    for (unsigned i = 0;
         list != NULL && violations != NULL && i < violations->count; i++) {
        PyObject *each = tell(&violations->entry[i]);
        if (each == NULL || PyList_Append(list, each) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(each);
    }
    return list;
}
