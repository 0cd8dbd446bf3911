/* The receipt of a cell, checked before it gets its job. */
#ifndef CSB_HOST_RECEIPT_H
#define CSB_HOST_RECEIPT_H

#include "module.h"

#include "../common/frames.h"

/* What a cell is held against. */
struct csb_expected {
    uint32_t mechanisms;               /* enum csb_mechanism, of its plan */
    uint32_t required;                 /* the same, of its policy */
    uint64_t namespaces[CSB_NS_COUNT]; /* the host's own */
    struct csb_limits limits;          /* of its run */
};

/* Of zygotes with these mechanisms, started by this process. */
void csb_receipt_expect(uint32_t mechanisms, struct csb_expected *ret);

/* Whether a READY report bears out what is expected.  1; or 0, and the report
 * is that of a failed step.  Adds to its mechanisms those that only the host
 * can tell.  Without the GIL. */
int csb_receipt_check(const struct csb_expected *expected,
                      struct csb_report *report);

/* check_receipt(): the check alone, for tests of what it notices. */
PyObject *csb_receipt_try(PyObject *module, PyObject *args);
extern const char csb_receipt_try_doc[];

/* A dict of what a READY report says, or None for others: a new reference. */
PyObject *csb_receipt_value(const struct csb_expected *expected,
                            const struct csb_report *report);

#endif
