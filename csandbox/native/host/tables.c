#include "tables.h"

#include "../common/frames.h"
#include "../common/plan.h"
#include "../common/report.h"
#include "inputs.h"
#include "syscalls.h"

const char csb_tables_syscalls_doc[] = PyDoc_STR(
    "syscalls(several=False, compute=False, bare=False, /)\n--\n\n"
    "The decided fate of each system call, in runs that may have several\n"
    "processes, may only compute, have no namespaces, or none of these: a\n"
    "list of (group, name, fate, errno), fate one of 'allow', 'errno',\n"
    "'kill', 'trap', 'narrow'; errno -1: trapped, too.");

static int
append_group(PyObject *list, const struct csb_syscall_group *group,
             unsigned filter)
{
    for (const struct csb_syscall_rule *rule = group->rules;
         rule->name != NULL; rule++) {
        const struct csb_syscall_rule own = csb_syscall_rule_for(filter, rule);
        PyObject *row = Py_BuildValue("(sssi)", group->name, own.name,
                                      csb_fate_names[own.fate], own.err);
        if (row == NULL) {
            return -1;
        }
        int result = PyList_Append(list, row);
        Py_DECREF(row);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

PyObject *
csb_tables_syscalls(PyObject *module, PyObject *args)
{
    int several = 0, compute = 0, bare = 0;

    (void)module;
    if (!PyArg_ParseTuple(args, "|ppp", &several, &compute, &bare)) {
        return NULL;
    }
    unsigned flags = (several ? CSB_FILTER_SEVERAL : 0u) |
                     (compute ? CSB_FILTER_COMPUTE : 0u) |
                     (bare ? CSB_FILTER_SHARED_PIDS : 0u);
    PyObject *list = PyList_New(0);
    for (const struct csb_syscall_group *group = csb_syscall_groups;
         list != NULL && group->name != NULL; group++) {
        if (csb_syscall_group_applies(group, flags) &&
            append_group(list, group, flags) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static int
add_steps(PyObject *module)
{
    PyObject *steps = PyTuple_New(CSB_STEP_COUNT);
    if (steps == NULL) {
        return -1;
    }
    for (uint32_t step = 0; step < CSB_STEP_COUNT; step++) {
        PyObject *name = PyUnicode_FromString(csb_step_name(step));
        if (name == NULL) {
            Py_DECREF(steps);
            return -1;
        }
        PyTuple_SET_ITEM(steps, step, name);
    }
    int result = PyModule_AddObjectRef(module, "STEPS", steps);
    Py_DECREF(steps);
    return result;
}

static int
add_mechanisms(PyObject *module)
{
    PyObject *names = Py_BuildValue(
        "{s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "mount namespace", CSB_MECH_VIEW,
        "network namespace", CSB_MECH_NETNS, "pid namespace", CSB_MECH_PIDNS,
        "user namespace", CSB_MECH_USERNS, "rlimits", CSB_MECH_LIMITS,
        "landlock", CSB_MECH_LANDLOCK, "seccomp", CSB_MECH_SECCOMP);
    if (names == NULL) {
        return -1;
    }
    int result = PyModule_AddObjectRef(module, "MECHANISMS", names);
    Py_DECREF(names);
    return result;
}

int
csb_tables_add(PyObject *module)
{
    static const struct {
        const char *name;
        long value;
    } numbers[] = {
        {"CGROUP", CSB_MECH_CGROUP},
        {"NOTIFY", CSB_MECH_NOTIFY},
        {"UID", CSB_MECH_UID},
        {"FRAME_MAGIC", CSB_FRAME_MAGIC},
        {"FRAME_JOB", CSB_FRAME_JOB},
        {"FRAME_VALUE", CSB_FRAME_VALUE},
        {"FRAME_ERROR", CSB_FRAME_ERROR},
        {"FRAME_UNSUPPORTED", CSB_FRAME_UNSUPPORTED},
        {"FRAME_RESERVE", CSB_FRAME_RESERVE},
        {"CELL_INPUTS", CSB_CELL_INPUTS},
        {"INPUTS_ARMED", (long)CSB_INPUTS_ARMED},
        {"CELL_JOB", CSB_CELL_JOB},
        {"CELL_RESULT", CSB_CELL_RESULT},
        {"CELL_STORE", CSB_CELL_STORE},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (PyModule_AddIntConstant(module, numbers[i].name,
                                    numbers[i].value) < 0) {
            return -1;
        }
    }
    PyObject *at = PyLong_FromUnsignedLongLong(CSB_FRAME_INLINE);
    if (at == NULL || PyModule_AddObjectRef(module, "FRAME_INLINE", at) < 0) {
        Py_XDECREF(at);
        return -1;
    }
    Py_DECREF(at);
#ifdef CSB_SANITIZED
    const int sanitized = 1;
#else
    const int sanitized = 0;
#endif
    if (PyModule_AddObjectRef(module, "SANITIZED",
                              sanitized ? Py_True : Py_False) < 0) {
        return -1;
    }
    return add_steps(module) < 0 || add_mechanisms(module) < 0 ? -1 : 0;
}
