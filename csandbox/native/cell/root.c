/* A root directory with nothing in it, for cells without namespaces that only
 * compute.  The filter refuses all that could look for a name there: this is
 * for the day on which it does not, and only where the zygote was given the
 * capability.  The plan promises it nowhere. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/rawcall.h"

/* No directory is empty for certain, and stays it, but one of a process that
 * has ended.  So a child that shares root and working directory makes one of
 * its own both, and ends. */
__attribute__((noreturn)) static void
be_the_child(void)
{
    if (chroot("/proc/self/fdinfo") == 0) {
        (void)chdir("/"); /* or it would lead out; the parent looks */
    }
    _exit(0);
}

static int
may_chroot(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct held[2];
    return syscall(SYS_capget, &header, held) == 0 &&
           (held[0].effective & 1u << CAP_SYS_CHROOT) != 0;
}

/* Whether a name leads out of a root directory that cannot be looked at. */
static int
leads_out(void)
{
    return access("/", F_OK) < 0 && access(".", F_OK) == 0;
}

int
csb_root_empty(const struct csb_cell *cell)
{
    if (!csb_plan_is_bare(cell->plan) || !cell->plan->compute ||
        !may_chroot()) {
        return 0;
    }
    /* A raw call, as Python shall not take the child for one of its own. */
    long child = csb_raw(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        be_the_child();
    }
    if (child < 0) {
        return (int)child;
    }
    while (waitpid((pid_t)child, NULL, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return leads_out() ? -EXDEV : 0;
}
