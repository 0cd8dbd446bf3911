/* What the end of a run means. */
#define _GNU_SOURCE
#include "conclude.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "../common/fdio.h"
#include "../common/store.h"
#include "forklock.h"
#include "pipes.h"
#include "streams.h"
#include "watch.h"

/* Many times what a pipe can hold. */
#define DRAIN_CHUNKS 64
/* Of a cgroup, so many nanoseconds apart. */
#define REMOVALS 20
#define PAUSE 1000000

/* All writers are dead or dying: what the pipes hold is all there will be.  A
 * pipe that has no end is held open by a fork of the host. */
static void
drain(struct csb_watch *watch)
{
    if (watch->result >= 0 && watch->ending == CSB_ENDING_NONE) {
        csb_pipes_read_result(watch);
    }
    for (int i = 0; i < 2; i++) {
        struct csb_stream *stream = &watch->streams[i];
        uint64_t before = stream->total + 1;
        for (int k = 0; k < DRAIN_CHUNKS && stream->total != before; k++) {
            before = stream->total;
            if (stream->fd >= 0) {
                csb_streams_read(watch, stream);
            }
        }
        csb_close(&stream->fd);
    }
}

static enum csb_ending
judge_kill(const struct csb_watch *watch)
{
    enum csb_oom oom = csb_cgroup_oom(&watch->cgroup);
    if (oom == CSB_OOM_LEAF) {
        return CSB_ENDING_MEMORY;
    }
    /* Of the machine's kills only the leaf knows whose they were. */
    int killed = watch->cgroup.base < 0 ? csb_meter_oom_killed(&watch->meter)
                                        : oom == CSB_OOM_OTHER;
    return killed ? CSB_ENDING_OOM : CSB_ENDING_SIGNALLED;
}

static enum csb_ending
judge_signal(const struct csb_watch *watch)
{
    return WTERMSIG(watch->exit.wait_status) == SIGKILL ? judge_kill(watch)
                                                        : CSB_ENDING_SIGNALLED;
}

/* The cell ended by itself: what does that mean? */
static void
judge_exit(struct csb_watch *watch)
{
    if (watch->ending != CSB_ENDING_NONE) {
        return;
    }
    enum csb_ending ending = CSB_ENDING_EXITED;
    if (!watch->ready) {
        csb_report_fill(CSB_STEP_CELL, 0, 0, NULL, &watch->report);
        ending = CSB_ENDING_SETUP;
    } else if (WIFSIGNALED(watch->exit.wait_status)) {
        ending = judge_signal(watch);
    } else if (watch->frame_got > 0) {
        ending = CSB_ENDING_MALFORMED; /* cut short */
    }
    csb_watch_end(watch, ending);
}

/* What is still dying after these tries is swept at a later run. */
static void
leave_cgroup(struct csb_watch *watch)
{
    const struct timespec pause = {.tv_nsec = PAUSE};
    for (int i = 0; i < REMOVALS; i++) {
        csb_forklock_enter();
        int result = csb_cgroup_finish(&watch->cgroup);
        csb_forklock_leave();
        if (result != -EBUSY) {
            break;
        }
        (void)nanosleep(&pause, NULL); /* shorter, if a signal comes */
    }
}

/* The result may be read before the output that came ahead of it. */
static void
judge_output(struct csb_watch *watch)
{
    for (int i = 0; i < 2; i++) {
        if (watch->ending == CSB_ENDING_FRAME && watch->output_kills &&
            watch->streams[i].total > watch->output_limit) {
            watch->ending = CSB_ENDING_OUTPUT;
        }
    }
}

/* A result in the store is read only when nobody can change it any more. */
static void
seal_result(struct csb_watch *watch)
{
    if (watch->ending == CSB_ENDING_FRAME && watch->payload == NULL &&
        csb_store_seal(watch->store) < 0) {
        watch->ending = CSB_ENDING_UNSEALED;
    }
}

/* All writers are dead, or dying. */
void
csb_conclude(struct csb_watch *watch)
{
    csb_forklock_enter();
    drain(watch);
    csb_forklock_leave();
    judge_exit(watch);
    judge_output(watch);
    leave_cgroup(watch);
    csb_spot_remove(&watch->spot);
    seal_result(watch);
    watch->over = 1;
}
