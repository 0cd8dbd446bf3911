#define _GNU_SOURCE
#include "watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "../common/store.h"
#include "conclude.h"
#include "forklock.h"
#include "pipes.h"
#include "streams.h"

#define SECOND 1000000000ll
/* Of a run during which another cell is asked for, not at its end. */
#define LONG (SECOND / 1000)
/* Of a run whose end need not be awaited. */
#define SHORT (SECOND / 50)
/* From the kill to the zygote's word that nothing is left.  A guest can make
 * the kernel take long over its remains, but not the caller wait for it. */
#define KILL_GRACE (2 * SECOND)
/* Places in the poll set. */
enum {
    POLL_STATUS,
    POLL_RESULT,
    POLL_WAKE,
    POLL_STREAMS,
    POLL_JOB = POLL_STREAMS + 2,
    POLL_INPUT,
    POLL_NOTIFY,
    POLL_RELIEF,
    POLL_COUNT,
};

int64_t
csb_watch_clock(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return now.tv_sec * SECOND + now.tv_nsec;
}

static int
is_spawned(const struct csb_watch *watch)
{
    return watch->init >= 0 || watch->pid > 0;
}

static void
kill_run(struct csb_watch *watch)
{
    if (watch->killed || !is_spawned(watch)) {
        return; /* when it comes */
    }
    watch->killed = 1;
    if (watch->init < 0) {
        /* There are no pidfds here: the zygote kills, and tells. */
        (void)shutdown(watch->status, SHUT_WR);
        return;
    }
    /* ESRCH: it is dead already. */
    (void)syscall(SYS_pidfd_send_signal, watch->init, SIGKILL, NULL, 0);
}

void
csb_watch_end(struct csb_watch *watch, enum csb_ending ending)
{
    if (watch->ending == CSB_ENDING_NONE) {
        watch->ending = ending;
        watch->finished = csb_watch_clock();
        watch->deadline = watch->finished + KILL_GRACE;
        /* The last that holds it pays for emptying it: not the host. */
        csb_meter_look_at_scratch(&watch->meter);
        watch->meter.scratch = -1;
        watch->meter.spot = NULL;
        csb_close(&watch->scratch);
    }
    kill_run(watch);
}

/* --- what the zygote says ------------------------------------------------ */

static void
take_exit(struct csb_watch *watch, const struct csb_status *status)
{
    watch->exit = *status;
    watch->exited = 1;
}

static void
fail_setup(struct csb_watch *watch, const struct csb_report *report)
{
    watch->report = *report;
    watch->exited = 1;
    csb_watch_end(watch, CSB_ENDING_SETUP);
}

static void
take_spawned(struct csb_watch *watch, const struct csb_status *status,
             const int *fds)
{
    watch->init = fds[CSB_SPAWNED_INIT];
    watch->cell = fds[CSB_SPAWNED_CELL];
    watch->scratch = fds[CSB_SPAWNED_SCRATCH];
    watch->pid = status->pid;
    watch->meter.pid = status->pid;
    watch->meter.bare = status->pid > 0;
    watch->meter.cell = watch->cell;
    watch->meter.init = watch->init;
    watch->meter.scratch = watch->scratch;
    watch->meter.inherited = status->inherited;
    /* If it fails a lower limit stays. */
    (void)csb_cgroup_allow(&watch->cgroup, status->inherited);
    if (watch->ending != CSB_ENDING_NONE) {
        kill_run(watch);
    }
}

/* Whether that is the number of descriptors that come with such news. */
static int
is_expected(const struct csb_status *status, int count)
{
    return count == CSB_SPAWNED_SCRATCH ||
           count == (status->pid > 0 ? 0 : CSB_SPAWNED_COUNT);
}

static void
read_status(struct csb_watch *watch)
{
    struct csb_status status;
    int fds[CSB_SPAWNED_COUNT] = {-1, -1, -1}, count = 0;
    ssize_t got = csb_receive(watch->status, &status, sizeof status,
                              CSB_SPAWNED_COUNT, fds, &count);
    if (got == -EAGAIN) {
        return;
    }
    if (got == sizeof status && status.kind == CSB_STATUS_SPAWNED &&
        is_expected(&status, count) && !is_spawned(watch)) {
        take_spawned(watch, &status, fds);
        return;
    }
    if (got == sizeof status && status.kind == CSB_STATUS_LISTENER &&
        count == 1 && watch->notify.listener < 0) {
        csb_notify_take(&watch->notify, fds[0], status.filter);
        return;
    }
    for (int i = 0; got >= 0 && i < count; i++) {
        csb_close(&fds[i]);
    }
    if (got == -EPROTO) {
        /* No number was free for one of them.  Hung up on, the zygote
         * kills. */
        csb_report_fill(CSB_STEP_HOST_FDS, EMFILE, 0, NULL, &status.report);
        fail_setup(watch, &status.report);
    } else if (got == sizeof status && status.kind == CSB_STATUS_EXITED) {
        take_exit(watch, &status);
    } else if (got == sizeof status && status.kind == CSB_STATUS_FAILED) {
        fail_setup(watch, &status.report);
    } else {
        watch->exited = 1;
        csb_watch_end(watch, CSB_ENDING_LOST);
    }
}

/* --- the loop -------------------------------------------------------------
 */

static void
fill_poll_set(struct csb_watch *watch, struct pollfd *set)
{
    if (watch->lull != 0 && csb_watch_clock() >= watch->lull) {
        watch->lull = 0;
    }
    for (int i = 0; i < POLL_COUNT; i++) {
        set[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    set[POLL_STATUS].fd = watch->exited ? -1 : watch->status;
    set[POLL_RESULT].fd = watch->result;
    set[POLL_WAKE].fd = watch->ending == CSB_ENDING_NONE ? watch->wake : -1;
    for (int i = 0; watch->lull == 0 && i < 2; i++) {
        set[POLL_STREAMS + i].fd = watch->streams[i].fd;
    }
    if (watch->ready && watch->ending == CSB_ENDING_NONE) {
        set[POLL_JOB].fd =
            watch->job.sent < watch->job.size ? watch->job.fd : -1;
        set[POLL_INPUT].fd = watch->input.fd;
    }
    if (watch->ending == CSB_ENDING_NONE && is_spawned(watch) &&
        csb_watch_clock() >= watch->notify.pace.silent) {
        set[POLL_NOTIFY].fd = watch->notify.listener;
    }
    set[POLL_RELIEF].fd = watch->unattended ? watch->relief : -1;
    set[POLL_JOB].events = POLLOUT;
    set[POLL_INPUT].events = POLLOUT;
}

static int
is_metered(const struct csb_watch *watch)
{
    return watch->ending == CSB_ENDING_NONE && watch->ready &&
           (watch->meter.cell >= 0 || watch->meter.pid > 0);
}

static int
is_at_work(const struct csb_watch *watch)
{
    return watch->ready && watch->ending == CSB_ENDING_NONE &&
           watch->job.sent == watch->job.size;
}

static int
wait_for_events(struct csb_watch *watch, struct pollfd *set)
{
    int64_t until = csb_streams_next(watch, watch->deadline);
    if (watch->signal_check != 0 && !watch->unattended &&
        watch->signal_check < until) {
        until = watch->signal_check;
    }
    if (is_metered(watch) && watch->meter.next < until) {
        until = watch->meter.next;
    }
    if (watch->ending == CSB_ENDING_NONE && is_spawned(watch) &&
        watch->notify.listener >= 0 && set[POLL_NOTIFY].fd < 0 &&
        watch->notify.pace.silent < until) {
        until = watch->notify.pace.silent;
    }
    if (watch->on_work != NULL && is_at_work(watch) &&
        watch->started + LONG < until) {
        until = watch->started + LONG;
    }
    int64_t left = until - csb_watch_clock();
    if (left < 0 || csb_pipes_reserving(watch)) {
        left = 0;
    }
    struct timespec timeout = {left / SECOND, left % SECOND};
    int count = ppoll(set, POLL_COUNT, &timeout, NULL);
    return count < 0 ? -errno : count;
}

static void
fail_meter(struct csb_watch *watch, int error)
{
    csb_report_fill(CSB_STEP_METER, -error, 0, NULL, &watch->report);
    csb_watch_end(watch, CSB_ENDING_SETUP);
}

static void
check_limits(struct csb_watch *watch)
{
    struct csb_meter *meter = &watch->meter;
    int64_t now = csb_watch_clock();

    if (!is_metered(watch) || now < meter->next) {
        return;
    }
    csb_forklock_enter();
    int result = csb_meter_look(meter, now);
    csb_forklock_leave();
    if (result == -E2BIG) {
        csb_watch_end(watch, CSB_ENDING_PROCESSES);
    } else if (result < 0) {
        fail_meter(watch, result);
    } else if (meter->memory > meter->memory_limit) {
        csb_watch_end(watch, CSB_ENDING_MEMORY);
    } else if (meter->over == CSB_OVER_SCRATCH) {
        csb_watch_end(watch, CSB_ENDING_SCRATCH);
    } else if (meter->over == CSB_OVER_THREADS) {
        csb_watch_end(watch, CSB_ENDING_THREADS);
    } else if (meter->cpu >= meter->cpu_limit) {
        csb_watch_end(watch, CSB_ENDING_CPU);
    }
}

/* After a stream flooded, the deadline must be seen all the same. */
static void
check_deadline(struct csb_watch *watch)
{
    if (csb_watch_clock() < watch->deadline) {
        return;
    }
    if (watch->ending == CSB_ENDING_NONE) {
        if (!watch->ready) {
            csb_report_fill(watch->report_got == 0 && !is_spawned(watch)
                                ? CSB_STEP_INIT
                                : CSB_STEP_CELL,
                            ETIMEDOUT, 0, NULL, &watch->report);
        }
        csb_watch_end(watch,
                      watch->ready ? CSB_ENDING_TIMEOUT : CSB_ENDING_SETUP);
        return;
    }
    watch->exited = 1; /* dead or dying; the verdict stands */
    watch->silent = 1;
}

static void
answer_notice(struct csb_watch *watch, short events)
{
    if ((events & POLLIN) == 0) {
        csb_close(&watch->notify.listener); /* nobody is left to ask */
        return;
    }
    int result = csb_notify_answer(&watch->notify, watch->cell, watch->init,
                                   watch->ready, csb_watch_clock());
    if (result < 0 && watch->ending == CSB_ENDING_NONE) {
        fail_meter(watch, result);
    } else if (result == CSB_NOTICE_FATAL) {
        csb_watch_end(watch, CSB_ENDING_DENIED);
    }
    if (result != CSB_NOTICE_NOTHING) {
        csb_meter_hurry(&watch->meter, csb_watch_clock());
    }
}

static void
handle(struct csb_watch *watch, const struct pollfd *set)
{
    if (set[POLL_WAKE].revents != 0) {
        csb_watch_end(watch, CSB_ENDING_CANCELLED);
    }
    if (set[POLL_RESULT].revents != 0) {
        csb_pipes_read_result(watch);
    }
    for (int i = 0; i < 2; i++) {
        if (set[POLL_STREAMS + i].revents != 0) {
            csb_streams_read(watch, &watch->streams[i]);
        }
    }
    if (set[POLL_JOB].revents != 0) {
        csb_pipes_send(&watch->job);
    }
    if (set[POLL_INPUT].revents != 0) {
        csb_pipes_send(&watch->input);
    }
    if (set[POLL_NOTIFY].revents != 0) {
        answer_notice(watch, set[POLL_NOTIFY].revents);
    }
    if (set[POLL_STATUS].revents != 0) {
        read_status(watch);
    }
}

/* 1 when it is time for the caller to look for signals. */
static int
signals_are_due(struct csb_watch *watch)
{
    int64_t now = csb_watch_clock();
    if (watch->signal_check == 0 || watch->unattended ||
        now < watch->signal_check) {
        return 0;
    }
    watch->signal_check = now + CSB_SIGNAL_PERIOD;
    return 1;
}

/* Once it is killed, what it was good for is here.  In a longer run a guest
 * could have made what the kernel takes long to remove. */
static int
may_leave(struct csb_watch *watch)
{
    return watch->hurried && watch->killed &&
           watch->ending == CSB_ENDING_FRAME &&
           watch->frame.kind == CSB_FRAME_VALUE && watch->cgroup.base < 0 &&
           csb_watch_clock() - watch->started < SHORT &&
           csb_pipes_settled(watch);
}

/* Whether the cell has had its job for so long that there is time for what
 * would keep the processor from it, or from the caller. */
static int
is_long_at_work(const struct csb_watch *watch)
{
    return is_at_work(watch) && csb_watch_clock() - watch->started >= LONG;
}

static void
look_at_work(struct csb_watch *watch)
{
    void (*on_work)(struct csb_watch *, int) = watch->on_work;
    const int over = watch->ending == CSB_ENDING_FRAME;
    if (on_work != NULL && (over || is_long_at_work(watch))) {
        watch->on_work = NULL;
        csb_forklock_enter();
        on_work(watch, over);
        csb_forklock_leave();
    }
}

void
csb_watch_begin(struct csb_watch *watch)
{
    watch->started = csb_watch_clock();
    watch->deadline = watch->started + watch->timeout;
    csb_meter_begin(&watch->meter, watch->started);
}

int
csb_watch_peek(struct csb_watch *watch)
{
    struct pollfd set[POLL_COUNT];
    const struct timespec now = {0, 0};
    int count;

    do {
        fill_poll_set(watch, set);
        set[POLL_JOB].fd = set[POLL_INPUT].fd = -1;
        count = ppoll(set, POLL_COUNT, &now, NULL);
        if (count > 0) {
            handle(watch, set);
        }
    } while (count > 0 && !watch->exited && watch->ending == CSB_ENDING_NONE);
    return !watch->exited && watch->ending == CSB_ENDING_NONE;
}

enum csb_news
csb_watch_next(struct csb_watch *watch)
{
    struct pollfd set[POLL_COUNT];

    while (!watch->exited && !may_leave(watch)) {
        if (signals_are_due(watch)) {
            return CSB_NEWS_INTERRUPTED;
        }
        if (csb_streams_are_due(watch)) {
            return CSB_NEWS_OUTPUT; /* of the stand-in, too */
        }
        fill_poll_set(watch, set);
        int count = wait_for_events(watch, set);
        if (count == -EINTR && !watch->unattended) {
            return CSB_NEWS_INTERRUPTED;
        }
        if (count > 0) {
            csb_forklock_enter();
            handle(watch, set);
            csb_forklock_leave();
        }
        look_at_work(watch);
        if (csb_pipes_reserving(watch)) {
            csb_forklock_enter();
            csb_pipes_reserve(watch);
            csb_forklock_leave();
        }
        check_deadline(watch);
        check_limits(watch);
        if (count > 0 && set[POLL_RELIEF].revents != 0) {
            return CSB_NEWS_RELIEVED;
        }
    }
    if (!watch->over) {
        csb_conclude(watch);
    }
    return csb_streams_are_due(watch) ? CSB_NEWS_OUTPUT : CSB_NEWS_DONE;
}

void
csb_watch_close(struct csb_watch *watch)
{
    if (!watch->exited) {
        kill_run(watch);
    }
    csb_close(&watch->status); /* the zygote kills what hangs on it */
    csb_close(&watch->result);
    csb_close(&watch->store);
    csb_close(&watch->inputs);
    csb_close(&watch->wake);
    csb_close(&watch->relief);
    csb_close(&watch->init);
    csb_close(&watch->cell);
    csb_notify_end(&watch->notify);
    csb_close(&watch->scratch);
    csb_cgroup_close(&watch->cgroup);
    csb_spot_remove(&watch->spot);
    csb_close(&watch->job.fd);
    csb_close(&watch->input.fd);
    for (int i = 0; i < 2; i++) {
        csb_close(&watch->streams[i].fd);
        free(watch->streams[i].data);
        watch->streams[i].data = NULL;
        watch->streams[i].size = watch->streams[i].room = 0;
    }
    free(watch->payload);
    watch->payload = NULL;
    csb_meter_end(&watch->meter);
}
