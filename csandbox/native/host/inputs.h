/* The type _csandbox.Inputs: large inputs of one run, in a sealed memfd that
 * the cell may map and nobody can change. */
#ifndef CSB_INPUTS_H
#define CSB_INPUTS_H

#include "module.h"

/* Bytes of inputs that a cell can have which was armed before they were known,
 * and the address space for them, with its gaps. */
#define CSB_INPUTS_ARMED ((uint64_t)32 << 20)
#define CSB_INPUTS_SPACE (CSB_INPUTS_ARMED + ((uint64_t)4 << 20))

extern PyType_Spec csb_inputs_spec;

/* The descriptor, which stays its own, and size of Inputs; -1 and 0 of None.
 * 0, or -1 with TypeError or ValueError set. */
int csb_inputs_get(PyObject *module, PyObject *inputs, int *ret_fd,
                   uint64_t *ret_size);

struct csb_parts;

/* Writes all of them to an empty store, and seals it.  Without the GIL.  0 or
 * -errno. */
int csb_inputs_fill(int fd, const struct csb_parts *parts);

#endif
