/* What a Zygote makes for its start, and the plan, which may come after it:
 * Python takes longer to start there than the plan takes to build here.  The
 * zygote does not look at it before it is let go. */
#define _GNU_SOURCE
#include "zygote_object.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "../common/plan.h"
#include "../common/store.h"
#include "launch.h"

const char csb_zygote_take_plan_doc[] = PyDoc_STR(
    "take_plan($self, plan, /)\n--\n\n"
    "Have it do what bytes of build_plan() say: before fork() or boot(),\n"
    "once.  Raises ValueError if the plan is of other namespaces, and\n"
    "SetupError(step, errno, detail) if there is no room for it: it is dead\n"
    "then.");

/* Writes the plan to its memfd, and seals that; 0 or -errno. */
static int
store_plan(int fd, PyObject *plan)
{
    const char *data = PyBytes_AS_STRING(plan);
    size_t size = (size_t)PyBytes_GET_SIZE(plan), done = 0;
    while (done < size) {
        ssize_t wrote = pwrite(fd, data + done, size - done, (off_t)done);
        if (wrote <= 0) {
            return wrote < 0 ? -errno : -ENOSPC;
        }
        done += (size_t)wrote;
    }
    return fcntl(fd, F_ADD_SEALS,
                 F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0
               ? -errno
               : 0;
}

int
csb_zygote_open(ZygoteObject *self)
{
    int sockets[2], log[2];
    int result = csb_store_create("csandbox-plan", &self->plan);
    if (result == 0 && self->plan_bytes != NULL) {
        result = store_plan(self->plan, self->plan_bytes);
    }
    if (result < 0) {
        return result;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        return -errno;
    }
    self->control = sockets[0];
    self->socket = csb_inode(self->control);
    self->child_control = sockets[1];
    if (pipe2(log, O_CLOEXEC | O_NONBLOCK) < 0) {
        return -errno;
    }
    self->log = log[0];
    self->child_log = log[1];
    return 0;
}

/* 0, or -1 with an exception. */
static int
check_plan(const ZygoteObject *self, PyObject *plan)
{
    if (!PyBytes_Check(plan)) {
        PyErr_SetString(PyExc_TypeError, "a plan is bytes");
        return -1;
    }
    const struct csb_plan *header = (const void *)PyBytes_AS_STRING(plan);
    if (csb_plan_check(header, (size_t)PyBytes_GET_SIZE(plan)) < 0 ||
        csb_launch_namespaces(header->mechanisms) !=
            csb_launch_namespaces(self->mechanisms)) {
        PyErr_SetString(PyExc_ValueError,
                        "not a plan, or of other namespaces");
        return -1;
    }
    return 0;
}

PyObject *
csb_zygote_take_plan(PyObject *op, PyTypeObject *defining_class,
                     PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    ZygoteObject *self = (ZygoteObject *)op;

    if (count != 1 || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "take_plan() takes a plan");
        return NULL;
    }
    if (self->argv == NULL || self->plan_bytes != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "take_plan() is for once");
        return NULL;
    }
    if (check_plan(self, args[0]) < 0) {
        return NULL;
    }
    self->plan_bytes = Py_NewRef(args[0]);
    csb_receipt_expect(
        ((const struct csb_plan *)PyBytes_AS_STRING(args[0]))->mechanisms,
        &self->expected);
    int result = self->plan < 0 ? 0 : store_plan(self->plan, args[0]);
    if (result < 0) {
        csb_report_fill(CSB_STEP_HOST_FDS, -result, 0, NULL, &self->report);
        return csb_zygote_fail(PyType_GetModule(defining_class), self);
    }
    Py_RETURN_NONE;
}
