/* What the kernel says of this cell.  Its /proc/PID/status is opened while
 * that can be done, and read when all is locked: the kernel makes the text at
 * that moment. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../common/fdio.h"

int
csb_receipt_open(const struct csb_cell *cell)
{
    /* Before the nested user namespace: of the one in which a file is opened
     * are the ids in it. */
    cell->readback->status =
        openat(cell->proc, "self/status", O_RDONLY | O_CLOEXEC);
    return cell->readback->status < 0 ? -errno : 0;
}

static int
read_limits(uint64_t *ret_limits)
{
    static const int resources[] = {
#define X(name) RLIMIT_##name,
        CSB_RECEIPT_LIMITS(X)
#undef X
    };
    for (int i = 0; i < CSB_LIMIT_COUNT; i++) {
        struct rlimit limit;
        if (getrlimit(resources[i], &limit) < 0) {
            return -errno;
        }
        ret_limits[i] =
            limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max;
    }
    return 0;
}

/* Devices may be written to, but for this one, which only Landlock says.  It
 * may be missing where there is no view. */
static uint32_t
landlock_answers(void)
{
    int fd = open("/dev/zero", O_WRONLY | O_CLOEXEC);
    uint32_t refused = fd < 0;
    csb_close(&fd);
    return refused;
}

/* The zygote has looked at all, and a look costs 10 us: what is left is to see
 * those that the steps before have changed. */
static void
look_at_new(const struct csb_cell *cell, uint64_t *ret_namespaces)
{
    static const enum csb_namespace changed[] = {CSB_NS_user, CSB_NS_mnt,
                                                 CSB_NS_pid};
    if (csb_plan_is_bare(cell->plan)) {
        return;
    }
    for (unsigned i = 0; i < sizeof changed / sizeof *changed; i++) {
        ret_namespaces[changed[i]] =
            csb_receipt_namespace(cell->proc, changed[i]);
    }
    if (cell->plan->several) {
        ret_namespaces[CSB_NS_net] =
            csb_receipt_namespace(cell->proc, CSB_NS_net);
    }
}

int
csb_receipt_take(const struct csb_cell *cell)
{
    struct csb_receipt *receipt = &cell->readback->receipt;

    *receipt = *cell->inherited;
    receipt->filters_before = receipt->filters;
    look_at_new(cell, receipt->namespaces);
    receipt->landlock = landlock_answers();
    /* That to which the host listens; the one that decides comes beside it. */
    receipt->filters_before += *cell->listened ? 1 : 0;
    return read_limits(receipt->limits);
}

int
csb_receipt_finish(struct csb_readback *readback)
{
    int fd = CSB_CELL_STATUS;
    int result = csb_receipt_read(fd, &readback->receipt);
    csb_close(&fd);
    return result;
}
