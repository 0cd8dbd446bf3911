/* What travels between host, zygote and cell, and on which descriptor.
 *
 * host -> zygote   control socket (SEQPACKET): one csb_request per run, with
 *                  the run's descriptors (enum csb_run_fd) attached
 * zygote -> host   status socket of the run (SEQPACKET): csb_status records;
 *                  its end is closed by the host to give the run up
 * cell -> host     result pipe: one csb_report, then one csb_frame + payload
 * host -> cell     job pipe: one csb_frame + payload, after READY only */
#ifndef CSB_FRAMES_H
#define CSB_FRAMES_H

#include <stdint.h>
#include <sys/resource.h>

#include "report.h"

#define CSB_REQUEST_MAGIC 0x51425343u /* "CSBQ" */
#define CSB_FRAME_MAGIC 0x46425343u   /* "CSBF" */

enum csb_run_fd {
    CSB_FD_STDIN,
    CSB_FD_STDOUT,
    CSB_FD_STDERR,
    CSB_FD_JOB,
    CSB_FD_RESULT,
    CSB_FD_STATUS, /* stays with the zygote */
    CSB_FD_COUNT,
};

/* Descriptors in the zygote after exec, and in a cell. */
#define CSB_ZYGOTE_CONTROL 3
#define CSB_ZYGOTE_HOST 4 /* pidfd of the host */

struct csb_request {
    uint32_t magic;
    uint32_t reserved;
};

enum csb_status_kind {
    CSB_STATUS_SPAWNED = 1, /* the init's pidfd is attached */
    CSB_STATUS_EXITED,      /* wait_status and usage of the cell */
    CSB_STATUS_FAILED,      /* report: the cell was never forked */
};

struct csb_status {
    uint32_t kind; /* enum csb_status_kind */
    int32_t wait_status;
    int64_t user_usec, system_usec;
    int64_t peak_kib;
    struct csb_report report;
};

enum csb_frame_kind {
    CSB_FRAME_JOB = 1,
    CSB_FRAME_VALUE,       /* pickle of the value */
    CSB_FRAME_ERROR,       /* pickle of a dict of text about an exception */
    CSB_FRAME_UNSUPPORTED, /* pickle of a dict of text: it cannot cross */
};

struct csb_frame {
    uint32_t magic;
    uint32_t kind;
    uint64_t length; /* bytes of payload that follow */
};

#endif
