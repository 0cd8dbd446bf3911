/* What the files of the decoder share: its stack, its memo, its budgets.
 *
 * Everything the bytes make lives on one stack of entries, as in CPython's
 * unpickler.  An entry knows more than its object does: whether the object
 * may be hashed and what that costs, how deep it nests, and whether it may
 * still be changed.  Two rules make those facts cheap to keep and exact:
 *
 *  - A container is filled only in the place where it was made (CSB_OPEN).
 *    One fetched from the memo, or put in another container, is final.  All
 *    that CPython's picklers write obeys this.
 *  - A reference to a container still being filled (CSB_BACK) makes a cycle;
 *    then, and only then, nesting is measured again at the end.
 *
 * Names that the bytes mention are never objects here, only rows of the
 * constructor table (CSB_GLOBAL, CSB_FACTORY). */
#ifndef CSB_DECODE_STATE_H
#define CSB_DECODE_STATE_H

#include "decode.h"

#include <stdbool.h>
#include <stdint.h>

enum csb_kind {
    CSB_VALUE,      /* finished and hashable */
    CSB_UNHASHABLE, /* not hashable, and no longer to be changed */
    CSB_OPEN,       /* a container in the place where it was made */
    CSB_BACK,       /* a reference to a container still being filled */
    CSB_GLOBAL,     /* no value: row `row` of the constructor table */
    CSB_FACTORY,    /* no value: a tuple of one such row */
    CSB_PENDING,    /* no value: a UUID that waits for its BUILD */
};

#define CSB_UNHASHABLE_WEIGHT UINT32_MAX

/* Levels of tuples in a key: hashing and comparing recurse in C. */
#define CSB_DECODE_KEY_DEPTH 100

/* Bytes of an empty container, and of each thing in one, growth included. */
#define CSB_SIZE_LIST 56
#define CSB_SIZE_TUPLE 56
#define CSB_SIZE_DICT 80
#define CSB_SIZE_SET 216
#define CSB_SIZE_LIST_ITEM 9
#define CSB_SIZE_TUPLE_ITEM 8
#define CSB_SIZE_DICT_ITEM 64
#define CSB_SIZE_SET_ITEM 64

struct csb_entry {
    PyObject *object; /* owned; NULL unless a value */
    /* CSB_VALUE: the cost of hashing it.  A container, or a tuple of one
     * container: that of hashing all it holds.  CSB_UNHASHABLE_WEIGHT if
     * that cannot be done.  A unit is about 10 ns. */
    uint32_t weight;
    uint32_t memo;   /* CSB_OPEN, CSB_PENDING: memo index + 1, or 0 */
    uint16_t height; /* levels of containers, 0 for a scalar */
    uint8_t kind;
    uint8_t shadowed; /* CSB_OPEN: has a shadow (decode_keys.c) */
    uint8_t row;
    uint8_t heaviest; /* 2 ** heaviest >= the weight of any one thing in it */
};

struct csb_shadow;

struct csb_decoder {
    struct csb_module_state *state;
    PyObject *region; /* what the bytes may refer to, or NULL; borrowed */
    const unsigned char *start;
    const unsigned char *opcode; /* the one being obeyed, for messages */
    const unsigned char *next;
    const unsigned char *limit; /* of the frame, or end */
    const unsigned char *end;
    bool framed; /* limit is of a FRAME */

    struct csb_entry *stack;
    size_t used;
    size_t room;
    size_t floor; /* entries below the last MARK cannot be popped */

    size_t *marks;
    size_t marks_used;
    size_t marks_room;

    struct csb_entry *memo;
    size_t memo_used;
    size_t memo_room;

    struct csb_shadow *shadows; /* of open containers, the highest first */
    struct csb_shadow *spare_shadow; /* to be used again */

    size_t fuel;       /* opcodes until the next breath, part of items */
    size_t items_left; /* besides */
    size_t memory_left;
    size_t work_left; /* units of hashing, comparing, dividing */
    size_t depth_limit;
    int64_t released; /* when the GIL last was, in ns; 0: not yet */
    size_t fragile;   /* containers whose deallocation recurses in C */
    bool cyclic;
    bool gc_paused;
};

/* Collecting garbage while only plain values are made finds none, and takes
 * up to half of the time.  It is paused, but never while another thread or
 * Python code might run and see or want to change that. */
static inline void
csb_decode_pause_gc(struct csb_decoder *d)
{
    if (!d->gc_paused) {
        d->gc_paused = PyGC_Disable();
    }
}

static inline void
csb_decode_resume_gc(struct csb_decoder *d)
{
    if (d->gc_paused) {
        d->gc_paused = false;
        (void)PyGC_Enable(); /* says only that it was disabled */
    }
}

/* decode_run.c */

/* Obeys the opcodes from PROTO up to STOP.  Returns 0 or -1. */
int csb_decode_run(struct csb_decoder *d);

/* Lets signal handlers run (Ctrl-C), and other threads: to be called about
 * once a millisecond.  Returns 0, or -1 with what a handler raised. */
int csb_decode_breathe(struct csb_decoder *d);

/* The same, if index, which counts what a single opcode does, says so. */
static inline int
csb_decode_breathe_at(struct csb_decoder *d, size_t index)
{
    return index % 8192 == 8191 ? csb_decode_breathe(d) : 0;
}

/* decode_stack.c: all return 0, or -1 with an exception set. */

/* Raises ValueError "byte N: opcode NAME: ..."; always returns -1. */
int csb_decode_refuse(const struct csb_decoder *d, const char *format, ...);

/* Turns the exception that is set into csb_decode_refuse's, unless it is a
 * MemoryError or no Exception at all (KeyboardInterrupt).  Returns -1. */
int csb_decode_wrap(const struct csb_decoder *d, const char *what);

int csb_decode_grow_stack(struct csb_decoder *d);
int csb_decode_mark(struct csb_decoder *d);

/* Puts the number of entries under the last MARK in ret_base, drops it. */
int csb_decode_pop_mark(struct csb_decoder *d, size_t *ret_base);

/* Drops the entries from base up. */
void csb_decode_drop(struct csb_decoder *d, size_t base);

int csb_decode_memo_put(struct csb_decoder *d, size_t index);
int csb_decode_memo_get(struct csb_decoder *d, size_t index);

/* To be called when a deque or defaultdict is made, and a cycle closed. */
int csb_decode_check_fragile(struct csb_decoder *d);

/* Charges a budget, and refuses when it is spent. */
int csb_decode_memory_spent(struct csb_decoder *d);
int csb_decode_charge_items(struct csb_decoder *d, size_t count);
int csb_decode_charge_work(struct csb_decoder *d, size_t cost);

void csb_decode_free(struct csb_decoder *d);

static inline int
csb_decode_charge_memory(struct csb_decoder *d, size_t size)
{
    if (size > d->memory_left) {
        return csb_decode_memory_spent(d);
    }
    d->memory_left -= size;
    return 0;
}

/* Steals object, also on failure; NULL means that making it failed. */
static inline int
csb_decode_push(struct csb_decoder *d, PyObject *object, enum csb_kind kind,
                size_t height, uint32_t weight)
{
    if (object == NULL) {
        return -1;
    }
    if (d->used == d->room && csb_decode_grow_stack(d) < 0) {
        Py_DECREF(object);
        return -1;
    }
    d->stack[d->used++] = (struct csb_entry){
        .object = object,
        .kind = (uint8_t)kind,
        .height = (uint16_t)height,
        .weight = weight,
    };
    return 0;
}

/* A container that leaves the place where it was made is final: so the memo
 * can know how deep it nests. */
static inline void
csb_decode_seal(struct csb_decoder *d, const struct csb_entry *entry)
{
    if (entry->kind == CSB_OPEN && entry->memo != 0) {
        struct csb_entry *kept = &d->memo[entry->memo - 1];
        kept->kind = CSB_UNHASHABLE;
        kept->height = entry->height;
        kept->weight = entry->weight;
        kept->heaviest = entry->heaviest;
    }
}

static inline uint32_t
csb_decode_add_weight(uint32_t a, uint32_t b)
{
    return a > CSB_UNHASHABLE_WEIGHT - b ? CSB_UNHASHABLE_WEIGHT : a + b;
}

/* decode_fill.c */

/* Notes that parent now holds child: that it is a value, how deep it nests,
 * and, if counted, what hashing it costs. */
int csb_decode_absorb(struct csb_decoder *d, struct csb_entry *parent,
                      const struct csb_entry *child, bool counted);

int csb_decode_append(struct csb_decoder *d, size_t base);
int csb_decode_set_items(struct csb_decoder *d, size_t base);
int csb_decode_add_items(struct csb_decoder *d, size_t base);
int csb_decode_frozenset(struct csb_decoder *d, size_t base);
int csb_decode_tuple(struct csb_decoder *d, size_t base);

/* Makes the open frozenset in made a value; work_before is what work_left
 * was before it was filled. */
void csb_decode_finish_frozenset(struct csb_decoder *d, struct csb_entry *made,
                                 size_t work_before);

/* decode_keys.c */

/* Puts key with value in the dict, or key in the set (value is NULL), that
 * entry holds, within the budget of work.  Borrows both.  slot is where on
 * the stack entry stands, or is going to.  hashing and comparing are what
 * that may cost for key; hashing is 0 if it has been charged. */
int csb_decode_add_key(struct csb_decoder *d, struct csb_entry *entry,
                       size_t slot, PyObject *key, uint32_t hashing,
                       uint32_t comparing, PyObject *value);

/* Forgets what it knew of containers that have left the stack. */
void csb_decode_free_shadows(struct csb_decoder *d);

/* decode_depth.c: refuses root if it nests deeper than the limit, a reference
 * back to a container that holds it counting as a scalar. */
int csb_decode_check_depth(struct csb_decoder *d, PyObject *root);

#endif
