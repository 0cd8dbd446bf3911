#define _GNU_SOURCE
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/fdio.h"

#define NUMBER_ROOM 24

static const struct csb_cgroup nothing = CSB_CGROUP_NOTHING;

/* --- files --------------------------------------------------------------- */

static int
put(int dir, const char *name, const char *text)
{
    __attribute__((cleanup(csb_close))) int fd =
        openat(dir, name, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int
put_number(int dir, const char *name, uint64_t number)
{
    char text[NUMBER_ROOM];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return put(dir, name, text);
}

/* From its beginning, ended by NUL: 0 or -errno. */
static int
get(int fd, char *text, size_t room)
{
    ssize_t got = pread(fd, text, room - 1, 0);
    if (got < 0) {
        return -errno;
    }
    text[got] = '\0';
    return 0;
}

/* The number behind a name at the start of a line, or 0. */
static uint64_t
number_of(const char *text, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, name, length) == 0 && at[length] == ' ') {
            return strtoull(at + length, NULL, 10);
        }
    }
    return 0;
}

/* --- making -------------------------------------------------------------- */

static int
open_file(int dir, const char *name, int flags, int *ret_fd)
{
    int fd = openat(dir, name, flags | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    *ret_fd = fd;
    return 0;
}

static int
set_limits(const struct csb_cgroup *cgroup,
           const struct csb_cgroup_limits *limits)
{
    int result = put_number(cgroup->leaf, "memory.max", limits->memory);
    if (result == 0) {
        /* A guest that lost one process to the OOM killer would go on. */
        result = put(cgroup->leaf, "memory.oom.group", "1");
    }
    if (result == 0) {
        result = put_number(cgroup->leaf, "pids.max", limits->tasks);
    }
    if (result == 0) {
        result = put(cgroup->leaf, "memory.swap.max", "0");
        /* A kernel that does not account swap to cgroups. */
        result = result == -ENOENT ? 0 : result;
    }
    return result;
}

static int
open_files(struct csb_cgroup *cgroup, int *ret_procs)
{
    int dir = cgroup->leaf;
    int result =
        open_file(dir, "memory.current", O_RDONLY, &cgroup->memory_current);
    if (result == 0) {
        result = open_file(dir, "cpu.stat", O_RDONLY, &cgroup->cpu_stat);
    }
    if (result == 0) {
        result =
            open_file(dir, "memory.events", O_RDONLY, &cgroup->memory_events);
    }
    if (result == 0) {
        result = open_file(dir, "cgroup.procs", O_WRONLY, ret_procs);
    }
    return result;
}

static int
fill(struct csb_cgroup *cgroup, const struct csb_cgroup_limits *limits,
     int *ret_procs)
{
    int result = open_file(cgroup->base, cgroup->name,
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW, &cgroup->leaf);
    if (result == 0) {
        result = set_limits(cgroup, limits);
    }
    if (result == 0) {
        cgroup->memory_max = limits->memory;
        result = open_files(cgroup, ret_procs);
    }
    return result;
}

int
csb_cgroup_make(int base, const char *name,
                const struct csb_cgroup_limits *limits,
                struct csb_cgroup *cgroup, int *ret_procs)
{
    struct csb_cgroup made = nothing;

    if (strlen(name) >= sizeof made.name) {
        return -ENAMETOOLONG;
    }
    strcpy(made.name, name); /* NOLINT: it fits */
    made.base = fcntl(base, F_DUPFD_CLOEXEC, 0);
    if (made.base < 0) {
        return -errno;
    }
    if (mkdirat(made.base, name, S_IRWXU) < 0) {
        int result = -errno;
        csb_cgroup_forget(&made);
        return result;
    }
    int result = fill(&made, limits, ret_procs);
    if (result < 0) {
        csb_cgroup_close(&made);
        return result;
    }
    *cgroup = made;
    return 0;
}

int
csb_cgroup_allow(struct csb_cgroup *cgroup, uint64_t bytes)
{
    if (cgroup->base < 0) {
        return 0;
    }
    cgroup->memory_max += bytes;
    return put_number(cgroup->leaf, "memory.max", cgroup->memory_max);
}

/* --- what it says -------------------------------------------------------- */

int
csb_cgroup_read_memory(const struct csb_cgroup *cgroup, uint64_t *ret_bytes)
{
    char text[NUMBER_ROOM];
    int result = get(cgroup->memory_current, text, sizeof text);
    if (result == 0) {
        *ret_bytes = strtoull(text, NULL, 10);
    }
    return result;
}

int
csb_cgroup_read_cpu(int cpu_stat, struct csb_cgroup_cpu *ret_cpu)
{
    char text[1024];
    int result = get(cpu_stat, text, sizeof text);
    if (result == 0) {
        ret_cpu->total_usec = (int64_t)number_of(text, "usage_usec");
        ret_cpu->user_usec = (int64_t)number_of(text, "user_usec");
        ret_cpu->system_usec = (int64_t)number_of(text, "system_usec");
    }
    return result;
}

enum csb_oom
csb_cgroup_oom(const struct csb_cgroup *cgroup)
{
    char text[512];
    if (cgroup->base < 0 || get(cgroup->memory_events, text, sizeof text) ||
        number_of(text, "oom_kill") == 0) {
        return CSB_OOM_NONE;
    }
    /* The kill counts where the victim was, `oom` where the limit was. */
    return number_of(text, "oom") > 0 ? CSB_OOM_LEAF : CSB_OOM_OTHER;
}

static void
take_figures(struct csb_cgroup *cgroup)
{
    char text[NUMBER_ROOM];
    __attribute__((cleanup(csb_close))) int peak = -1;

    cgroup->counted = csb_cgroup_read_cpu(cgroup->cpu_stat, &cgroup->cpu) == 0;
    if (open_file(cgroup->leaf, "memory.peak", O_RDONLY, &peak) == 0 &&
        get(peak, text, sizeof text) == 0) {
        cgroup->peak = strtoull(text, NULL, 10);
    }
}

/* --- removing ------------------------------------------------------------ */

static int
remove_leaf(struct csb_cgroup *cgroup)
{
    if (cgroup->base < 0 || cgroup->removed) {
        return 0;
    }
    if (unlinkat(cgroup->base, cgroup->name, AT_REMOVEDIR) < 0 &&
        errno != ENOENT) {
        return -errno;
    }
    cgroup->removed = 1;
    return 0;
}

int
csb_cgroup_finish(struct csb_cgroup *cgroup)
{
    if (cgroup->base < 0 || cgroup->removed) {
        return 0;
    }
    take_figures(cgroup);
    int result = remove_leaf(cgroup);
    if (result == -EBUSY) {
        /* Not in kernels before 5.14; and all in it are dying already. */
        (void)put(cgroup->leaf, "cgroup.kill", "1");
        result = remove_leaf(cgroup);
    }
    return result;
}

void
csb_cgroup_forget(struct csb_cgroup *cgroup)
{
    csb_close(&cgroup->base);
    csb_close(&cgroup->leaf);
    csb_close(&cgroup->memory_current);
    csb_close(&cgroup->cpu_stat);
    csb_close(&cgroup->memory_events);
}

void
csb_cgroup_close(struct csb_cgroup *cgroup)
{
    (void)remove_leaf(cgroup); /* or it is swept later */
    csb_cgroup_forget(cgroup);
}
