#define _GNU_SOURCE
#include "watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "../common/store.h"
#include "forklock.h"

#define SECOND 1000000000ll
/* From the kill to the zygote's word that nothing is left.  A guest can make
 * the kernel take long over its remains, but not the caller wait for it. */
#define KILL_GRACE (2 * SECOND)
/* A signal may come just before ppoll(), or to another thread. */
#define SIGNAL_PERIOD (SECOND / 10)
#define CHUNK (64 * 1024)
/* Many times what a pipe can hold. */
#define DRAIN_CHUNKS 64

/* Places in the poll set. */
enum {
    POLL_STATUS,
    POLL_RESULT,
    POLL_WAKE,
    POLL_STREAMS,
    POLL_JOB = POLL_STREAMS + 2,
    POLL_INPUT,
    POLL_COUNT,
};

int64_t
csb_watch_clock(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
    return now.tv_sec * SECOND + now.tv_nsec;
}

static void
kill_run(struct csb_watch *watch)
{
    if (watch->killed || watch->init < 0) {
        return; /* without a pidfd yet: when it comes */
    }
    watch->killed = 1;
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
    watch->inherited = status->inherited;
    if (watch->ending != CSB_ENDING_NONE) {
        kill_run(watch);
    }
}

static void
read_status(struct csb_watch *watch)
{
    struct csb_status status;
    int fds[CSB_SPAWNED_COUNT], count = 0;
    ssize_t got = csb_receive(watch->status, &status, sizeof status,
                              CSB_SPAWNED_COUNT, fds, &count);
    if (got == -EAGAIN) {
        return;
    }
    if (got == sizeof status && status.kind == CSB_STATUS_SPAWNED &&
        count == CSB_SPAWNED_COUNT && watch->init < 0) {
        take_spawned(watch, &status, fds);
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

/* --- what the cell says: hostile, but for the report --------------------- */

/* Reads what is still missing of a record.  1 when it is whole, 0 when not
 * yet, -1 at the end of the pipe. */
static int
read_record(int fd, void *record, size_t size, size_t *got)
{
    if (*got == size) {
        return 1; /* and read() of nothing would look like the end */
    }
    ssize_t result = read(fd, (char *)record + *got, size - *got);
    if (result < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    if (result == 0) {
        return -1;
    }
    *got += (size_t)result;
    return *got == size;
}

/* write() without SIGPIPE, whatever the host has made of that signal. */
static ssize_t
write_quietly(int fd, const char *data, size_t size)
{
    sigset_t pipe_only, saved, pending;
    struct timespec now = {0, 0};

    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigpending(&pending);
    int was_pending = sigismember(&pending, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &saved);
    ssize_t wrote = write(fd, data, size);
    int error = errno;
    if (wrote < 0 && error == EPIPE && !was_pending) {
        (void)sigtimedwait(&pipe_only, NULL, &now); /* takes it back */
    }
    (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    errno = error;
    return wrote;
}

static int
read_report(struct csb_watch *watch)
{
    int whole = read_record(watch->result, &watch->report,
                            sizeof watch->report, &watch->report_got);
    if (whole != 1) {
        return whole;
    }
    watch->report.text[sizeof watch->report.text - 1] = '\0';
    if (watch->report.magic != CSB_REPORT_MAGIC ||
        watch->report.step != CSB_STEP_READY) {
        csb_watch_end(watch, CSB_ENDING_SETUP);
        return 0;
    }
    watch->ready = 1;
    if (watch->ending == CSB_ENDING_NONE) {
        watch->started = csb_watch_clock();
        watch->deadline = watch->started + watch->timeout;
    }
    return 1;
}

/* Once, so that a guest cannot have the host do work again and again. */
static void
begin_reserving(struct csb_watch *watch)
{
    if (watch->reserving || watch->job.sent < watch->job.size ||
        watch->job.fd < 0) {
        csb_watch_end(watch, CSB_ENDING_MALFORMED);
        return;
    }
    watch->reserving = 1;
    watch->reserve_to = watch->frame.length;
    watch->frame_got = 0;
}

static int
is_reserving(const struct csb_watch *watch)
{
    return watch->ending == CSB_ENDING_NONE &&
           watch->reserve_from < watch->reserve_to;
}

/* A piece at a time, with a look at everything else in between. */
static void
reserve_piece(struct csb_watch *watch)
{
    size_t from = (size_t)watch->reserve_from;
    size_t left = (size_t)watch->reserve_to - from;
    size_t piece = csb_store_piece((size_t)watch->reserve_to);
    size_t to = left < piece ? from + left : from + piece;
    char huge = csb_store_reserve(watch->store, from, to) == 0;

    watch->reserve_from = huge ? to : watch->reserve_to;
    if (write_quietly(watch->job.fd, &huge, 1) != 1) {
        csb_watch_end(watch, CSB_ENDING_MALFORMED); /* it does not wait */
    }
}

/* A frame whose header is whole.  1 when its payload comes next. */
static int
begin_frame(struct csb_watch *watch)
{
    const struct csb_frame *frame = &watch->frame;

    if (frame->magic != CSB_FRAME_MAGIC || frame->kind < CSB_FRAME_VALUE ||
        frame->kind > CSB_FRAME_RESERVE) {
        csb_watch_end(watch, CSB_ENDING_MALFORMED);
    } else if (frame->length > watch->result_limit ||
               frame->length > watch->store_size) {
        csb_watch_end(watch, CSB_ENDING_TOO_BIG);
    } else if (frame->kind == CSB_FRAME_RESERVE) {
        begin_reserving(watch);
    } else if (frame->at != CSB_FRAME_INLINE) {
        csb_watch_end(watch, frame->at <= watch->store_size - frame->length
                                 ? CSB_ENDING_FRAME
                                 : CSB_ENDING_MALFORMED);
    } else {
        watch->payload = malloc(frame->length + 1);
        if (watch->payload != NULL) {
            return 1;
        }
        csb_watch_end(watch, CSB_ENDING_TOO_BIG);
    }
    return 0;
}

static int
read_header(struct csb_watch *watch)
{
    int whole;
    do {
        whole = read_record(watch->result, &watch->frame, sizeof watch->frame,
                            &watch->frame_got);
        if (whole != 1 || watch->payload != NULL) {
            return whole;
        }
        whole = begin_frame(watch);
    } while (whole == 0 && watch->ending == CSB_ENDING_NONE);
    return whole;
}

/* Reads on until nothing is there; what follows a whole frame is not read. */
static void
read_result(struct csb_watch *watch)
{
    int whole = 1;
    while (whole == 1 && (watch->ending == CSB_ENDING_NONE || !watch->ready)) {
        if (!watch->ready) {
            whole = read_report(watch);
            if (watch->ending != CSB_ENDING_NONE) {
                break;
            }
            continue;
        }
        whole = read_header(watch);
        if (whole != 1) {
            break;
        }
        whole = read_record(watch->result, watch->payload, watch->frame.length,
                            &watch->payload_got);
        if (whole == 1) {
            csb_watch_end(watch, CSB_ENDING_FRAME);
        }
    }
    if (whole < 0 || watch->ending != CSB_ENDING_NONE) {
        csb_close(&watch->result);
    }
}

static int
make_room(struct csb_stream *stream, size_t limit)
{
    if (stream->room > stream->size) {
        return 1;
    }
    size_t room = stream->room == 0 ? 4096 : stream->room * 2;
    if (room > limit) {
        room = limit;
    }
    char *data = realloc(stream->data, room);
    if (data == NULL) {
        return 0; /* then it is dropped, and counted */
    }
    stream->data = data;
    stream->room = room;
    return room > stream->size;
}

static void
keep(struct csb_stream *stream, const char *data, size_t size, size_t limit)
{
    stream->total += size;
    while (size > 0 && stream->kept < limit && make_room(stream, limit)) {
        size_t part = stream->room - stream->size;
        part = part < size ? part : size;
        if (part > limit - stream->kept) {
            part = (size_t)(limit - stream->kept);
        }
        memcpy(stream->data + stream->size, data, part);
        stream->size += part;
        stream->kept += part;
        data += part;
        size -= part;
    }
}

/* One chunk, so that a flood leaves time for the rest. */
static void
read_stream(struct csb_watch *watch, struct csb_stream *stream)
{
    char chunk[CHUNK];
    ssize_t got = read(stream->fd, chunk, sizeof chunk);
    if (got > 0) {
        keep(stream, chunk, (size_t)got, watch->output_limit);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        csb_close(&stream->fd);
    }
}

/* --- what is sent -------------------------------------------------------- */

static void
send_more(struct csb_outlet *outlet)
{
    while (outlet->sent < outlet->size) {
        ssize_t wrote = write_quietly(outlet->fd, outlet->data + outlet->sent,
                                      outlet->size - outlet->sent);
        if (wrote < 0) {
            if (errno == EAGAIN || errno == EINTR) {
                return;
            }
            break; /* the guest does not want it */
        }
        outlet->sent += (size_t)wrote;
    }
    if (!outlet->stays_open || outlet->sent < outlet->size) {
        csb_close(&outlet->fd);
    }
}

/* --- the loop -------------------------------------------------------------
 */

static void
fill_poll_set(const struct csb_watch *watch, struct pollfd *set)
{
    for (int i = 0; i < POLL_COUNT; i++) {
        set[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    }
    set[POLL_STATUS].fd = watch->exited ? -1 : watch->status;
    set[POLL_RESULT].fd = watch->result;
    set[POLL_WAKE].fd = watch->ending == CSB_ENDING_NONE ? watch->wake : -1;
    for (int i = 0; i < 2; i++) {
        set[POLL_STREAMS + i].fd = watch->streams[i].fd;
    }
    if (watch->ready && watch->ending == CSB_ENDING_NONE) {
        set[POLL_JOB].fd =
            watch->job.sent < watch->job.size ? watch->job.fd : -1;
        set[POLL_INPUT].fd = watch->input.fd;
    }
    set[POLL_JOB].events = POLLOUT;
    set[POLL_INPUT].events = POLLOUT;
}

static int
wait_for_events(struct csb_watch *watch, struct pollfd *set)
{
    int64_t until = watch->deadline;
    if (watch->signal_check != 0 && watch->signal_check < until) {
        until = watch->signal_check;
    }
    int64_t left = until - csb_watch_clock();
    if (left < 0 || is_reserving(watch)) {
        left = 0;
    }
    struct timespec timeout = {left / SECOND, left % SECOND};
    int count = ppoll(set, POLL_COUNT, &timeout, NULL);
    return count < 0 ? -errno : count;
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
            csb_report_fill(watch->report_got == 0 && watch->init < 0
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
handle(struct csb_watch *watch, const struct pollfd *set)
{
    if (set[POLL_WAKE].revents != 0) {
        csb_watch_end(watch, CSB_ENDING_CANCELLED);
    }
    if (set[POLL_RESULT].revents != 0) {
        read_result(watch);
    }
    for (int i = 0; i < 2; i++) {
        if (set[POLL_STREAMS + i].revents != 0) {
            read_stream(watch, &watch->streams[i]);
        }
    }
    if (set[POLL_JOB].revents != 0) {
        send_more(&watch->job);
    }
    if (set[POLL_INPUT].revents != 0) {
        send_more(&watch->input);
    }
    if (set[POLL_STATUS].revents != 0) {
        read_status(watch);
    }
}

/* All writers are dead or dying: what the pipes hold is all there will be.  A
 * pipe that has no end is held open by a fork of the host. */
static void
drain(struct csb_watch *watch)
{
    if (watch->result >= 0 && watch->ending == CSB_ENDING_NONE) {
        read_result(watch);
    }
    for (int i = 0; i < 2; i++) {
        struct csb_stream *stream = &watch->streams[i];
        uint64_t before = stream->total + 1;
        for (int k = 0; k < DRAIN_CHUNKS && stream->total != before; k++) {
            before = stream->total;
            if (stream->fd >= 0) {
                read_stream(watch, stream);
            }
        }
        csb_close(&stream->fd);
    }
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
        ending = CSB_ENDING_SIGNALLED;
    } else if (watch->frame_got > 0) {
        ending = CSB_ENDING_MALFORMED; /* cut short */
    }
    csb_watch_end(watch, ending);
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

/* 1 when it is time for the caller to look for signals. */
static int
signals_are_due(struct csb_watch *watch)
{
    int64_t now = csb_watch_clock();
    if (watch->signal_check == 0 || now < watch->signal_check) {
        return 0;
    }
    watch->signal_check = now + SIGNAL_PERIOD;
    return 1;
}

static int
has_output(const struct csb_watch *watch)
{
    return watch->streaming &&
           (watch->streams[0].size > 0 || watch->streams[1].size > 0);
}

enum csb_news
csb_watch_next(struct csb_watch *watch)
{
    struct pollfd set[POLL_COUNT];

    while (!watch->exited) {
        fill_poll_set(watch, set);
        int count = wait_for_events(watch, set);
        if (count == -EINTR) {
            return CSB_NEWS_INTERRUPTED;
        }
        if (count > 0) {
            csb_forklock_enter();
            handle(watch, set);
            csb_forklock_leave();
        }
        if (is_reserving(watch)) {
            csb_forklock_enter();
            reserve_piece(watch);
            csb_forklock_leave();
        }
        check_deadline(watch);
        if (has_output(watch)) {
            return CSB_NEWS_OUTPUT;
        }
        if (signals_are_due(watch)) {
            return CSB_NEWS_INTERRUPTED;
        }
    }
    csb_forklock_enter();
    drain(watch);
    csb_forklock_leave();
    judge_exit(watch);
    seal_result(watch);
    return has_output(watch) ? CSB_NEWS_OUTPUT : CSB_NEWS_DONE;
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
    csb_close(&watch->wake);
    csb_close(&watch->init);
    csb_close(&watch->cell);
    csb_close(&watch->scratch);
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
}
