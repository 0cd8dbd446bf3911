/* A mount namespace of the cell's own, with its private /tmp. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "../common/place.h"

#define COVERED_MAX 32

int
csb_mounts_unshare(const struct csb_cell *cell)
{
    int flags = CLONE_NEWNS | CLONE_NEWIPC;
    /* Names of sockets that lie in no directory belong to a network. */
    if (cell->plan->several) {
        flags |= CLONE_NEWNET;
    }
    return unshare(flags) < 0 ? -errno : 0;
}

static int
attach(int tree, const char *target)
{
    return syscall(SYS_move_mount, tree, "", AT_FDCWD, target,
                   MOVE_MOUNT_F_EMPTY_PATH) < 0
               ? -errno
               : 0;
}

static int
attach_clone(const char *source, const char *target)
{
    __attribute__((cleanup(csb_close))) int tree = -1;
    int result = csb_place_clone(source, &tree);
    return result < 0 ? result : attach(tree, target);
}

/* Two directories of the one file system, which is itself covered then. */
static int
mount_in_two_places(void)
{
    if (mkdir(CSB_SCRATCH "/shm", 0700) < 0 ||
        mkdir(CSB_SCRATCH "/tmp", 0700) < 0) {
        return -errno;
    }
    int result = attach_clone(CSB_SCRATCH "/shm", CSB_SHM);
    return result < 0 ? result : attach_clone(CSB_SCRATCH "/tmp", CSB_SCRATCH);
}

static int
mount_scratch(const struct csb_cell *cell)
{
    int result = attach(cell->scratch, CSB_SCRATCH);
    if (result == 0 && cell->plan->several) {
        result = mount_in_two_places();
    }
    if (result < 0) {
        return result;
    }
    return chdir(CSB_SCRATCH) < 0 ? -errno : 0;
}

/* Trees of the view that the scratch space is going to cover, as when the
 * environment lies in /tmp itself: kept aside, then placed in it again. */
struct covered {
    unsigned count;
    const char *target[COVERED_MAX]; /* below CSB_SCRATCH, from its '/' on */
    int tree[COVERED_MAX];
};

static int
keep_covered(const struct csb_plan *plan, struct covered *covered)
{
    const struct csb_view_entry *view = csb_plan_view(plan);
    if ((plan->mechanisms & CSB_MECH_VIEW) == 0) {
        return 0;
    }
    for (uint32_t i = 0; i < plan->view_count; i++) {
        const char *target = csb_plan_string(plan, view[i].target_at);
        if (view[i].kind != CSB_VIEW_TREE ||
            strncmp(target, CSB_SCRATCH "/", sizeof CSB_SCRATCH) != 0) {
            continue;
        }
        if (covered->count == COVERED_MAX) {
            return -E2BIG;
        }
        int result = csb_place_clone(target, &covered->tree[covered->count]);
        if (result < 0) {
            return result;
        }
        covered->target[covered->count++] = target + sizeof CSB_SCRATCH - 1;
    }
    return 0;
}

static int
place_covered(struct covered *covered)
{
    int result = 0;
    for (unsigned i = 0; i < covered->count && result == 0; i++) {
        result = csb_place_parents(AT_FDCWD, covered->target[i]);
        if (result == 0) {
            result = csb_place_attach(AT_FDCWD, covered->tree[i],
                                      covered->target[i]);
        }
        csb_close(&covered->tree[i]);
    }
    return result; /* on failure the process ends, and closes the rest */
}

int
csb_mounts_scratch(const struct csb_cell *cell)
{
    struct covered covered = {.count = 0};
    if (cell->limits->scratch == 0) {
        return chdir(CSB_SCRATCH) < 0 ? -errno : 0;
    }
    int result = keep_covered(cell->plan, &covered);
    if (result == 0) {
        result = mount_scratch(cell);
    }
    return result < 0 ? result : place_covered(&covered);
}
