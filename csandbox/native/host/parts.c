#define _GNU_SOURCE
#include "parts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../common/store.h"

static int
hold_part(PyObject *pair, uint64_t least, struct csb_part *ret_part)
{
    unsigned long long at;

    if (!PyTuple_Check(pair)) {
        PyErr_SetString(PyExc_TypeError, "a part is (place, buffer)");
        return -1;
    }
    if (!PyArg_ParseTuple(pair, "Ky*", &at, &ret_part->buffer)) {
        return -1;
    }
    if (at < least || at > INT64_MAX - (uint64_t)ret_part->buffer.len) {
        PyBuffer_Release(&ret_part->buffer);
        PyErr_SetString(PyExc_ValueError, "parts must not overlap");
        return -1;
    }
    ret_part->at = at;
    return 0;
}

int
csb_parts_hold(PyObject *list, struct csb_parts *ret_parts)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    struct csb_parts parts = {.count = 0};

    parts.part = PyMem_Calloc((size_t)count + 1, sizeof *parts.part);
    if (parts.part == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    /* Taking hold of a buffer may run Python, which may change the list. */
    for (; parts.count < count && parts.count < PyList_GET_SIZE(list);
         parts.count++) {
        struct csb_part *part = &parts.part[parts.count];
        if (hold_part(PyList_GET_ITEM(list, parts.count), parts.end, part) <
            0) {
            csb_parts_release(&parts);
            return -1;
        }
        parts.end = part->at + (uint64_t)part->buffer.len;
    }
    *ret_parts = parts;
    return 0;
}

void
csb_parts_release(struct csb_parts *parts)
{
    for (Py_ssize_t i = 0; i < parts->count; i++) {
        PyBuffer_Release(&parts->part[i].buffer);
    }
    PyMem_Free(parts->part);
}

void
csb_parts_copy(const struct csb_parts *parts, uint64_t from, uint64_t to,
               char *ret_memory)
{
    for (Py_ssize_t i = 0; i < parts->count; i++) {
        const struct csb_part *part = &parts->part[i];
        uint64_t start = part->at;
        uint64_t end = start + (uint64_t)part->buffer.len;
        start = start < from ? from : start;
        end = end > to ? to : end;
        if (start < end) {
            memcpy(ret_memory + (start - from),
                   (const char *)part->buffer.buf + (start - part->at),
                   (size_t)(end - start));
        }
    }
}

static int
write_part(const struct csb_part *part, uint64_t skip, int store)
{
    const char *data = part->buffer.buf;
    uint64_t size = (uint64_t)part->buffer.len;

    while (skip < size) {
        ssize_t wrote = pwrite(store, data + skip, (size_t)(size - skip),
                               (off_t)(part->at + skip));
        if (wrote < 0 && errno != EINTR) {
            return -errno;
        }
        skip += wrote > 0 ? (uint64_t)wrote : 0;
    }
    return 0;
}

int
csb_parts_write(const struct csb_parts *parts, uint64_t from, int store)
{
    int result = 0;
    for (Py_ssize_t i = 0; i < parts->count && result == 0; i++) {
        const struct csb_part *part = &parts->part[i];
        result =
            write_part(part, from > part->at ? from - part->at : 0, store);
    }
    return result;
}

/* Copies piece after piece as the host answers for it.  Returns how far that
 * went: to the end, or to where there are no huge pages. */
static uint64_t
copy_pieces(const struct csb_parts *parts, int store, int job)
{
    size_t size = (size_t)parts->end;
    size_t piece = csb_store_piece(size);
    uint64_t done = 0;
    void *memory = NULL;

    int result = csb_store_map(store, 0, size, 1, &memory);
    while (result == 0 && done < size) {
        uint64_t to = size - done < piece ? size : done + piece;
        char huge = 0;
        if (read(job, &huge, 1) != 1 || !huge) {
            break;
        }
        csb_parts_copy(parts, done, to, (char *)memory + done);
        done = to;
    }
    if (result == 0) {
        csb_store_unmap(memory, size);
    }
    return done;
}

const char csb_parts_fill_doc[] = PyDoc_STR(
    "fill(store, job, parts, /)\n--\n\n"
    "In a cell, write parts, a list of (place, buffer), to the store, a\n"
    "descriptor.  job is where the host answers that huge pages are\n"
    "reserved for it, or -1 if they were not asked for.");

PyObject *
csb_parts_fill_method(PyObject *module, PyObject *args)
{
    struct csb_parts parts;
    PyObject *list;
    int store, job, result;

    (void)module;
    if (!PyArg_ParseTuple(args, "iiO!", &store, &job, &PyList_Type, &list) ||
        csb_parts_hold(list, &parts) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    uint64_t done = job < 0 ? 0 : copy_pieces(&parts, store, job);
    result = csb_parts_write(&parts, done, store);
    Py_END_ALLOW_THREADS
    csb_parts_release(&parts);
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}
