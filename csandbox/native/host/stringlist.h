/* Lists of strings, as C takes them, without the GIL too. */
#ifndef CSB_HOST_STRINGS_H
#define CSB_HOST_STRINGS_H

#include "module.h"

/* A NULL-terminated array of copies, which the caller frees; or NULL with an
 * exception set. */
char **csb_strings_copy(PyObject *list);

void csb_strings_free(char **strings);

#endif
