/* What a process inherits beside memory and descriptors. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

int
csb_session_start(const struct csb_cell *cell)
{
    sigset_t none;

    (void)umask(022); /* cannot fail */
    /* The files in /proc belong to a process that is dumpable, which the
     * last steps undo. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return -errno;
    }
    /* When memory runs out, the guests go before their host does.  Refused
     * where /proc is read-only, and then as the host is. */
    (void)csb_procfile_write(cell, "self/oom_score_adj", "1000");
    /* A session of its own: kill(0) signals the process group, and an
     * inherited one reaches across PID namespaces. */
    if (setsid() < 0) {
        return -errno;
    }
    (void)sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}
