#define _GNU_SOURCE
#include "kin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "procfs.h"

#define PATH_ROOM 64

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

static int
add(struct csb_kin *kin, pid_t pid)
{
    if (kin->count == CSB_KIN_MAX) {
        return -E2BIG;
    }
    kin->pid[kin->count++] = pid;
    return 0;
}

/* The children that one thread has made, or been given: "12 13 14 ". */
static int
add_children(struct csb_kin *kin, pid_t pid, const char *thread)
{
    char path[PATH_ROOM], text[16 * CSB_KIN_MAX], *at = text, *end;
    int result = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", pid,
                   thread);
    ssize_t got = csb_procfs_read(path, text, sizeof text);
    if (got < 0) {
        return got == -ENOENT || got == -ESRCH ? 0 : (int)got;
    }
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

int
csb_kin_list(pid_t cell, pid_t init, struct csb_kin *ret_kin)
{
    unsigned seen = 0;

    ret_kin->count = 0;
    int result = add(ret_kin, cell);
    if (result == 0) {
        result = add_children_of_all(ret_kin, init);
    }
    while (result == 0 && seen < ret_kin->count) {
        result = add_children_of_all(ret_kin, ret_kin->pid[seen++]);
    }
    return result;
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
