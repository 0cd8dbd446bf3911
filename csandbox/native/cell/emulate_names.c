/* Names of files that go: by unlink(), or by a rename() to a name that is
 * taken.  What is open goes on to take room, so the file is only put aside,
 * where the host counts it still. */
#define _GNU_SOURCE
#include "emulate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>

#include "../common/digits.h"
#include "../common/mark.h"
#include "../common/rawcall.h"

#define LONGEST CSB_EMULATED_PATH

static atomic_uint gone; /* files that were put aside so far */

static long
rename_plainly(int from_directory, const char *from, int to_directory,
               const char *to, long flags)
{
    return csb_raw6(SYS_renameat2, from_directory, (long)from, to_directory,
                    (long)to, flags, (long)CSB_MARK);
}

static int
is_open(const struct stat *file)
{
    struct stat info = {.st_mode = 0};
    for (int fd = 0; fd < CSB_EMULATED_FDS; fd++) {
        if (csb_raw(SYS_fstat, fd, (long)&info, 0, 0, 0) == 0 &&
            info.st_ino == file->st_ino && info.st_dev == file->st_dev) {
            return 1;
        }
    }
    return 0;
}

/* Its bytes count as long as somebody could read them. */
static void
empty(const char *path)
{
    struct stat info = {.st_mode = 0};
    long fd = csb_emulate_open(AT_FDCWD, path, O_WRONLY | O_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    int known = csb_raw(SYS_fstat, fd, (long)&info, 0, 0, 0) == 0;
    csb_emulate_close(fd);
    if (known && !is_open(&info)) {
        fd = csb_emulate_open(AT_FDCWD, path, O_WRONLY | O_TRUNC | O_NONBLOCK,
                              0);
        if (fd >= 0) {
            csb_emulate_close(fd);
        }
    }
}

static long
put_away(int directory, const char *path)
{
    char aside[CSB_DIRECTORY_ROOM + 32];
    long result = -EEXIST;
    while (result == -EEXIST) {
        unsigned number = atomic_fetch_add(&gone, 1);
        (void)csb_digits_append(aside + strlen(strcpy(aside, csb_guest.aside)),
                                "/", number);
        result =
            rename_plainly(directory, path, AT_FDCWD, aside, RENAME_NOREPLACE);
    }
    if (result == 0) {
        empty(aside);
    }
    return result;
}

static int
is_directory(int directory, const char *path)
{
    long fd = csb_emulate_open(directory, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd >= 0) {
        csb_emulate_close(fd);
    }
    return fd >= 0;
}

long
csb_emulate_unlink(int directory, const char *path)
{
    char room[LONGEST];
    struct csb_place place;
    long result = csb_emulate_place(path, room, &place);
    if (result < 0) {
        return result;
    }
    if (csb_guest.aside[0] == '\0') {
        return csb_emulate_answer(&place, -EACCES);
    }
    if (is_directory(directory, place.path)) {
        return csb_emulate_answer(&place, -EISDIR);
    }
    return csb_emulate_answer(&place, put_away(directory, place.path));
}

static long
replace(int from_directory, const char *from, int to_directory, const char *to)
{
    if (is_directory(to_directory, to)) {
        if (!is_directory(from_directory, from)) {
            return -EISDIR;
        }
        long result = csb_raw6(SYS_unlinkat, to_directory, (long)to,
                               AT_REMOVEDIR, 0, 0, (long)CSB_MARK);
        return result < 0 ? result
                          : rename_plainly(from_directory, from, to_directory,
                                           to, RENAME_NOREPLACE);
    }
    if (is_directory(from_directory, from)) {
        return -ENOTDIR;
    }
    /* Who looks at the new name finds a file at every moment. */
    long result = rename_plainly(from_directory, from, to_directory, to,
                                 RENAME_EXCHANGE);
    return result < 0 ? result : put_away(from_directory, from);
}

long
csb_emulate_rename(int from_directory, const char *from, int to_directory,
                   const char *to, long flags)
{
    char room[LONGEST], other_room[LONGEST];
    struct csb_place one, other = {.path = NULL};
    long result = csb_emulate_place(from, room, &one);
    if (result == 0) {
        result = csb_emulate_place(to, other_room, &other);
    }
    if (result < 0) {
        return result;
    }
    if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE) {
        return -EINVAL;
    }
    result = rename_plainly(from_directory, one.path, to_directory, other.path,
                            flags == 0 ? RENAME_NOREPLACE : flags);
    if (result == -EEXIST && flags == 0) {
        result = replace(from_directory, one.path, to_directory, other.path);
    }
    return csb_emulate_answer(&other, csb_emulate_answer(&one, result));
}
