/* The opcodes, one after another.
 *
 * Nothing here recurses: what nests in the bytes nests on the decoder's own
 * stack.  Every length is checked against the bytes that are left, and every
 * allocation against a budget, before it is used. */
#define _GNU_SOURCE
#include "decode_opcodes.h"
#include "decode_read.h"
#include "decode_types.h"

#include <string.h>
#include <time.h>

#define FIRST_PROTOCOL 2
#define LAST_PROTOCOL 5

/* Opcodes between two looks at signals and at the clock: a millisecond or
 * two. */
#define OPCODES_PER_BREATH 32768
/* Between two releases of the GIL: more than the 5 ms after which another
 * thread asks for it, as a waiter that is woken sooner starts its wait anew
 * and never gets it. */
#define GIL_NANOSECONDS 6000000

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

    if (csb_decode_take_number(d, size, &index) < 0) {
        return -1;
    }
    return csb_decode_memo_get(d, index);
}

static int
load_put(struct csb_decoder *d, size_t size)
{
    size_t index;

    if (csb_decode_take_number(d, size, &index) < 0) {
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
    if (csb_decode_take_number(d, 8, &length) < 0) {
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
    const unsigned char *version = csb_decode_take(d, 1);
    if (version == NULL) {
        return -1;
    }
    if (*version < FIRST_PROTOCOL || *version > LAST_PROTOCOL) {
        return csb_decode_refuse(d, "protocol %d is not known", *version);
    }
    return 0;
}

static int64_t
clock_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

int
csb_decode_breathe(struct csb_decoder *d)
{
    bool paused = d->gc_paused;

    csb_decode_resume_gc(d);
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    int64_t now = clock_now();
    if (now - d->released > GIL_NANOSECONDS) {
        PyEval_RestoreThread(PyEval_SaveThread());
        d->released = clock_now();
    }
    if (paused) {
        csb_decode_pause_gc(d);
    }
    return 0;
}

/* Allows itself a few opcodes more, if the budget of items does. */
static int
refuel(struct csb_decoder *d)
{
    if (d->items_left == 0) {
        return csb_decode_charge_items(d, 1);
    }
    d->fuel = d->items_left < OPCODES_PER_BREATH ? d->items_left
                                                 : OPCODES_PER_BREATH;
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
        return csb_decode_push_scalar(d, Py_NewRef(Py_None), 1);
    case OP_NEWTRUE:
        return csb_decode_push_scalar(d, Py_NewRef(Py_True), 1);
    case OP_NEWFALSE:
        return csb_decode_push_scalar(d, Py_NewRef(Py_False), 1);
    case OP_BININT:
        return csb_decode_load_int(d);
    case OP_BININT1: {
        size_t number;
        return csb_decode_take_number(d, 1, &number) < 0
                   ? -1
                   : csb_decode_push_int(d, (long)number);
    }
    case OP_BININT2: {
        size_t number;
        return csb_decode_take_number(d, 2, &number) < 0
                   ? -1
                   : csb_decode_push_int(d, (long)number);
    }
    case OP_LONG1:
        return csb_decode_load_long(d, 1);
    case OP_LONG4:
        return csb_decode_load_long(d, 4);
    case OP_BINFLOAT:
        return csb_decode_load_float(d);
    case OP_SHORT_BINUNICODE:
        return csb_decode_load_text(d, 1);
    case OP_BINUNICODE:
        return csb_decode_load_text(d, 4);
    case OP_BINUNICODE8:
        return csb_decode_load_text(d, 8);
    case OP_SHORT_BINBYTES:
        return csb_decode_load_bytes(d, 1);
    case OP_BINBYTES:
        return csb_decode_load_bytes(d, 4);
    case OP_BINBYTES8:
        return csb_decode_load_bytes(d, 8);
    case OP_BYTEARRAY8:
        return csb_decode_load_bytearray(d);
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

int
csb_decode_run(struct csb_decoder *d)
{
    if (load_protocol(d) < 0 || refuel(d) < 0) {
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
        if (d->fuel == 0 && (csb_decode_breathe(d) < 0 || refuel(d) < 0)) {
            return -1;
        }
        d->fuel--;
        if (obey(d, *d->opcode) < 0) {
            return -1;
        }
    }
}
