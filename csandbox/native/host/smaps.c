#define _GNU_SOURCE
#include "smaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../common/fdio.h"

/* Some 2500 mappings, and ten milliseconds. */
#define TEXT_MOST (2 * 1024 * 1024)
#define ROOM (16 * 1024) /* more than the longest line */

enum kind {
    UNCOUNTED,    /* a file that is mapped, or a store */
    ANONYMOUS,    /* no file */
    SHARED,       /* anonymous memory that is shared */
    PRIVATE_FILE, /* of which it may have written to its own copy */
};

struct measure {
    dev_t scratch;
    enum kind kind; /* of the mapping whose lines come */
    uint64_t own, proportional, anonymous, swapped; /* KiB of it */
    struct csb_smaps *sum;                          /* of those before */
};

static void
finish_mapping(struct measure *measure)
{
    uint64_t own = measure->own, all = measure->proportional;
    uint64_t swapped = measure->swapped;

    if (measure->kind == PRIVATE_FILE) {
        /* Pages of the file itself are the page cache's. */
        own = own < measure->anonymous ? own : measure->anonymous;
        all = own;
    }
    if (measure->kind == SHARED) {
        measure->sum->shared += (all + swapped) * 1024;
    } else if (measure->kind != UNCOUNTED) {
        measure->sum->own += (own + swapped) * 1024;
        measure->sum->part += all > own ? (all - own) * 1024 : 0;
    }
    measure->own = measure->proportional = 0;
    measure->anonymous = measure->swapped = 0;
}

/* "7f00-7f10 rw-p 00000000 00:01 1234   /path", all but the inode in hex. */
static int
begin_mapping(struct measure *measure, const char *line)
{
    char permissions[5], path[32] = "";
    unsigned major, minor;
    unsigned long long inode;

    if (sscanf(line, "%*x-%*x %4s %*x %x:%x %llu %31s", permissions, &major,
               &minor, &inode, path) < 4) {
        return 0;
    }
    finish_mapping(measure);
    if (inode == 0) {
        measure->kind = ANONYMOUS;
    } else if (permissions[3] == 'p') {
        measure->kind = PRIVATE_FILE;
    } else if (strncmp(path, "/dev/zero", 9) == 0 &&
               makedev(major, minor) != measure->scratch) {
        measure->kind = SHARED; /* so it is called */
    } else {
        measure->kind = UNCOUNTED;
    }
    return 1;
}

static void
take_line(struct measure *measure, const char *line)
{
    static const struct {
        const char *name;
        size_t at;
    } fields[] = {
        {"Private_Clean:", offsetof(struct measure, own)},
        {"Private_Dirty:", offsetof(struct measure, own)},
        {"SwapPss:", offsetof(struct measure, swapped)},
        {"Pss:", offsetof(struct measure, proportional)},
        {"Anonymous:", offsetof(struct measure, anonymous)},
    };
    if (line[0] < 'A' || line[0] > 'Z') {
        (void)begin_mapping(measure, line);
        return;
    }
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
        size_t length = strlen(fields[i].name);
        if (strncmp(line, fields[i].name, length) == 0) {
            uint64_t *sum = (void *)((char *)measure + fields[i].at);
            *sum += strtoull(line + length, NULL, 10);
            return;
        }
    }
}

/* Takes whole lines; returns how many bytes of text that were. */
static size_t
take_lines(struct measure *measure, char *text, size_t size)
{
    char *at = text, *end;
    while ((end = memchr(at, '\n', size - (size_t)(at - text))) != NULL) {
        *end = '\0';
        take_line(measure, at);
        at = end + 1;
    }
    return (size_t)(at - text);
}

/* text: room for ROOM bytes. */
static int
measure_file(int fd, char *text, struct measure *measure)
{
    size_t kept = 0, total = 0;
    ssize_t got;

    while ((got = read(fd, text + kept, ROOM - kept)) > 0) {
        total += (size_t)got;
        if (total > TEXT_MOST) {
            return -E2BIG;
        }
        size_t size = kept + (size_t)got;
        size_t taken = take_lines(measure, text, size);
        kept = size - taken;
        if (kept == ROOM) {
            return -E2BIG;
        }
        memmove(text, text + taken, kept);
    }
    finish_mapping(measure);
    return got < 0 ? -errno : 0;
}

int
csb_smaps_add(pid_t pid, pid_t tid, int scratch, struct csb_smaps *sum)
{
    struct measure measure = {.kind = UNCOUNTED, .sum = sum};
    struct stat info;
    char path[64];

    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/smaps", pid, tid);
    __attribute__((cleanup(csb_close))) int fd =
        open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (scratch >= 0 && fstat(scratch, &info) < 0)) {
        return -errno;
    }
    measure.scratch = scratch < 0 ? 0 : info.st_dev;
    char *text = malloc(ROOM);
    int result = text == NULL ? -ENOMEM : measure_file(fd, text, &measure);
    free(text);
    return result;
}
