/* Landlock: the same view as the mount namespace gives, enforced a second
 * time and independently: reading in the view, everything in /tmp, devices
 * written, no TCP, no signal or abstract socket beyond the cell. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"

#define READ_RIGHTS                                                           \
    (CSB_LANDLOCK_FS_EXECUTE | CSB_LANDLOCK_FS_READ_FILE |                    \
     CSB_LANDLOCK_FS_READ_DIR)
#define FILE_RIGHTS (CSB_LANDLOCK_FS_READ_FILE | CSB_LANDLOCK_FS_WRITE_FILE)
/* Not in /tmp either: nodes of devices. */
#define NEVER (CSB_LANDLOCK_FS_MAKE_CHAR | CSB_LANDLOCK_FS_MAKE_BLOCK)

static void
handled(int abi, struct csb_landlock_ruleset *ret_ruleset)
{
    *ret_ruleset = (struct csb_landlock_ruleset){
        .handled_fs = CSB_LANDLOCK_FS_ABI1,
    };
    if (abi >= 2) {
        ret_ruleset->handled_fs |= CSB_LANDLOCK_FS_REFER;
    }
    if (abi >= 3) {
        ret_ruleset->handled_fs |= CSB_LANDLOCK_FS_TRUNCATE;
    }
    if (abi >= 4) {
        ret_ruleset->handled_net = CSB_LANDLOCK_NET_ALL;
    }
    if (abi >= 5) {
        ret_ruleset->handled_fs |= CSB_LANDLOCK_FS_IOCTL_DEV;
    }
    if (abi >= 6) {
        ret_ruleset->scoped = CSB_LANDLOCK_SCOPE_ALL;
    }
}

static int
allow(int ruleset, int path, unsigned long long rights)
{
    const struct csb_landlock_path rule = {.allowed = rights, .fd = path};
    return syscall(SYS_landlock_add_rule, ruleset, CSB_LANDLOCK_PATH, &rule,
                   0) < 0
               ? -errno
               : 0;
}

static int
allow_inherited(const struct csb_landlock_paths *paths, int ruleset)
{
    for (unsigned i = 0; i < paths->count; i++) {
        int result =
            allow(ruleset, paths->path[i].fd,
                  paths->path[i].writable ? FILE_RIGHTS : READ_RIGHTS);
        if (result == -EINVAL && !paths->path[i].writable) {
            /* A file has no right to list it. */
            result = allow(ruleset, paths->path[i].fd,
                           READ_RIGHTS & ~CSB_LANDLOCK_FS_READ_DIR);
        }
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int
allow_path(int ruleset, const char *path, unsigned long long rights)
{
    __attribute__((cleanup(csb_close))) int fd =
        open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : allow(ruleset, fd, rights);
}

/* Sockets that have a name are for talking to other processes. */
static int
allow_scratch(const struct csb_cell *cell, int ruleset,
              unsigned long long rights)
{
    int several = (int)cell->plan->several;
    const char *path = CSB_SCRATCH;

    rights &= ~NEVER;
    if (!several) {
        rights &= ~CSB_LANDLOCK_FS_MAKE_SOCK;
    }
    if (csb_plan_is_bare(cell->plan)) {
        path = cell->directory;
        if (*path == '\0') {
            return 0;
        }
    }
    int result = allow_path(ruleset, path, rights);
    return result == 0 && several ? allow_path(ruleset, CSB_SHM, rights)
                                  : result;
}

int
csb_landlock_apply(const struct csb_cell *cell)
{
    struct csb_landlock_ruleset rules;
    if (cell->paths->abi < 1) {
        return -ENOSYS;
    }
    handled(cell->paths->abi, &rules);
    __attribute__((cleanup(csb_close))) int ruleset =
        (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
    if (ruleset < 0) {
        return -errno;
    }
    int result = allow_inherited(cell->paths, ruleset);
    if (result == 0 && cell->limits->scratch != 0) {
        result = allow_scratch(cell, ruleset, rules.handled_fs);
    }
    if (result == 0 && (cell->plan->mechanisms & CSB_MECH_VIEW) != 0) {
        /* In the private root all there is may be listed. */
        result = allow_path(ruleset, "/", CSB_LANDLOCK_FS_READ_DIR);
    }
    if (result < 0) {
        return result;
    }
    return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}
