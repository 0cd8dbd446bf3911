/* The libFuzzer target of the decoder: hostile bytes must give a value, a
 * ValueError or a MemoryError, and nothing that the sanitizers see.
 *
 * Embeds Python and the decoder's files in one process, without the rest of
 * the extension.  `run` builds and starts it. */
#include "decode.h"
#include "decode_types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PyObject *module;

struct csb_module_state *
csb_module_state(PyObject *self)
{
    return PyModule_GetState(self);
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fuzz_decode",
    .m_size = sizeof(struct csb_module_state),
};

/* csandbox.values without numpy, which would take too long for each run; its
 * own checks are tested in test_values.py. */
static const char values[] =
    "import sys, types\n"
    "values = types.ModuleType('csandbox.values')\n"
    "def rebuild(kind, fields, region, memory, filling):\n"
    "    if filling and any(id(each) in filling for each in fields):\n"
    "        raise ValueError('a cycle')\n"
    "    if kind == 'bad':\n"
    "        raise ValueError(kind)\n"
    "    if kind == 'worse':\n"
    "        raise KeyError(fields)\n"
    "    if kind == 'hashed':\n"
    "        return 0.5, 0, 5\n"
    "    if kind == 'array':\n"
    "        return [bytes(region)], memory // 2, 1\n"
    "    return [kind, fields], 1, 1\n"
    "values.rebuild = rebuild\n"
    "sys.modules['csandbox'] = types.ModuleType('csandbox')\n"
    "sys.modules['csandbox.values'] = values\n";

static void
start_python(void)
{
    PyPreConfig early;
    PyConfig config;
    PyStatus status;

    /* Python's own allocator would hide overflows from ASan. */
    PyPreConfig_InitIsolatedConfig(&early);
    early.allocator = PYMEM_ALLOCATOR_MALLOC;
    status = Py_PreInitialize(&early);
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
    PyConfig_InitIsolatedConfig(&config);
    status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        Py_ExitStatusException(status);
    }
    module = PyModule_Create(&definition);
    if (module == NULL || PyRun_SimpleString(values) < 0) {
        PyErr_Print();
        exit(1);
    }
}

/* Every object of a value must be of a type that may cross. */
static void
check_value(PyObject *value)
{
    const char *type = Py_TYPE(value)->tp_name;

    if (PyType_Check(value) || PyCallable_Check(value) ||
        PyModule_Check(value)) {
        fprintf(stderr, "a %s came out\n", type);
        abort();
    }
}

static int
visit(PyObject *object, void *arg)
{
    (void)arg;
    /* The class of a Counter, Fraction or UUID; a defaultdict's factory. */
    if (!PyType_Check(object)) {
        check_value(object);
    }
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct csb_decode_limits limits = {
        .items = 100000,
        .depth = 200,
        .memory = 16 << 20,
    };

    if (module == NULL) {
        start_python();
    }
    PyObject *region = PyBytes_FromStringAndSize(NULL, 64);
    if (region == NULL) {
        abort();
    }
    memset(PyBytes_AS_STRING(region), 'r', 64);
    PyObject *value = csb_decode(module, data, size, &limits, region);
    Py_DECREF(region);
    if (value == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError) &&
            !PyErr_ExceptionMatches(PyExc_MemoryError)) {
            PyErr_Print();
            abort();
        }
        PyErr_Clear();
        return 0;
    }
    if (PyErr_Occurred()) {
        PyErr_Print();
        abort();
    }
    check_value(value);
    if (PyObject_IS_GC(value)) {
        (void)Py_TYPE(value)->tp_traverse(value, visit, NULL); /* 0 always */
    }
    Py_DECREF(value);
    return 0;
}
