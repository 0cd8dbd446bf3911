/* Places for cells, and the queue for them.
 *
 * First come, first served: whoever leaves hands its place to the one that
 * waits longest, and wakes that one alone.  All of it happens under the GIL
 * and between two instructions of Python, so that no signal handler, no
 * exception of one and no thread that is killed ever sees it half done.  A
 * place is an object, which gives itself back when it is destroyed: whatever
 * exception comes between taking it and using it, it cannot be lost. */
#include "places.h"

#include <structmember.h>

#include <stdbool.h>

#include "watch.h"

#define MICROSECOND 1000ll
#define SECOND (1000000 * MICROSECOND)
/* A signal may have been delivered to another thread, which wakes nobody. */
#define SIGNAL_PERIOD (SECOND / 10)

typedef struct place PlaceObject;

struct list {
    PlaceObject *first; /* borrowed, like all in it */
    PlaceObject *last;
};

typedef struct {
    PyObject_HEAD
    Py_ssize_t cells; /* at most so many are alive, but for nested runs */
    Py_ssize_t alive;
    Py_ssize_t waiting;
    struct list held;
    struct list queue;
    bool closed; /* ... to every thread but this: */
    unsigned long closer;
} PlacesObject;

enum state { OUT, WAITING, HELD };

struct place {
    PyObject_HEAD
    PlacesObject *of;    /* owned */
    PlaceObject *before; /* in its list */
    PlaceObject *after;
    PyThread_type_lock turn; /* locked until it need not wait any more */
    unsigned long thread;    /* that asked for it */
    enum state state;
};

/* --- lists --------------------------------------------------------------- */

/* next is NULL for the end. */
static void
insert(struct list *list, PlaceObject *place, PlaceObject *next)
{
    place->after = next;
    place->before = next != NULL ? next->before : list->last;
    *(place->before != NULL ? &place->before->after : &list->first) = place;
    *(next != NULL ? &next->before : &list->last) = place;
}

static void
take_out(struct list *list, PlaceObject *place)
{
    PlaceObject *before = place->before, *after = place->after;
    *(before != NULL ? &before->after : &list->first) = after;
    *(after != NULL ? &after->before : &list->last) = before;
    place->before = place->after = NULL;
}

static PlaceObject *
first_of_thread(const struct list *list, unsigned long thread)
{
    PlaceObject *place = list->first;
    while (place != NULL && place->thread != thread) {
        place = place->after;
    }
    return place;
}

/* --- coming and going ---------------------------------------------------- */

static void
hold(PlaceObject *place)
{
    insert(&place->of->held, place, NULL);
    place->of->alive++;
    place->state = HELD;
}

static void
line_up(PlaceObject *place)
{
    PlacesObject *places = place->of;
    /* A thread that waits already runs a signal handler now, and cannot use
     * its turn before that has returned: so the handler has it. */
    insert(&places->queue, place,
           first_of_thread(&places->queue, place->thread));
    places->waiting++;
    place->state = WAITING;
}

static void
leave_queue(PlaceObject *place)
{
    take_out(&place->of->queue, place);
    place->of->waiting--;
    place->state = OUT;
}

static void
leave_held(PlaceObject *place)
{
    take_out(&place->of->held, place);
    place->of->alive--;
    place->state = OUT;
}

static void
let_in(PlacesObject *places)
{
    while (places->queue.first != NULL && places->alive < places->cells) {
        PlaceObject *place = places->queue.first;
        leave_queue(place);
        hold(place);
        PyThread_release_lock(place->turn);
    }
}

static void
leave(PlaceObject *place)
{
    if (place->state == WAITING) {
        leave_queue(place);
    } else if (place->state == HELD) {
        leave_held(place);
        let_in(place->of);
    }
}

/* Who holds a place already would wait for itself. */
static bool
may_enter(const PlacesObject *places, unsigned long thread)
{
    if (first_of_thread(&places->held, thread) != NULL) {
        return true;
    }
    if (places->closed) {
        return thread == places->closer;
    }
    return places->alive < places->cells; /* then nobody waits */
}

static PlaceObject *
make_place(PlacesObject *places)
{
    PyObject *module = PyType_GetModule(Py_TYPE((PyObject *)places));
    PyTypeObject *type = csb_module_state(module)->place_type;
    PlaceObject *place = (PlaceObject *)type->tp_alloc(type, 0);
    if (place == NULL) {
        return NULL;
    }
    place->of = (PlacesObject *)Py_NewRef((PyObject *)places);
    place->thread = PyThread_get_thread_ident();
    place->turn = PyThread_allocate_lock();
    if (place->turn == NULL) {
        Py_DECREF(place);
        PyErr_NoMemory();
        return NULL;
    }
    (void)PyThread_acquire_lock(place->turn, NOWAIT_LOCK); /* it is new */
    return place;
}

/* Until its turn, the deadline, or close().  -1 with an exception.  A daemon
 * thread may end in here when the interpreter does: its place stays. */
static int
await_turn(PlaceObject *place, int64_t deadline, int signals)
{
    while (place->state == WAITING) {
        int64_t left = deadline - csb_watch_clock();
        if (left <= 0) {
            break;
        }
        if (signals && left > SIGNAL_PERIOD) {
            left = SIGNAL_PERIOD;
        }
        Py_BEGIN_ALLOW_THREADS(void)
        PyThread_acquire_lock_timed(place->turn, left / MICROSECOND + 1, 1);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- the type Places ----------------------------------------------------- */

static int
check_cells(Py_ssize_t cells)
{
    if (cells < 1) {
        PyErr_SetString(PyExc_ValueError, "at least one cell");
        return -1;
    }
    return 0;
}

static PyObject *
places_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"", NULL};
    Py_ssize_t cells;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "n", names, &cells) ||
        check_cells(cells) < 0) {
        return NULL;
    }
    PlacesObject *self = (PlacesObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->cells = cells;
    }
    return (PyObject *)self;
}

PyDoc_STRVAR(
    enter_doc,
    "enter($self, timeout, signals, /)\n--\n\n"
    "Wait up to timeout seconds for a place, in the order of arrival, and\n"
    "return it, or None if that was not long enough or the places are closed\n"
    "to this thread.  One that holds a place has another at once.  signals:\n"
    "whether this is the main thread, which must look for them; what their\n"
    "handlers raise is raised, and no place taken.");

static PyObject *
places_enter(PyObject *op, PyObject *args)
{
    PlacesObject *self = (PlacesObject *)op;
    double timeout;
    int signals;

    if (!PyArg_ParseTuple(args, "dp", &timeout, &signals)) {
        return NULL;
    }
    int64_t deadline = csb_watch_clock() + (int64_t)(timeout * SECOND);
    PlaceObject *place = make_place(self);
    if (place == NULL) {
        return NULL;
    }
    if (may_enter(self, place->thread)) {
        hold(place);
    } else if (!self->closed) {
        line_up(place);
        if (await_turn(place, deadline, signals) < 0) {
            Py_DECREF(place);
            return NULL;
        }
    }
    if (place->state == HELD) {
        return (PyObject *)place;
    }
    Py_DECREF(place);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(resize_doc,
             "resize($self, cells, /)\n--\n\n"
             "Have so many places from now on; whoever has one keeps it.");

static PyObject *
places_resize(PyObject *op, PyObject *argument)
{
    PlacesObject *self = (PlacesObject *)op;
    Py_ssize_t cells = PyNumber_AsSsize_t(argument, PyExc_OverflowError);

    if ((cells == -1 && PyErr_Occurred()) || check_cells(cells) < 0) {
        return NULL;
    }
    self->cells = cells;
    let_in(self);
    Py_RETURN_NONE;
}

/* 0, or -1 with an exception. */
static int
append_threads(PyObject *threads, const struct list *list)
{
    for (PlaceObject *place = list->first; place; place = place->after) {
        PyObject *thread = PyLong_FromUnsignedLong(place->thread);
        if (thread == NULL || PyList_Append(threads, thread) < 0) {
            Py_XDECREF(thread);
            return -1;
        }
        Py_DECREF(thread);
    }
    return 0;
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "Let nobody in any more but this thread, and send away who "
             "waits.  Returns\nthe identifiers of the threads that held a "
             "place or waited for one.");

static PyObject *
places_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PlacesObject *self = (PlacesObject *)op;
    PyObject *threads = PyList_New(0);

    if (threads == NULL || append_threads(threads, &self->held) < 0 ||
        append_threads(threads, &self->queue) < 0) {
        Py_XDECREF(threads);
        return NULL;
    }
    self->closed = true;
    self->closer = PyThread_get_thread_ident();
    while (self->queue.first != NULL) {
        PlaceObject *place = self->queue.first;
        leave_queue(place);
        PyThread_release_lock(place->turn);
    }
    return threads;
}

PyDoc_STRVAR(fork_began_doc,
             "fork_began($self, /)\n--\n\n"
             "In a fork of the process: forget what the threads had that are "
             "not in it,\nand what this one held, which is its parent's.");

static PyObject *
places_fork_began(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PlacesObject *self = (PlacesObject *)op;
    unsigned long thread = PyThread_get_thread_ident();
    PlaceObject *place, *after;

    while (self->held.first != NULL) {
        leave_held(self->held.first);
    }
    for (place = self->queue.first; place != NULL; place = after) {
        after = place->after;
        if (place->thread != thread) {
            leave_queue(place);
        }
    }
    self->closed = false;
    let_in(self);
    Py_RETURN_NONE;
}

static PyObject *
places_closed(PyObject *op, void *Py_UNUSED(closure))
{
    const PlacesObject *self = (const PlacesObject *)op;
    return PyBool_FromLong(self->closed &&
                           self->closer != PyThread_get_thread_ident());
}

static void
places_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op); /* no Place refers to it, so its lists are empty */
    Py_DECREF(type);
}

static PyMethodDef places_methods[] = {
    {"enter", places_enter, METH_VARARGS, enter_doc},
    {"resize", places_resize, METH_O, resize_doc},
    {"close", places_close, METH_NOARGS, close_doc},
    {"fork_began", places_fork_began, METH_NOARGS, fork_began_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef places_members[] = {
    {"cells", T_PYSSIZET, offsetof(PlacesObject, cells), READONLY,
     "How many places there are."},
    {"alive", T_PYSSIZET, offsetof(PlacesObject, alive), READONLY,
     "How many are held, those of nested runs included."},
    {"waiting", T_PYSSIZET, offsetof(PlacesObject, waiting), READONLY,
     "How many runs wait for one."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef places_getset[] = {
    {"closed", places_closed, NULL, "Whether they are closed to this thread.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(places_doc, "Places(cells, /)\n--\n\n"
                         "Places for so many cells, and a queue for them.");

static PyType_Slot places_slots[] = {
    {Py_tp_doc, (void *)places_doc},
    {Py_tp_new, places_new},
    {Py_tp_dealloc, places_dealloc},
    {Py_tp_methods, places_methods},
    {Py_tp_members, places_members},
    {Py_tp_getset, places_getset},
    {0, NULL},
};

PyType_Spec csb_places_spec = {
    .name = "csandbox._csandbox.Places",
    .basicsize = sizeof(PlacesObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = places_slots,
};

/* --- the type Place ------------------------------------------------------ */

PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
                          "Give it back.  May be called again.");

static PyObject *
place_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    leave((PlaceObject *)op);
    Py_RETURN_NONE;
}

static PyObject *
place_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(op);
}

static void
place_dealloc(PyObject *op)
{
    PlaceObject *self = (PlaceObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    if (self->of != NULL) {
        leave(self);
        Py_DECREF(self->of);
    }
    if (self->turn != NULL) {
        PyThread_free_lock(self->turn);
    }
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef place_methods[] = {
    {"release", place_release, METH_NOARGS, release_doc},
    {"__enter__", place_enter, METH_NOARGS, NULL},
    {"__exit__", place_release, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(place_doc, "A place for one cell, until it is released or "
                        "destroyed.  Made by\nPlaces.enter().");

static PyType_Slot place_slots[] = {
    {Py_tp_doc, (void *)place_doc},
    {Py_tp_dealloc, place_dealloc},
    {Py_tp_methods, place_methods},
    {0, NULL},
};

PyType_Spec csb_place_spec = {
    .name = "csandbox._csandbox.Place",
    .basicsize = sizeof(PlaceObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = place_slots,
};
