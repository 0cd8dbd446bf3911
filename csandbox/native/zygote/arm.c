/* Arming a cell: init, then the fork into init's PID namespace. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "arm.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"

/* Pages of address space and of private writable memory, from
 * /proc/self/statm: "size resident shared text lib data dirty". */
static int
read_memory(int statm, uint64_t stacks, struct csb_cell *cell)
{
    char text[128], *at = text;
    unsigned long long fields[6];
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    ssize_t got = pread(statm, text, sizeof text - 1, 0);
    if (got <= 0) {
        return got < 0 ? -errno : -EIO;
    }
    text[got] = '\0';
    for (int i = 0; i < 6; i++) {
        fields[i] = strtoull(at, &at, 10);
    }
    /* Without the stacks of inits, which it does not have, and whose number
     * would tell it of other runs. */
    cell->size = fields[0] * page - stacks;
    cell->data = fields[5] * page - stacks;
    cell->anonymous = (fields[1] - fields[2]) * page;
    return 0;
}

/* A fork of the host has been through Python's part of it, and a zygote may
 * have nothing that wants it: there is one thread, and its locks are its own.
 * What Python makes anew then takes a sixth of a cell's time. */
static int
is_quiet(const struct csb_zygote *zygote)
{
    return zygote->forked || zygote->quiet;
}

pid_t
csb_arm_fork(const struct csb_zygote *zygote)
{
    if (is_quiet(zygote)) {
        pid_t child = fork();
        return child < 0 ? -errno : child;
    }
    PyOS_BeforeFork();
    pid_t pid = fork();
    int error = errno;
    if (pid != 0) {
        PyOS_AfterFork_Parent();
    }
    return pid < 0 ? -error : pid;
}

void
csb_arm_forked(const struct csb_zygote *zygote)
{
    if (!is_quiet(zygote)) {
        PyOS_AfterFork_Child();
    }
}

/* Forks; the new process lies in the PID namespace entered for children. */
static pid_t
fork_cell(const struct csb_zygote *zygote, struct csb_cell *cell)
{
    pid_t pid = csb_arm_fork(zygote);
    if (pid == 0) {
        csb_cell_lock(cell);
        csb_arm_forked(zygote);
    }
    return pid;
}

/* Lets children be made in init's PID namespace.  The memory of a fork of the
 * host belongs to the host's user namespace, where it has no capability, so
 * that to be asked about its memory it must be dumpable for a moment. */
static int
enter(const struct csb_zygote *zygote, int init)
{
    if (zygote->forked && prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return -1;
    }
    int result = setns(init, CLONE_NEWPID);
    if (zygote->forked && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return -1;
    }
    return result;
}

static pid_t
fork_below(const struct csb_zygote *zygote, int init, struct csb_cell *cell,
           enum csb_step *ret_step)
{
    if (csb_plan_is_bare(zygote->plan)) {
        *ret_step = CSB_STEP_FORK;
        int refused = csb_plan_fault(zygote->plan, *ret_step);
        return refused < 0 ? refused : fork_cell(zygote, cell);
    }
    *ret_step = CSB_STEP_PID_NAMESPACE;
    int fault = csb_plan_fault(zygote->plan, *ret_step);
    if (fault < 0) {
        return fault;
    }
    if (enter(zygote, init) < 0) {
        return -errno;
    }
    *ret_step = CSB_STEP_FORK;
    pid_t pid = csb_plan_fault(zygote->plan, CSB_STEP_FORK);
    if (pid == 0) {
        pid = fork_cell(zygote, cell);
        if (pid == 0) {
            return 0;
        }
    }
    /* Back, or the next init would lie in this run's namespace. */
    if (!zygote->forked && setns(zygote->self, CLONE_NEWPID) < 0) {
        _exit(1); /* the host starts another zygote */
    }
    return pid;
}

static int
start_init(const struct csb_zygote *zygote, struct csb_run *run,
           int *ret_pidfd)
{
    int fault = csb_plan_fault(zygote->plan, CSB_STEP_INIT);
    if (csb_plan_is_bare(zygote->plan)) {
        return fault;
    }
    return fault < 0
               ? fault
               : csb_init_start(run->stack, zygote->forked ? zygote->self : -1,
                                &run->init, ret_pidfd);
}

static void
end(pid_t child)
{
    (void)kill(child, SIGKILL); /* ours and not reaped: it exists */
    while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR) {
    }
}

static void
tell_failure(int status, enum csb_step step, int error)
{
    struct csb_status record = {.kind = CSB_STATUS_FAILED};
    csb_report_fill(step, -error, 0, NULL, &record.report);
    /* A host that is gone needs no answer. */
    (void)csb_send(status, &record, sizeof record, NULL, 0);
}

static int
make_scratch(const struct csb_zygote *zygote, const struct csb_limits *limits,
             int *ret_mount)
{
    int fault = csb_plan_fault(zygote->plan, CSB_STEP_SCRATCH);
    /* A bare cell's is a directory of the host's. */
    if (fault < 0 || limits->scratch == 0 || csb_plan_is_bare(zygote->plan)) {
        return fault;
    }
    return csb_scratch_make(limits, ret_mount);
}

/* Without a pidfd the host has it killed by its zygote. */
static void
tell_bare(int status, const struct csb_cell *cell, pid_t pid)
{
    const struct csb_status spawned = {
        .kind = CSB_STATUS_SPAWNED,
        .inherited = cell->anonymous,
        .pid = pid,
    };
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int fds[CSB_SPAWNED_SCRATCH] = {pidfd, pidfd};
    /* As below. */
    (void)csb_send(status, &spawned, sizeof spawned, fds,
                   pidfd < 0 ? 0 : CSB_SPAWNED_SCRATCH);
    csb_close(&pidfd);
}

static int
tell_spawned(int status, const struct csb_cell *cell, int init, pid_t pid)
{
    const struct csb_status spawned = {
        .kind = CSB_STATUS_SPAWNED,
        .inherited = cell->anonymous,
    };
    int fds[CSB_SPAWNED_COUNT] = {
        [CSB_SPAWNED_INIT] = init,
        [CSB_SPAWNED_CELL] = (int)syscall(SYS_pidfd_open, pid, 0),
        [CSB_SPAWNED_SCRATCH] = cell->scratch,
    };
    if (fds[CSB_SPAWNED_CELL] < 0) {
        return -errno;
    }
    const int count =
        cell->scratch < 0 ? CSB_SPAWNED_SCRATCH : CSB_SPAWNED_COUNT;
    /* If the host has gone, its end of the socket says so in poll(). */
    (void)csb_send(status, &spawned, sizeof spawned, fds, count);
    csb_close(&fds[CSB_SPAWNED_CELL]);
    return 0;
}

/* Returns the cell's pid, 0 in the cell, or -errno with the failed step. */
static pid_t
spawn(struct csb_zygote *zygote, const struct csb_runs *runs,
      struct csb_cell *cell, int status, struct csb_run *run,
      enum csb_step *ret_step)
{
    __attribute__((cleanup(csb_close))) int init = -1;

    *ret_step = CSB_STEP_SCRATCH;
    int result = make_scratch(zygote, cell->limits, &cell->scratch);
    if (result == 0) {
        *ret_step = CSB_STEP_INIT;
        result = read_memory(zygote->statm, csb_runs_stacks(runs), cell);
    }
    if (result == 0) {
        result = start_init(zygote, run, &init);
    }
    if (result < 0) {
        return result;
    }
    pid_t pid = fork_below(zygote, init, cell, ret_step);
    if (pid == 0) {
        init = -1; /* closed with all others when it locked itself down */
        return 0;
    }
    if (pid > 0 && csb_plan_is_bare(zygote->plan)) {
        tell_bare(status, cell, pid);
        return pid;
    }
    if (pid > 0) {
        result = tell_spawned(status, cell, init, pid);
        if (result == 0) {
            return pid;
        }
        /* It before the init, which waits for it. */
        end(pid);
        pid = result;
    }
    if (run->init > 0) {
        end(run->init);
    }
    return pid;
}

int
csb_arm(struct csb_zygote *zygote, struct csb_runs *runs,
        const struct csb_request *request, int *fds)
{
    struct csb_run *run = NULL;
    enum csb_step step = CSB_STEP_INIT;
    int listened = 0;
    struct csb_cell cell = {
        .plan = zygote->plan,
        .limits = &request->limits,
        .paths = &zygote->paths,
        .inherited = &zygote->receipt,
        .proc = zygote->proc,
        .status = fds[CSB_FD_STATUS],
        .scratch = -1,
        .filtered = zygote->filtered,
        .listened = &listened,
        .zygote = getpid(),
        .uid = request->uid,
        .directory = request->directory,
    };
    for (int i = 0; i < CSB_FD_COUNT; i++) {
        cell.fds[i] = i == CSB_FD_STATUS ? -1 : fds[i];
    }

    pid_t pid;
    int result = csb_runs_reserve(runs, &run);
    if (result < 0) {
        pid = result;
    } else {
        pid = spawn(zygote, runs, &cell, fds[CSB_FD_STATUS], run, &step);
        if (pid == 0) {
            return 1;
        }
    }
    if (pid > 0) {
        run->cell = pid;
        run->status = fds[CSB_FD_STATUS];
        fds[CSB_FD_STATUS] = -1;
        csb_runs_add(runs);
    } else {
        tell_failure(fds[CSB_FD_STATUS], step, pid);
        if (run != NULL) {
            csb_runs_cancel(runs, run);
        }
    }
    csb_close(&cell.scratch);
    for (int i = 0; i < CSB_FD_COUNT; i++) {
        csb_close(&fds[i]);
    }
    return 0;
}
