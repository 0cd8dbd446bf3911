/* Descriptors on what Landlock shall allow in every cell. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/missing.h"

static int
find_abi(struct csb_landlock_paths *paths)
{
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, 0, CSB_LANDLOCK_VERSION);
    if (abi < 0) {
        return -errno;
    }
    paths->abi =
        abi < CSB_LANDLOCK_ABI_KNOWN ? (int)abi : CSB_LANDLOCK_ABI_KNOWN;
    return 0;
}

static int
open_path(const char *path, int writable, struct csb_landlock_paths *paths)
{
    if (paths->count == CSB_LANDLOCK_PATHS_MAX) {
        return -E2BIG;
    }
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    paths->path[paths->count].fd = fd;
    paths->path[paths->count].writable = writable;
    paths->count++;
    return 0;
}

/* Not /dev/zero: mapped as shared it is anonymous memory, which the filter
 * refuses. */
static int
is_writable(const struct csb_view_entry *entry, const char *target)
{
    return entry->kind == CSB_VIEW_DEVICE && strcmp(target, "/dev/zero") != 0;
}

int
csb_paths_open(const struct csb_plan *plan,
               struct csb_landlock_paths *ret_paths,
               struct csb_report *ret_report)
{
    const struct csb_view_entry *view = csb_plan_view(plan);
    int result = 0;

    if ((plan->mechanisms & CSB_MECH_LANDLOCK) == 0) {
        return 0;
    }
    result = csb_plan_fault(plan, CSB_STEP_LANDLOCK_PATHS);
    if (result == 0) {
        result = find_abi(ret_paths);
    }
    const char *target = NULL;
    for (uint32_t i = 0; i < plan->view_count && result == 0; i++) {
        if (view[i].kind != CSB_VIEW_TREE && view[i].kind != CSB_VIEW_DEVICE) {
            continue;
        }
        target = csb_plan_string(plan, view[i].target_at);
        result = open_path(target, is_writable(&view[i], target), ret_paths);
    }
    if (result < 0) {
        csb_report_fill(CSB_STEP_LANDLOCK_PATHS, -result, 0, target,
                        ret_report);
    }
    return result;
}
