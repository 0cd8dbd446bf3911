/* What the kernel says of this cell.  Its /proc/PID/status is opened while
 * that can be done, and read when all is locked: the kernel makes the text at
 * that moment. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../common/fdio.h"

#define STATUS_TEXT 4096

/* The number in a line of status, 0 if there is no such line. */
static uint64_t
number_of(const char *status, const char *name, unsigned base)
{
    uint64_t value = 0;
    const char *at = strstr(status, name);
    if (at == NULL) {
        return 0;
    }
    for (at += strlen(name); *at == '\t' || *at == ' '; at++) {
    }
    for (;; at++) {
        unsigned digit = *at >= '0' && *at <= '9' ? (unsigned)(*at - '0')
                         : *at >= 'a' && *at <= 'f'
                             ? (unsigned)(*at - 'a') + 10
                             : base;
        if (digit >= base) {
            return value;
        }
        value = value * base + digit;
    }
}

static int
read_status(int fd, char *ret_text)
{
    ssize_t got = read(fd, ret_text, STATUS_TEXT - 1);
    if (got <= 0) {
        return got < 0 ? -errno : -EIO;
    }
    ret_text[got] = '\0';
    return 0;
}

int
csb_receipt_open(const struct csb_cell *cell)
{
    char text[STATUS_TEXT];
    struct csb_receipt *receipt = &cell->readback->receipt;

    /* Before the nested user namespace: of the one in which a file is opened
     * are the ids in it. */
    int fd = openat(cell->proc, "self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    cell->readback->status = fd;
    int result = read_status(fd, text);
    if (result == 0) {
        receipt->filters_before =
            (uint32_t)number_of(text, "\nSeccomp_filters:", 10);
        result = lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
    }
    return result;
}

static int
read_limits(uint64_t *ret_limits)
{
    static const int resources[] = {
#define X(name) RLIMIT_##name,
        CSB_RECEIPT_LIMITS(X)
#undef X
    };
    for (int i = 0; i < CSB_LIMIT_COUNT; i++) {
        struct rlimit limit;
        if (getrlimit(resources[i], &limit) < 0) {
            return -errno;
        }
        ret_limits[i] =
            limit.rlim_max == RLIM_INFINITY ? UINT64_MAX : limit.rlim_max;
    }
    return 0;
}

/* Devices may be written to, but for this one, which only Landlock says.  It
 * may be missing where there is no view. */
static uint32_t
landlock_answers(void)
{
    int fd = open("/dev/zero", O_WRONLY | O_CLOEXEC);
    uint32_t refused = fd < 0;
    csb_close(&fd);
    return refused;
}

int
csb_receipt_take(const struct csb_cell *cell)
{
    struct csb_receipt *receipt = &cell->readback->receipt;

    csb_receipt_namespaces(cell->proc, receipt->namespaces);
    receipt->landlock = landlock_answers();
    return read_limits(receipt->limits);
}

int
csb_receipt_finish(struct csb_readback *readback)
{
    static const char *const names[] = {
#define X(name) "\n" #name ":",
        CSB_RECEIPT_CAPS(X)
#undef X
    };
    char text[STATUS_TEXT];
    struct csb_receipt *receipt = &readback->receipt;

    int result = read_status(CSB_CELL_STATUS, text);
    int fd = CSB_CELL_STATUS;
    csb_close(&fd);
    if (result < 0) {
        return result;
    }
    for (int i = 0; i < CSB_CAPS_COUNT; i++) {
        receipt->caps[i] = number_of(text, names[i], 16);
    }
    /* Real, effective, saved, of files: the filter keeps them alike. */
    receipt->uid = (uint32_t)number_of(text, "\nUid:", 10);
    receipt->no_new_privs = (uint32_t)number_of(text, "\nNoNewPrivs:", 10);
    receipt->seccomp = (uint32_t)number_of(text, "\nSeccomp:", 10);
    receipt->filters = (uint32_t)number_of(text, "\nSeccomp_filters:", 10);
    return 0;
}
