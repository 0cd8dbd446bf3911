/* The channel of a run, which comes with the request for its cell. */
#ifndef CSB_CHANNEL_H
#define CSB_CHANNEL_H

#include "watch.h"

/* Asks the zygote at the other end of control for a cell: makes what watch
 * needs, also to be closed on failure, with a store of so many bytes.  inputs
 * stays the caller's; cgroup is closed.  Each may be -1.  Needs no GIL.  0 or
 * -errno. */
int csb_channel_ask(struct csb_watch *watch, int control,
                    struct csb_request *request, uint64_t store, int inputs,
                    int cgroup);

/* The host may close descriptors that are not its own, as daemons do.  If it
 * has closed these, their numbers are its files' now, and are left alone. */
void csb_channel_forget_lost(struct csb_watch *watch);

#endif
