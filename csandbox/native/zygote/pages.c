/* The pages that every cell writes to: most hold reference counts of objects
 * that all Python code uses.  A fork shares them, and the first write to each
 * is a fault, in which the kernel copies one page: of some hundred faults,
 * more than half of what a cell costs.  Pages that are pinned for a device it
 * copies while it forks, as the device must not lose them, and that takes half
 * as long.  So they are pinned here: as buffers of an io_uring, which is used
 * for nothing else, and reaches no cell. */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include "pages.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "arm.h"
#include "mapped.h"
#include "pagemap.h"

#define REHEARSAL_SECONDS 1

/* What an example of a cell needs. */
struct needed {
    struct csb_pages written; /* of which it has its own copies */
    struct csb_pages read;    /* of files */
};

/* In the fork: what it has of its own by now. */
static void
note_own(const struct csb_pagemap *pagemap, int proc, struct csb_pages *pages)
{
    int fd = openat(proc, "self/maps", O_RDONLY | O_CLOEXEC);
    FILE *maps = fd < 0 ? NULL : fdopen(fd, "r");
    char line[512], rights[8];
    unsigned long start, end;

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 &&
            rights[1] == 'w' && rights[3] == 'p') {
            csb_pagemap_scan(pagemap, start, end, CSB_OWN_PAGE, CSB_OWN_PAGE,
                             pages);
        }
    }
    /* The process ends. */
}

__attribute__((noreturn)) static void
be_example(const struct csb_zygote *zygote, PyObject *rehearse,
           struct needed *needed, int answer)
{
    sigset_t none;
    csb_mapped_watch(zygote); /* to its end */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)alarm(REHEARSAL_SECONDS); /* whatever a package has in its hooks */
    csb_arm_forked(zygote);
    PyObject *result = PyObject_CallNoArgs(rehearse);
    if (result != NULL) {
        struct csb_pagemap pagemap = csb_pagemap_open(zygote->proc);
        csb_mapped_note(zygote, &pagemap, &needed->read);
        note_own(&pagemap, zygote->proc, &needed->written);
    }
    /* More than a pipe may hold; then the rest waits. */
    for (size_t sent = 0; sent < sizeof *needed;) {
        ssize_t wrote =
            write(answer, (char *)needed + sent, sizeof *needed - sent);
        if (wrote <= 0) {
            break;
        }
        sent += (size_t)wrote;
    }
    _exit(0);
}

/* Of the zygote's own pages those that the example has written to. */
static void
keep_present(const struct csb_zygote *zygote, const struct csb_pages *written,
             struct csb_pages *ret_pages)
{
    struct csb_pagemap pagemap = csb_pagemap_open(zygote->proc);
    for (unsigned i = 0; i < written->count; i++) {
        uint64_t start = (uint64_t)written->run[i].iov_base;
        csb_pagemap_scan(&pagemap, start, start + written->run[i].iov_len,
                         CSB_PAGE_PRESENT, CSB_PAGE_PRESENT, ret_pages);
    }
    csb_close(&pagemap.fd);
}

static int
pin(const struct csb_pages *pages)
{
    struct io_uring_params params = {.flags = 0};
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (ring >= 0 &&
        (fcntl(ring, F_SETFD, FD_CLOEXEC) < 0 ||
         syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
                 pages->run, pages->count) < 0)) {
        csb_close(&ring);
    }
    return ring;
}

/* 0, or -1 if the example ended before all was told. */
static int
read_needed(int from, struct needed *ret_needed)
{
    size_t got = 0;
    while (got < sizeof *ret_needed) {
        ssize_t more =
            read(from, (char *)ret_needed + got, sizeof *ret_needed - got);
        if (more <= 0) {
            return -1;
        }
        got += (size_t)more;
    }
    return 0;
}

static int
ask_example(const struct csb_zygote *zygote, PyObject *rehearse,
            struct needed *ret_needed)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -1;
    }
    pid_t pid = csb_arm_fork(zygote);
    if (pid == 0) {
        be_example(zygote, rehearse, ret_needed, ends[1]);
    }
    csb_close(&ends[1]);
    int result = read_needed(ends[0], ret_needed);
    csb_close(&ends[0]);
    return pid < 0 || waitpid(pid, NULL, 0) != pid ? -1 : result;
}

static int
copy_written(const struct csb_zygote *zygote, const struct csb_pages *written)
{
    struct csb_pages *present = calloc(1, sizeof *present);
    int ring = -1;

    if (present != NULL) {
        keep_present(zygote, written, present);
        ring = present->count > 0 ? pin(present) : -1;
    }
    free(present);
    return ring;
}

int
csb_pages_copy_early(const struct csb_zygote *zygote, PyObject *rehearse)
{
    struct needed *needed = calloc(1, sizeof *needed);
    int ring = -1;

    if (needed == NULL) {
        return -1;
    }
    if (ask_example(zygote, rehearse, needed) == 0) {
        ring = copy_written(zygote, &needed->written);
        csb_mapped_hand_down(zygote, &needed->read);
    }
    free(needed);
    return ring;
}
