/* Who the zygote is, and what it may do in its user namespace. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* To make namespaces and mounts; and to enter a PID namespace by the pidfd of
 * an init that shares our memory, which is not dumpable. */
static const uint32_t needed = 1u << CAP_SYS_ADMIN | 1u << CAP_SYS_PTRACE;

static int
keep_needed(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    const struct __user_cap_data_struct data[2] = {
        {.effective = needed, .permitted = needed},
    };
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int
csb_identity_become(const struct csb_plan *plan)
{
    if (plan->uid == 0) {
        return 0;
    }
    /* Capabilities are needed to build the view as the new user. */
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
        setresgid(plan->uid, plan->uid, plan->uid) < 0 ||
        setresuid(plan->uid, plan->uid, plan->uid) < 0) {
        return -errno;
    }
    return keep_needed();
}

int
csb_identity_drop(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) {
        return -errno;
    }
    return keep_needed();
}
