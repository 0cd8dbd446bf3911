/* The listener of one run: what its filter hands to the host (cell/notify.c)
 * is answered here.  Nothing that is denied is ever let continue. */
#ifndef CSB_NOTIFY_H
#define CSB_NOTIFY_H

#include <stdint.h>

#include "forks.h"
#include "pace.h"
#include "violations.h"

struct csb_notify {
    int listener;      /* owned; -1: nothing is told */
    unsigned filter;   /* enum csb_filter_flag */
    uint64_t answered; /* calls and questions */
    struct csb_pace pace;
    struct csb_violations *violations; /* malloc'd at the first; or NULL */
    struct csb_forks forks;
};

enum csb_notice {
    CSB_NOTICE_NOTHING,
    CSB_NOTICE_FORK,  /* one was asked for */
    CSB_NOTICE_FATAL, /* a call that ends the run; it has no answer yet */
};

/* Takes the listener, and has whoever asks wake the host at once. */
void csb_notify_take(struct csb_notify *notify, int listener, unsigned filter);

/* Answers one thread that asks.  cell and init: pidfds of the run; guest:
 * whether what asks is a guest, and not a cell that tries its own locks.
 * Returns enum csb_notice, or -errno if /proc does not tell. */
int csb_notify_answer(struct csb_notify *notify, int cell, int init, int guest,
                      int64_t now);

void csb_notify_end(struct csb_notify *notify);

#endif
