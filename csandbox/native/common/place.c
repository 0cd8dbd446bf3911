#define _GNU_SOURCE
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fdio.h"
#include "missing.h"

int
csb_place_clone(const char *path, int *ret_tree)
{
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path,
                            OPEN_TREE_CLONE | AT_RECURSIVE | O_CLOEXEC);
    if (tree < 0) {
        return -errno;
    }
    *ret_tree = tree;
    return 0;
}

int
csb_place_directory(int root, const char *target)
{
    return mkdirat(root, target + 1, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int
csb_place_parents(int root, const char *target)
{
    char partial[4096];
    size_t length = strlen(target);
    if (length >= sizeof partial) {
        return -ENAMETOOLONG;
    }
    for (size_t i = 1; i < length; i++) {
        if (target[i] != '/') {
            continue;
        }
        memcpy(partial, target, i);
        partial[i] = '\0';
        int result = csb_place_directory(root, partial);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static int
make_target(int root, int tree, const char *target)
{
    struct stat info;
    if (fstat(tree, &info) < 0) {
        return -errno;
    }
    if (S_ISDIR(info.st_mode)) {
        return csb_place_directory(root, target);
    }
    if (faccessat(root, target + 1, F_OK, 0) == 0) {
        return 0; /* in a tree that is read-only, maybe */
    }
    int fd = openat(root, target + 1, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    csb_close(&fd);
    return 0;
}

int
csb_place_attach(int root, int tree, const char *target)
{
    int result = make_target(root, tree, target);
    if (result < 0) {
        return result;
    }
    return syscall(SYS_move_mount, tree, "", root, target + 1,
                   MOVE_MOUNT_F_EMPTY_PATH) < 0
               ? -errno
               : 0;
}
