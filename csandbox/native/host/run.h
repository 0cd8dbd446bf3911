/* The type _csandbox.Run: one cell, from its request to its end. */
#ifndef CSB_HOST_RUN_H
#define CSB_HOST_RUN_H

#include "module.h"

struct csb_expected;
struct csb_limits;

extern PyType_Spec csb_run_spec;

/* Asks the zygote at the other end of control for a cell, which is to be as
 * expected when it is ready.  store is the size
 * in bytes of the store for its result, inputs a sealed memfd, which stays
 * the caller's, or -1; leaf None, or of a cgroup the base (a descriptor) and
 * the name of a leaf to make.  A new reference, or NULL with OSError set, or
 * with SetupError if there is no leaf to be had. */
PyObject *csb_run_request(PyObject *module, int control,
                          const struct csb_expected *expected,
                          const struct csb_limits *limits, uint64_t store,
                          int inputs, PyObject *leaf, PyObject *place);

#endif
