#include "told.h"

#include <errno.h>

#include "syscalls.h"

static unsigned
where_of(unsigned filter, int limited)
{
    return (limited ? CSB_DENIAL_LIMITED : 0u) |
           (filter & CSB_FILTER_SHARED_PIDS ? CSB_DENIAL_BARE : 0u) |
           (filter & CSB_FILTER_COMPUTE ? CSB_DENIAL_COMPUTE : 0u);
}

static PyObject *
tell(const struct csb_violation *violation, unsigned filter)
{
    const struct csb_denial *denial = violation->denial;
    char arguments[CSB_DENIAL_ROOM];
    int limited = violation->err == EAGAIN;
    unsigned where = where_of(filter, limited);

    csb_denial_arguments(denial, violation->arguments, arguments);
    return Py_BuildValue("{s:s, s:s, s:s, s:s, s:z, s:O, s:K, s:I, s:s, s:O}",
                         "syscall", denial->name, "category", denial->category,
                         "arguments", arguments, "reason",
                         csb_denial_reason(denial, where), "field",
                         csb_denial_field(denial, where), "limited",
                         limited ? Py_True : Py_False, "count",
                         (unsigned long long)violation->count, "line",
                         (unsigned)violation->line, "file", violation->file,
                         "fatal", violation->err == 0 ? Py_True : Py_False);
}

PyObject *
csb_told_list(const struct csb_notify *notify)
{
    const struct csb_violations *violations = notify->violations;
    PyObject *list = PyList_New(0);

    for (unsigned i = 0;
         list != NULL && violations != NULL && i < violations->count; i++) {
        PyObject *each = tell(&violations->entry[i], notify->filter);
        if (each == NULL || PyList_Append(list, each) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(each);
    }
    return list;
}
