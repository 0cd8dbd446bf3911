/* How fast the host answers one run, which waits meanwhile: whatever that
 * does, answering takes a small part of the host's time. */
#ifndef CSB_PACE_H
#define CSB_PACE_H

#include <stdint.h>

struct csb_pace {
    int64_t silent; /* no answers until then, ns on CLOCK_MONOTONIC */
    int64_t asked;  /* when it was last answered */
    int64_t owed;   /* ns that answers took, less its share since */
};

/* No answer before now + silence, or before ten milliseconds have passed. */
void csb_pace_hush(struct csb_pace *pace, int64_t now, int64_t silence);

/* Accounts for an answer that took from began until now. */
void csb_pace_pay(struct csb_pace *pace, int64_t began, int64_t now);

#endif
