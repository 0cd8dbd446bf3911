#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fdio.h"
#include "missing.h"

#define LEAST_PIECE (2 * CSB_HUGE_PAGE)
#define SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

static size_t
whole_pages(size_t size)
{
    return (size + CSB_HUGE_PAGE - 1) / CSB_HUGE_PAGE * CSB_HUGE_PAGE;
}

size_t
csb_store_piece(size_t size)
{
    size_t piece = whole_pages(size / CSB_RESERVE_PIECES + 1);
    return piece < LEAST_PIECE ? LEAST_PIECE : piece;
}

int
csb_store_create(const char *name, int *ret_fd)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) { /* before Linux 6.3 */
        fd = memfd_create(name, flags);
    }
    if (fd < 0) {
        return -errno;
    }
    *ret_fd = fd;
    return 0;
}

int
csb_store_resize(int fd, uint64_t size, uint64_t *ret_size)
{
    struct rlimit files = {RLIM_INFINITY, RLIM_INFINITY};

    (void)getrlimit(RLIMIT_FSIZE, &files); /* cannot fail */
    if (size > files.rlim_cur) {
        size = files.rlim_cur; /* beyond it is SIGXFSZ */
    }
    if (ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0) {
        return -errno;
    }
    *ret_size = size;
    return 0;
}

int
csb_store_make(uint64_t size, int *ret_fd, uint64_t *ret_size)
{
    int fd = -1;

    int result = csb_store_create(CSB_STORE_NAME, &fd);
    if (result == 0) {
        result = csb_store_resize(fd, size, ret_size);
    }
    if (result < 0) {
        csb_close(&fd);
        return result;
    }
    *ret_fd = fd;
    return 0;
}

/* Small mappings need no place where huge pages fit. */
static size_t
mapped_size(size_t size)
{
    return size < CSB_HUGE_PAGE ? size : whole_pages(size);
}

/* Address space that begins at a huge page; MAP_FAILED with errno. */
static char *
find_space(size_t size)
{
    char *space = mmap(NULL, size + CSB_HUGE_PAGE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) {
        return space;
    }
    size_t before = -(uintptr_t)space % CSB_HUGE_PAGE;
    /* Cannot fail: they take away an end of what was mapped. */
    if (before > 0) {
        (void)munmap(space, before);
    }
    (void)munmap(space + before + size, CSB_HUGE_PAGE - before);
    return space + before;
}

int
csb_store_map(int fd, size_t from, size_t size, int writable,
              void **ret_memory)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    size_t mapped = mapped_size(size);
    char *space = NULL;
    int fixed = 0;

    if (size >= CSB_HUGE_PAGE) {
        space = find_space(mapped);
        if (space == MAP_FAILED) {
            return -errno;
        }
        fixed = MAP_FIXED;
    }
    /* Before Linux 6.7 nobody may have a shared mapping of what is sealed. */
    int sharing = writable ? MAP_SHARED : MAP_PRIVATE;
    void *memory =
        mmap(space, mapped, protection, sharing | fixed, fd, (off_t)from);
    if (memory == MAP_FAILED) {
        int result = -errno;
        if (space != NULL) {
            (void)munmap(space, mapped); /* cannot fail, as above */
        }
        return result;
    }
    if (writable && madvise(memory, mapped, MADV_DONTFORK) < 0) {
        int result = -errno;
        csb_store_unmap(memory, size);
        return result;
    }
    *ret_memory = memory;
    return 0;
}

void
csb_store_unmap(void *memory, size_t size)
{
    (void)munmap(memory, mapped_size(size)); /* what was mapped: cannot fail */
}

int
csb_store_make_huge(char *page)
{
    /* A range without any page is not collapsed.  Reading makes one. */
    (void)*(volatile char *)page;
    return madvise(page, CSB_HUGE_PAGE, MADV_COLLAPSE) < 0 ? -errno : 0;
}

int
csb_store_reserve(int fd, size_t from, size_t to)
{
    size_t size = (to - from) / CSB_HUGE_PAGE * CSB_HUGE_PAGE;
    void *memory = NULL;

    if (size == 0) {
        return 0;
    }
    int result = csb_store_map(fd, from, size, 1, &memory);
    if (memory == NULL) {
        return result;
    }
    for (size_t at = 0; at < size && result == 0; at += CSB_HUGE_PAGE) {
        result = csb_store_make_huge((char *)memory + at);
    }
    csb_store_unmap(memory, size);
    return result;
}

int
csb_store_seal(int fd)
{
    /* A cell that has sealed it has only made it useless for itself. */
    if (fcntl(fd, F_ADD_SEALS, SEALS) < 0 && errno != EPERM) {
        return -errno;
    }
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0) {
        return -errno;
    }
    return (seals & SEALS) == SEALS ? 0 : -EPERM;
}
