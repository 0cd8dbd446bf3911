/* What the guest prints: read at ease, and passed on at ease.
 *
 * A guest that prints line by line would wake the host at every line, and a
 * sink is called beside the run, which takes a thread of its own.  So a
 * stream that trickles is left alone for a moment, as its pipe has room, and
 * what was read is held for another: most runs are over before that. */
#define _GNU_SOURCE
#include "streams.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../common/fdio.h"

#define MICROSECOND 1000ll
/* In which a guest that prints short lines fills a part of its pipe. */
#define LULL (250 * MICROSECOND)
/* Less than anyone sees. */
#define HOLD (5000 * MICROSECOND)
/* Half of what a pipe has room for. */
#define TRICKLE (CSB_CHUNK / 2)

/* Room for so many bytes more; what finds none is dropped, and counted. */
static int
make_room(struct csb_stream *stream, size_t more)
{
    if (stream->room - stream->size >= more) {
        return 1;
    }
    /* As much as there is, at first: most guests print once. */
    size_t room = stream->size + more;
    if (stream->room > 0 && room < stream->room * 2) {
        room = stream->room * 2;
    }
    char *data = realloc(stream->data, room);
    if (data == NULL) {
        return 0;
    }
    stream->data = data;
    stream->room = room;
    return 1;
}

/* How much the pipe holds, at least 1, so that its end is seen. */
static size_t
ask_size(int fd)
{
    int size = 0;
    if (ioctl(fd, FIONREAD, &size) < 0 || size < 1) {
        return 1;
    }
    return (size_t)size;
}

/* read() of as much as a pipe holds, to nowhere. */
static ssize_t
drop(int fd)
{
    char nowhere[4096];
    ssize_t got, all = 0;

    do {
        got = read(fd, nowhere, sizeof nowhere);
        all += got > 0 ? got : 0;
    } while (got == sizeof nowhere && all < CSB_CHUNK);
    return all > 0 ? all : got;
}

/* read(), to where it is kept, or to nowhere beyond the limit. */
static ssize_t
read_some(struct csb_stream *stream, size_t limit)
{
    size_t size = ask_size(stream->fd), left = limit - stream->kept;

    size = size < left ? size : left;
    if (size == 0 || !make_room(stream, size)) {
        return drop(stream->fd);
    }
    ssize_t got = read(stream->fd, stream->data + stream->size, size);
    if (got > 0) {
        stream->size += (size_t)got;
        stream->kept += (size_t)got;
    }
    return got;
}

/* It has not come to its end, and what is missing would not be missed. */
static void
fail_stream(struct csb_watch *watch, struct csb_stream *stream, int error)
{
    csb_close(&stream->fd);
    if (watch->ending == CSB_ENDING_NONE) {
        csb_report_fill(CSB_STEP_HOST_FDS, error, 0, NULL, &watch->report);
        csb_watch_end(watch, CSB_ENDING_SETUP);
    }
}

static void
take_in(struct csb_watch *watch, struct csb_stream *stream, size_t size)
{
    int64_t now = csb_watch_clock();

    stream->total += size;
    watch->lull = size < TRICKLE ? now + LULL : 0;
    if (watch->held == 0) {
        watch->held = now;
    }
    if (watch->output_kills && stream->total > watch->output_limit) {
        csb_watch_end(watch, CSB_ENDING_OUTPUT);
    }
}

/* What came on the other stream was before it, and is passed on before. */
static int
is_behind(const struct csb_watch *watch, const struct csb_stream *stream)
{
    const struct csb_stream *other =
        &watch->streams[stream == &watch->streams[0]];
    return watch->streaming && !watch->unattended &&
           watch->ending == CSB_ENDING_NONE && other->size > 0;
}

void
csb_streams_read(struct csb_watch *watch, struct csb_stream *stream)
{
    if (is_behind(watch, stream)) {
        watch->held = 1; /* for long */
        return;
    }
    ssize_t got = read_some(stream, watch->output_limit);
    if (got > 0) {
        take_in(watch, stream, (size_t)got);
    } else if (got == 0) {
        csb_close(&stream->fd);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail_stream(watch, stream, errno);
    }
}

int
csb_streams_are_due(const struct csb_watch *watch)
{
    return watch->streaming && !watch->unattended &&
           (watch->streams[0].size > 0 || watch->streams[1].size > 0) &&
           (watch->over || csb_watch_clock() >= watch->held + HOLD);
}

int64_t
csb_streams_next(const struct csb_watch *watch, int64_t until)
{
    if (watch->lull != 0 && watch->lull < until) {
        until = watch->lull;
    }
    if (watch->streaming && !watch->unattended && watch->held != 0 &&
        watch->held + HOLD < until) {
        until = watch->held + HOLD;
    }
    return until;
}
