#define _GNU_SOURCE
#include "drive.h"

#include <stdlib.h>

/* Taken out of a stream, to which the stand-in may add meanwhile. */
struct chunk {
    char *data; /* malloc'd, owned */
    size_t size;
};

static void
take_output(struct csb_watch *watch, struct chunk *ret_chunks)
{
    for (int i = 0; i < 2; i++) {
        struct csb_stream *stream = &watch->streams[i];
        ret_chunks[i] = (struct chunk){stream->data, stream->size};
        stream->data = NULL;
        stream->size = stream->room = 0;
    }
    watch->held = 0;
}

/* The bytes of a chunk, which is given up: its room is needed for more. */
static PyObject *
take_bytes(struct chunk *chunk)
{
    PyObject *bytes =
        PyBytes_FromStringAndSize(chunk->data, (Py_ssize_t)chunk->size);
    free(chunk->data);
    chunk->data = NULL;
    return bytes;
}

/* -1 with an exception. */
static int
pass_on(struct chunk *chunks, PyObject *sink)
{
    for (int i = 0; i < 2; i++) {
        if (chunks[i].size == 0) {
            continue;
        }
        PyObject *result =
            PyObject_CallFunction(sink, "iN", i + 1, take_bytes(&chunks[i]));
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    return 0;
}

/* Has the host's functions called, without the GIL before and after.  They
 * may take long, and so may the GIL, which is why the stand-in comes first;
 * the guest itself runs only when it is ready. */
static int
attend(struct csb_watch *watch, struct csb_relief *relief, PyObject *sink,
       enum csb_news news, PyThreadState **thread)
{
    struct chunk chunks[2] = {{NULL, 0}, {NULL, 0}};

    if (news == CSB_NEWS_OUTPUT) {
        take_output(watch, chunks);
    }
    if (watch->ready && !watch->over) {
        csb_relief_begin(relief, watch);
    }
    PyEval_RestoreThread(*thread);
    int result =
        news == CSB_NEWS_OUTPUT ? pass_on(chunks, sink) : PyErr_CheckSignals();
    *thread = PyEval_SaveThread();
    csb_relief_end(relief);
    free(chunks[0].data);
    free(chunks[1].data);
    return result;
}

/* An exception of the host (a signal handler, the sink) ends the run; it is
 * set aside while the run is seen to its end. */
static void
set_aside(struct csb_watch *watch, PyObject **type, PyObject **value,
          PyObject **traceback)
{
    csb_watch_end(watch, CSB_ENDING_CANCELLED);
    watch->streaming = 0; /* the sink is not called again */
    if (*type == NULL) {
        PyErr_Fetch(type, value, traceback);
    } else {
        PyErr_Clear();
    }
}

int
csb_drive(struct csb_watch *watch, struct csb_relief *relief, PyObject *sink)
{
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    enum csb_news news;

    do {
        int failed = 0;
        PyThreadState *thread = PyEval_SaveThread();
        news = csb_watch_next(watch);
        if (news == CSB_NEWS_DONE) {
            csb_relief_close(relief);
        } else {
            failed = attend(watch, relief, sink, news, &thread);
        }
        PyEval_RestoreThread(thread);
        if (failed < 0) {
            set_aside(watch, &type, &value, &traceback);
        }
    } while (news != CSB_NEWS_DONE);
    if (type != NULL) {
        PyErr_Restore(type, value, traceback);
        return -1;
    }
    return 0;
}
