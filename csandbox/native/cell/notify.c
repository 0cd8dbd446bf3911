/* A filter that hands to the host what it shall know or decide: denied calls
 * that matter, and forks of runs that may have them.  It is another than that
 * of seccomp.c, which then lets those pass, as only one that is loaded with
 * seccomp(2) can be listened to, and its descriptor is sent by calls that the
 * other refuses.  Of their answers the kernel takes the more severe: a call
 * that both name needs the host, and if nobody listens it is ENOSYS. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"

static int
load(struct sock_fprog *filter, unsigned flags)
{
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, filter);
}

/* A signal that comes while the host looks must not make fork() fail with
 * EINTR, which it never does elsewhere.  Before Linux 5.19 it may. */
static int
listen_to(struct sock_fprog *filter)
{
    int listener = load(filter, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    return listener < 0 && errno == EINVAL ? load(filter, 0) : listener;
}

/* Linux before 5.0, a filter around us that has the one listener there can
 * be, or that refuses it. */
static int
is_absence(int error)
{
    return error == EINVAL || error == EBUSY || error == EPERM ||
           error == EACCES || error == ENOSYS;
}

int
csb_notify_begin(const struct csb_cell *cell)
{
    const struct csb_plan *plan = cell->plan;
    const struct csb_status status = {
        .kind = CSB_STATUS_LISTENER,
        .filter = plan->filter_flags,
    };
    struct sock_fprog filter = {
        .len = (unsigned short)plan->listener_count,
        .filter = (struct sock_filter *)csb_plan_listener(plan),
    };
    int result = csb_seccomp_name_oneself(cell);
    if (result < 0) {
        return result;
    }
    __attribute__((cleanup(csb_close))) int listener = listen_to(&filter);
    if (listener < 0) {
        /* Without it denials go untold; but forks would go uncounted. */
        return is_absence(errno) && !plan->several ? 0 : -errno;
    }
    *cell->listened = 1;
    return csb_send(cell->status, &status, sizeof status, &listener, 1);
}
