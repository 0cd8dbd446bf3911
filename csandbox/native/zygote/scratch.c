/* The scratch space of a cell: a tmpfs that the zygote makes and does not
 * mount, so that the host can be given it too, to see how full it is. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/digits.h"
#include "../common/fdio.h"
#include "../common/missing.h"

static int
set(int context, const char *name, const char *value)
{
    return (int)syscall(SYS_fsconfig, context, CSB_FSCONFIG_SET_STRING, name,
                        value, 0);
}

static int
set_number(int context, const char *name, uint64_t number)
{
    char digits[24];
    (void)csb_digits_append(digits, "", number);
    return set(context, name, digits);
}

int
csb_scratch_make(const struct csb_limits *limits, int *ret_mount)
{
    __attribute__((cleanup(csb_close))) int context =
        (int)syscall(SYS_fsopen, "tmpfs", CSB_FSOPEN_CLOEXEC);
    if (context < 0 || set(context, "source", "scratch") < 0 ||
        set_number(context, "size", limits->scratch) < 0 ||
        set_number(context, "nr_inodes", limits->scratch_inodes) < 0 ||
        set(context, "mode", "700") < 0 ||
        syscall(SYS_fsconfig, context, CSB_FSCONFIG_CREATE, NULL, NULL, 0) <
            0) {
        return -errno;
    }
    /* Not noexec: what is written there may be mapped as code, which the
     * guest can do with any memory. */
    *ret_mount = (int)syscall(SYS_fsmount, context, CSB_FSMOUNT_CLOEXEC,
                              MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return *ret_mount < 0 ? -errno : 0;
}
