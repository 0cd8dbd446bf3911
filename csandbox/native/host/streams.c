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
#include <string.h>
#include <unistd.h>

#include "../common/fdio.h"

#define MICROSECOND 1000ll
/* In which a guest that prints short lines fills a part of its pipe. */
#define LULL (250 * MICROSECOND)
/* Less than anyone sees. */
#define HOLD (5000 * MICROSECOND)
/* Half of what a pipe has room for. */
#define TRICKLE (CSB_CHUNK / 2)

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

    keep(stream, watch->chunk, size, watch->output_limit);
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
    ssize_t got = read(stream->fd, watch->chunk, CSB_CHUNK);
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
