#define _GNU_SOURCE
#include "meter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "smaps.h"

#define MILLISECOND 1000000ll
/* Faster than memory can be filled: bytes in a nanosecond, of each thread
 * that has a processor. */
#define FILL_RATE 4
#define SHORTEST (2 * MILLISECOND)
#define LONGEST (250 * MILLISECOND)
/* The exact figure costs milliseconds. */
#define SHORTEST_EXACT (50 * MILLISECOND)
/* What the kernel keeps for a file, its name included. */
#define INODE 1024
#define PATH_ROOM 64

/* The last known number of the machine's OOM kills. */
static _Atomic int64_t known_oom_kills = -1;

/* --- files of /proc ------------------------------------------------------ */

/* As much of a small file as there is room for, ended by NUL; the length or
 * -errno. */
static ssize_t
read_file(const char *path, char *text, size_t room)
{
    __attribute__((cleanup(csb_close))) int fd =
        open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t got;

    if (fd < 0) {
        return -errno;
    }
    do {
        got = read(fd, text + used, room - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    text[used] = '\0';
    return got < 0 ? -errno : (ssize_t)used;
}

/* The number behind a name at the start of a line, or -1. */
static int64_t
number_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at == NULL ? -1 : strtoll(at + strlen(name), NULL, 10);
}

static int64_t
count_oom_kills(void)
{
    char text[16 * 1024];
    ssize_t got = read_file("/proc/vmstat", text, sizeof text);
    int64_t kills = got < 0 ? -1 : number_of(text, "\noom_kill ");
    if (kills >= 0) {
        known_oom_kills = kills;
    }
    return kills;
}

static int
is_alive(const struct csb_meter *meter)
{
    struct pollfd process = {.fd = meter->cell, .events = POLLIN};
    return poll(&process, 1, 0) == 0;
}

/* The number that the process of a pidfd has in this /proc. */
static int
look_up(int pidfd, pid_t *ret_pid)
{
    char path[PATH_ROOM], text[512];

    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    ssize_t got = read_file(path, text, sizeof text);
    if (got < 0) {
        return (int)got;
    }
    int64_t pid = number_of(text, "\nPid:\t");
    if (pid <= 0) {
        return -ESRCH;
    }
    *ret_pid = (pid_t)pid;
    return 0;
}

/* --- memory -------------------------------------------------------------- */

struct resident {
    uint64_t anonymous, shared, tables; /* bytes */
};

/* What the file `status` of a thread says.  -ENODATA if the thread has ended
 * and so has no memory. */
static int
read_status(pid_t pid, pid_t tid, struct resident *ret)
{
    char path[PATH_ROOM], text[4096];

    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
    ssize_t got = read_file(path, text, sizeof text);
    if (got < 0) {
        return (int)got;
    }
    int64_t anonymous = number_of(text, "\nRssAnon:");
    int64_t shared = number_of(text, "\nRssShmem:");
    int64_t tables = number_of(text, "\nVmPTE:");
    int64_t swapped = number_of(text, "\nVmSwap:");
    if (anonymous < 0 || shared < 0 || tables < 0) {
        return -ENODATA;
    }
    ret->anonymous =
        ((uint64_t)anonymous + (swapped > 0 ? (uint64_t)swapped : 0)) * 1024;
    ret->shared = (uint64_t)shared * 1024;
    ret->tables = (uint64_t)tables * 1024;
    return 0;
}

/* A process whose first thread has ended may live on in others. */
static int
read_other_thread(pid_t pid, struct resident *ret, pid_t *ret_tid)
{
    char path[PATH_ROOM];
    const struct dirent *entry;
    int result = -ENODATA;

    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return -errno;
    }
    while (result != 0 && (entry = readdir(tasks)) != NULL) {
        pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (tid > 0 && read_status(pid, tid, ret) == 0) {
            *ret_tid = tid;
            result = 0;
        }
    }
    (void)closedir(tasks);
    return result;
}

static int
read_resident(pid_t pid, struct resident *ret, pid_t *ret_tid)
{
    int result = read_status(pid, pid, ret);
    *ret_tid = pid;
    return result == -ENODATA ? read_other_thread(pid, ret, ret_tid) : result;
}

void
csb_meter_look_at_scratch(struct csb_meter *meter)
{
    struct statfs info;
    if (meter->scratch < 0 || fstatfs(meter->scratch, &info) < 0) {
        return; /* there was none yet */
    }
    uint64_t blocks = info.f_blocks - info.f_bfree;
    uint64_t files = info.f_files - info.f_ffree;
    meter->scratch_used =
        blocks * (uint64_t)info.f_bsize + (files > 1 ? files - 1 : 0) * INODE;
    if (meter->scratch_used > meter->peak_scratch) {
        meter->peak_scratch = meter->scratch_used;
    }
}

static uint64_t
added(const struct csb_meter *meter, uint64_t anonymous)
{
    return anonymous > meter->inherited ? anonymous - meter->inherited : 0;
}

static int
look_at_memory(struct csb_meter *meter, int *ret_exact)
{
    struct resident resident;
    uint64_t exact;
    pid_t tid;

    csb_meter_look_at_scratch(meter);
    int result = read_resident(meter->pid, &resident, &tid);
    if (result < 0) {
        return result;
    }
    uint64_t rest = resident.tables + meter->scratch_used;
    meter->memory = added(meter, resident.anonymous) + resident.shared + rest;
    *ret_exact = 0;
    if (meter->memory > meter->memory_limit &&
        csb_smaps_measure(meter->pid, tid, meter->scratch, &exact) == 0) {
        meter->memory = exact + rest;
        *ret_exact = 1;
    }
    if (meter->memory > meter->peak_memory) {
        meter->peak_memory = meter->memory;
    }
    return 0;
}

/* --- time ---------------------------------------------------------------- */

static void
look_at_cpu(struct csb_meter *meter)
{
    clockid_t clock;
    struct timespec used;

    if (clock_getcpuclockid(meter->pid, &clock) == 0 &&
        clock_gettime(clock, &used) == 0) {
        meter->cpu = used.tv_sec * 1000 * MILLISECOND + used.tv_nsec;
    }
}

static int64_t
at_once(const struct csb_meter *meter)
{
    cpu_set_t set;
    int64_t most = sched_getaffinity(0, sizeof set, &set) == 0
                       ? CPU_COUNT(&set)
                       : CPU_SETSIZE; /* there are more than that */
    return most < meter->tasks ? most : meter->tasks;
}

static void
plan_next(struct csb_meter *meter, int64_t now, int64_t shortest)
{
    int64_t pace = at_once(meter), wait = LONGEST;
    uint64_t room = meter->memory < meter->memory_limit
                        ? meter->memory_limit - meter->memory
                        : 0;
    int64_t filled = (int64_t)(room / (uint64_t)(FILL_RATE * pace));
    int64_t spent = (meter->cpu_limit - meter->cpu) / pace;

    filled = filled < shortest ? shortest : filled;
    spent = spent < SHORTEST ? SHORTEST : spent;
    wait = filled < wait ? filled : wait;
    wait = spent < wait ? spent : wait;
    meter->next = now + wait;
}

/* --- all of it ----------------------------------------------------------- */

void
csb_meter_begin(struct csb_meter *meter, int64_t now)
{
    meter->oom_kills = known_oom_kills;
    plan_next(meter, now, SHORTEST);
}

static int
begin_looking(struct csb_meter *meter)
{
    int result = look_up(meter->cell, &meter->pid);
    if (result == 0) {
        meter->oom_kills = count_oom_kills();
    }
    return result;
}

int
csb_meter_look(struct csb_meter *meter, int64_t now)
{
    int exact = 0;
    int result = meter->pid == 0 ? begin_looking(meter) : 0;
    if (result == 0) {
        look_at_cpu(meter);
        result = look_at_memory(meter, &exact);
    }
    plan_next(meter, now, exact ? SHORTEST_EXACT : SHORTEST);
    /* Of one that is ending, or has just ended, there is nothing to know. */
    return result < 0 && result != -ENODATA && is_alive(meter) ? result : 0;
}

int
csb_meter_oom_killed(const struct csb_meter *meter)
{
    int64_t before = meter->oom_kills;
    return before >= 0 && count_oom_kills() > before;
}

int
csb_meter_check(int pidfd)
{
    struct resident resident;
    pid_t pid;

    (void)count_oom_kills(); /* the number that runs begin with */
    int result = look_up(pidfd, &pid);
    return result < 0 ? result : read_status(pid, pid, &resident);
}
