/* What a cell without namespaces does in their stead: it ends with its zygote,
 * works in a directory that the host has made for it, and becomes a user of
 * its own where it can. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int
csb_bare_start(const struct csb_cell *cell)
{
    (void)cell;
    return chdir("/") < 0 ? -errno : 0;
}

static int
become_user(const struct csb_cell *cell)
{
    gid_t id = cell->uid;
    if (id == 0) {
        return 0;
    }
    /* The real id last: it takes the capabilities along. */
    if (setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 ||
        setresuid(id, id, id) < 0) {
        return -errno;
    }
    return 0;
}

/* With no_new_privs there is no way to a capability of the bounding set, which
 * only CAP_SETPCAP could empty. */
static int
drop_all_caps(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    const struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        return -errno;
    }
    return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* After the change of user, which clears it. */
static int
die_with_zygote(const struct csb_cell *cell)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) {
        return -errno;
    }
    return getppid() == cell->zygote ? 0 : -ESRCH; /* it died before */
}

/* The directory is the new user's alone: entered as that. */
static int
enter_directory(const struct csb_cell *cell)
{
    char path[CSB_DIRECTORY_ROOM + sizeof CSB_SCRATCH];
    if (*cell->directory == '\0') {
        return 0;
    }
    (void)stpcpy(stpcpy(path, cell->directory), CSB_SCRATCH);
    return chdir(path) < 0 ? -errno : 0;
}

int
csb_bare_become(const struct csb_cell *cell)
{
    int result = become_user(cell);
    if (result == 0) {
        result = drop_all_caps();
    }
    if (result == 0) {
        result = die_with_zygote(cell);
    }
    return result < 0 ? result : enter_directory(cell);
}
