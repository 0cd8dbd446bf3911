/* The closed table of constructors, and the opcodes that use it. */
#include "decode_types.h"

#include <string.h>

#define MAX_NAME 100 /* characters of a refused name that are shown */

struct row {
    const char *module;
    const char *name;
    int min_args;
    int max_args;
    csb_decode_builder build; /* NULL: may not be called */
    PyTypeObject *factory;    /* may be a defaultdict's factory */
};

/* Protocol 2 writes Python 2's names for what is in builtins. */
static const struct row rows[] = {
    {"builtins", "set", 0, 1, csb_decode_build_set, &PySet_Type},
    {"builtins", "frozenset", 0, 1, csb_decode_build_frozenset, NULL},
    {"builtins", "bytearray", 0, 1, csb_decode_build_bytearray, NULL},
    {"builtins", "bytes", 0, 0, csb_decode_build_bytes, NULL},
    {"builtins", "complex", 2, 2, csb_decode_build_complex, NULL},
    {"builtins", "range", 3, 3, csb_decode_build_range, NULL},
    {"builtins", "slice", 3, 3, csb_decode_build_slice, NULL},
    {"builtins", "list", 0, 0, NULL, &PyList_Type},
    {"builtins", "dict", 0, 0, NULL, &PyDict_Type},
    {"builtins", "int", 0, 0, NULL, &PyLong_Type},
    {"builtins", "float", 0, 0, NULL, &PyFloat_Type},
    {"builtins", "str", 0, 0, NULL, &PyUnicode_Type},
    {"builtins", "tuple", 0, 0, NULL, &PyTuple_Type},
    {"builtins", "Ellipsis", 0, 0, NULL, NULL},
    {"__builtin__", "set", 0, 1, csb_decode_build_set, &PySet_Type},
    {"__builtin__", "frozenset", 0, 1, csb_decode_build_frozenset, NULL},
    {"__builtin__", "bytearray", 0, 1, csb_decode_build_bytearray, NULL},
    {"__builtin__", "bytes", 0, 0, csb_decode_build_bytes, NULL},
    {"__builtin__", "complex", 2, 2, csb_decode_build_complex, NULL},
    {"__builtin__", "xrange", 3, 3, csb_decode_build_range, NULL},
    {"__builtin__", "slice", 3, 3, csb_decode_build_slice, NULL},
    {"__builtin__", "list", 0, 0, NULL, &PyList_Type},
    {"__builtin__", "dict", 0, 0, NULL, &PyDict_Type},
    {"__builtin__", "long", 0, 0, NULL, &PyLong_Type},
    {"__builtin__", "float", 0, 0, NULL, &PyFloat_Type},
    {"__builtin__", "unicode", 0, 0, NULL, &PyUnicode_Type},
    {"__builtin__", "tuple", 0, 0, NULL, &PyTuple_Type},
    {"__builtin__", "Ellipsis", 0, 0, NULL, NULL},
    {"_codecs", "encode", 2, 2, csb_decode_build_encode, NULL},
    {"collections", "Counter", 0, 1, csb_decode_build_counter, NULL},
    {"collections", "OrderedDict", 0, 0, csb_decode_build_ordered, NULL},
    {"collections", "defaultdict", 0, 1, csb_decode_build_defaultdict, NULL},
    {"collections", "deque", 0, 2, csb_decode_build_deque, NULL},
    {"csandbox", "rebuild", 2, 2, csb_decode_build_rebuilt, NULL},
    {"datetime", "date", 1, 1, csb_decode_build_date, NULL},
    {"datetime", "datetime", 1, 2, csb_decode_build_datetime, NULL},
    {"datetime", "time", 1, 2, csb_decode_build_time, NULL},
    {"datetime", "timedelta", 3, 3, csb_decode_build_timedelta, NULL},
    {"datetime", "timezone", 1, 2, csb_decode_build_timezone, NULL},
    {"decimal", "Decimal", 1, 1, csb_decode_build_decimal, NULL},
    {"fractions", "Fraction", 2, 2, csb_decode_build_fraction, NULL},
    {"uuid", "UUID", 1, 1, csb_decode_build_uuid, NULL},
    {"zoneinfo", "ZoneInfo", 1, 1, csb_decode_build_zone, NULL},
};

_Static_assert(sizeof rows / sizeof *rows <= UINT8_MAX, "a row fits uint8_t");

struct csb_decode_types *
csb_decode_get_types(struct csb_decoder *d)
{
    if (d->state->decode_types == NULL) {
        d->state->decode_types =
            PyMem_Calloc(1, sizeof *d->state->decode_types);
        if (d->state->decode_types == NULL) {
            PyErr_NoMemory();
        }
    }
    return d->state->decode_types;
}

int
csb_decode_types_traverse(struct csb_decode_types *types, visitproc visit,
                          void *arg)
{
    if (types != NULL) {
        Py_VISIT(types->deque);
        Py_VISIT(types->deque_append);
        Py_VISIT(types->defaultdict);
        Py_VISIT(types->counter);
        Py_VISIT(types->decimal);
        Py_VISIT(types->fraction);
        Py_VISIT(types->uuid);
        Py_VISIT(types->safe_uuid);
        Py_VISIT(types->zone_info);
        Py_VISIT(types->rebuild);
    }
    return 0;
}

void
csb_decode_types_clear(struct csb_decode_types **types)
{
    struct csb_decode_types *gone = *types;

    *types = NULL;
    if (gone != NULL) {
        Py_CLEAR(gone->deque);
        Py_CLEAR(gone->deque_append);
        Py_CLEAR(gone->defaultdict);
        Py_CLEAR(gone->counter);
        Py_CLEAR(gone->decimal);
        Py_CLEAR(gone->fraction);
        Py_CLEAR(gone->uuid);
        Py_CLEAR(gone->safe_uuid);
        Py_CLEAR(gone->zone_info);
        Py_CLEAR(gone->rebuild);
        PyMem_Free(gone);
    }
}

PyObject *
csb_decode_import(struct csb_decoder *d, PyObject **field, const char *module,
                  const char *name)
{
    PyObject *imported;
    PyObject *found = NULL;

    if (*field != NULL) {
        return *field;
    }
    imported = PyImport_ImportModule(module);
    if (imported != NULL) {
        found = PyObject_GetAttrString(imported, name);
        Py_DECREF(imported);
    }
    if (found == NULL) {
        (void)csb_decode_wrap(d, "a module of Python's is missing here");
        return NULL;
    }
    if (*field != NULL) {
        Py_DECREF(found); /* importing let another thread be first */
    } else {
        *field = found;
    }
    return *field;
}

PyTypeObject *
csb_decode_row_factory(size_t row)
{
    return rows[row].factory;
}

const char *
csb_decode_row_name(size_t row)
{
    return rows[row].name;
}

/* A name of the guest's choice, made fit for a message. */
static void
make_inert(const char *text, size_t size, char ret_shown[MAX_NAME + 4])
{
    size_t shown = size < MAX_NAME ? size : MAX_NAME;

    for (size_t i = 0; i < shown; i++) {
        char c = text[i];
        ret_shown[i] = (char)(c > ' ' && c <= '~' ? c : '?');
    }
    strcpy(ret_shown + shown, size > shown ? "..." : "");
}

static int
refuse_global(struct csb_decoder *d, const char *module, size_t module_size,
              const char *name, size_t name_size)
{
    char shown_module[MAX_NAME + 4];
    char shown_name[MAX_NAME + 4];

    make_inert(module, module_size, shown_module);
    make_inert(name, name_size, shown_name);
    return csb_decode_refuse(d, "%s.%s may not cross", shown_module,
                             shown_name);
}

static bool
equals(const char *text, size_t size, const char *known)
{
    return strlen(known) == size && memcmp(text, known, size) == 0;
}

int
csb_decode_global(struct csb_decoder *d, const char *module,
                  size_t module_size, const char *name, size_t name_size)
{
    size_t row = 0;

    while (row < sizeof rows / sizeof *rows &&
           !(equals(name, name_size, rows[row].name) &&
             equals(module, module_size, rows[row].module))) {
        row++;
    }
    if (row == sizeof rows / sizeof *rows) {
        return refuse_global(d, module, module_size, name, name_size);
    }
    if (rows[row].build == NULL && rows[row].factory == NULL) {
        return csb_decode_push(d, Py_NewRef(Py_Ellipsis), CSB_VALUE, 0, 1);
    }
    if (d->used == d->room && csb_decode_grow_stack(d) < 0) {
        return -1;
    }
    d->stack[d->used++] =
        (struct csb_entry){.kind = CSB_GLOBAL, .row = (uint8_t)row};
    return 0;
}

static const char *
read_name(const struct csb_entry *entry, size_t *ret_size)
{
    Py_ssize_t size;
    const char *text;

    if (entry->object == NULL || !PyUnicode_CheckExact(entry->object)) {
        return NULL;
    }
    text = PyUnicode_AsUTF8AndSize(entry->object, &size);
    if (text == NULL) {
        PyErr_Clear(); /* a lone surrogate: no name that we know */
        return NULL;
    }
    *ret_size = (size_t)size;
    return text;
}

int
csb_decode_stack_global(struct csb_decoder *d)
{
    const char *module, *name;
    size_t module_size, name_size;
    size_t base;
    int result;

    if (d->used - d->floor < 2) {
        return csb_decode_refuse(d, "two names are missing");
    }
    base = d->used - 2;
    module = read_name(&d->stack[base], &module_size);
    name = read_name(&d->stack[base + 1], &name_size);
    if (module == NULL || name == NULL) {
        return csb_decode_refuse(d, "a name is not text");
    }
    result = csb_decode_global(d, module, module_size, name, name_size);
    if (result == 0) {
        struct csb_entry found = d->stack[--d->used];
        csb_decode_drop(d, base);
        d->stack[d->used++] = found;
    }
    return result;
}

/* TUPLE1 of a name: the arguments of defaultdict, as no real tuple. */
int
csb_decode_factory(struct csb_decoder *d)
{
    struct csb_entry *top = &d->stack[d->used - 1];

    if (rows[top->row].factory == NULL) {
        return csb_decode_refuse(d, "%s is not a value and may not cross",
                                 rows[top->row].name);
    }
    top->kind = CSB_FACTORY;
    top->memo = 0;
    return 0;
}

/* Checks that rows[called] may be called with args. */
static int
check_call(struct csb_decoder *d, const struct csb_entry *called,
           const struct csb_entry *args)
{
    const struct row *row;
    Py_ssize_t count = 1;

    if (called->kind != CSB_GLOBAL) {
        return csb_decode_refuse(d, "what it calls is not a name");
    }
    row = &rows[called->row];
    if (row->build == NULL) {
        return csb_decode_refuse(d, "%s.%s may not be called", row->module,
                                 row->name);
    }
    if (args->kind == CSB_FACTORY) {
        if (row->build != csb_decode_build_defaultdict) {
            return csb_decode_refuse(d, "%s is not a value and may not cross",
                                     rows[args->row].name);
        }
    } else if (args->object == NULL || !PyTuple_CheckExact(args->object)) {
        return csb_decode_refuse(d, "its arguments are not a tuple");
    } else {
        count = PyTuple_GET_SIZE(args->object);
    }
    if (count < row->min_args || count > row->max_args) {
        return csb_decode_refuse(d, "%zd arguments are not what %s.%s takes",
                                 count, row->module, row->name);
    }
    return 0;
}

int
csb_decode_reduce(struct csb_decoder *d)
{
    struct csb_entry made = {.object = NULL, .kind = CSB_VALUE, .weight = 1};
    int result;
    size_t base = d->used - 2;

    if (d->used - d->floor < 2) {
        return csb_decode_refuse(d, "a name and arguments are missing");
    }
    if (check_call(d, &d->stack[base], &d->stack[base + 1]) < 0) {
        return -1;
    }
    csb_decode_resume_gc(d);
    result = rows[d->stack[base].row].build(d, &d->stack[base + 1], &made);
    csb_decode_pause_gc(d);
    if (result < 0) {
        return -1;
    }
    csb_decode_drop(d, base);
    d->stack[d->used++] = made;
    return 0;
}

/* The stock pickler writes a UUID as NEWOBJ, then BUILD with a dict. */
int
csb_decode_newobj(struct csb_decoder *d)
{
    const struct csb_entry *called, *args;
    size_t base = d->used - 2;

    if (d->used - d->floor < 2) {
        return csb_decode_refuse(d, "a name and arguments are missing");
    }
    called = &d->stack[base];
    args = &d->stack[base + 1];
    if (called->kind != CSB_GLOBAL) {
        return csb_decode_refuse(d, "what it calls is not a name");
    }
    if (rows[called->row].build != csb_decode_build_uuid ||
        args->object == NULL || !PyTuple_CheckExact(args->object) ||
        PyTuple_GET_SIZE(args->object) != 0) {
        return csb_decode_refuse(d, "%s.%s may not be made so",
                                 rows[called->row].module,
                                 rows[called->row].name);
    }
    csb_decode_drop(d, base);
    d->stack[d->used++] = (struct csb_entry){.kind = CSB_PENDING};
    return 0;
}

int
csb_decode_finish(struct csb_decoder *d)
{
    struct csb_entry made = {.object = NULL, .kind = CSB_VALUE, .weight = 1};
    int result;
    size_t base = d->used - 2;
    size_t memo;

    if (d->used - d->floor < 2 || d->stack[base].kind != CSB_PENDING) {
        return csb_decode_refuse(d, "it may change nothing but a new UUID");
    }
    if (d->stack[base + 1].object == NULL) {
        return csb_decode_refuse(d, "not the state of a UUID");
    }
    csb_decode_resume_gc(d);
    result = csb_decode_finish_uuid(d, d->stack[base + 1].object, &made);
    csb_decode_pause_gc(d);
    if (result < 0) {
        return -1;
    }
    memo = d->stack[base].memo;
    if (memo != 0) {
        Py_INCREF(made.object);
        d->memo[memo - 1] = made;
    }
    csb_decode_drop(d, base);
    d->stack[d->used++] = made;
    return 0;
}
