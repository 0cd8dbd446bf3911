#define _GNU_SOURCE
#include "pipes.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/store.h"

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
    if (!csb_receipt_check(&watch->expected, &watch->report)) {
        csb_watch_end(watch, CSB_ENDING_SETUP);
        return 0;
    }
    watch->ready = 1;
    if (watch->ending == CSB_ENDING_NONE && watch->timeout > 0) {
        csb_watch_begin(watch); /* it has a job */
        if (watch->job.size == 0) {
            csb_close(&watch->job.fd); /* for a trial there is none */
        }
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

int
csb_pipes_reserving(const struct csb_watch *watch)
{
    return watch->ending == CSB_ENDING_NONE &&
           watch->reserve_from < watch->reserve_to;
}

/* A piece at a time, with a look at everything else in between. */
void
csb_pipes_reserve(struct csb_watch *watch)
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
void
csb_pipes_read_result(struct csb_watch *watch)
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

/* That of a cell which still has the store mapped is sealed when it is dead.
 */
int
csb_pipes_settled(struct csb_watch *watch)
{
    if (watch->payload == NULL && watch->sealed == 0) {
        watch->sealed = csb_store_seal(watch->store) == 0 ? 1 : -1;
    }
    return watch->payload != NULL || watch->sealed > 0;
}

/* --- what is sent -------------------------------------------------------- */

void
csb_pipes_send(struct csb_outlet *outlet)
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
