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

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"
#include "arm.h"

#define RUNS_MAX 1024
#define PAGES_MAX 2048 /* 8 MiB: what a user may pin in all, mostly */
#define REHEARSAL_SECONDS 1
/* Of a page in /proc/PID/pagemap. */
#define IS_PRESENT (1ull << 63)
#define IS_NOT_SHARED (1ull << 56)

struct table {
    unsigned count, pages;
    struct iovec run[RUNS_MAX];
};

struct scan {
    int pagemap;
    uint64_t page; /* bytes */
    struct table *table;
};

static void
add_page(struct table *table, char *page, size_t size)
{
    struct iovec *last =
        table->count > 0 ? &table->run[table->count - 1] : NULL;
    if (table->pages == PAGES_MAX) {
        return;
    }
    if (last != NULL && (char *)last->iov_base + last->iov_len == page) {
        last->iov_len += size;
    } else if (table->count < RUNS_MAX) {
        table->run[table->count++] = (struct iovec){page, size};
    } else {
        return;
    }
    table->pages++;
}

/* Adds the pages of a range that have all of these bits. */
static void
scan_range(const struct scan *scan, uint64_t start, uint64_t end,
           uint64_t bits)
{
    uint64_t entries[256];

    while (start < end) {
        size_t count = (end - start) / scan->page;
        count = count < 256 ? count : 256;
        ssize_t got = pread(scan->pagemap, entries, count * sizeof *entries,
                            (off_t)(start / scan->page * sizeof *entries));
        if (got <= 0) {
            return;
        }
        count = (size_t)got / sizeof *entries;
        for (size_t i = 0; i < count; i++) {
            if ((entries[i] & bits) == bits) {
                add_page(scan->table, (char *)(start + i * scan->page),
                         (size_t)scan->page);
            }
        }
        start += count * scan->page;
    }
}

/* In the fork: what it has of its own by now. */
static void
note_own(const struct scan *scan, int proc)
{
    int fd = openat(proc, "self/maps", O_RDONLY | O_CLOEXEC);
    FILE *maps = fd < 0 ? NULL : fdopen(fd, "r");
    char line[512], rights[8];
    unsigned long start, end;

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) == 3 &&
            rights[1] == 'w' && rights[3] == 'p') {
            scan_range(scan, start, end, IS_PRESENT | IS_NOT_SHARED);
        }
    }
    /* The process ends. */
}

/* The file belongs to a process that is dumpable, which those that have
 * changed their user are not. */
static int
open_pagemap(int proc)
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

static struct scan
begin_scan(const struct csb_zygote *zygote, struct table *table)
{
    return (struct scan){
        .pagemap = open_pagemap(zygote->proc),
        .page = (uint64_t)sysconf(_SC_PAGESIZE),
        .table = table,
    };
}

__attribute__((noreturn)) static void
be_example(const struct csb_zygote *zygote, PyObject *rehearse,
           struct table *table, int answer)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)alarm(REHEARSAL_SECONDS); /* whatever a package has in its hooks */
    csb_arm_forked(zygote);
    PyObject *result = PyObject_CallNoArgs(rehearse);
    if (result != NULL) {
        struct scan scan = begin_scan(zygote, table);
        note_own(&scan, zygote->proc);
    }
    /* More than a pipe may hold; then the rest waits. */
    for (size_t sent = 0; sent < sizeof *table;) {
        ssize_t wrote =
            write(answer, (char *)table + sent, sizeof *table - sent);
        if (wrote <= 0) {
            break;
        }
        sent += (size_t)wrote;
    }
    _exit(0);
}

/* Of the zygote's own pages those that the example has written to. */
static void
keep_present(const struct csb_zygote *zygote, const struct table *written,
             struct table *ret_table)
{
    struct scan scan = begin_scan(zygote, ret_table);
    for (unsigned i = 0; i < written->count; i++) {
        uint64_t start = (uint64_t)written->run[i].iov_base;
        scan_range(&scan, start, start + written->run[i].iov_len, IS_PRESENT);
    }
    csb_close(&scan.pagemap);
}

static int
pin(const struct table *table)
{
    struct io_uring_params params = {.flags = 0};
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (ring >= 0 &&
        (fcntl(ring, F_SETFD, FD_CLOEXEC) < 0 ||
         syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
                 table->run, table->count) < 0)) {
        csb_close(&ring);
    }
    return ring;
}

/* 0, or -1 if the example ended before all was told. */
static int
read_table(int from, struct table *ret_table)
{
    size_t got = 0;
    while (got < sizeof *ret_table) {
        ssize_t more =
            read(from, (char *)ret_table + got, sizeof *ret_table - got);
        if (more <= 0) {
            return -1;
        }
        got += (size_t)more;
    }
    return 0;
}

static int
ask_example(const struct csb_zygote *zygote, PyObject *rehearse,
            struct table *ret_table)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -1;
    }
    pid_t pid = csb_arm_fork(zygote);
    if (pid == 0) {
        be_example(zygote, rehearse, ret_table, ends[1]);
    }
    csb_close(&ends[1]);
    int result = read_table(ends[0], ret_table);
    csb_close(&ends[0]);
    return pid < 0 || waitpid(pid, NULL, 0) != pid ? -1 : result;
}

int
csb_pages_copy_early(const struct csb_zygote *zygote, PyObject *rehearse)
{
    struct table *tables = calloc(2, sizeof *tables);
    int ring = -1;

    if (tables == NULL) {
        return -1;
    }
    if (ask_example(zygote, rehearse, &tables[0]) == 0) {
        keep_present(zygote, &tables[0], &tables[1]);
        ring = tables[1].count > 0 ? pin(&tables[1]) : -1;
    }
    free(tables);
    return ring;
}
