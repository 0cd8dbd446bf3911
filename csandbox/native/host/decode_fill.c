/* Filling containers from the top of the decoder's stack. */
#include "decode_state.h"

#include "decode_types.h"

static void
count_weight(struct csb_entry *parent, const struct csb_entry *child)
{
    if (child->kind != CSB_VALUE) {
        parent->weight = CSB_UNHASHABLE_WEIGHT;
        return;
    }
    parent->weight = csb_decode_add_weight(parent->weight, child->weight);
    while (child->weight > (uint32_t)1 << parent->heaviest &&
           parent->heaviest < 31) {
        parent->heaviest++;
    }
}

static int
absorb_unusual(struct csb_decoder *d, struct csb_entry *parent,
               const struct csb_entry *child, bool counted)
{
    /* A tuple (not made yet) may be of arguments, and so no level. */
    size_t limit = d->depth_limit + (parent->object == NULL);

    if (child->kind > CSB_BACK) {
        return csb_decode_refuse(d, "%s is not a value and may not cross",
                                 child->kind == CSB_PENDING
                                     ? "an unfinished UUID"
                                     : csb_decode_row_name(child->row));
    }
    if (child->height >= limit) {
        return csb_decode_refuse(d, "nested too deep");
    }
    csb_decode_seal(d, child);
    if (parent->height <= child->height) {
        parent->height = (uint16_t)(child->height + 1);
    }
    if (counted) {
        count_weight(parent, child);
    }
    return 0;
}

int
csb_decode_absorb(struct csb_decoder *d, struct csb_entry *parent,
                  const struct csb_entry *child, bool counted)
{
    if (child->kind != CSB_VALUE || child->height != 0) {
        return absorb_unusual(d, parent, child, counted);
    }
    if (counted) {
        count_weight(parent, child);
    }
    return 0;
}

/* The container under the entries from base up, if it can be filled. */
static struct csb_entry *
find_target(struct csb_decoder *d, size_t base)
{
    struct csb_entry *target;

    if (base <= d->floor) {
        (void)csb_decode_refuse(d, "nothing to fill"); /* -1 by contract */
        return NULL;
    }
    target = &d->stack[base - 1];
    if (target->kind != CSB_OPEN) {
        (void)csb_decode_refuse(d, "its target may not be changed");
        return NULL;
    }
    return target;
}

/* Gives up the stack's references from base up, all absorbed. */
static void
release(struct csb_decoder *d, size_t base)
{
    for (size_t i = base; i < d->used; i++) {
        Py_DECREF(d->stack[i].object);
    }
    d->used = base;
}

/* Moves the entries from base up to the end of a list. */
static int
extend_list(struct csb_decoder *d, struct csb_entry *target, size_t base)
{
    Py_ssize_t count = (Py_ssize_t)(d->used - base);
    Py_ssize_t size = PyList_GET_SIZE(target->object);
    PyObject *moved;
    int result;

    for (size_t i = base; i < d->used; i++) {
        if (csb_decode_absorb(d, target, &d->stack[i], true) < 0) {
            return -1;
        }
    }
    moved = PyList_New(count);
    if (moved == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyList_SET_ITEM(moved, i, d->stack[base + (size_t)i].object);
    }
    d->used = base;
    result = PyList_SetSlice(target->object, size, size, moved);
    Py_DECREF(moved);
    return result;
}

static int
append_one(struct csb_decoder *d, struct csb_entry *target)
{
    struct csb_entry *item = &d->stack[d->used - 1];

    if (csb_decode_absorb(d, target, item, true) < 0 ||
        PyList_Append(target->object, item->object) < 0) {
        return -1;
    }
    release(d, d->used - 1);
    return 0;
}

static int
extend_deque(struct csb_decoder *d, struct csb_entry *target, size_t base)
{
    for (size_t i = base; i < d->used; i++) {
        struct csb_entry *item = &d->stack[i];
        if (csb_decode_breathe_at(d, i - base) < 0 ||
            csb_decode_absorb(d, target, item, true) < 0 ||
            csb_decode_deque_append(d, target->object, item->object) < 0) {
            return -1;
        }
    }
    release(d, base);
    return 0;
}

int
csb_decode_append(struct csb_decoder *d, size_t base)
{
    struct csb_entry *target = find_target(d, base);

    if (target == NULL || csb_decode_charge_memory(
                              d, (d->used - base) * CSB_SIZE_LIST_ITEM) < 0) {
        return -1;
    }
    if (PyList_CheckExact(target->object)) {
        return d->used - base == 1 ? append_one(d, target)
                                   : extend_list(d, target, base);
    }
    if (csb_decode_is_deque(d, target->object)) {
        return extend_deque(d, target, base);
    }
    return csb_decode_refuse(d, "its target is no list or deque");
}

/* Checks the entry as a key, which must be hashable all through. */
static int
check_key(struct csb_decoder *d, const struct csb_entry *key)
{
    if (key->kind != CSB_VALUE) {
        if (key->kind > CSB_BACK) {
            return csb_decode_refuse(d, "a key is not a value");
        }
        return csb_decode_refuse(d, "a key is not hashable: %s",
                                 Py_TYPE(key->object)->tp_name);
    }
    if (key->height > CSB_DECODE_KEY_DEPTH) {
        return csb_decode_refuse(d, "a key is nested too deep");
    }
    return 0;
}

int
csb_decode_set_items(struct csb_decoder *d, size_t base)
{
    struct csb_entry *target = find_target(d, base);
    size_t count = d->used - base;

    if (target == NULL ||
        csb_decode_charge_memory(d, count / 2 * CSB_SIZE_DICT_ITEM) < 0) {
        return -1;
    }
    if (!PyDict_Check(target->object)) {
        return csb_decode_refuse(d, "its target is no dict");
    }
    if (count % 2 != 0) {
        return csb_decode_refuse(d, "a key without a value");
    }
    for (size_t i = base; i < d->used; i += 2) {
        struct csb_entry *key = &d->stack[i];
        struct csb_entry *value = &d->stack[i + 1];
        if (csb_decode_breathe_at(d, (i - base) / 2) < 0 ||
            check_key(d, key) < 0 ||
            csb_decode_absorb(d, target, key, true) < 0 ||
            csb_decode_absorb(d, target, value, false) < 0 ||
            csb_decode_add_key(d, target, base - 1, key->object, key->weight,
                               key->weight, value->object) < 0) {
            return -1;
        }
    }
    release(d, base);
    return 0;
}

static int
add_items(struct csb_decoder *d, struct csb_entry *target, size_t slot,
          size_t base)
{
    if (csb_decode_charge_memory(d, (d->used - base) * CSB_SIZE_SET_ITEM) <
        0) {
        return -1;
    }
    for (size_t i = base; i < d->used; i++) {
        struct csb_entry *item = &d->stack[i];
        if (csb_decode_breathe_at(d, i - base) < 0 || check_key(d, item) < 0 ||
            csb_decode_absorb(d, target, item, true) < 0 ||
            csb_decode_add_key(d, target, slot, item->object, item->weight,
                               item->weight, NULL) < 0) {
            return -1;
        }
    }
    return 0;
}

int
csb_decode_add_items(struct csb_decoder *d, size_t base)
{
    struct csb_entry *target = find_target(d, base);

    if (target == NULL) {
        return -1;
    }
    if (!PySet_CheckExact(target->object)) {
        return csb_decode_refuse(d, "its target is no set");
    }
    if (add_items(d, target, base - 1, base) < 0) {
        return -1;
    }
    release(d, base);
    return 0;
}

int
csb_decode_frozenset(struct csb_decoder *d, size_t base)
{
    size_t work_before = d->work_left;
    struct csb_entry made = {.kind = CSB_OPEN, .height = 1, .weight = 1};

    if (csb_decode_charge_memory(d, CSB_SIZE_SET) < 0) {
        return -1;
    }
    made.object = PyFrozenSet_New(NULL);
    if (made.object == NULL) {
        return -1;
    }
    if (add_items(d, &made, d->used, base) < 0) {
        Py_DECREF(made.object);
        return -1;
    }
    csb_decode_finish_frozenset(d, &made, work_before);
    release(d, base);
    return csb_decode_push(d, made.object, CSB_VALUE, made.height,
                           made.weight);
}

void
csb_decode_finish_frozenset(struct csb_decoder *d, struct csb_entry *made,
                            size_t work_before)
{
    /* Comparing two such sets searches one for what the other holds, so it
     * may cost again what the collisions cost. */
    size_t collisions = work_before - d->work_left;
    size_t count = (size_t)PySet_GET_SIZE(made->object);
    size_t cost = collisions + count * 8;

    made->weight = cost >= CSB_UNHASHABLE_WEIGHT
                       ? CSB_UNHASHABLE_WEIGHT
                       : csb_decode_add_weight(made->weight, (uint32_t)cost);
    made->kind = CSB_VALUE;
}

int
csb_decode_tuple(struct csb_decoder *d, size_t base)
{
    struct csb_entry made = {.kind = CSB_VALUE, .height = 1, .weight = 1};
    size_t count = d->used - base;

    if (csb_decode_charge_memory(d, CSB_SIZE_TUPLE +
                                        count * CSB_SIZE_TUPLE_ITEM) < 0) {
        return -1;
    }
    for (size_t i = base; i < d->used; i++) {
        struct csb_entry *item = &d->stack[i];
        if (csb_decode_absorb(d, &made, item, true) < 0) {
            return -1;
        }
        if (item->kind != CSB_VALUE) {
            made.kind = CSB_UNHASHABLE;
        }
    }
    if (made.kind == CSB_UNHASHABLE && count == 1) {
        /* Maybe the arguments of set: they then want the list's cost. */
        made.weight = d->stack[base].weight;
        made.heaviest = d->stack[base].heaviest;
    }
    if (d->used == d->room && csb_decode_grow_stack(d) < 0) {
        return -1;
    }
    made.object = PyTuple_New((Py_ssize_t)count);
    if (made.object == NULL) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(made.object, (Py_ssize_t)i,
                         d->stack[base + i].object);
    }
    d->used = base;
    /* What was spelt out in the bytes may be hashed, and once compared. */
    d->work_left += 2 * count;
    d->stack[d->used++] = made;
    return 0;
}
