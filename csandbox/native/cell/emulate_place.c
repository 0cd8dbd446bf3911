/* Where a path of the guest really leads, and what it may know of that. */
#define _GNU_SOURCE
#include "emulate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include "../common/mark.h"
#include "../common/rawcall.h"

#define SCRATCH_LENGTH (sizeof CSB_SCRATCH - 1)

struct csb_emulated csb_guest;

int
csb_emulate_lies_in(const char *path, const char *root)
{
    size_t length = strlen(root);
    return strncmp(path, root, length) == 0 &&
           (path[length] == '\0' || path[length] == '/');
}

static int
is_in_view(const char *path)
{
    const struct csb_view_entry *view = csb_plan_view(csb_guest.plan);
    for (uint32_t i = 0; i < csb_guest.plan->view_count; i++) {
        const char *target =
            csb_plan_string(csb_guest.plan, view[i].target_at);
        if (view[i].kind != CSB_VIEW_DIRECTORY &&
            csb_emulate_lies_in(path, target)) {
            return 1;
        }
    }
    return 0;
}

/* A directory that leads to something of the view. */
static int
is_above_view(const char *path)
{
    const struct csb_view_entry *view = csb_plan_view(csb_guest.plan);
    size_t length = strlen(path);
    while (length > 0 && path[length - 1] == '/') {
        length--;
    }
    for (uint32_t i = 0; i < csb_guest.plan->view_count; i++) {
        const char *target =
            csb_plan_string(csb_guest.plan, view[i].target_at);
        if (strncmp(path, target, length) == 0 && target[length] == '/') {
            return 1;
        }
    }
    return 0;
}

static int
climbs(const char *path)
{
    const char *at = path;
    while ((at = strstr(at, "..")) != NULL) {
        if ((at == path || at[-1] == '/') && (at[2] == '\0' || at[2] == '/')) {
            return 1;
        }
        at += 2;
    }
    return 0;
}

long
csb_emulate_place(const char *path, char *room, struct csb_place *ret_place)
{
    if (path == NULL) {
        return -EFAULT;
    }
    size_t length = strnlen(path, CSB_EMULATED_PATH);
    if (length == CSB_EMULATED_PATH) {
        return -ENAMETOOLONG;
    }
    while (path[0] == '/' && path[1] == '/') {
        path++; /* "//tmp" */
    }
    *ret_place = (struct csb_place){.path = path};
    if (path[0] != '/') {
        ret_place->kind =
            climbs(path) ? CSB_PLACE_CLIMBING : CSB_PLACE_RELATIVE;
    } else if (is_in_view(path)) {
        ret_place->kind = CSB_PLACE_VIEW;
    } else if (csb_guest.directory[0] != '\0' &&
               csb_emulate_lies_in(path, CSB_SCRATCH)) {
        size_t before = strlen(csb_guest.directory);
        if (before + length >= CSB_EMULATED_PATH) {
            return -ENAMETOOLONG;
        }
        memcpy(room, csb_guest.directory, before);
        strcpy(room + before, path + SCRATCH_LENGTH);
        ret_place->path = room;
        ret_place->kind =
            climbs(path) ? CSB_PLACE_CLIMBING : CSB_PLACE_SCRATCH;
    } else if (is_above_view(path)) {
        ret_place->kind = CSB_PLACE_ABOVE;
    } else if (climbs(path)) {
        ret_place->kind = CSB_PLACE_CLIMBING;
    } else {
        return -ENOENT; /* or it is not its business */
    }
    return 0;
}

long
csb_emulate_answer(const struct csb_place *place, long result)
{
    if (result >= 0) {
        return result;
    }
    switch (place->kind) {
    case CSB_PLACE_CLIMBING:
        /* Whether there is such a file on the host, and of what kind. */
        return result == -EFAULT || result == -EMFILE ? result : -ENOENT;
    case CSB_PLACE_ABOVE:
        return -EACCES;
    case CSB_PLACE_VIEW:
        return result == -EXDEV || result == -EPERM ? -EACCES : result;
    default:
        return result;
    }
}

long
csb_emulate_open(int directory, const char *path, long flags, long mode)
{
    return csb_raw6(SYS_openat, directory, (long)path, flags | O_CLOEXEC, mode,
                    0, (long)CSB_MARK);
}

void
csb_emulate_close(long fd)
{
    (void)csb_raw(SYS_close, fd, 0, 0, 0, 0); /* a number of ours */
}
