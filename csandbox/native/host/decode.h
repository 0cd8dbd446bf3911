/* The strict decoder: standard pickle from a hostile writer to plain values.
 *
 * Knows data opcodes and a closed table of constructors; imports nothing
 * that the bytes name.  Runs in the host with the GIL held. */
#ifndef CSB_DECODE_H
#define CSB_DECODE_H

#include "module.h"

/* Deeper values would let the host run out of C stack when it frees them. */
#define CSB_DECODE_MAX_DEPTH 10000

struct csb_decode_limits {
    size_t items;  /* opcodes, and elements that a constructor copies */
    size_t depth;  /* nesting, at most CSB_DECODE_MAX_DEPTH */
    size_t memory; /* bytes held by what was made, an estimate from above */
};

/* Decodes size bytes at data, which must be one pickle and nothing after it.
 * Arrays may lie in region, a buffer, or NULL; they then keep it.  Nobody,
 * the writer least of all, may change either of them, ever.
 * Returns a new reference; or NULL with ValueError set, naming the offset
 * and what was refused, or MemoryError, or what a signal handler raised.
 * Borrows module for its state.  Lets other threads run in between. */
PyObject *csb_decode(PyObject *module, const unsigned char *data, size_t size,
                     const struct csb_decode_limits *limits, PyObject *region);

/* decode(data, *, region=..., items=..., depth=..., memory=...) -> object */
PyObject *csb_decode_method(PyObject *module, PyObject *args,
                            PyObject *kwargs);
extern const char csb_decode_doc[];

#endif
