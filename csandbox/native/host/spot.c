#define _GNU_SOURCE
#include "spot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/fdio.h"

/* Deeper trees are nobody's temporary files. */
#define DEPTH 32
#define OPEN_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int
is_dot(const char *name)
{
    return name[0] == '.' &&
           (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* Whatever mode the guest gave it. */
static int
open_directory(int base, const char *name)
{
    int fd = openat(base, name, OPEN_FLAGS);
    if (fd < 0 && errno == EACCES && fchmodat(base, name, 0700, 0) == 0) {
        fd = openat(base, name, OPEN_FLAGS);
    }
    return fd < 0 ? -errno : fd;
}

static int
open_listing(int base, const char *name, DIR **ret_listing)
{
    int fd = open_directory(base, name);
    if (fd < 0) {
        return fd;
    }
    *ret_listing = fdopendir(fd);
    if (*ret_listing == NULL) {
        int result = -errno;
        csb_close(&fd);
        return result;
    }
    return 0;
}

/* --- making -------------------------------------------------------------- */

/* Whatever the host's umask is. */
static int
make_directory(int fd, const char *name)
{
    return mkdirat(fd, name, 0700) < 0 || fchmodat(fd, name, 0700, 0) < 0
               ? -errno
               : 0;
}

static int
make_inside(int fd, const char *name, uid_t uid)
{
    int result = make_directory(fd, name);
    if (result < 0) {
        return result;
    }
    return uid != 0 && fchownat(fd, name, uid, uid, AT_SYMLINK_NOFOLLOW) < 0
               ? -errno
               : 0;
}

int
csb_spot_make(int base, const char *name, uid_t uid, struct csb_spot *ret_spot)
{
    struct csb_spot spot = CSB_SPOT_NOTHING;

    if (strlen(name) >= sizeof spot.name) {
        return -ENAMETOOLONG;
    }
    strcpy(spot.name, name);
    int result = make_directory(base, name);
    if (result < 0) {
        return result;
    }
    spot.base = fcntl(base, F_DUPFD_CLOEXEC, 0);
    spot.fd = openat(base, name, OPEN_FLAGS);
    result = spot.base < 0 || spot.fd < 0 ? -errno : 0;
    if (result == 0) {
        result = make_inside(spot.fd, "tmp", uid);
    }
    if (result == 0) {
        result = make_inside(spot.fd, "gone", uid);
    }
    if (result == 0 && uid != 0 && fchown(spot.fd, uid, uid) < 0) {
        result = -errno;
    }
    if (result < 0) {
        (void)csb_spot_clear(base, name);
        csb_spot_forget(&spot);
        return result;
    }
    *ret_spot = spot;
    return 0;
}

/* --- measuring ----------------------------------------------------------- */

struct sum {
    uint64_t bytes, files;
    uint64_t bytes_most, files_most;
};

static int add_tree(int base, const char *name, unsigned depth,
                    struct sum *sum);

static int
add_entry(int directory, const char *name, unsigned depth, struct sum *sum)
{
    struct stat info;
    if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    sum->bytes += (uint64_t)info.st_blocks * 512;
    sum->files++;
    if (sum->bytes > sum->bytes_most || sum->files > sum->files_most) {
        return -E2BIG;
    }
    return S_ISDIR(info.st_mode) ? add_tree(directory, name, depth + 1, sum)
                                 : 0;
}

static int
add_tree(int base, const char *name, unsigned depth, struct sum *sum)
{
    const struct dirent *entry;
    DIR *listing;

    if (depth > DEPTH) {
        return -E2BIG;
    }
    int result = open_listing(base, name, &listing);
    if (result < 0) {
        return result;
    }
    while (result == 0 && (entry = readdir(listing)) != NULL) {
        if (!is_dot(entry->d_name)) {
            result = add_entry(dirfd(listing), entry->d_name, depth, sum);
        }
    }
    (void)closedir(listing);
    return result;
}

int
csb_spot_measure(const struct csb_spot *spot, uint64_t *ret_bytes,
                 uint64_t *ret_files)
{
    struct sum sum = {0, 0, spot->bytes_limit, spot->files_limit};
    int result = add_tree(spot->fd, ".", 0, &sum);
    *ret_bytes = sum.bytes;
    *ret_files = sum.files;
    return result;
}

/* --- removing ------------------------------------------------------------ */

/* 0 if it is gone, 1 if it is a directory that is not empty, or -errno. */
static int
remove_entry(int directory, const char *name)
{
    struct stat info;
    if (unlinkat(directory, name, 0) == 0 ||
        unlinkat(directory, name, AT_REMOVEDIR) == 0) {
        return 0;
    }
    int error = errno;
    return fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                   S_ISDIR(info.st_mode)
               ? 1
               : -error;
}

/* To a name at the top that nobody has. */
static int
move_up(int directory, const char *name, int top, unsigned *next)
{
    char aside[CSB_SPOT_NAME];
    struct stat info;

    /* To move a directory is to write to its "..". */
    (void)fchmodat(directory, name, 0700, 0); /* then the rename fails */
    do {
        (void)snprintf(aside, sizeof aside, ".%u", (*next)++);
    } while (fstatat(top, aside, &info, AT_SYMLINK_NOFOLLOW) == 0);
    return renameat(directory, name, top, aside) < 0 ? -errno : 0;
}

/* Moves what a directory has of directories to the top and unlinks the rest:
 * so no tree is too deep, and each entry costs a few calls. */
static int
flatten(int top, const char *name, unsigned *next)
{
    const struct dirent *entry;
    DIR *listing;

    int result = open_listing(top, name, &listing);
    if (result < 0) {
        return result;
    }
    int fd = dirfd(listing);
    (void)fchmod(fd, 0700); /* then what is in it stays, and it too */
    while (result >= 0 && (entry = readdir(listing)) != NULL) {
        if (!is_dot(entry->d_name)) {
            result = remove_entry(fd, entry->d_name);
        }
        if (result == 1) {
            result = move_up(fd, entry->d_name, top, next);
        }
    }
    (void)closedir(listing);
    if (result >= 0 && unlinkat(top, name, AT_REMOVEDIR) < 0) {
        result = -errno;
    }
    return result < 0 ? result : 0;
}

/* One pass over the top.  The number of directories that were there. */
static int
clear_once(int top, unsigned *next, unsigned *ret_left)
{
    const struct dirent *entry;
    DIR *listing;
    int result = open_listing(top, ".", &listing);

    *ret_left = 0;
    if (result < 0) {
        return result;
    }
    while (result == 0 && (entry = readdir(listing)) != NULL) {
        if (!is_dot(entry->d_name)) {
            result = remove_entry(top, entry->d_name);
        }
        if (result == 1) {
            (*ret_left)++;
            result = flatten(top, entry->d_name, next);
        }
    }
    (void)closedir(listing);
    return result;
}

int
csb_spot_clear(int base, const char *name)
{
    unsigned next = 0, left = 1;
    int fd = open_directory(base, name);
    int result = fd < 0 ? fd : 0;

    while (result == 0 && left > 0) {
        result = clear_once(fd, &next, &left);
    }
    csb_close(&fd);
    if (result == 0 && unlinkat(base, name, AT_REMOVEDIR) < 0) {
        result = -errno;
    }
    return result;
}

void
csb_spot_remove(struct csb_spot *spot)
{
    if (spot->base >= 0) {
        (void)csb_spot_clear(spot->base, spot->name);
    }
    csb_spot_forget(spot);
}

void
csb_spot_forget(struct csb_spot *spot)
{
    csb_close(&spot->base);
    csb_close(&spot->fd);
}
