/* A zygote without namespaces, an ordinary child of its host. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* To give each cell a user id of its own, and to kill it then; and a root
 * directory with nothing in it, if it needs none. */
static const uint32_t useful = 1u << CAP_SETUID | 1u << CAP_SETGID |
                               1u << CAP_KILL | 1u << CAP_SYS_CHROOT;

int
csb_bare_check(const struct csb_plan *plan, struct csb_report *ret_report)
{
    int result = 0;
    if (plan->several) {
        /* Their processes could outlive the run. */
        csb_report_fill(CSB_STEP_PID_NAMESPACE, EPERM, 0, NULL, ret_report);
        result = -EPERM;
    } else if ((plan->mechanisms & CSB_MECH_LANDLOCK) == 0 && !plan->compute) {
        csb_report_fill(CSB_STEP_LANDLOCK_PATHS, ENOSYS, 0, NULL, ret_report);
        result = -ENOSYS;
    } else if ((plan->mechanisms & CSB_MECH_SECCOMP) == 0) {
        csb_report_fill(CSB_STEP_SECCOMP, ENOSYS, 0, NULL, ret_report);
        result = -ENOSYS;
    }
    return result;
}

int
csb_bare_drop(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct held[2];

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capget, &header, held) < 0) {
        return -errno;
    }
    const uint32_t kept = held[0].permitted & useful;
    const struct __user_cap_data_struct data[2] = {
        {.effective = kept, .permitted = kept},
    };
    if (syscall(SYS_capset, &header, data) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return -errno;
    }
    return 0;
}
