/* The type _csandbox.Zygote: one template process, owned by the host. */
#ifndef CSB_HOST_ZYGOTE_H
#define CSB_HOST_ZYGOTE_H

#include "module.h"

extern PyType_Spec csb_zygote_spec;

/* Sets SetupError(step, errno, detail) from a report. */
struct csb_report;
PyObject *csb_raise_setup_error(PyObject *module,
                                const struct csb_report *report,
                                const char *detail);

/* Notes that a run of a Zygote begins. */
void csb_zygote_used(PyObject *zygote);

#endif
