/* The lock between supervision and forks of the host.
 *
 * A fork copies the descriptors first and the memory after, so a descriptor
 * that another thread closes in between lives on in the child, where nobody
 * knows of it: the end of a pipe, say, whose closing a guest waits for.  While
 * descriptors come and go, no thread may fork. */
#ifndef CSB_FORKLOCK_H
#define CSB_FORKLOCK_H

#include "module.h"

/* Around the coming and going; many threads at once; no GIL needed. */
void csb_forklock_enter(void);
void csb_forklock_leave(void);

/* fork_begins(), fork_ends(), fork_began(): for os.register_at_fork, before
 * a fork and after it in the parent and in the child. */
PyObject *csb_forklock_before(PyObject *module, PyObject *ignored);
PyObject *csb_forklock_parent(PyObject *module, PyObject *ignored);
PyObject *csb_forklock_child(PyObject *module, PyObject *ignored);
extern const char csb_forklock_before_doc[];
extern const char csb_forklock_parent_doc[];
extern const char csb_forklock_child_doc[];

#endif
