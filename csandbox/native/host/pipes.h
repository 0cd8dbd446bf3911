/* The pipes of a run: what the cell says, which is hostile but for its report,
 * and what it is sent. */
#ifndef CSB_PIPES_H
#define CSB_PIPES_H

#include "watch.h"

/* Reads on until nothing is there; what follows a whole frame is not read. */
void csb_pipes_read_result(struct csb_watch *watch);

/* Whether a whole value is here, and nobody can change it any more. */
int csb_pipes_settled(struct csb_watch *watch);

/* As much as the pipe takes; closes it when all is sent or nobody reads. */
void csb_pipes_send(struct csb_outlet *outlet);

/* Whether the store is being reserved, which is done a piece at a time, with
 * a look at everything else in between. */
int csb_pipes_reserving(const struct csb_watch *watch);
void csb_pipes_reserve(struct csb_watch *watch);

#endif
