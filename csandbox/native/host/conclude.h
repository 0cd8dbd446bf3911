#ifndef CSB_HOST_CONCLUDE_H
#define CSB_HOST_CONCLUDE_H

struct csb_watch;

/* Takes what is left in the pipes of a run whose processes are dead or dying,
 * and decides its ending, unless that is decided. */
void csb_conclude(struct csb_watch *watch);

#endif
