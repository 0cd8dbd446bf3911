/* The stack, marks and memo of the decoder, and what each budget says when
 * it is spent. */
#include "decode_state.h"

#include "decode_opcodes.h"

/* Deallocating a deque or defaultdict recurses in C, 100 to 200 bytes of
 * stack a level, without the trashcan that other containers have.  Outside
 * cycles the limit on nesting bounds that; inside them, their number does. */
#define MAX_FRAGILE_IN_CYCLES 5000

int
csb_decode_refuse(const struct csb_decoder *d, const char *format, ...)
{
    va_list args;
    PyObject *detail;
    size_t offset = (size_t)(d->opcode - d->start);
    int opcode = d->opcode < d->end ? *d->opcode : -1;
    const char *name = opcode < 0 ? NULL : csb_decode_opcode_name(opcode);

    va_start(args, format);
    detail = PyUnicode_FromFormatV(format, args);
    va_end(args);
    if (detail == NULL) {
        return -1;
    }
    if (name != NULL) {
        PyErr_Format(PyExc_ValueError, "byte %zu: opcode %s: %U", offset, name,
                     detail);
    } else {
        PyErr_Format(PyExc_ValueError, "byte %zu: %U", offset, detail);
    }
    Py_DECREF(detail);
    return -1;
}

int
csb_decode_wrap(const struct csb_decoder *d, const char *what)
{
    if (PyErr_ExceptionMatches(PyExc_Exception) &&
        !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        (void)csb_decode_refuse(d, "%s", what); /* -1 by contract */
    }
    return -1;
}

int
csb_decode_memory_spent(struct csb_decoder *d)
{
    return csb_decode_refuse(d, "the value takes too much memory");
}

int
csb_decode_charge_items(struct csb_decoder *d, size_t count)
{
    if (count > d->items_left + d->fuel) {
        return csb_decode_refuse(
            d, "the value has too many items; return fewer, or "
               "an array of numpy's");
    }
    if (count > d->items_left) {
        d->fuel -= count - d->items_left;
        count = d->items_left;
    }
    d->items_left -= count;
    return 0;
}

int
csb_decode_charge_work(struct csb_decoder *d, size_t cost)
{
    if (cost > d->work_left) {
        return csb_decode_refuse(d, "keys take too long to hash and compare");
    }
    d->work_left -= cost;
    return 0;
}

int
csb_decode_check_fragile(struct csb_decoder *d)
{
    if (d->cyclic && d->fragile > MAX_FRAGILE_IN_CYCLES) {
        return csb_decode_refuse(
            d,
            "too many deques, defaultdicts and frames in a value with cycles");
    }
    return 0;
}

/* Doubles an array of the decoder's own, at the cost of the memory budget:
 * it may outgrow the value it helps to make. */
static int
grow(struct csb_decoder *d, void *array, size_t *room, size_t size)
{
    size_t more = *room == 0 ? 16 : *room;
    void *moved;

    if (csb_decode_charge_memory(d, more * size) < 0) {
        return -1;
    }
    moved = PyMem_Realloc(*(void **)array, (*room + more) * size);
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *(void **)array = moved;
    *room += more;
    return 0;
}

int
csb_decode_grow_stack(struct csb_decoder *d)
{
    return grow(d, &d->stack, &d->room, sizeof *d->stack);
}

int
csb_decode_mark(struct csb_decoder *d)
{
    if (d->marks_used == d->marks_room &&
        grow(d, &d->marks, &d->marks_room, sizeof *d->marks) < 0) {
        return -1;
    }
    d->marks[d->marks_used++] = d->used;
    d->floor = d->used;
    return 0;
}

int
csb_decode_pop_mark(struct csb_decoder *d, size_t *ret_base)
{
    if (d->marks_used == 0) {
        return csb_decode_refuse(d, "no MARK before it");
    }
    *ret_base = d->floor;
    d->marks_used--;
    d->floor = d->marks_used == 0 ? 0 : d->marks[d->marks_used - 1];
    return 0;
}

void
csb_decode_drop(struct csb_decoder *d, size_t base)
{
    while (d->used > base) {
        struct csb_entry *entry = &d->stack[--d->used];
        csb_decode_seal(d, entry);
        Py_XDECREF(entry->object);
    }
}

int
csb_decode_memo_put(struct csb_decoder *d, size_t index)
{
    struct csb_entry *top;

    if (d->used <= d->floor) {
        return csb_decode_refuse(d, "nothing to remember");
    }
    if (index != d->memo_used) {
        /* Picklers number them 0, 1, 2...; so no gap is ever allocated. */
        return csb_decode_refuse(d, "memo index %zu where %zu is due", index,
                                 d->memo_used);
    }
    if (d->memo_used == d->memo_room &&
        grow(d, &d->memo, &d->memo_room, sizeof *d->memo) < 0) {
        return -1;
    }
    top = &d->stack[d->used - 1];
    if (top->kind == CSB_OPEN || top->kind == CSB_PENDING) {
        if (top->memo != 0) {
            return csb_decode_refuse(d, "remembered twice");
        }
        if (index >= UINT32_MAX) {
            return csb_decode_refuse(d, "too much to remember");
        }
        top->memo = (uint32_t)index + 1;
    }
    Py_XINCREF(top->object);
    d->memo[d->memo_used++] = *top;
    return 0;
}

int
csb_decode_memo_get(struct csb_decoder *d, size_t index)
{
    struct csb_entry entry;

    if (index >= d->memo_used) {
        return csb_decode_refuse(d, "nothing at memo index %zu", index);
    }
    if (d->used == d->room && csb_decode_grow_stack(d) < 0) {
        return -1;
    }
    entry = d->memo[index];
    entry.memo = 0;
    if (entry.kind == CSB_PENDING) {
        return csb_decode_refuse(d, "a UUID that is not yet built");
    }
    if (entry.kind == CSB_OPEN) {
        entry.kind = CSB_BACK;
        entry.height = 1;
        entry.weight = CSB_UNHASHABLE_WEIGHT;
        d->cyclic = true;
        if (csb_decode_check_fragile(d) < 0) {
            return -1;
        }
    }
    Py_XINCREF(entry.object);
    d->stack[d->used++] = entry;
    return 0;
}

void
csb_decode_free(struct csb_decoder *d)
{
    csb_decode_free_shadows(d);
    csb_decode_drop(d, 0);
    PyMem_Free(d->stack);
    PyMem_Free(d->marks);
    for (size_t i = 0; i < d->memo_used; i++) {
        Py_XDECREF(d->memo[i].object);
    }
    PyMem_Free(d->memo);
}
