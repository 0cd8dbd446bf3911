/* Memory that a fork of the host would share with it, and with others: files
 * and anonymous memory mapped MAP_SHARED, segments of System V.  What a guest
 * wrote there would be written in the host, whatever the guest may open.
 * Each is replaced, at its place, by a private copy. */
#define _GNU_SOURCE
#include "forked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../common/fdio.h"

#define CHUNK (64 * 1024)

struct region {
    char *start;
    size_t size;
    int protection;
};

/* All of /proc/self/maps; the caller frees it. */
static int
read_maps(char **ret_text)
{
    __attribute__((cleanup(csb_close))) int fd =
        open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t used = 0, room = CHUNK;
    char *text = NULL;
    ssize_t got;

    if (fd < 0) {
        return -errno;
    }
    do {
        char *more = realloc(text, room + 1);
        if (more == NULL) {
            free(text);
            return -ENOMEM;
        }
        text = more;
        got = read(fd, text + used, room - used);
        used += got > 0 ? (size_t)got : 0;
        room += room - used < CHUNK / 2 ? room : 0;
    } while (got > 0);
    if (got < 0) {
        got = -errno;
        free(text);
        return (int)got;
    }
    text[used] = '\0';
    *ret_text = text;
    return 0;
}

/* A line such as "7f0000000000-7f0000001000 rw-s 00000000 00:01 5 /name".
 * Whether it is of shared memory. */
static int
parse(const char *line, struct region *ret_region)
{
    char *at;
    unsigned long start = strtoul(line, &at, 16);
    unsigned long end = strtoul(at + 1, &at, 16);

    ret_region->start = (char *)start;
    ret_region->size = end - start;
    ret_region->protection = (at[1] == 'r' ? PROT_READ : 0) |
                             (at[2] == 'w' ? PROT_WRITE : 0) |
                             (at[3] == 'x' ? PROT_EXEC : 0);
    return at[4] == 's';
}

/* What cannot be read (a file that has become shorter, a device) is zero in
 * the copy. */
static int
copy(const struct region *region, char *ret_copy)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), at = 0;
    while (at < region->size) {
        const struct iovec to = {ret_copy + at, region->size - at};
        const struct iovec from = {region->start + at, region->size - at};
        ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
        if (got < 0 && errno != EFAULT) {
            return -errno;
        }
        at += got > 0 ? (size_t)got : page;
    }
    return 0;
}

static int
replace(const struct region *region)
{
    /* Never to be written to: of a file that was opened for reading. */
    if (mprotect(region->start, region->size, PROT_READ | PROT_WRITE) < 0) {
        return errno == EACCES ? 0 : -errno;
    }
    char *own = mmap(NULL, region->size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (own == MAP_FAILED) {
        return -errno;
    }
    int result = copy(region, own);
    if (result < 0) {
        return result; /* and the process ends */
    }
    if (mprotect(own, region->size, region->protection) < 0 ||
        mremap(own, region->size, region->size, MREMAP_MAYMOVE | MREMAP_FIXED,
               region->start) == MAP_FAILED) {
        return -errno;
    }
    return 0;
}

int
csb_shared_part(void)
{
    char *text = NULL, *line;
    int result = read_maps(&text);

    if (result < 0 || text == NULL) { /* or neither */
        return result;
    }
    for (line = text; *line != '\0' && result == 0;) {
        struct region region;
        if (parse(line, &region)) {
            result = replace(&region);
        }
        line = strchrnul(line, '\n');
        line += *line == '\n';
    }
    free(text);
    return result;
}
