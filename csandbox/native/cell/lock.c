/* The order in which a cell locks itself down. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int
check_pid(const struct csb_cell *cell)
{
    (void)cell;
    return getpid() == CSB_GUEST_PID ? 0 : -ESRCH;
}

static int
set_no_new_privs(const struct csb_cell *cell)
{
    (void)cell;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int
set_undumpable(const struct csb_cell *cell)
{
    (void)cell;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

static int
enter_scratch(const struct csb_cell *cell)
{
    return csb_plan_is_bare(cell->plan) ? csb_bare_start(cell)
                                        : csb_mounts_scratch(cell);
}

static int
drop_caps(const struct csb_cell *cell)
{
    if (csb_plan_is_bare(cell->plan)) {
        return csb_bare_become(cell);
    }
    return cell->plan->mechanisms & CSB_MECH_USERNS ? csb_caps_drop(cell) : 0;
}

struct step {
    enum csb_step name;
    uint32_t mechanism; /* left out when the plan lacks it; 0: never */
    int (*run)(const struct csb_cell *cell);
};

static const struct step steps[] = {
    /* First: all that is used from here on is the run's. */
    {CSB_STEP_CELL_CGROUP, 0, csb_cgroup_enter},
    {CSB_STEP_CELL_PID, CSB_MECH_PIDNS, check_pid},
    /* Mounts first: Landlock forbids mounting, and the nested user namespace
     * has no power over this mount namespace. */
    {CSB_STEP_CELL_MOUNTS, CSB_MECH_PIDNS, csb_mounts_unshare},
    {CSB_STEP_CELL_SCRATCH, 0, enter_scratch},
    {CSB_STEP_CELL_SESSION, 0, csb_session_start},
    {CSB_STEP_RECEIPT, 0, csb_receipt_open},
    /* With the capabilities, which go next. */
    {CSB_STEP_CELL_ROOT, 0, csb_root_empty},
    /* Before the limits: processes are counted per user namespace, so in
     * the new one this run alone counts. */
    {CSB_STEP_CELL_USERNS, CSB_MECH_USERNS, csb_userns_enter},
    /* After the namespace, which gives all capabilities inside itself. */
    {CSB_STEP_CELL_CAPS, 0, drop_caps},
    /* Landlock and seccomp ask for it of those without CAP_SYS_ADMIN. */
    {CSB_STEP_NO_NEW_PRIVS, 0, set_no_new_privs},
    {CSB_STEP_LANDLOCK, CSB_MECH_LANDLOCK, csb_landlock_apply},
    /* Before the socket to the host is closed. */
    {CSB_STEP_CELL_FORKS, CSB_MECH_SECCOMP, csb_notify_begin},
    /* After it: descriptors on their way count per user, and other runs may
     * have as many on theirs as the new limit lets. */
    {CSB_STEP_CELL_LIMITS, CSB_MECH_LIMITS, csb_limits_apply},
    {CSB_STEP_RECEIPT, 0, csb_receipt_take},
    /* After Landlock and the id maps, which need descriptors on paths. */
    {CSB_STEP_CELL_FDS, 0, csb_fds_place},
    /* After the id maps, as undumpable it would not own its /proc files. */
    {CSB_STEP_CELL_UNDUMPABLE, 0, set_undumpable},
    /* Before the filter, which traps. */
    {CSB_STEP_EMULATE, CSB_MECH_SECCOMP, csb_emulate_install},
    /* Last: it denies what the steps above use. */
    {CSB_STEP_SECCOMP, CSB_MECH_SECCOMP, csb_seccomp_load},
};

/* Shorter than PIPE_BUF into an empty pipe: whole or not at all. */
static void
send(int fd, const struct csb_report *record)
{
    if (write(fd, record, sizeof *record) != sizeof *record) {
        _exit(1); /* the host is gone, or sees EOF */
    }
}

static void
report(int fd, uint32_t step, int err, uint32_t detail)
{
    struct csb_report record;
    csb_report_fill(step, err, detail, NULL, &record);
    send(fd, &record);
}

static void
try_canaries(const struct csb_cell *cell, int result_fd, int early)
{
    unsigned canary = csb_canary_try(cell, early);
    int err = early ? 0 : -csb_plan_fault(cell->plan, CSB_STEP_CANARY);
    if (canary != 0 || err != 0) {
        report(result_fd, CSB_STEP_CANARY, err, canary);
        _exit(1);
    }
}

static uint32_t
in_force(const struct csb_cell *cell)
{
    uint32_t entered = cell->fds[CSB_FD_CGROUP] < 0 ? 0 : CSB_MECH_CGROUP;
    entered |= *cell->listened ? CSB_MECH_NOTIFY : 0;
    entered |= cell->uid != 0 ? CSB_MECH_UID : 0;
    return cell->plan->mechanisms | entered | (uint32_t)cell->paths->abi << 16;
}

static void
report_ready(const struct csb_cell *cell)
{
    struct csb_report record;
    csb_report_fill(CSB_STEP_READY, 0, in_force(cell), NULL, &record);
    record.receipt = cell->readback->receipt;
    send(CSB_CELL_RESULT, &record);
}

void
csb_cell_lock(struct csb_cell *cell)
{
    struct csb_readback readback = {.status = -1};
    int result_fd = cell->fds[CSB_FD_RESULT];

    /* cppcheck-suppress autoVariables; nobody needs it afterwards */
    cell->readback = &readback;

    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        const struct step *step = &steps[i];
        if (step->name == CSB_STEP_SECCOMP) {
            try_canaries(cell, result_fd, 1);
        }
        if (step->mechanism != 0 &&
            (cell->plan->mechanisms & step->mechanism) == 0) {
            continue;
        }
        int result = csb_plan_fault(cell->plan, step->name);
        if (result == 0) {
            result = step->run(cell);
        }
        if (result < 0) {
            report(result_fd, step->name, -result, 0);
            _exit(1);
        }
        if (step->name == CSB_STEP_CELL_FDS) {
            result_fd = CSB_CELL_RESULT;
        }
    }
    try_canaries(cell, result_fd, 0);
    int result = csb_receipt_finish(&readback);
    if (result < 0) {
        report(result_fd, CSB_STEP_RECEIPT, -result, 0);
        _exit(1);
    }
    report_ready(cell);
    cell->readback = NULL;
}
