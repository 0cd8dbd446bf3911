/* What zygote.c, zygote_plan.c and zygote_fork.c share: a Zygote from within.
 */
#ifndef CSB_HOST_ZYGOTE_OBJECT_H
#define CSB_HOST_ZYGOTE_OBJECT_H

#include "module.h"

#include <structmember.h>

#include <sys/types.h>

#include "../common/report.h"
#include "receipt.h"

typedef struct {
    PyObject_HEAD
    pid_t pid;   /* -1 until it is launched */
    pid_t owner; /* the process whose child it is */
    int pidfd;
    int control;
    uint64_t socket; /* csb_inode() of it */
    int lifeline;    /* of a process without pidfds */
    int launched;    /* or forked: that is for once */
    int forked;
    int greeted; /* it has said hello, and may go on */
    /* Of csb_watch_clock(), 0 until it is ready. */
    int64_t born;
    int64_t used; /* by a run that began */
    unsigned long long runs;
    PyObject *weakrefs;
    /* What only the start needs; here so that a fork can close it. */
    int log;
    int child_log;
    int child_control;
    int plan;
    char **argv;
    char **envp;
    PyObject *plan_bytes; /* NULL until there is one */
    uint32_t mechanisms;  /* its namespaces are as the plan's */
    uint32_t fault_step;
    int fault_errno;
    struct csb_report report;
    struct csb_expected expected; /* of its cells */
} ZygoteObject;

/* Makes the descriptors of a start, the plan's among them, which is empty if
 * there is none yet; 0 or -errno.  Without the GIL. */
int csb_zygote_open(ZygoteObject *self);

/* The method take_plan(plan). */
PyObject *csb_zygote_take_plan(PyObject *op, PyTypeObject *defining_class,
                               PyObject *const *args, Py_ssize_t count,
                               PyObject *names);
extern const char csb_zygote_take_plan_doc[];

/* Notes that it is ready. */
void csb_zygote_born(ZygoteObject *self);

/* Ends a start that failed, with its exception: returns NULL. */
PyObject *csb_zygote_fail(PyObject *module, ZygoteObject *self);

/* The method fork(settle, main). */
PyObject *csb_zygote_fork(PyObject *op, PyTypeObject *defining_class,
                          PyObject *const *args, Py_ssize_t count,
                          PyObject *names);
extern const char csb_zygote_fork_doc[];

extern PyGetSetDef csb_zygote_properties[];
extern PyMemberDef csb_zygote_members[];

#endif
