/* What travels between host, zygote and cell, and on which descriptor.
 *
 * zygote -> host   control socket (SEQPACKET): one csb_report, CSB_STEP_BOOT
 *                  with errno 0, as soon as it runs; a second one when the
 *                  template is ready or could not be made
 *                  the host closes its end, or shuts its side of it, to give
 *                  the run up
 * host -> zygote   control socket: one byte once its ids are mapped and its
 *                  plan is complete and sealed; then one
 *                  csb_request per run, with the run's descriptors (enum
 *                  csb_run_fd) attached; or in its place a nudge
 *                  (CSB_NUDGE_MAGIC), without any: there are requests in
 *                  status sockets that are wanted now
 * zygote -> host   status socket of the run (SEQPACKET): csb_status records;
 *                  closed when the run is over
 * host -> zygote   status socket of a run whose frame is here: a csb_request
 *                  for the next, as above, which the zygote takes when that
 *                  run is reaped, or at a nudge.  EPIPE, ECONNRESET: it was
 *                  reaped before; ask on the control socket
 * cell -> host     result pipe: one csb_report, then one csb_frame + payload
 * host -> cell     job pipe: one csb_frame + payload, after READY only; then a
 *                  byte when the store is reserved, if the cell asks for it
 * cell -> host     store: a memfd of the host's, of fixed size, which the cell
 *                  writes a large result to
 * host -> cell     inputs: a sealed memfd of the host's, if there are any
 * host -> cell     cgroup: where to enter the run's leaf, if there is one */
#ifndef CSB_FRAMES_H
#define CSB_FRAMES_H

#include <stdint.h>

#include "report.h"

#define CSB_DIRECTORY_ROOM 256

#define CSB_REQUEST_MAGIC 0x51425343u /* "CSBQ" */
#define CSB_FRAME_MAGIC 0x46425343u   /* "CSBF" */
/* In the place of a request: there may be one in the socket of a run. */
#define CSB_NUDGE_MAGIC 0x4e425343u /* "CSBN" */

enum csb_run_fd {
    CSB_FD_STDIN,
    CSB_FD_STDOUT,
    CSB_FD_STDERR,
    CSB_FD_JOB,
    CSB_FD_RESULT,
    CSB_FD_STORE,
    CSB_FD_STATUS,   /* stays with the zygote */
    CSB_FD_OPTIONAL, /* from here on they may be missing */
    CSB_FD_INPUTS = CSB_FD_OPTIONAL,
    CSB_FD_CGROUP, /* cgroup.procs of its leaf; the cell enters and closes it
                    */
    CSB_FD_COUNT,
};

/* Descriptors that come with the news of a cell. */
enum csb_spawned_fd {
    CSB_SPAWNED_INIT,    /* pidfd */
    CSB_SPAWNED_CELL,    /* pidfd; a bare one comes twice, or not at all */
    CSB_SPAWNED_SCRATCH, /* the mount of /tmp; missing if it has no room */
    CSB_SPAWNED_COUNT,
};

/* Descriptors in the zygote after exec: 0 and 1 are /dev/null, 2 is a pipe to
 * the host until READY, then /dev/null. */
#define CSB_ZYGOTE_CONTROL 3
#define CSB_ZYGOTE_HOST 4 /* pidfd of the host */
#define CSB_ZYGOTE_PLAN 5
#define CSB_ZYGOTE_FDS 6 /* how many there are */

/* Descriptors in a cell, beside 0 to 2. */
#define CSB_CELL_RESULT 3
#define CSB_CELL_JOB 4
#define CSB_CELL_STORE 5
#define CSB_CELL_INPUTS 6 /* closed when there are none */
#define CSB_CELL_STATUS 7 /* its own in /proc; closed before READY */

/* What one run may use; no zero means "unlimited".  Without room for scratch
 * files /tmp is what the view has there, empty and read-only. */
struct csb_limits {
    uint64_t memory;         /* bytes a cell may add to what it inherits */
    uint64_t scratch;        /* bytes of /tmp */
    uint64_t scratch_inodes; /* files of /tmp */
    uint64_t mapped;         /* bytes of inputs and result that it may map */
    uint32_t threads;        /* threads beside the first */
    uint32_t processes;      /* child processes at a time */
    uint32_t descriptors;    /* RLIMIT_NOFILE */
    uint32_t cpu_seconds;    /* RLIMIT_CPU */
};

struct csb_request {
    uint32_t magic;    /* CSB_REQUEST_MAGIC */
    uint32_t attached; /* which optional descriptors are: 1 << enum
                          csb_run_fd */
    struct csb_limits limits;
    /* Of bare cells. */
    uint32_t uid; /* user and group of its own; 0: none */
    char directory[CSB_DIRECTORY_ROOM]; /* what it finds as /tmp; "": none */
};

enum csb_status_kind {
    CSB_STATUS_SPAWNED = 1, /* with enum csb_spawned_fd; inherited.  Of a
                               bare cell with its pidfd twice, or none where
                               there is no such thing */
    CSB_STATUS_EXITED,      /* wait_status and usage of the cell */
    CSB_STATUS_FAILED,      /* report: the cell was never forked */
    CSB_STATUS_LISTENER,    /* of the cell: what its calls are told and
                               decided by is attached; filter */
};

struct csb_status {
    uint32_t kind; /* enum csb_status_kind */
    int32_t wait_status;
    int64_t user_usec, system_usec;
    int64_t peak_kib;   /* resident at once, what it inherited included */
    uint64_t inherited; /* bytes of anonymous memory the cell began with */
    uint32_t filter;    /* enum csb_filter_flag of its filters */
    int32_t pid;        /* SPAWNED of a bare cell: as the host sees it, too */
    struct csb_report report;
};

enum csb_frame_kind {
    CSB_FRAME_JOB = 1,
    CSB_FRAME_VALUE,       /* pickle of the value */
    CSB_FRAME_ERROR,       /* pickle of a dict of text about an exception */
    CSB_FRAME_UNSUPPORTED, /* pickle of a dict of text: it cannot cross */
    CSB_FRAME_RESERVE,     /* no payload: length bytes of the store are about
                              to be written, once the host has answered */
};

#define CSB_FRAME_INLINE UINT64_MAX

struct csb_frame {
    uint32_t magic;
    uint32_t kind;
    uint64_t length; /* bytes of payload */
    uint64_t at;     /* where in the store it lies; CSB_FRAME_INLINE: it
                        follows.  Of a value that is stored, arrays may lie
                        anywhere in the store. */
};

#endif
