/* The system call filter, compiled by the host. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../common/mark.h"

/* The plan is private memory, of which a cell may have its own copy. */
static int
name_oneself(const struct csb_plan *plan)
{
    struct sock_filter *code = (struct sock_filter *)csb_plan_filter(plan);
    if (mprotect((void *)plan, plan->size, PROT_READ | PROT_WRITE) < 0) {
        return -errno;
    }
    for (uint32_t i = 0; i < plan->filter_count; i++) {
        if (code[i].code == (BPF_JMP | BPF_JEQ | BPF_K) &&
            code[i].k == CSB_PID_PLACEHOLDER) {
            code[i].k = (uint32_t)getpid();
        }
    }
    return mprotect((void *)plan, plan->size, PROT_READ) < 0 ? -errno : 0;
}

int
csb_seccomp_load(const struct csb_cell *cell)
{
    if (csb_plan_is_bare(cell->plan)) {
        int result = name_oneself(cell->plan);
        if (result < 0) {
            return result;
        }
    }
    struct sock_fprog program = {
        .len = (unsigned short)cell->plan->filter_count,
        .filter = (struct sock_filter *)csb_plan_filter(cell->plan),
    };
    /* prctl, not seccomp(2): the same, and older outer filters know it. */
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0
               ? -errno
               : 0;
}
