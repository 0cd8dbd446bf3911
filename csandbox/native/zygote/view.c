/* The view: a private root of read-only mounts of what the plan names.
 *
 * Order.  The sources are cloned first, by whoever may reach them (root, in
 * the case of an installation under a 0700 home); then root becomes an unused
 * user; then the new root is built on a tmpfs, made read-only and pivoted to.
 */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "../common/place.h"

#define HOSTNAME "sandbox"

/* Where the new root is built: directories that every system has.  Only this
 * mount namespace sees it. */
static const char *const workplaces[] = {"/tmp", "/mnt", "/usr", "/"};

static int
fail(struct csb_report *ret_report, enum csb_step step, int error,
     const char *path)
{
    csb_report_fill(step, -error, 0, path, ret_report);
    return error;
}

static int
step(const struct csb_plan *plan, enum csb_step name, int result,
     struct csb_report *ret_report)
{
    if (result == 0) {
        result = csb_plan_fault(plan, name);
    }
    return result < 0 ? fail(ret_report, name, result, NULL) : 0;
}

static int
is_mounted(const struct csb_view_entry *entry)
{
    return entry->kind == CSB_VIEW_TREE || entry->kind == CSB_VIEW_DEVICE;
}

static int
restrict_tree(int tree, uint32_t kind)
{
    struct csb_mount_attr attributes = {
        .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID,
    };
    attributes.attr_set |=
        kind == CSB_VIEW_DEVICE ? MOUNT_ATTR_NOEXEC : MOUNT_ATTR_NODEV;
    return syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
                   &attributes, sizeof attributes) < 0
               ? -errno
               : 0;
}

static int
clone_sources(const struct csb_plan *plan, int *trees,
              struct csb_report *ret_report)
{
    const struct csb_view_entry *entries = csb_plan_view(plan);
    for (uint32_t i = 0; i < plan->view_count; i++) {
        if (!is_mounted(&entries[i])) {
            continue;
        }
        const char *source = csb_plan_string(plan, entries[i].source_at);
        int result = csb_place_clone(source, &trees[i]);
        if (result == 0) {
            result = csb_plan_fault(plan, CSB_STEP_VIEW_SOURCE);
        }
        if (result < 0) {
            return fail(ret_report, CSB_STEP_VIEW_SOURCE, result, source);
        }
        result = csb_plan_fault(plan, CSB_STEP_VIEW_READONLY);
        if (result == 0) {
            result = restrict_tree(trees[i], entries[i].kind);
        }
        if (result < 0) {
            return fail(ret_report, CSB_STEP_VIEW_READONLY, result, source);
        }
    }
    return 0;
}

/* Only over a mounted tree: an empty, read-only directory. */
static int
mask(int root, const char *target)
{
    if (fchdir(root) < 0) {
        return -errno;
    }
    return mount("mask", target + 1, "tmpfs",
                 MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                 "size=4k,nr_inodes=2,mode=755") < 0
               ? -errno
               : 0;
}

static int
place(const struct csb_plan *plan, const struct csb_view_entry *entry,
      int root, int tree)
{
    const char *source = csb_plan_string(plan, entry->source_at);
    const char *target = csb_plan_string(plan, entry->target_at);
    switch (entry->kind) {
    case CSB_VIEW_TREE:
    case CSB_VIEW_DEVICE:
        return csb_place_attach(root, tree, target);
    case CSB_VIEW_SYMLINK:
        return symlinkat(source, root, target + 1) < 0 ? -errno : 0;
    case CSB_VIEW_MASK:
        return mask(root, target);
    case CSB_VIEW_DIRECTORY:
        return csb_place_directory(root, target);
    default:
        return -EINVAL;
    }
}

static int
fill_root(const struct csb_plan *plan, int root, const int *trees,
          struct csb_report *ret_report)
{
    const struct csb_view_entry *entries = csb_plan_view(plan);
    for (uint32_t i = 0; i < plan->view_count; i++) {
        const char *target = csb_plan_string(plan, entries[i].target_at);
        int result = csb_plan_fault(plan, CSB_STEP_VIEW_TARGET);
        if (result == 0 && entries[i].kind != CSB_VIEW_MASK) {
            result = csb_place_parents(root, target);
        }
        if (result < 0) {
            return fail(ret_report, CSB_STEP_VIEW_TARGET, result, target);
        }
        result = csb_plan_fault(plan, CSB_STEP_VIEW_MOUNT);
        if (result == 0) {
            result = place(plan, &entries[i], root, trees[i]);
        }
        if (result < 0) {
            return fail(ret_report, CSB_STEP_VIEW_MOUNT, result, target);
        }
    }
    return 0;
}

static int
mount_root(int *ret_root)
{
    int result = -ENOENT;
    for (size_t i = 0; i < sizeof workplaces / sizeof *workplaces; i++) {
        if (mount("root", workplaces[i], "tmpfs", MS_NOSUID | MS_NODEV,
                  "size=1m,mode=755") < 0) {
            result = -errno;
            continue;
        }
        *ret_root = open(workplaces[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        return *ret_root < 0 ? -errno : 0;
    }
    return result;
}

static int
pivot(int root)
{
    struct csb_mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    if (syscall(SYS_mount_setattr, root, "", AT_EMPTY_PATH, &read_only,
                sizeof read_only) < 0 ||
        fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return -errno;
    }
    return 0;
}

static int
build(const struct csb_plan *plan, const int *trees,
      struct csb_report *ret_report)
{
    __attribute__((cleanup(csb_close))) int root = -1;
    int result =
        step(plan, CSB_STEP_BECOME_UID, csb_identity_become(plan), ret_report);
    if (result == 0) {
        result = step(plan, CSB_STEP_VIEW_ROOT, mount_root(&root), ret_report);
    }
    if (result == 0) {
        result = fill_root(plan, root, trees, ret_report);
    }
    return result < 0
               ? result
               : step(plan, CSB_STEP_VIEW_PIVOT, pivot(root), ret_report);
}

static int
set_hostname(void)
{
    return sethostname(HOSTNAME, sizeof HOSTNAME - 1) < 0 ||
                   setdomainname("", 0) < 0
               ? -errno
               : 0;
}

static int
make_private(void)
{
    /* Nothing mounted here may reach the host, nor the reverse. */
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

int
csb_view_enter(const struct csb_plan *plan, struct csb_report *ret_report)
{
    int result = step(plan, CSB_STEP_VIEW_PRIVATE, make_private(), ret_report);
    if (result == 0) {
        result = step(plan, CSB_STEP_HOSTNAME, set_hostname(), ret_report);
    }
    if (result < 0) {
        return result;
    }
    if ((plan->mechanisms & CSB_MECH_VIEW) == 0) {
        return step(plan, CSB_STEP_BECOME_UID, csb_identity_become(plan),
                    ret_report);
    }
    int *trees = malloc(plan->view_count * sizeof *trees);
    if (trees == NULL) {
        return fail(ret_report, CSB_STEP_VIEW_ROOT, -ENOMEM, NULL);
    }
    for (uint32_t i = 0; i < plan->view_count; i++) {
        trees[i] = -1;
    }
    result = clone_sources(plan, trees, ret_report);
    if (result == 0) {
        result = build(plan, trees, ret_report);
    }
    for (uint32_t i = 0; i < plan->view_count; i++) {
        csb_close(&trees[i]);
    }
    free(trees);
    return result;
}
