/* The system call filter, compiled by the host. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

int
csb_seccomp_load(const struct csb_cell *cell)
{
    struct sock_fprog program = {
        .len = (unsigned short)cell->plan->filter_count,
        .filter = (struct sock_filter *)csb_plan_filter(cell->plan),
    };
    /* prctl, not seccomp(2): the same, and older outer filters know it. */
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0
               ? -errno
               : 0;
}
