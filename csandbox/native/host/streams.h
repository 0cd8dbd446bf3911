/* What the guest prints: when it is read, and when it is passed on. */
#ifndef CSB_STREAMS_H
#define CSB_STREAMS_H

#include "watch.h"

/* What its pipe holds, so that a flood leaves time for the rest. */
void csb_streams_read(struct csb_watch *watch, struct csb_stream *stream);

/* Whether there is output that the caller must take now. */
int csb_streams_are_due(const struct csb_watch *watch);

/* By when there is something to do for a stream, if that is before until. */
int64_t csb_streams_next(const struct csb_watch *watch, int64_t until);

#endif
