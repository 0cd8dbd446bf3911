/* The zygote's program, called from its bootstrap in Python. */
#ifndef CSB_SERVE_H
#define CSB_SERVE_H

#include "../host/module.h"

/* serve(preload, settle) -> None.  Confines this process, calls preload(names)
 * and settle(quietly), says READY, and forks a cell for every request; returns
 * in each cell, locked down, and never in the zygote, which ends with its
 * host. */
PyObject *csb_serve_method(PyObject *module, PyObject *args);
extern const char csb_serve_doc[];

/* The same in a fork of the host, adopted (forked.h), for one run: returns in
 * its cell.  If result is not 0, only tells the host what *report says. */
struct csb_report;
void csb_serve_forked(int result, const struct csb_report *report);

/* Fills a report with the text of the exception that is set, and clears it. */
void csb_serve_report_exception(uint32_t step, struct csb_report *ret_report);

#endif
