/* The extension module csandbox._csandbox: its slots and its methods. */
#include "module.h"

#include <poll.h>

#include "../zygote/refuse.h"
#include "../zygote/serve.h"
#include "cgroup.h"
#include "decode.h"
#include "decode_types.h"
#include "forklock.h"
#include "inputs.h"
#include "launch.h"
#include "parts.h"
#include "places.h"
#include "plan_build.h"
#include "receipt.h"
#include "region.h"
#include "run.h"
#include "spot.h"
#include "tables.h"
#include "zygote.h"

PyDoc_STRVAR(module_doc, "The C core of csandbox.  Not a public interface.");

PyDoc_STRVAR(is_root_doc,
             "is_root()\n--\n\n"
             "Whether this process may give a zygote another user id.");

struct csb_module_state *
csb_module_state(PyObject *module)
{
    return PyModule_GetState(module);
}

static PyObject *
is_root(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(csb_launch_is_root());
}

PyDoc_STRVAR(try_cgroup_doc,
             "try_cgroup(base, /)\n--\n\n"
             "See whether a process may enter a cgroup below base, a "
             "descriptor, by one\nthat does nothing else.  Raises OSError.");

static PyObject *
try_cgroup(PyObject *Py_UNUSED(module), PyObject *base)
{
    int result, fd = PyObject_AsFileDescriptor(base);
    if (fd < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = csb_cgroup_try(fd);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(clear_directory_doc,
             "clear_directory(base, name, /)\n--\n\n"
             "Remove what is called name in base, a descriptor, with all "
             "that is in it,\nfollowing no link.  Raises OSError.");

static PyObject *
clear_directory(PyObject *Py_UNUSED(module), PyObject *args)
{
    const char *name;
    int base, result;
    if (!PyArg_ParseTuple(args, "is", &base, &name)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = csb_spot_clear(base, name);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(await_input_doc,
             "await_input(fd, seconds, /)\n--\n\n"
             "Wait until there is something to be read of fd, or its end, and "
             "for no longer\nthan so many seconds.  Whether there is.");

static PyObject *
await_input(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct pollfd input = {.events = POLLIN};
    int seconds, ready;
    if (!PyArg_ParseTuple(args, "ii", &input.fd, &seconds)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    ready = poll(&input, 1, seconds * 1000);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(ready != 0);
}

static PyMethodDef methods[] = {
    {"await_input", await_input, METH_VARARGS, await_input_doc},
    {"build_plan", (PyCFunction)(void (*)(void))csb_plan_build_method,
     METH_VARARGS | METH_KEYWORDS, csb_plan_build_doc},
    {"check_receipt", csb_receipt_try, METH_VARARGS, csb_receipt_try_doc},
    {"clear_directory", clear_directory, METH_VARARGS, clear_directory_doc},
    {"decode", (PyCFunction)(void (*)(void))csb_decode_method,
     METH_VARARGS | METH_KEYWORDS, csb_decode_doc},
    {"fill", csb_parts_fill_method, METH_VARARGS, csb_parts_fill_doc},
    {"fork_begins", csb_forklock_before, METH_NOARGS, csb_forklock_before_doc},
    {"fork_ends", csb_forklock_parent, METH_NOARGS, csb_forklock_parent_doc},
    {"fork_began", csb_forklock_child, METH_NOARGS, csb_forklock_child_doc},
    {"is_root", is_root, METH_NOARGS, is_root_doc},
    {"open_region", csb_region_open_method, METH_VARARGS, csb_region_open_doc},
    {"refuse_files", csb_refuse_files_method, METH_NOARGS,
     csb_refuse_files_doc},
    {"serve", csb_serve_method, METH_VARARGS, csb_serve_doc},
    {"syscalls", csb_tables_syscalls, METH_VARARGS, csb_tables_syscalls_doc},
    {"try_cgroup", try_cgroup, METH_O, try_cgroup_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *
add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type != NULL && PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_CLEAR(type);
    }
    return (PyTypeObject *)type;
}

static int
add_places(PyObject *module, struct csb_module_state *state)
{
    PyTypeObject *places_type = add_type(module, &csb_places_spec);
    if (places_type == NULL) {
        return -1;
    }
    Py_DECREF(places_type); /* the module has it */
    state->place_type = add_type(module, &csb_place_spec);
    return state->place_type == NULL ? -1 : 0;
}

static int
module_exec(PyObject *module)
{
    struct csb_module_state *state = csb_module_state(module);

    state->zygote_type = add_type(module, &csb_zygote_spec);
    if (state->zygote_type == NULL) {
        return -1;
    }
    state->run_type = add_type(module, &csb_run_spec);
    if (state->run_type == NULL) {
        return -1;
    }
    state->inputs_type = add_type(module, &csb_inputs_spec);
    if (state->inputs_type == NULL) {
        return -1;
    }
    state->region_type = add_type(module, &csb_region_spec);
    if (state->region_type == NULL) {
        return -1;
    }
    if (add_places(module, state) < 0) {
        return -1;
    }
    state->setup_error =
        PyErr_NewException("csandbox._csandbox.SetupError", NULL, NULL);
    if (state->setup_error == NULL ||
        PyModule_AddObjectRef(module, "SetupError", state->setup_error) < 0) {
        return -1;
    }
    return csb_tables_add(module);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct csb_module_state *state = csb_module_state(module);
    Py_VISIT(state->zygote_type);
    Py_VISIT(state->run_type);
    Py_VISIT(state->inputs_type);
    Py_VISIT(state->region_type);
    Py_VISIT(state->place_type);
    Py_VISIT(state->setup_error);
    return csb_decode_types_traverse(state->decode_types, visit, arg);
}

static int
module_clear(PyObject *module)
{
    struct csb_module_state *state = csb_module_state(module);
    Py_CLEAR(state->zygote_type);
    Py_CLEAR(state->run_type);
    Py_CLEAR(state->inputs_type);
    Py_CLEAR(state->region_type);
    Py_CLEAR(state->place_type);
    Py_CLEAR(state->setup_error);
    csb_decode_types_clear(&state->decode_types);
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,         .m_name = "csandbox._csandbox",
    .m_doc = module_doc,           .m_size = sizeof(struct csb_module_state),
    .m_methods = methods,          .m_slots = slots,
    .m_traverse = module_traverse, .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__csandbox(void)
{
    return PyModuleDef_Init(&definition);
}
