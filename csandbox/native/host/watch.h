/* The supervision of one run: a state machine over poll().
 *
 * The only judge of why a run ended.  Knows nothing of Python's objects, needs
 * no GIL; one thread at a time drives it.  Whoever drives it decides where: a
 * blocking call lets csb_watch_next() wait. */
#ifndef CSB_WATCH_H
#define CSB_WATCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../common/frames.h"
#include "cgroup.h"
#include "meter.h"
#include "notify.h"
#include "receipt.h"

enum csb_ending {
    CSB_ENDING_NONE,      /* still running */
    CSB_ENDING_SETUP,     /* the cell never became ready: see report */
    CSB_ENDING_FRAME,     /* it sent one whole frame */
    CSB_ENDING_EXITED,    /* it exited without one: see exit */
    CSB_ENDING_SIGNALLED, /* a signal killed it, not ours: see exit */
    CSB_ENDING_OOM,       /* the kernel's OOM killer killed it */
    CSB_ENDING_TIMEOUT,   /* killed at the deadline */
    CSB_ENDING_CPU,       /* killed: it has used its time of processors */
    CSB_ENDING_MEMORY,    /* killed: it holds too much memory */
    CSB_ENDING_PROCESSES, /* killed: more dead ones than can be looked at */
    CSB_ENDING_SCRATCH,   /* killed: its directory holds too much */
    CSB_ENDING_THREADS,   /* killed: it has too many threads */
    CSB_ENDING_OUTPUT,    /* killed: it wrote too much to a stream */
    CSB_ENDING_CANCELLED, /* killed on request */
    CSB_ENDING_TOO_BIG,   /* killed: it announced too long a result */
    CSB_ENDING_MALFORMED, /* killed: what it sent is no frame */
    CSB_ENDING_LOST,      /* the zygote died, and the cell with it */
    CSB_ENDING_DENIED,    /* killed: by a call that no honest program makes */
    CSB_ENDING_UNSEALED,  /* its result is in a store that may still change */
};

enum csb_news {
    CSB_NEWS_DONE,        /* it is over, nothing of it is left */
    CSB_NEWS_OUTPUT,      /* there is output to pass on */
    CSB_NEWS_INTERRUPTED, /* look whether a signal has come */
    CSB_NEWS_RELIEVED,    /* the caller takes over from its stand-in */
};

/* ns; a signal may come just before ppoll(), or to another thread. */
#define CSB_SIGNAL_PERIOD 100000000ll

/* Bytes that a pipe holds. */
#define CSB_CHUNK (64 * 1024)

/* One of the guest's streams. */
struct csb_stream {
    int fd;
    char *data; /* malloc'd */
    size_t size;
    size_t room;
    uint64_t kept;  /* bytes that were put in data, ever */
    uint64_t total; /* bytes that the guest wrote */
};

/* Bytes to send. */
struct csb_outlet {
    int fd;
    const char *data;
    size_t size;
    size_t sent;
    int stays_open; /* when all is sent */
};

struct csb_watch {
    /* Set by the caller. */
    int status;      /* of frames.h; owned, like all below */
    uint64_t socket; /* csb_inode() of it */
    int result;
    int wake;                     /* eventfd: cancel */
    struct csb_stream streams[2]; /* stdout, stderr */
    struct csb_outlet job;        /* frame and pickle, sent after READY */
    int store;                    /* memfd for a large result */
    size_t store_size;
    int inputs;                   /* memfd for large inputs, until it has
                                     them; -1: the cell has none, or all */
    struct csb_outlet input;      /* stdin */
    size_t output_limit;          /* bytes kept of each stream */
    int output_kills;             /* more than that end the run */
    size_t result_limit;          /* bytes of a result */
    struct csb_expected expected; /* of the cell, when it is ready */
    int64_t timeout;              /* ns from READY */
    int64_t deadline;             /* ns on CLOCK_MONOTONIC; first: set-up's */
    int64_t signal_check; /* ns; by then the caller must look for signals, 0:
                             it has no need to */
    int streaming;        /* output is passed on, not collected */
    int hurried;          /* a value is enough: its end need not be awaited */
    int64_t lull;         /* the streams are left alone until then, ns on
                             CLOCK_MONOTONIC; 0: they are not */
    int64_t held; /* since when there is output to be passed on, the same;
                     0: there is none */
    /* Called once: while the cell is at its job, if that takes long; else
     * when it is over. */
    void (*on_work)(struct csb_watch *watch, int over);
    /* Of relief.c. */
    int relief;     /* eventfd: the caller is back; -1: not needed yet */
    int unattended; /* the stand-in drives: it takes no output, and signals
                       are not its business */
    /* The state. */
    struct csb_notify notify;
    struct csb_meter meter;   /* its limits are set by the caller */
    int init;                 /* pidfd, -1 until SPAWNED */
    int cell;                 /* pidfd, the same */
    int scratch;              /* the mount of its /tmp, the same */
    pid_t pid;                /* of a bare cell; 0 until SPAWNED */
    struct csb_cgroup cgroup; /* its leaf, if it has one */
    struct csb_spot spot;     /* its directory, if it has one */
    enum csb_ending ending;
    int ready;             /* READY has come */
    int reserving;         /* reserve_to is set, once */
    uint64_t reserve_from; /* what is still to be reserved of the store */
    uint64_t reserve_to;
    int sealed; /* 1: the store; 0: not tried; -1: not while it lives */
    int exited; /* the exit status has come, or never will */
    int over;   /* it is judged, and nothing of it is left */
    int silent; /* ... never: the kernel takes long over what is left */
    int killed;
    struct csb_report report;
    size_t report_got;
    struct csb_frame frame;
    size_t frame_got;
    char *payload; /* malloc'd, frame.length bytes, if that is inline */
    size_t payload_got;
    struct csb_status exit;
    int64_t started;  /* when READY came, ns on CLOCK_MONOTONIC */
    int64_t finished; /* when the ending was decided */
};

int64_t csb_watch_clock(void);

/* Waits for something that the caller must know.  Output is in streams[].data
 * (size bytes), to be taken before the next call when streaming.  Unattended
 * it returns only when it is over or relieved.  After CSB_NEWS_DONE it may be
 * called again. */
enum csb_news csb_watch_next(struct csb_watch *watch);

/* Takes in what has come so far, without waiting.  Whether a cell that has no
 * job yet is alive, or in the making. */
int csb_watch_peek(struct csb_watch *watch);

/* From now on the run's time counts, of a cell that is ready. */
void csb_watch_begin(struct csb_watch *watch);

/* Decides the ending, unless it is decided, and kills the run; then
 * csb_watch_next() must be called until CSB_NEWS_DONE. */
void csb_watch_end(struct csb_watch *watch, enum csb_ending ending);

/* Kills the run if it is alive, closes and frees everything. */
void csb_watch_close(struct csb_watch *watch);

#endif
