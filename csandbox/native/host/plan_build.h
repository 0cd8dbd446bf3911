/* build_plan(): from the shell's lists to the plan's bytes. */
#ifndef CSB_PLAN_BUILD_H
#define CSB_PLAN_BUILD_H

#include "module.h"

PyObject *csb_plan_build_method(PyObject *module, PyObject *args,
                                PyObject *kwargs);
extern const char csb_plan_build_doc[];

#endif
