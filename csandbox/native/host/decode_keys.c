/* Keys into dicts and sets, in bounded time.
 *
 * Only the hashes of str and bytes are secret.  Whoever chooses ints, floats,
 * tuples or dates chooses their hashes too, and so can make every insertion
 * walk over, or compare with, every key there is: equal hashes are the plain
 * way, but different ones that lead CPython's probing along one long path do
 * as well.  So beside each container with such keys stands a shadow: a table
 * of hashes alone, grown and probed as CPython grows and probes the real one
 * (Objects/dictobject.c, Objects/setobject.c, alike in 3.11 to 3.14).  The
 * shadow is searched first, its steps are charged to the budget of work, and
 * only then is the key really added. */
#include "decode_state.h"

#include <string.h>

#define SMALL 16 /* keys; so few cannot cost much to walk over */
#define PERTURB_SHIFT 5
#define LINEAR_PROBES 9   /* setobject.c */
#define FREE_STEPS 32     /* per key, not charged */
#define COMPARISON_COST 4 /* more than a step, for keys of equal hash */

struct csb_shadow {
    struct csb_shadow *below;
    size_t slot; /* of the container on the stack */
    bool is_set;
    size_t held;         /* keys */
    size_t slots;        /* of the real table, a power of two */
    size_t usable;       /* keys that still fit without growing */
    size_t charged;      /* bytes taken from memory_left */
    size_t *table;       /* slots of ~hash; NULL while held <= SMALL.  No hash
                          * is -1, so 0 marks a free slot. */
    size_t first[SMALL]; /* the hashes, without a table */
};

static void
free_table(struct csb_decoder *d, struct csb_shadow *shadow)
{
    PyMem_Free(shadow->table);
    shadow->table = NULL;
    d->memory_left += shadow->charged;
    shadow->charged = 0;
}

static void
pop_shadow(struct csb_decoder *d)
{
    struct csb_shadow *shadow = d->shadows;

    d->shadows = shadow->below;
    if (shadow->table != NULL) {
        free_table(d, shadow);
    }
    PyMem_Free(d->spare_shadow);
    d->spare_shadow = shadow;
}

void
csb_decode_free_shadows(struct csb_decoder *d)
{
    while (d->shadows != NULL) {
        pop_shadow(d);
    }
    PyMem_Free(d->spare_shadow);
    d->spare_shadow = NULL;
}

static int
charge_beyond(struct csb_decoder *d, size_t cost, size_t allowance)
{
    return cost <= allowance ? 0 : csb_decode_charge_work(d, cost - allowance);
}

static size_t
fitting(bool is_set, size_t slots)
{
    return is_set ? ((slots - 1) * 3 + 4) / 5 : slots * 2 / 3;
}

/* How many slots a table gets that holds so many keys and needs more. */
static size_t
grown(bool is_set, size_t held)
{
    size_t wanted = held * 3;
    size_t slots = 8;

    if (is_set) {
        wanted = (held > 50000 ? held * 2 : held * 4) + 1;
    }
    while (slots < wanted) {
        slots <<= 1;
    }
    return slots;
}

/* Walks the way CPython would to a free slot for hash.  Returns the steps;
 * ret_equal counts the keys of equal hash on the way.  Gives up, with what
 * it has, after `patience` steps. */
static size_t
probe(const struct csb_shadow *shadow, size_t hash, size_t patience,
      size_t *ret_place, size_t *ret_equal)
{
    size_t mask = shadow->slots - 1;
    size_t perturb = hash;
    size_t place = hash & mask;
    size_t steps = 0;
    size_t equal = 0;

    while (steps <= patience) {
        size_t run = 1;
        if (shadow->is_set && place + LINEAR_PROBES <= mask) {
            run += LINEAR_PROBES;
        }
        for (size_t i = 0; i < run; i++, steps++) {
            size_t there = shadow->table[place + i];
            if (there == 0) {
                *ret_place = place + i;
                *ret_equal = equal;
                return steps;
            }
            equal += there == ~hash;
        }
        perturb >>= PERTURB_SHIFT;
        place = (place * 5 + 1 + perturb) & mask;
    }
    *ret_place = place;
    *ret_equal = equal;
    return steps;
}

/* Charges putting so many hashes in a table being built, and does it.  They
 * are stored as in a table, or as they are. */
static int
settle(struct csb_decoder *d, struct csb_shadow *shadow, const size_t *hashes,
       size_t count, bool stored)
{
    for (size_t i = 0; i < count; i++) {
        size_t hash = stored ? ~hashes[i] : hashes[i];
        size_t place, equal;
        if (stored && hashes[i] == 0) {
            continue;
        }
        size_t steps =
            probe(shadow, hash, d->work_left + FREE_STEPS, &place, &equal);
        if (charge_beyond(d, steps, FREE_STEPS) < 0) {
            return -1;
        }
        shadow->table[place] = ~hash;
    }
    return 0;
}

/* Gives shadow a table of its current number of slots. */
static int
build_table(struct csb_decoder *d, struct csb_shadow *shadow, size_t old_slots)
{
    struct csb_shadow old = *shadow;
    size_t size = shadow->slots * sizeof *shadow->table;
    int result;

    if (csb_decode_charge_memory(d, size) < 0) {
        return -1;
    }
    shadow->table = PyMem_Calloc(1, size);
    if (shadow->table == NULL) {
        shadow->table = old.table;
        d->memory_left += size;
        PyErr_NoMemory();
        return -1;
    }
    shadow->charged = size;
    if (old.table != NULL) {
        result = settle(d, shadow, old.table, old_slots, true);
        free_table(d, &old);
    } else {
        result = settle(d, shadow, shadow->first, shadow->held, false);
    }
    return result;
}

static int
grow(struct csb_decoder *d, struct csb_shadow *shadow)
{
    size_t old_slots = shadow->slots;

    shadow->slots = grown(shadow->is_set, shadow->held);
    shadow->usable = fitting(shadow->is_set, shadow->slots) - shadow->held;
    return shadow->table == NULL ? 0 : build_table(d, shadow, old_slots);
}

/* Charges a search for hash, before it is made in the real container. */
static int
search(struct csb_decoder *d, struct csb_shadow *shadow, size_t hash,
       size_t weight, size_t *ret_place)
{
    size_t steps = 0;
    size_t equal = 0;

    /* A dict grows before the key that does not fit, a set after the one
     * that fills it. */
    if (!shadow->is_set && shadow->usable == 0 && grow(d, shadow) < 0) {
        return -1;
    }
    if (shadow->table == NULL && shadow->held == SMALL &&
        build_table(d, shadow, 0) < 0) {
        return -1;
    }
    if (shadow->table != NULL) {
        steps =
            probe(shadow, hash, d->work_left + FREE_STEPS, ret_place, &equal);
    } else {
        for (size_t i = 0; i < shadow->held; i++) {
            equal += shadow->first[i] == hash;
        }
    }
    /* equal < 2**32 (items), weight < 2**32: no overflow in 64 bits. */
    return charge_beyond(d, steps + equal * (COMPARISON_COST + weight),
                         FREE_STEPS);
}

/* Notes that the key searched for has become one more key. */
static int
commit(struct csb_decoder *d, struct csb_shadow *shadow, size_t hash,
       size_t place)
{
    if (shadow->table != NULL) {
        shadow->table[place] = ~hash;
    } else {
        shadow->first[shadow->held] = hash;
    }
    shadow->held++;
    shadow->usable--;
    return shadow->is_set && shadow->usable == 0 ? grow(d, shadow) : 0;
}

static Py_ssize_t
count_keys(PyObject *container, bool is_set)
{
    return is_set ? PySet_GET_SIZE(container) : PyDict_GET_SIZE(container);
}

static int
seed_key(struct csb_decoder *d, struct csb_shadow *shadow, PyObject *key)
{
    size_t place = 0;
    Py_hash_t hash = PyObject_Hash(key); /* a str's: kept in it */

    if (hash == -1) {
        return -1;
    }
    if (search(d, shadow, (size_t)hash, 1, &place) < 0) {
        return -1;
    }
    return commit(d, shadow, (size_t)hash, place);
}

/* Brings a new shadow up to the keys, all str, that came before. */
static int
seed(struct csb_decoder *d, struct csb_shadow *shadow, PyObject *container)
{
    PyObject *iterator = PyObject_GetIter(container);
    PyObject *key;

    if (iterator == NULL) {
        return -1;
    }
    while ((key = PyIter_Next(iterator)) != NULL) {
        int result = seed_key(d, shadow, key);
        Py_DECREF(key);
        if (result < 0) {
            break;
        }
    }
    Py_DECREF(iterator);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (!shadow->is_set && shadow->held > 0) {
        /* The first key that is no str makes a dict of str rebuild. */
        return grow(d, shadow);
    }
    return 0;
}

/* Shadows stand on one another as their containers do on the stack, so those
 * above the container being filled are of containers that are gone. */
static struct csb_shadow *
find_shadow(struct csb_decoder *d, struct csb_entry *entry, size_t slot)
{
    struct csb_shadow *shadow;

    while (d->shadows != NULL &&
           d->shadows->slot >= slot + (entry->shadowed ? 1 : 0)) {
        pop_shadow(d);
    }
    if (entry->shadowed) {
        return d->shadows;
    }
    shadow = d->spare_shadow;
    d->spare_shadow = NULL;
    if (shadow == NULL) {
        shadow = PyMem_Malloc(sizeof *shadow);
        if (shadow == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
    }
    shadow->slot = slot;
    shadow->is_set = PyAnySet_CheckExact(entry->object);
    shadow->held = 0;
    shadow->slots = 8;
    shadow->usable = fitting(shadow->is_set, shadow->slots);
    shadow->charged = 0;
    shadow->table = NULL;
    shadow->below = d->shadows;
    d->shadows = shadow;
    entry->shadowed = 1;
    if (count_keys(entry->object, shadow->is_set) > 0 &&
        seed(d, shadow, entry->object) < 0) {
        return NULL;
    }
    return shadow;
}

static int
insert(PyObject *container, PyObject *key, PyObject *value)
{
    if (value == NULL) {
        return PySet_Add(container, key);
    }
    if (PyODict_CheckExact(container)) {
        return PyODict_SetItem(container, key, value);
    }
    return PyDict_SetItem(container, key, value);
}

static int
add_charged_key(struct csb_decoder *d, struct csb_shadow *shadow,
                PyObject *container, PyObject *key, size_t weight,
                PyObject *value)
{
    size_t place = 0;
    Py_ssize_t before = count_keys(container, shadow->is_set);
    Py_hash_t hash = PyObject_Hash(key);

    if (hash == -1) {
        return csb_decode_wrap(d, "a key cannot be hashed");
    }
    if (search(d, shadow, (size_t)hash, weight, &place) < 0) {
        return -1;
    }
    if (insert(container, key, value) < 0) {
        return csb_decode_wrap(d, "a key cannot be compared");
    }
    if (count_keys(container, shadow->is_set) == before) {
        return 0;
    }
    return commit(d, shadow, (size_t)hash, place);
}

int
csb_decode_add_key(struct csb_decoder *d, struct csb_entry *entry, size_t slot,
                   PyObject *key, uint32_t hashing, uint32_t comparing,
                   PyObject *value)
{
    struct csb_shadow *shadow;
    /* An OrderedDict looks each key up a few times, and hashes it anew. */
    size_t times = PyODict_CheckExact(entry->object) ? 4 : 1;
    bool paused = d->gc_paused;
    int result;

    if (!entry->shadowed && PyUnicode_CheckExact(key)) {
        return insert(entry->object, key, value);
    }
    if (charge_beyond(d, hashing * times, FREE_STEPS) < 0) {
        return -1;
    }
    shadow = find_shadow(d, entry, slot);
    if (shadow == NULL) {
        return -1;
    }
    csb_decode_resume_gc(d); /* a Fraction compares by Python code */
    result = add_charged_key(d, shadow, entry->object, key, comparing * times,
                             value);
    if (paused) {
        csb_decode_pause_gc(d);
    }
    return result;
}
