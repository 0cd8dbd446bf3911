#define _GNU_SOURCE
#include "procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/fdio.h"

ssize_t
csb_procfs_read(const char *path, char *text, size_t room)
{
    __attribute__((cleanup(csb_close))) int fd =
        open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t got;

    if (fd < 0) {
        return -errno;
    }
    do {
        got = read(fd, text + used, room - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    text[used] = '\0';
    return got < 0 ? -errno : (ssize_t)used;
}

int64_t
csb_procfs_number(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at == NULL ? -1 : strtoll(at + strlen(name), NULL, 10);
}
