/* A stand-in: the thread that supervises a run while the caller's is in a
 * function of the host (a sink, a signal handler), which may take as long as
 * it likes, or waits for the GIL.
 *
 * It is started at the first such call and parked between them.  Knows
 * nothing of Python, and no signal is handled on it. */
#ifndef CSB_RELIEF_H
#define CSB_RELIEF_H

#include <pthread.h>
#include <sys/types.h>

struct csb_watch;

enum csb_duty {
    CSB_DUTY_NONE,    /* the caller supervises */
    CSB_DUTY_OFFERED, /* so it still does, if it comes back before ... */
    CSB_DUTY_TAKEN,   /* ... the stand-in supervises */
    CSB_DUTY_QUIT,
};

/* All zero: no thread has been needed yet. */
struct csb_relief {
    struct csb_watch *watch;
    pid_t owner; /* of the thread: a fork does not have it; 0: no thread */
    pthread_t thread;
    pthread_mutex_t lock; /* of duty */
    pthread_cond_t changed;
    enum csb_duty duty;
};

/* From now on the stand-in drives the watch, and the caller must leave it
 * alone.  If there is no thread to be had, nobody does until the caller is
 * back. */
void csb_relief_begin(struct csb_relief *relief, struct csb_watch *watch);

/* Waits until the stand-in has stepped back, if it was called.  In a fork of
 * the host, where there is none, only the watch is the caller's again. */
void csb_relief_end(struct csb_relief *relief);

/* Ends the thread, if there is one; not between begin and end. */
void csb_relief_close(struct csb_relief *relief);

#endif
