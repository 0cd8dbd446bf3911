#define _GNU_SOURCE
#include "report.h"

#include <string.h>

static const char *const names[] = {
#define X(name, text) text,
    CSB_STEPS(X)
#undef X
};

const char *
csb_step_name(uint32_t step)
{
    return step < CSB_STEP_COUNT ? names[step] : "unknown";
}

void
csb_report_fill(uint32_t step, int err, uint32_t detail, const char *text,
                struct csb_report *ret_report)
{
    memset(ret_report, 0, sizeof *ret_report);
    ret_report->magic = CSB_REPORT_MAGIC;
    ret_report->step = step;
    ret_report->err = err;
    ret_report->detail = detail;
    if (text != NULL) {
        size_t length = strnlen(text, sizeof ret_report->text - 1);
        memcpy(ret_report->text, text, length);
    }
}
