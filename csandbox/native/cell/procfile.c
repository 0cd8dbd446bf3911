/* The process's own files in /proc, outside the view. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../common/fdio.h"

int
csb_procfile_write(const struct csb_cell *cell, const char *name,
                   const char *text)
{
    int fd = openat(cell->proc, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t length = strlen(text);
    ssize_t wrote = write(fd, text, length);
    int result = wrote < 0 ? -errno : (size_t)wrote == length ? 0 : -EIO;
    csb_close(&fd);
    return result;
}
