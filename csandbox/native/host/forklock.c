#define _GNU_SOURCE
#include "forklock.h"

#include <pthread.h>

const char csb_forklock_before_doc[] =
    PyDoc_STR("fork_begins()\n--\n\nFor os.register_at_fork: before a fork.");
const char csb_forklock_parent_doc[] = PyDoc_STR(
    "fork_ends()\n--\n\nFor os.register_at_fork: after it, in the parent.");
const char csb_forklock_child_doc[] = PyDoc_STR(
    "fork_began()\n--\n\nFor os.register_at_fork: after it, in the child.");

/* A fork goes first: guests that flood their streams keep some thread inside
 * all the time, and the host must not wait for them. */
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
#define FRESH PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
#else
#define FRESH PTHREAD_RWLOCK_INITIALIZER
#endif

/* Of the process, as its descriptors are, and not of an interpreter. */
static pthread_rwlock_t lock = FRESH;

void
csb_forklock_enter(void)
{
    (void)pthread_rwlock_rdlock(&lock); /* fails only for its owner */
}

void
csb_forklock_leave(void)
{
    (void)pthread_rwlock_unlock(&lock); /* held, so it cannot fail */
}

PyObject *
csb_forklock_before(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    /* Those inside never wait for the GIL, so it may be kept. */
    (void)pthread_rwlock_wrlock(&lock);
    Py_RETURN_NONE;
}

PyObject *
csb_forklock_parent(PyObject *module, PyObject *ignored)
{
    (void)module;
    (void)ignored;
    (void)pthread_rwlock_unlock(&lock);
    Py_RETURN_NONE;
}

PyObject *
csb_forklock_child(PyObject *module, PyObject *ignored)
{
    static const pthread_rwlock_t fresh = FRESH;

    (void)module;
    (void)ignored;
    /* Its owner may be a thread that does not exist here. */
    lock = fresh;
    Py_RETURN_NONE;
}
