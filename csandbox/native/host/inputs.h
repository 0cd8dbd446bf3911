/* The type _csandbox.Inputs: large inputs of one run, in a sealed memfd that
 * the cell may map and nobody can change. */
#ifndef CSB_INPUTS_H
#define CSB_INPUTS_H

#include "module.h"

extern PyType_Spec csb_inputs_spec;

/* The descriptor, which stays its own, and size of Inputs; -1 and 0 of None.
 * 0, or -1 with TypeError or ValueError set. */
int csb_inputs_get(PyObject *module, PyObject *inputs, int *ret_fd,
                   uint64_t *ret_size);

#endif
