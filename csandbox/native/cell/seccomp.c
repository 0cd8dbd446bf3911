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
    const struct csb_plan *plan = cell->plan;
    struct sock_fprog plain = {
        .len = (unsigned short)plan->filter_count,
        .filter = (struct sock_filter *)csb_plan_filter(plan),
    };
    /* Lets pass what the one of notify.c holds up. */
    struct sock_fprog told = {
        .len = (unsigned short)plan->told_count,
        .filter = (struct sock_filter *)csb_plan_told(plan),
    };
    struct sock_fprog *program = *cell->listened ? &told : &plain;
    /* prctl, not seccomp(2): the same, and older outer filters know it. */
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) < 0
               ? -errno
               : 0;
}
