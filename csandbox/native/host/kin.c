#define _GNU_SOURCE
#include "kin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "procfs.h"

#define PATH_ROOM 64
#define CHILDREN_ROOM (16 * CSB_KIN_MAX)
/* Each of them shows a process that has ended since, or a new one. */
#define WALKS 16

int
csb_kin_number(int pidfd, pid_t *ret_pid)
{
    char path[PATH_ROOM], text[512];

    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    ssize_t got = csb_procfs_read(path, text, sizeof text);
    if (got < 0) {
        return (int)got;
    }
    int64_t pid = csb_procfs_number(text, "\nPid:\t");
    if (pid <= 0) {
        return -ESRCH;
    }
    *ret_pid = (pid_t)pid;
    return 0;
}

int
csb_kin_has(const struct csb_kin *kin, pid_t pid)
{
    for (unsigned i = 0; i < kin->count; i++) {
        if (kin->pid[i] == pid) {
            return 1;
        }
    }
    return 0;
}

static int
add(struct csb_kin *kin, pid_t pid)
{
    if (csb_kin_has(kin, pid)) {
        return 0; /* it has got another parent meanwhile */
    }
    if (kin->count == CSB_KIN_MAX) {
        return -E2BIG;
    }
    kin->pid[kin->count++] = pid;
    return 0;
}

static int
add_listed(struct csb_kin *kin, const char *at)
{
    char *end;
    int result = 0;

    while (result == 0) {
        long child = strtol(at, &end, 10);
        if (end == at) {
            break;
        }
        at = end;
        result = add(kin, (pid_t)child);
    }
    return result;
}

/* The children that one thread has made, or been given: "12 13 14 ". */
static int
add_children(struct csb_kin *kin, pid_t pid, const char *thread)
{
    char path[PATH_ROOM];

    char *text = malloc(CHILDREN_ROOM);
    if (text == NULL) {
        return -ENOMEM;
    }
    (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", pid,
                   thread);
    ssize_t got = csb_procfs_read(path, text, CHILDREN_ROOM);
    int result = got < 0 ? (int)got : add_listed(kin, text);
    free(text);
    return result == -ENOENT || result == -ESRCH ? 0 : result;
}

static int
add_children_of_all(struct csb_kin *kin, pid_t pid)
{
    char path[PATH_ROOM];
    const struct dirent *entry;
    int result = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    if (threads == NULL) {
        return errno == ENOENT ? 0 : -errno; /* it has ended meanwhile */
    }
    while (result == 0 && (entry = readdir(threads)) != NULL) {
        if (entry->d_name[0] != '.') {
            result = add_children(kin, pid, entry->d_name);
        }
    }
    (void)closedir(threads);
    return result;
}

static int
add_descendants(struct csb_kin *kin, unsigned from)
{
    int result = 0;
    while (result == 0 && from < kin->count) {
        result = add_children_of_all(kin, kin->pid[from++]);
    }
    return result;
}

int
csb_kin_list(pid_t cell, pid_t init, struct csb_kin *ret_kin)
{
    unsigned seen = 0;

    ret_kin->count = 0;
    int result = add(ret_kin, cell);
    while (result == 0 && seen < ret_kin->count) {
        result = add_descendants(ret_kin, seen);
        seen = ret_kin->count;
        /* Last, and again: it gets those whose parents end meanwhile. */
        if (result == 0) {
            result = add_children_of_all(ret_kin, init);
        }
    }
    return result;
}

/* A process of the run that is dead, or about to be reaped. */
static int
is_dead(pid_t pid)
{
    char path[PATH_ROOM], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (csb_procfs_read(path, text, sizeof text) <= 0) {
        return 1;
    }
    const char *state = strrchr(text, ')');
    /* A first thread that has ended looks dead while others live. */
    return state == NULL || state[2] == 'X' ||
           (state[2] == 'Z' && csb_kin_threads(pid) <= 1);
}

static int
list_living(pid_t cell, pid_t init, struct csb_kin *ret_kin)
{
    int result = csb_kin_list(cell, init, ret_kin);
    unsigned count = 0;
    for (unsigned i = 0; i < ret_kin->count; i++) {
        if (i == 0 || !is_dead(ret_kin->pid[i])) {
            ret_kin->pid[count++] = ret_kin->pid[i];
        }
    }
    ret_kin->count = count;
    return result;
}

static int
are_same(const struct csb_kin *one, const struct csb_kin *other)
{
    return one->count == other->count &&
           memcmp(one->pid, other->pid, one->count * sizeof *one->pid) == 0;
}

static int
list_until_same(pid_t cell, pid_t init, struct csb_kin *before,
                struct csb_kin *ret_kin)
{
    int result = list_living(cell, init, ret_kin);
    for (int i = 0; result == 0 && i < WALKS; i++) {
        *before = *ret_kin;
        result = list_living(cell, init, ret_kin);
        if (are_same(before, ret_kin)) {
            return result;
        }
    }
    return result < 0 ? result : -EAGAIN;
}

int
csb_kin_list_living(pid_t cell, pid_t init, struct csb_kin *ret_kin)
{
    struct csb_kin *before = malloc(sizeof *before);
    int result = before == NULL ? -ENOMEM
                                : list_until_same(cell, init, before, ret_kin);
    free(before);
    return result;
}

static int
share_memory(pid_t one, pid_t other)
{
    /* Where that may not be asked they do not, and count twice. */
    return syscall(SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0;
}

void
csb_kin_drop_sharers(struct csb_kin *kin)
{
    unsigned count = 0;
    for (unsigned i = 0; i < kin->count; i++) {
        unsigned k = 0;
        while (k < count && !share_memory(kin->pid[k], kin->pid[i])) {
            k++;
        }
        if (k == count) {
            kin->pid[count++] = kin->pid[i];
        }
    }
    kin->count = count;
}

unsigned
csb_kin_threads(pid_t pid)
{
    char path[PATH_ROOM], text[4096];
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    if (csb_procfs_read(path, text, sizeof text) <= 0) {
        return 0;
    }
    int64_t threads = csb_procfs_number(text, "\nThreads:");
    return threads < 0 ? 0 : (unsigned)threads;
}
