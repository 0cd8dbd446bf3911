/* build_plan(): from the shell's lists to the plan's bytes. */
#ifndef CSB_PLAN_BUILD_H
#define CSB_PLAN_BUILD_H

#include "module.h"

#include <stdint.h>

PyObject *csb_plan_build_method(PyObject *module, PyObject *args,
                                PyObject *kwargs);
extern const char csb_plan_build_doc[];

/* Reads a fault for tests: None, or a tuple of the name of a step and an
 * errno.  0, or -1 with an exception. */
int csb_plan_build_fault(PyObject *fault, uint32_t *ret_step, int *ret_errno);

#endif
