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

static void
name_in(struct sock_filter *code, uint32_t count, uint32_t pid)
{
    for (uint32_t i = 0; i < count; i++) {
        if (code[i].code == (BPF_JMP | BPF_JEQ | BPF_K) &&
            code[i].k == CSB_PID_PLACEHOLDER) {
            code[i].k = pid;
        }
    }
}

/* The plan is private memory, of which a cell may have its own copy. */
int
csb_seccomp_name_oneself(const struct csb_cell *cell)
{
    const struct csb_plan *plan = cell->plan;
    uint32_t pid = (uint32_t)getpid();

    if (!csb_plan_is_bare(plan)) {
        return 0;
    }
    if (mprotect((void *)plan, plan->size, PROT_READ | PROT_WRITE) < 0) {
        return -errno;
    }
    name_in((void *)csb_plan_filter(plan), plan->filter_count, pid);
    name_in((void *)csb_plan_told(plan), plan->told_count, pid);
    name_in((void *)csb_plan_listener(plan), plan->listener_count, pid);
    return mprotect((void *)plan, plan->size, PROT_READ) < 0 ? -errno : 0;
}

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
    struct sock_fprog own = {
        .len = (unsigned short)plan->own_count,
        .filter = (struct sock_filter *)csb_plan_own(plan),
    };
    struct sock_fprog *program = !*cell->listened ? &plain
                                 : cell->filtered ? &own
                                                  : &told;
    /* prctl, not seccomp(2): the same, and older outer filters know it. */
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) < 0
               ? -errno
               : 0;
}
