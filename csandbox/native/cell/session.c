/* What a process inherits beside memory and descriptors. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

int
csb_session_start(const struct csb_cell *cell)
{
    sigset_t none;

    (void)cell;
    (void)umask(022); /* cannot fail */
    /* A session of its own: kill(0) signals the process group, and an
     * inherited one reaches across PID namespaces. */
    if (setsid() < 0) {
        return -errno;
    }
    (void)sigemptyset(&none);
    return sigprocmask(SIG_SETMASK, &none, NULL) < 0 ? -errno : 0;
}
