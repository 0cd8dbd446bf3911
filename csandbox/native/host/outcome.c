/* How a run ended, as Python gets to know it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "outcome.h"

#include <sys/ioctl.h>

#include "region.h"
#include "told.h"
#include "watch.h"

static const char *const ending_names[] = {
    [CSB_ENDING_NONE] = "none",
    [CSB_ENDING_SETUP] = "setup",
    [CSB_ENDING_FRAME] = "frame",
    [CSB_ENDING_EXITED] = "exited",
    [CSB_ENDING_SIGNALLED] = "signalled",
    [CSB_ENDING_TIMEOUT] = "timeout",
    [CSB_ENDING_CANCELLED] = "cancelled",
    [CSB_ENDING_TOO_BIG] = "too big",
    [CSB_ENDING_MALFORMED] = "malformed",
    [CSB_ENDING_LOST] = "lost",
    [CSB_ENDING_UNSEALED] = "unsealed",
    [CSB_ENDING_OOM] = "oom",
    [CSB_ENDING_CPU] = "cpu",
    [CSB_ENDING_MEMORY] = "memory",
    [CSB_ENDING_SCRATCH] = "scratch",
    [CSB_ENDING_THREADS] = "threads",
    [CSB_ENDING_OUTPUT] = "output",
    [CSB_ENDING_PROCESSES] = "processes",
    [CSB_ENDING_DENIED] = "denied",
};

/* The value's bytes, and the store that they may refer to: each a new
 * reference, or None.  -1 with an exception. */
static int
take_payload(PyObject *module, const struct csb_watch *watch,
             PyObject **ret_payload, PyObject **ret_region)
{
    size_t at = (size_t)watch->frame.at, length = (size_t)watch->frame.length;

    *ret_payload = *ret_region = NULL;
    if (watch->ending != CSB_ENDING_FRAME) {
        *ret_payload = Py_NewRef(Py_None);
        *ret_region = Py_NewRef(Py_None);
    } else if (watch->payload != NULL) {
        *ret_payload =
            PyBytes_FromStringAndSize(watch->payload, (Py_ssize_t)length);
        *ret_region = Py_NewRef(Py_None);
    } else {
        /* An honest guest's pickle lies behind its arrays. */
        *ret_region = csb_region_map(module, watch->store, at + length);
        if (*ret_region != NULL) {
            *ret_payload = csb_region_slice(*ret_region, at, length);
        }
    }
    if (*ret_payload == NULL) {
        Py_CLEAR(*ret_region);
        return -1;
    }
    return 0;
}

/* The most bytes that the run added to what it inherited.  The kernel's own
 * figure knows every moment, but one process and not what lies in files. */
static long long
peak_memory(const struct csb_watch *watch)
{
    if (watch->cgroup.peak > 0) {
        return (long long)watch->cgroup.peak;
    }
    long long resident = (long long)watch->exit.peak_kib * 1024 -
                         (long long)watch->meter.inherited;
    long long seen = (long long)watch->meter.peak_memory;
    long long scratch = (long long)watch->meter.peak_scratch;

    seen = seen > scratch ? seen : scratch;
    return resident > seen ? resident : seen;
}

/* Seconds of all processes of the run. */
static void
processor_time(const struct csb_watch *watch, double *ret_user,
               double *ret_system)
{
    const struct csb_cgroup *cgroup = &watch->cgroup;
    int64_t user =
        cgroup->counted ? cgroup->cpu.user_usec : watch->exit.user_usec;
    int64_t system =
        cgroup->counted ? cgroup->cpu.system_usec : watch->exit.system_usec;

    /* The kernel's figure lacks what nobody has waited for. */
    int64_t unwaited = watch->meter.cpu / 1000 - user - system;
    user += watch->meter.several && unwaited > 0 ? unwaited : 0;
    *ret_user = (double)user * 1e-6;
    *ret_system = (double)system * 1e-6;
}

static unsigned
peak_processes(const struct csb_watch *watch)
{
    return watch->notify.forks.peak > 0 ? watch->notify.forks.peak : 1;
}

static const char *
report_text(const struct csb_watch *watch)
{
    return watch->report.step == CSB_STEP_READY ? "" : watch->report.text;
}

/* Whether the cell has taken any of its job: if not, nothing is lost with it.
 * What it has not lies in the pipe, which this end of keeps. */
static int
has_begun(const struct csb_watch *watch)
{
    int unread = 0;

    if (watch->job.fd >= 0 && ioctl(watch->job.fd, FIONREAD, &unread) == 0 &&
        (size_t)unread == watch->job.sent) {
        return 0;
    }
    return watch->job.sent > 0;
}

PyObject *
csb_outcome_dict(PyObject *module, struct csb_watch *watch)
{
    PyObject *payload, *region, *told = csb_told_list(&watch->notify);
    const struct csb_stream *out = &watch->streams[0];
    const struct csb_stream *err = &watch->streams[1];
    double wall = watch->started != 0
                      ? (double)(watch->finished - watch->started) * 1e-9
                      : 0.0;

    double user, system;

    if (told == NULL) {
        return NULL;
    }
    processor_time(watch, &user, &system);
    int taken = take_payload(module, watch, &payload, &region);
    if (taken < 0 && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear(); /* no address space for it */
        watch->ending = CSB_ENDING_UNSEALED;
        taken = take_payload(module, watch, &payload, &region);
    }
    if (taken < 0) {
        Py_DECREF(told);
        return NULL;
    }
    return Py_BuildValue(
        "{s:N, s:K, s:N, s:s, s:O, s:O, s:O, s:s, s:i, s:I, s:s, s:i, s:i, "
        "s:N, "
        "s:N, s:y#, "
        "s:y#, "
        "s:K, s:K, "
        "s:K, "
        "s:K, s:d, s:d, s:d, s:d, s:L, s:K, s:I}",
        "violations", told, "untold",
        watch->notify.violations == NULL
            ? 0ull
            : (unsigned long long)watch->notify.violations->rest,
        "receipt", csb_receipt_value(&watch->expected, &watch->report),
        "ending", ending_names[watch->ending], "silent",
        watch->silent ? Py_True : Py_False, "ready",
        watch->ready ? Py_True : Py_False, "begun",
        has_begun(watch) ? Py_True : Py_False, "step",
        csb_step_name(watch->report.step), "errno", (int)watch->report.err,
        "detail", (unsigned)watch->report.detail, "text", report_text(watch),
        "wait_status", (int)watch->exit.wait_status, "kind",
        watch->ending == CSB_ENDING_FRAME ? (int)watch->frame.kind : 0,
        "payload", payload, "region", region, "stdout",
        out->size > 0 ? out->data : "", (Py_ssize_t)out->size, "stderr",
        err->size > 0 ? err->data : "", (Py_ssize_t)err->size, "stdout_total",
        (unsigned long long)out->total, "stderr_total",
        (unsigned long long)err->total, "announced",
        watch->ending == CSB_ENDING_TOO_BIG
            ? (unsigned long long)watch->frame.length
            : 0ull,
        "room", (unsigned long long)watch->store_size, "ready_at",
        (double)watch->started * 1e-9, "wall", wall, "user", user, "system",
        system, "peak_memory", peak_memory(watch), "scratch",
        (unsigned long long)watch->meter.peak_scratch, "peak_processes",
        peak_processes(watch));
}
