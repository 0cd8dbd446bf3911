#include "plan_build.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>

#include "../common/plan.h"
#include "../common/report.h"
#include "filter.h"
#include "syscalls.h"

const char csb_plan_build_doc[] = PyDoc_STR(
    "build_plan(view, preload, uid, mechanisms, fault=None, "
    "several=False, compute=False)\n--\n\n"
    "Compile a plan to bytes.  view: a list of (kind, source, target) in the\n"
    "order in which they are placed, kind one of 'tree', 'device',\n"
    "'symlink', 'mask', 'directory'; preload: module names, joined by\n"
    "commas; uid: what the zygote becomes, 0 to stay; mechanisms: the sum of\n"
    "MECHANISMS; several: whether runs may have several processes;\n"
    "compute: whether they may only compute; fault: (step, errno) makes that\n"
    "step fail, for tests.");

/* The block as it grows; offsets in it stay valid. */
struct block {
    char *data;
    size_t size;
    size_t room;
};

/* Appends size bytes, aligned for any of our structs; -1 with MemoryError. */
static int
append(struct block *block, const void *data, size_t size, uint32_t *ret_at)
{
    size_t at = (block->size + 7) & ~(size_t)7;
    if (at + size > block->room) {
        size_t room = (at + size) * 2;
        char *grown = PyMem_Realloc(block->data, room);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memset(grown + block->room, 0, room - block->room);
        block->data = grown;
        block->room = room;
    }
    memcpy(block->data + at, data, size);
    block->size = at + size;
    *ret_at = (uint32_t)at;
    return 0;
}

static int
append_path(struct block *block, PyObject *item, uint32_t *ret_at)
{
    PyObject *bytes = NULL;
    if (!PyUnicode_FSConverter(item, &bytes)) { /* refuses NUL */
        return -1;
    }
    int result = append(block, PyBytes_AS_STRING(bytes),
                        (size_t)PyBytes_GET_SIZE(bytes) + 1, ret_at);
    Py_DECREF(bytes);
    return result;
}

static int
kind_of(const char *name, uint32_t *ret_kind)
{
    static const struct {
        const char *name;
        enum csb_view_kind kind;
    } kinds[] = {
        {"tree", CSB_VIEW_TREE},           {"device", CSB_VIEW_DEVICE},
        {"symlink", CSB_VIEW_SYMLINK},     {"mask", CSB_VIEW_MASK},
        {"directory", CSB_VIEW_DIRECTORY},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            *ret_kind = kinds[i].kind;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "no such kind of view entry: %s", name);
    return -1;
}

static int
append_view(struct block *block, PyObject *view, struct csb_plan *plan)
{
    Py_ssize_t count = PyList_GET_SIZE(view);
    struct csb_view_entry *entries =
        PyMem_Calloc((size_t)count + 1, sizeof *entries);
    int result = -1;

    if (entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        const char *kind;
        PyObject *source, *target, *item = PyList_GET_ITEM(view, i);
        if (!PyTuple_Check(item)) {
            PyErr_SetString(PyExc_TypeError, "an entry of view is a tuple");
            goto done;
        }
        if (!PyArg_ParseTuple(item, "sOO", &kind, &source, &target) ||
            kind_of(kind, &entries[i].kind) < 0 ||
            append_path(block, source, &entries[i].source_at) < 0 ||
            append_path(block, target, &entries[i].target_at) < 0) {
            goto done;
        }
    }
    plan->view_count = (uint32_t)count;
    result = append(block, entries, (size_t)count * sizeof *entries,
                    &plan->view_at);
done:
    PyMem_Free(entries);
    return result;
}

static unsigned
filter_flags(const struct csb_plan *plan)
{
    return (plan->several ? CSB_FILTER_SEVERAL : 0u) |
           (plan->compute ? CSB_FILTER_COMPUTE : 0u) |
           (csb_plan_is_bare(plan) ? CSB_FILTER_SHARED_PIDS : 0u);
}

static int
append_filter(struct block *block, unsigned flags, uint32_t *ret_at,
              uint32_t *ret_count)
{
    struct sock_filter *program = NULL;
    unsigned short length = 0;
    int result = csb_filter_compile(flags, &program, &length);
    if (result < 0) {
        errno = -result;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    *ret_count = length;
    result = append(block, program, length * sizeof *program, ret_at);
    free(program);
    return result;
}

static int
append_filters(struct block *block, struct csb_plan *plan)
{
    unsigned flags = plan->filter_flags = filter_flags(plan);
    if (append_filter(block, flags, &plan->filter_at, &plan->filter_count) <
            0 ||
        append_filter(block, flags | CSB_FILTER_NOTIFY, &plan->told_at,
                      &plan->told_count) < 0) {
        return -1;
    }
    if (!plan->several && !plan->compute && !csb_plan_is_bare(plan) &&
        append_filter(block, flags | CSB_FILTER_NOTIFY | CSB_FILTER_OWN,
                      &plan->own_at, &plan->own_count) < 0) {
        return -1;
    }
    return append_filter(block, flags | CSB_FILTER_LISTENER,
                         &plan->listener_at, &plan->listener_count);
}

static int
find_step(const char *name, uint32_t *ret_step)
{
    for (uint32_t step = 1; step < CSB_STEP_COUNT; step++) {
        if (strcmp(csb_step_name(step), name) == 0) {
            *ret_step = step;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "no such step: %s", name);
    return -1;
}

int
csb_plan_build_fault(PyObject *fault, uint32_t *ret_step, int *ret_errno)
{
    const char *name;
    if (fault == Py_None) {
        return 0;
    }
    if (!PyTuple_Check(fault)) {
        PyErr_SetString(PyExc_TypeError, "fault is a tuple or None");
        return -1;
    }
    return PyArg_ParseTuple(fault, "si", &name, ret_errno) &&
                   find_step(name, ret_step) == 0
               ? 0
               : -1;
}

PyObject *
csb_plan_build_method(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"view",  "preload", "uid",     "mechanisms",
                            "fault", "several", "compute", NULL};
    struct csb_plan plan = {.magic = CSB_PLAN_MAGIC};
    struct block block = {NULL, 0, 0};
    PyObject *view, *preload, *fault = Py_None, *bytes = NULL;
    uint32_t at;
    int several = 0, compute = 0;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!OII|Opp", names, &PyList_Type, &view, &preload,
            &plan.uid, &plan.mechanisms, &fault, &several, &compute) ||
        csb_plan_build_fault(fault, &plan.fault_step, &plan.fault_errno) < 0) {
        return NULL;
    }
    plan.several = (uint32_t)several;
    plan.compute = (uint32_t)compute;
    if (append(&block, &plan, sizeof plan, &at) == 0 &&
        append_view(&block, view, &plan) == 0 &&
        append_filters(&block, &plan) == 0 &&
        append_path(&block, preload, &plan.preload_at) == 0) {
        plan.size = (uint32_t)block.size;
        memcpy(block.data, &plan, sizeof plan);
        bytes = PyBytes_FromStringAndSize(block.data, (Py_ssize_t)block.size);
    }
    PyMem_Free(block.data);
    return bytes;
}
