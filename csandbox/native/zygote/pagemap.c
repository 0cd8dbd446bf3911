#define _GNU_SOURCE
#include "pagemap.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../common/fdio.h"

static void
add_page(struct csb_pages *pages, char *page, size_t size)
{
    struct iovec *last =
        pages->count > 0 ? &pages->run[pages->count - 1] : NULL;
    if (pages->pages == CSB_PAGES_MAX) {
        return;
    }
    if (last != NULL && (char *)last->iov_base + last->iov_len == page) {
        last->iov_len += size;
    } else if (pages->count < CSB_PAGES_RUNS_MAX) {
        pages->run[pages->count++] = (struct iovec){page, size};
    } else {
        return;
    }
    pages->pages++;
}

/* The file belongs to a process that is dumpable, which those that have
 * changed their user are not. */
static int
open_dumpable(int proc)
{
    int before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    if (before < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) {
        return -1;
    }
    int pagemap = openat(proc, "self/pagemap", O_RDONLY | O_CLOEXEC);
    if (prctl(PR_SET_DUMPABLE, before == 1, 0, 0, 0) < 0) {
        csb_close(&pagemap);
    }
    return pagemap;
}

struct csb_pagemap
csb_pagemap_open(int proc)
{
    return (struct csb_pagemap){
        .fd = open_dumpable(proc),
        .size = (uint64_t)sysconf(_SC_PAGESIZE),
    };
}

unsigned
csb_pagemap_scan(const struct csb_pagemap *pagemap, uint64_t start,
                 uint64_t end, uint64_t mask, uint64_t bits,
                 struct csb_pages *pages)
{
    uint64_t entries[256];
    unsigned found = 0;

    while (start < end) {
        size_t count = (end - start) / pagemap->size;
        count = count < 256 ? count : 256;
        ssize_t got = pread(pagemap->fd, entries, count * sizeof *entries,
                            (off_t)(start / pagemap->size * sizeof *entries));
        if (got <= 0) {
            break;
        }
        count = (size_t)got / sizeof *entries;
        for (size_t i = 0; i < count; i++) {
            if ((entries[i] & mask) != bits) {
                continue;
            }
            found++;
            if (pages != NULL) {
                add_page(pages, (char *)(start + i * pagemap->size),
                         (size_t)pagemap->size);
            }
        }
        start += count * pagemap->size;
    }
    return found;
}
