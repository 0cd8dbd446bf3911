/* How deep a value with cycles nests.
 *
 * Without cycles the decoder knows the height of everything when it is made.
 * A reference to a container still being filled hides that: what it will
 * hold is not known.  So the finished value is walked once, depth first and
 * on a stack of our own, and a reference back to a container on the way to it
 * counts as a scalar, as it does for repr and copy. */
#include "decode_state.h"

#define WAITING UINT32_MAX /* entered, height not known yet */

struct node {
    PyObject *object;
    uint32_t height;
};

struct walk {
    struct csb_decoder *decoder; /* whose budget of memory pays */
    struct node *nodes;          /* a table hashed by address */
    size_t nodes_used;
    size_t nodes_room; /* a power of two */
    PyObject **path;   /* borrowed; what is still to be looked at */
    size_t path_used;
    size_t path_room;
    uint32_t tallest; /* among the children visited last */
};

static struct node *
find_node(const struct walk *walk, PyObject *object)
{
    uint64_t hash = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u;
    size_t place = (size_t)(hash >> 20) & (walk->nodes_room - 1);

    while (walk->nodes[place].object != NULL &&
           walk->nodes[place].object != object) {
        place = (place + 1) & (walk->nodes_room - 1);
    }
    return &walk->nodes[place];
}

static int
grow_nodes(struct walk *walk)
{
    struct walk old = *walk;
    size_t room = old.nodes_room == 0 ? 1024 : old.nodes_room * 2;

    if (csb_decode_charge_memory(walk->decoder, (room - old.nodes_room) *
                                                    sizeof *walk->nodes) < 0) {
        return -1;
    }
    walk->nodes_room = room;
    walk->nodes = PyMem_Calloc(walk->nodes_room, sizeof *walk->nodes);
    if (walk->nodes == NULL) {
        *walk = old;
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < old.nodes_room; i++) {
        if (old.nodes[i].object != NULL) {
            *find_node(walk, old.nodes[i].object) = old.nodes[i];
        }
    }
    PyMem_Free(old.nodes);
    return 0;
}

static int
push_path(struct walk *walk, PyObject *object)
{
    if (walk->path_used == walk->path_room) {
        size_t room = walk->path_room == 0 ? 1024 : walk->path_room * 2;
        if (csb_decode_charge_memory(walk->decoder, (room - walk->path_room) *
                                                        sizeof *walk->path) <
            0) {
            return -1;
        }
        PyObject **moved =
            PyMem_Realloc(walk->path, room * sizeof *walk->path);
        if (moved == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        walk->path = moved;
        walk->path_room = room;
    }
    walk->path[walk->path_used++] = object;
    return 0;
}

/* A container of ours, as opposed to a scalar or a type. */
static bool
is_container(PyObject *object)
{
    return PyObject_IS_GC(object) && !PyType_Check(object) &&
           Py_TYPE(object)->tp_traverse != NULL;
}

static int
visit_new(PyObject *child, void *arg)
{
    struct walk *walk = arg;

    if (!is_container(child) || find_node(walk, child)->object != NULL) {
        return 0;
    }
    return push_path(walk, child);
}

static int
visit_measured(PyObject *child, void *arg)
{
    struct walk *walk = arg;

    if (is_container(child)) {
        uint32_t height = find_node(walk, child)->height;
        if (height != WAITING && height > walk->tallest) {
            walk->tallest = height;
        }
    }
    return 0;
}

/* Looks at the last object of the path: enters it, leaving it there under
 * its children, or, once these are done, measures it and drops it. */
static int
step(struct walk *walk)
{
    PyObject *object = walk->path[walk->path_used - 1];
    struct node *node = find_node(walk, object);

    if (node->object == NULL) {
        if (walk->nodes_used * 2 >= walk->nodes_room) {
            if (grow_nodes(walk) < 0) {
                return -1;
            }
            node = find_node(walk, object);
        }
        *node = (struct node){.object = object, .height = WAITING};
        walk->nodes_used++;
        return Py_TYPE(object)->tp_traverse(object, visit_new, walk);
    }
    if (node->height == WAITING) {
        walk->tallest = 0;
        (void)Py_TYPE(object)->tp_traverse(object, visit_measured, walk);
        node->height = walk->tallest + 1;
    }
    walk->path_used--;
    return 0;
}

int
csb_decode_check_depth(struct csb_decoder *d, PyObject *root)
{
    struct walk walk = {.decoder = d};
    uint32_t height = 0;
    int result = 0;

    if (!is_container(root)) {
        return 0;
    }
    if (grow_nodes(&walk) < 0 || push_path(&walk, root) < 0) {
        result = -1;
    }
    for (size_t i = 0; result == 0 && walk.path_used > 0; i++) {
        result = csb_decode_breathe_at(d, i);
        if (result == 0) {
            result = step(&walk);
        }
    }
    if (result == 0) {
        height = find_node(&walk, root)->height;
    }
    PyMem_Free(walk.nodes);
    PyMem_Free(walk.path);
    if (height > d->depth_limit) {
        return csb_decode_refuse(d, "nested too deep");
    }
    return result;
}
