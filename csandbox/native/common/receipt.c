#define _GNU_SOURCE
#include "receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fdio.h"

#define STATUS_TEXT 4096

uint64_t
csb_receipt_namespace(int proc, enum csb_namespace kind)
{
    static const char *const names[] = {
#define X(name) "self/ns/" #name,
        CSB_NAMESPACES(X)
#undef X
    };
    struct stat info;
    return fstatat(proc, names[kind], &info, 0) == 0 ? info.st_ino : 0;
}

void
csb_receipt_namespaces(int proc, uint64_t *ret_namespaces)
{
    for (int kind = 0; kind < CSB_NS_COUNT; kind++) {
        ret_namespaces[kind] =
            csb_receipt_namespace(proc, (enum csb_namespace)kind);
    }
}

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
        unsigned digit = base;
        if (*at >= '0' && *at <= '9') {
            digit = (unsigned)(*at - '0');
        } else if (*at >= 'a' && *at <= 'f') {
            digit = (unsigned)(*at - 'a') + 10;
        }
        if (digit >= base) {
            return value;
        }
        value = value * base + digit;
    }
}

int
csb_receipt_read(int status, struct csb_receipt *ret_receipt)
{
    static const char *const names[] = {
#define X(name) "\n" #name ":",
        CSB_RECEIPT_CAPS(X)
#undef X
    };
    char text[STATUS_TEXT];
    ssize_t got = read(status, text, sizeof text - 1);
    if (got <= 0) {
        return got < 0 ? -errno : -EIO;
    }
    text[got] = '\0';
    for (int i = 0; i < CSB_CAPS_COUNT; i++) {
        ret_receipt->caps[i] = number_of(text, names[i], 16);
    }
    /* The real one; the filter keeps the others like it. */
    ret_receipt->uid = (uint32_t)number_of(text, "\nUid:", 10);
    ret_receipt->no_new_privs = (uint32_t)number_of(text, "\nNoNewPrivs:", 10);
    ret_receipt->seccomp = (uint32_t)number_of(text, "\nSeccomp:", 10);
    ret_receipt->filters = (uint32_t)number_of(text, "\nSeccomp_filters:", 10);
    /* A guest would find on its stack which process it is on this machine, and
     * of how many that its zygote has had. */
    explicit_bzero(text, sizeof text);
    return 0;
}

int
csb_receipt_begin(int proc, struct csb_receipt *ret_receipt)
{
    __attribute__((cleanup(csb_close))) int status =
        openat(proc, "self/status", O_RDONLY | O_CLOEXEC);
    if (status < 0) {
        return -errno;
    }
    csb_receipt_namespaces(proc, ret_receipt->namespaces);
    return csb_receipt_read(status, ret_receipt);
}
