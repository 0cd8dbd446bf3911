/* The opcodes of the decoder, one after another, and its entry points.
 *
 * Nothing here recurses: what nests in the bytes nests on the decoder's own
 * stack.  Every length is checked against the bytes that are left, and every
 * allocation against a budget, before it is used. */
#include "decode.h"

#include "decode_opcodes.h"
#include "decode_types.h"

#include <string.h>

#define FIRST_PROTOCOL 2
#define LAST_PROTOCOL 5

/* 78,913 decimal digits.  CPython itself prints no more than 4300 unless the
 * caller has lifted that; then printing this takes tens of milliseconds. */
#define MAX_INT_BYTES 32768

/* Units of work free of charge: some 20 ms. */
#define FREE_WORK ((size_t)2 << 20)

/* Opcodes between two looks at signals and at other threads' wish for the
 * GIL: a millisecond or two. */
#define OPCODES_PER_BREATH 32768

const char csb_decode_doc[] =
    "decode($module, data, /, *, items=10_000_000, depth=1000,\n"
    "       memory=1073741824)\n--\n\n"
    "Return the plain value that data, one pickle from a hostile writer, "
    "holds.\n\n"
    "data is bytes-like and must not change meanwhile.  Only the data opcodes "
    "of protocols 2 to 5 and a closed table of constructors are known; "
    "nothing is imported or called by name.  items bounds the objects made "
    "and the elements put in containers; depth (at most 10000) the levels of "
    "containers; memory the bytes that the value takes.  Raises ValueError "
    "for anything else than one well-formed pickle of permitted values "
    "within these bounds.";

/* Returns the next size bytes and goes past them, or NULL. */
static inline const unsigned char *
take(struct csb_decoder *d, size_t size)
{
    const unsigned char *at = d->next;

    if (size > (size_t)(d->limit - at)) {
        (void)csb_decode_refuse(d, d->framed ? "it goes beyond its FRAME"
                                             : "the bytes end inside it");
        return NULL;
    }
    d->next = at + size;
    return at;
}

static inline uint64_t
little_endian(const unsigned char *at, size_t size)
{
    uint64_t number = 0;

    for (size_t i = size; i > 0; i--) {
        number = number << 8 | at[i - 1];
    }
    return number;
}

/* Reads an unsigned number of that many bytes. */
static inline int
take_number(struct csb_decoder *d, size_t size, size_t *ret_number)
{
    const unsigned char *at = take(d, size);

    if (at == NULL) {
        return -1;
    }
    *ret_number = (size_t)little_endian(at, size);
    return 0;
}

/* Reads a length of that many bytes, then so many bytes. */
static inline const unsigned char *
take_counted(struct csb_decoder *d, size_t size, size_t *ret_length)
{
    if (take_number(d, size, ret_length) < 0) {
        return NULL;
    }
    return take(d, *ret_length);
}

static inline int
push_scalar(struct csb_decoder *d, PyObject *object, uint32_t weight)
{
    return csb_decode_push(d, object, CSB_VALUE, 0, weight);
}

static inline int
push_int(struct csb_decoder *d, long number)
{
    if (csb_decode_charge_memory(d, 32) < 0) {
        return -1;
    }
    return push_scalar(d, PyLong_FromLong(number), 1);
}

static int
load_int(struct csb_decoder *d)
{
    const unsigned char *at = take(d, 4);

    if (at == NULL) {
        return -1;
    }
    return push_int(d, (int32_t)(uint32_t)little_endian(at, 4));
}

static int
load_long(struct csb_decoder *d, size_t size)
{
    size_t length;
    const unsigned char *at = take_counted(d, size, &length);

    if (at == NULL) {
        return -1;
    }
    if (length > MAX_INT_BYTES) {
        return csb_decode_refuse(d, "an int of %zu bytes", length);
    }
    if (csb_decode_charge_memory(d, 32 + length * 8 / 7) < 0) {
        return -1;
    }
    if (length == 0) {
        return push_scalar(d, PyLong_FromLong(0), 1);
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *number =
        PyLong_FromNativeBytes(at, length, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
    PyObject *number = _PyLong_FromByteArray(at, length, 1, 1);
#endif
    return push_scalar(d, number, 1 + (uint32_t)length / 64);
}

static int
load_float(struct csb_decoder *d)
{
    const unsigned char *at = take(d, 8);
    uint64_t bits = 0;
    double number;

    if (at == NULL || csb_decode_charge_memory(d, 24) < 0) {
        return -1;
    }
    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | at[i];
    }
    memcpy(&number, &bits, sizeof number);
    return push_scalar(d, PyFloat_FromDouble(number), 1);
}

/* In blocks, which compilers turn into vectors. */
static bool
is_ascii(const unsigned char *at, size_t size)
{
    const uint64_t high = 0x8080808080808080u;
    uint64_t words[8];
    uint64_t any = 0;

    for (; size >= sizeof words; at += sizeof words, size -= sizeof words) {
        memcpy(words, at, sizeof words);
        for (int i = 0; i < 8; i++) {
            any |= words[i];
        }
        if (any & high) {
            return false;
        }
    }
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(words, at, 8);
        any |= words[0];
    }
    for (; size > 0; at++, size--) {
        any |= *at;
    }
    return !(any & high);
}

/* The bytes that a str takes of which that is the UTF-8. */
static size_t
measure_text(const unsigned char *at, size_t size)
{
    size_t characters = 0;
    unsigned char greatest = 0;

    for (size_t i = 0; i < size; i++) {
        characters += (at[i] & 0xc0) != 0x80;
        greatest = at[i] > greatest ? at[i] : greatest;
    }
    if (greatest >= 0xf0) {
        return characters * 4;
    }
    return greatest >= 0xc4 ? characters * 2 : characters;
}

static int
load_other_text(struct csb_decoder *d, const unsigned char *at, size_t size)
{
    PyObject *text;

    if (csb_decode_charge_memory(d, 80 + measure_text(at, size)) < 0) {
        return -1;
    }
    text = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size,
                                "surrogatepass");
    if (text == NULL) {
        return csb_decode_wrap(d, "its text is not UTF-8");
    }
    return push_scalar(d, text, 1);
}

static int
load_text(struct csb_decoder *d, size_t size)
{
    size_t length;
    const unsigned char *at = take_counted(d, size, &length);
    PyObject *text;

    if (at == NULL) {
        return -1;
    }
    if (length < 2 || !is_ascii(at, length)) {
        return load_other_text(d, at, length);
    }
    if (csb_decode_charge_memory(d, 56 + length) < 0) {
        return -1;
    }
    text = PyUnicode_New((Py_ssize_t)length, 127);
    if (text == NULL) {
        return -1;
    }
    memcpy(PyUnicode_1BYTE_DATA(text), at, length);
    return push_scalar(d, text, 1);
}

static int
load_bytes(struct csb_decoder *d, size_t size)
{
    size_t length;
    const unsigned char *at = take_counted(d, size, &length);

    if (at == NULL || csb_decode_charge_memory(d, 40 + length) < 0) {
        return -1;
    }
    return push_scalar(
        d, PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)length), 1);
}

static int
load_bytearray(struct csb_decoder *d)
{
    size_t length;
    const unsigned char *at = take_counted(d, 8, &length);

    if (at == NULL || csb_decode_charge_memory(d, 64 + length) < 0) {
        return -1;
    }
    return csb_decode_push(
        d, PyByteArray_FromStringAndSize((const char *)at, (Py_ssize_t)length),
        CSB_UNHASHABLE, 0, CSB_UNHASHABLE_WEIGHT);
}

/* Pushes an empty container that took so many bytes, and is open. */
static int
load_empty(struct csb_decoder *d, size_t size, PyObject *(*make)(void))
{
    if (csb_decode_charge_memory(d, size) < 0) {
        return -1;
    }
    return csb_decode_push(d, make(), CSB_OPEN, 1, 1);
}

static PyObject *
make_list(void)
{
    return PyList_New(0);
}

static PyObject *
make_set(void)
{
    return PySet_New(NULL);
}

static int
load_tuple(struct csb_decoder *d, size_t count)
{
    if (d->used - d->floor < count) {
        return csb_decode_refuse(d, "its items are missing");
    }
    if (count == 1 && d->stack[d->used - 1].kind == CSB_GLOBAL) {
        return csb_decode_factory(d);
    }
    return csb_decode_tuple(d, d->used - count);
}

/* An opcode that takes what stands above the last MARK. */
static int
load_marked(struct csb_decoder *d, int (*act)(struct csb_decoder *, size_t))
{
    size_t base;

    if (csb_decode_pop_mark(d, &base) < 0) {
        return -1;
    }
    return act(d, base);
}

/* An opcode that takes so many entries and fills the one below. */
static int
load_filling(struct csb_decoder *d, size_t count,
             int (*act)(struct csb_decoder *, size_t))
{
    if (d->used - d->floor < count) {
        return csb_decode_refuse(d, "its items are missing");
    }
    return act(d, d->used - count);
}

static int
load_pop(struct csb_decoder *d)
{
    if (d->used <= d->floor) {
        return csb_decode_refuse(d, "nothing to drop");
    }
    csb_decode_drop(d, d->used - 1);
    return 0;
}

static int
load_pop_mark(struct csb_decoder *d)
{
    size_t base;

    if (csb_decode_pop_mark(d, &base) < 0) {
        return -1;
    }
    csb_decode_drop(d, base);
    return 0;
}

static int
load_get(struct csb_decoder *d, size_t size)
{
    size_t index;

    if (take_number(d, size, &index) < 0) {
        return -1;
    }
    return csb_decode_memo_get(d, index);
}

static int
load_put(struct csb_decoder *d, size_t size)
{
    size_t index;

    if (take_number(d, size, &index) < 0) {
        return -1;
    }
    return csb_decode_memo_put(d, index);
}

/* Bytes up to a newline, which is passed. */
static const char *
take_line(struct csb_decoder *d, size_t *ret_size)
{
    const unsigned char *at = d->next;
    const unsigned char *end = memchr(at, '\n', (size_t)(d->limit - at));

    if (end == NULL) {
        (void)csb_decode_refuse(d, "a name does not end"); /* NULL says it */
        return NULL;
    }
    *ret_size = (size_t)(end - at);
    d->next = end + 1;
    return (const char *)at;
}

static int
load_global(struct csb_decoder *d)
{
    size_t module_size, name_size;
    const char *module = take_line(d, &module_size);
    const char *name = module == NULL ? NULL : take_line(d, &name_size);

    if (name == NULL) {
        return -1;
    }
    return csb_decode_global(d, module, module_size, name, name_size);
}

static int
load_frame(struct csb_decoder *d)
{
    size_t length;

    if (d->framed) {
        return csb_decode_refuse(d, "a FRAME inside a FRAME");
    }
    if (take_number(d, 8, &length) < 0) {
        return -1;
    }
    if (length > (size_t)(d->end - d->next)) {
        return csb_decode_refuse(d, "it is longer than the bytes");
    }
    d->limit = d->next + length;
    d->framed = true;
    return 0;
}

/* The first two bytes, which must be PROTO. */
static int
load_protocol(struct csb_decoder *d)
{
    d->opcode = d->next;
    if (d->next == d->end || *d->next != OP_PROTO) {
        return csb_decode_refuse(d, "a pickle begins with PROTO");
    }
    d->next++;
    const unsigned char *version = take(d, 1);
    if (version == NULL) {
        return -1;
    }
    if (*version < FIRST_PROTOCOL || *version > LAST_PROTOCOL) {
        return csb_decode_refuse(d, "protocol %d is not known", *version);
    }
    return 0;
}

/* Allows itself a few opcodes more, if the budget of items does; before that
 * lets signal handlers run (Ctrl-C), and other threads. */
static int
breathe(struct csb_decoder *d)
{
    if (d->items_left == 0) {
        return csb_decode_charge_items(d, 1);
    }
    csb_decode_resume_gc(d);
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    PyEval_RestoreThread(PyEval_SaveThread());
    csb_decode_pause_gc(d);
    d->fuel = OPCODES_PER_BREATH;
    if (d->fuel > d->items_left) {
        d->fuel = d->items_left;
    }
    d->items_left -= d->fuel;
    return 0;
}

static int
refuse_opcode(struct csb_decoder *d)
{
    if (csb_decode_opcode_name(*d->opcode) == NULL) {
        return csb_decode_refuse(d, "no opcode: 0x%02x", *d->opcode);
    }
    return csb_decode_refuse(d, "may not cross");
}

/* Obeys one opcode, except STOP. */
static int
obey(struct csb_decoder *d, int opcode)
{
    switch (opcode) {
    case OP_NONE:
        return push_scalar(d, Py_NewRef(Py_None), 1);
    case OP_NEWTRUE:
        return push_scalar(d, Py_NewRef(Py_True), 1);
    case OP_NEWFALSE:
        return push_scalar(d, Py_NewRef(Py_False), 1);
    case OP_BININT:
        return load_int(d);
    case OP_BININT1: {
        size_t number;
        return take_number(d, 1, &number) < 0 ? -1 : push_int(d, (long)number);
    }
    case OP_BININT2: {
        size_t number;
        return take_number(d, 2, &number) < 0 ? -1 : push_int(d, (long)number);
    }
    case OP_LONG1:
        return load_long(d, 1);
    case OP_LONG4:
        return load_long(d, 4);
    case OP_BINFLOAT:
        return load_float(d);
    case OP_SHORT_BINUNICODE:
        return load_text(d, 1);
    case OP_BINUNICODE:
        return load_text(d, 4);
    case OP_BINUNICODE8:
        return load_text(d, 8);
    case OP_SHORT_BINBYTES:
        return load_bytes(d, 1);
    case OP_BINBYTES:
        return load_bytes(d, 4);
    case OP_BINBYTES8:
        return load_bytes(d, 8);
    case OP_BYTEARRAY8:
        return load_bytearray(d);
    case OP_EMPTY_LIST:
        return load_empty(d, CSB_SIZE_LIST, make_list);
    case OP_EMPTY_DICT:
        return load_empty(d, CSB_SIZE_DICT, PyDict_New);
    case OP_EMPTY_SET:
        return load_empty(d, CSB_SIZE_SET, make_set);
    case OP_EMPTY_TUPLE:
        return load_tuple(d, 0);
    case OP_TUPLE1:
        return load_tuple(d, 1);
    case OP_TUPLE2:
        return load_tuple(d, 2);
    case OP_TUPLE3:
        return load_tuple(d, 3);
    case OP_TUPLE:
        return load_marked(d, csb_decode_tuple);
    case OP_FROZENSET:
        return load_marked(d, csb_decode_frozenset);
    case OP_APPEND:
        return load_filling(d, 1, csb_decode_append);
    case OP_APPENDS:
        return load_marked(d, csb_decode_append);
    case OP_SETITEM:
        return load_filling(d, 2, csb_decode_set_items);
    case OP_SETITEMS:
        return load_marked(d, csb_decode_set_items);
    case OP_ADDITEMS:
        return load_marked(d, csb_decode_add_items);
    case OP_MARK:
        return csb_decode_mark(d);
    case OP_POP:
        return load_pop(d);
    case OP_POP_MARK:
        return load_pop_mark(d);
    case OP_MEMOIZE:
        return csb_decode_memo_put(d, d->memo_used);
    case OP_BINPUT:
        return load_put(d, 1);
    case OP_LONG_BINPUT:
        return load_put(d, 4);
    case OP_BINGET:
        return load_get(d, 1);
    case OP_LONG_BINGET:
        return load_get(d, 4);
    case OP_GLOBAL:
        return load_global(d);
    case OP_STACK_GLOBAL:
        return csb_decode_stack_global(d);
    case OP_REDUCE:
        return csb_decode_reduce(d);
    case OP_NEWOBJ:
        return csb_decode_newobj(d);
    case OP_BUILD:
        return csb_decode_finish(d);
    case OP_FRAME:
        return load_frame(d);
    default:
        return refuse_opcode(d);
    }
}

/* Obeys opcodes up to STOP. */
static int
run(struct csb_decoder *d)
{
    if (load_protocol(d) < 0) {
        return -1;
    }
    for (;;) {
        d->opcode = d->next;
        if (d->next == d->limit) {
            if (!d->framed) {
                return csb_decode_refuse(d, "the bytes end without STOP");
            }
            d->framed = false;
            d->limit = d->end;
            continue;
        }
        d->next++;
        if (*d->opcode == OP_STOP) {
            return 0;
        }
        if (d->fuel == 0 && breathe(d) < 0) {
            return -1;
        }
        d->fuel--;
        if (obey(d, *d->opcode) < 0) {
            return -1;
        }
    }
}

/* Takes the value that STOP leaves.  Returns a new reference. */
static PyObject *
finish(struct csb_decoder *d)
{
    struct csb_entry *last = d->stack;

    if (d->next != d->end) {
        (void)csb_decode_refuse(d, "%zu bytes after it",
                                (size_t)(d->end - d->next));
        return NULL;
    }
    if (d->used != 1 || d->marks_used != 0) {
        (void)csb_decode_refuse(d, "%zu values where there should be one",
                                d->used);
        return NULL;
    }
    if (last->kind > CSB_BACK) {
        (void)csb_decode_refuse(d, "it is not a value and may not cross");
        return NULL;
    }
    if (last->height > d->depth_limit) {
        (void)csb_decode_refuse(d, "nested too deep");
        return NULL;
    }
    if (d->cyclic && csb_decode_check_depth(d, last->object) < 0) {
        return NULL;
    }
    return Py_NewRef(last->object);
}

PyObject *
csb_decode(PyObject *module, const unsigned char *data, size_t size,
           const struct csb_decode_limits *limits)
{
    struct csb_decoder d = {
        .state = csb_module_state(module),
        .start = data,
        .next = data,
        .limit = data + size,
        .end = data + size,
        .items_left = limits->items,
        .memory_left = limits->memory,
        .work_left = FREE_WORK,
        .depth_limit = limits->depth,
    };
    PyObject *value = NULL;

    if (d.depth_limit > CSB_DECODE_MAX_DEPTH) {
        d.depth_limit = CSB_DECODE_MAX_DEPTH;
    }
    if (run(&d) == 0) {
        value = finish(&d);
    }
    csb_decode_resume_gc(&d);
    csb_decode_free(&d);
    return value;
}

PyObject *
csb_decode_method(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", "items", "depth", "memory", NULL};
    Py_ssize_t items = 10000000;
    Py_ssize_t depth = 1000;
    Py_ssize_t memory = (Py_ssize_t)1 << 30;
    Py_buffer data;
    PyObject *value = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|$nnn:decode", names,
                                     &data, &items, &depth, &memory)) {
        return NULL;
    }
    if (items < 0 || memory < 0 || depth < 0 || depth > CSB_DECODE_MAX_DEPTH) {
        PyErr_Format(PyExc_ValueError,
                     "items, memory and depth may not be negative, nor depth "
                     "above %d",
                     CSB_DECODE_MAX_DEPTH);
    } else {
        struct csb_decode_limits limits = {
            .items = (size_t)items,
            .depth = (size_t)depth,
            .memory = (size_t)memory,
        };
        value = csb_decode(module, data.buf, (size_t)data.len, &limits);
    }
    PyBuffer_Release(&data);
    return value;
}
