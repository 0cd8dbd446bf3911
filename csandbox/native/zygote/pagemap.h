/* Sets of pages, by what the kernel says of this process's. */
#ifndef CSB_PAGEMAP_H
#define CSB_PAGEMAP_H

#include <stdint.h>
#include <sys/uio.h>

#define CSB_PAGES_RUNS_MAX 1024
#define CSB_PAGES_MAX 2048 /* 8 MiB: what a user may pin in all, mostly */

/* Of a page in /proc/PID/pagemap. */
#define CSB_PAGE_PRESENT (1ull << 63)
#define CSB_PAGE_SWAPPED (1ull << 62)
#define CSB_PAGE_OF_FILE (1ull << 61)
#define CSB_OWN_PAGE                                                          \
    (CSB_PAGE_PRESENT | 1ull << 56) /* mapped nowhere else                    \
                                     */

/* Runs of neighbours, in ascending order if they were added so. */
struct csb_pages {
    unsigned count, pages;
    struct iovec run[CSB_PAGES_RUNS_MAX];
};

struct csb_pagemap {
    int fd;        /* -1: there is none, and scans find nothing */
    uint64_t size; /* bytes of a page */
};

/* Of this process, which is `proc`'s self.  The caller closes fd. */
struct csb_pagemap csb_pagemap_open(int proc);

/* How many pages from start to end have of the bits `mask` just those of
 * `bits`; adds them to `pages`, as many as it has room for, if it is given. */
unsigned csb_pagemap_scan(const struct csb_pagemap *pagemap, uint64_t start,
                          uint64_t end, uint64_t mask, uint64_t bits,
                          struct csb_pages *pages);

#endif
