/* The pages of files that every cell reads: code and constants of Python, of
 * libraries, of this extension.  A fork leaves them out, as they can be found
 * again: by some 65 faults of each cell, each of which maps 15 neighbours as
 * well, that go again when the cell ends.
 *
 * A mapping that may hold pages of its own is not left out.  One into which a
 * guard was put (Linux 6.15) is such a mapping, and stays one when the guard
 * is gone; nothing has been written then, and no right has changed.  All
 * pages of it that the zygote has are copied in forks, so it shall have those
 * that cells need, and no more: with the neighbours, a fork and its end cost
 * as much as the faults.  Neighbours are not mapped where userfaultfd looks
 * for writes (Linux 6.7), so an example of a cell that is watched by it has
 * just what it reads. */
#define _GNU_SOURCE
#include "mapped.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/rawcall.h"

struct range {
    uint64_t start, end;
};

static FILE *
open_maps(const struct csb_zygote *zygote)
{
    int fd = openat(zygote->proc, "self/maps", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? NULL : fdopen(fd, "r");
}

/* The next private mapping of a file that cannot be written to; 0 at the end.
 */
static int
next_mapping(FILE *maps, struct range *ret_range)
{
    char line[512], rights[8];
    unsigned long start, end;

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 &&
            rights[0] == 'r' && rights[1] == '-' && rights[3] == 'p' &&
            strchr(line, '/') != NULL) {
            *ret_range = (struct range){start, end};
            return 1;
        }
    }
    return 0;
}

static int
open_watch(void)
{
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_WP_ASYNC};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) < 0) {
        csb_close(&fd);
    }
    return fd;
}

/* Whether all of its pages are sure to be the file's, and none was written to
 * before it was made read-only: that a guard would lose, as would who drops
 * it, and such a mapping forks copy anyhow. */
static int
is_all_of_file(const struct csb_pagemap *pagemap, struct range range)
{
    const uint64_t somewhere = CSB_PAGE_PRESENT | CSB_PAGE_SWAPPED;
    uint64_t of_file =
        csb_pagemap_scan(pagemap, range.start, range.end, CSB_PAGE_OF_FILE,
                         CSB_PAGE_OF_FILE, NULL);
    uint64_t nowhere = csb_pagemap_scan(pagemap, range.start, range.end,
                                        somewhere | CSB_PAGE_OF_FILE, 0, NULL);
    return of_file + nowhere == (range.end - range.start) / pagemap->size;
}

/* What is advised too much, or too little, or not at all, costs faults. */
static void
advise(uint64_t start, uint64_t end, int advice)
{
    if (start < end) {
        (void)madvise((void *)start, end - start, advice);
    }
}

void
csb_mapped_watch(const struct csb_zygote *zygote)
{
    int watch = open_watch();
    struct csb_pagemap pagemap = csb_pagemap_open(zygote->proc);
    FILE *maps = watch < 0 || pagemap.fd < 0 ? NULL : open_maps(zygote);
    struct range range;

    while (next_mapping(maps, &range)) {
        struct uffdio_register watched = {
            .range = {.start = range.start, .len = range.end - range.start},
            .mode = UFFDIO_REGISTER_MODE_WP};
        if (ioctl(watch, UFFDIO_REGISTER, &watched) == 0 &&
            is_all_of_file(&pagemap, range)) {
            advise(range.start, range.end, MADV_DONTNEED); /* read until now */
        }
    }
    /* The process ends soon. */
}

void
csb_mapped_note(const struct csb_zygote *zygote,
                const struct csb_pagemap *pagemap, struct csb_pages *pages)
{
    FILE *maps = open_maps(zygote);
    struct range range;

    while (next_mapping(maps, &range)) {
        (void)csb_pagemap_scan(pagemap, range.start, range.end,
                               CSB_PAGE_PRESENT, CSB_PAGE_PRESENT, pages);
    }
    /* The process ends soon. */
}

/* Dangerous: while the guard is there, nothing may need its page, be it code
 * of a library; so this calls no function.  (That it cannot be taken away
 * where it could be put is not known to happen; if so, who needs the page
 * crashes.) */
__attribute__((noinline, no_sanitize("address", "undefined"))) static long
make_inherited(uint64_t at, uint64_t page)
{
    long result =
        csb_raw(SYS_madvise, (long)at, (long)page, MADV_GUARD_INSTALL, 0, 0);
    return result < 0 ? result
                      : csb_raw(SYS_madvise, (long)at, (long)page,
                                MADV_GUARD_REMOVE, 0, 0);
}

/* Whether code lies near that runs while a guard is there: that which puts it
 * there, and the inits of runs, which are on the same memory, begin as clone()
 * returns, and call nothing else. */
static int
is_needed(uint64_t at, uint64_t page)
{
    const uint64_t code[] = {(uint64_t)&make_inherited,
                             (uint64_t)&csb_init_main, (uint64_t)&clone};
    for (unsigned i = 0; i < sizeof code / sizeof *code; i++) {
        if (at < code[i] + 2 * page && code[i] < at + 3 * page) {
            return 1;
        }
    }
    return 0;
}

/* Where a guard may stand; 0: nowhere. */
static uint64_t
choose_place(struct range range, uint64_t page)
{
    uint64_t last = range.end - page;
    if (!is_needed(range.start, page)) {
        return range.start;
    }
    return is_needed(last, page) ? 0 : last;
}

/* The part of these pages that lies in a range; 0: there is none. */
static int
clip(const struct iovec *pages, struct range range, struct range *ret_part)
{
    uint64_t start = (uint64_t)pages->iov_base;
    uint64_t end = start + pages->iov_len;
    *ret_part = (struct range){start > range.start ? start : range.start,
                               end < range.end ? end : range.end};
    return ret_part->start < ret_part->end;
}

static int
has_any(const struct csb_pages *pages, struct range range)
{
    struct range part;
    for (unsigned i = 0; i < pages->count; i++) {
        if (clip(&pages->run[i], range, &part)) {
            return 1;
        }
    }
    return 0;
}

/* Has of a mapping just these pages.  Asked for first, as neighbours come with
 * them. */
static void
keep_only(const struct csb_pages *pages, struct range range)
{
    uint64_t done = range.start;
    struct range part;

    for (unsigned i = 0; i < pages->count; i++) {
        if (clip(&pages->run[i], range, &part)) {
            advise(part.start, part.end, MADV_POPULATE_READ);
        }
    }
    for (unsigned i = 0; i < pages->count; i++) {
        if (clip(&pages->run[i], range, &part)) {
            advise(done, part.start, MADV_DONTNEED);
            done = part.end;
        }
    }
    advise(done, range.end, MADV_DONTNEED);
}

/* Nobody else may need a page while a guard is there: no thread, such as
 * libraries have, and no handler of a signal.  Inits do not count here. */
static int
is_alone(const struct csb_zygote *zygote)
{
    struct stat tasks; /* linked to by itself, its parent, and each thread */
    return fstatat(zygote->proc, "self/task", &tasks, 0) == 0 &&
           tasks.st_nlink == 3;
}

static void
hand_down(const struct csb_zygote *zygote, const struct csb_pages *read)
{
    struct csb_pagemap pagemap = csb_pagemap_open(zygote->proc);
    FILE *maps = pagemap.fd < 0 ? NULL : open_maps(zygote);
    struct range range;

    while (next_mapping(maps, &range)) {
        uint64_t place = choose_place(range, pagemap.size);
        if (place != 0 && has_any(read, range) &&
            is_all_of_file(&pagemap, range) &&
            make_inherited(place, pagemap.size) == 0) {
            keep_only(read, range);
        }
    }
    csb_close(&pagemap.fd);
    if (maps != NULL) {
        (void)fclose(maps); /* was only read */
    }
}

void
csb_mapped_hand_down(const struct csb_zygote *zygote,
                     const struct csb_pages *read)
{
    sigset_t all, before;

    if (!is_alone(zygote)) {
        return;
    }
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &before);
    hand_down(zygote, read);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
}
