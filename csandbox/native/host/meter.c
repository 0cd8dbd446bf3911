#define _GNU_SOURCE
#include "meter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "cgroup.h"
#include "halt.h"
#include "kin.h"
#include "procfs.h"
#include "smaps.h"

#define SECOND 1000000000ll
#define MILLISECOND 1000000ll
/* Faster than memory can be filled: bytes in a nanosecond, of each thread
 * that has a processor. */
#define FILL_RATE 4
#define SHORTEST (2 * MILLISECOND)
/* So long a run may go on when descriptors are missing to look at it. */
#define BLIND_MOST (1000 * MILLISECOND)
#define FIRST (20 * MILLISECOND)
#define LONGEST (250 * MILLISECOND)
/* What a process uses after the last look at it may be lost. */
#define LONGEST_OF_SEVERAL (20 * MILLISECOND)
#define AFTER_FORK (5 * MILLISECOND)
/* The exact figure costs milliseconds. */
#define SHORTEST_EXACT (50 * MILLISECOND)
/* What looks may cost of a processor: a quarter. */
#define COST_FACTOR 3
/* What may wait in a socket, until it is read or its other end closed. */
#define SOCKET_BUFFER (222 * 1024ull)
#define FREE_COPIES (64 * 1024 * 1024ull)
/* What the kernel keeps for a file, its name included. */
#define INODE 1024
#define PATH_ROOM 64
#define VMSTAT_ROOM (16 * 1024)

/* --- memory of the machine ----------------------------------------------- */

static int64_t
count_oom_kills(void)
{
    char *text = malloc(VMSTAT_ROOM);
    ssize_t got = text == NULL
                      ? -ENOMEM
                      : csb_procfs_read("/proc/vmstat", text, VMSTAT_ROOM);
    int64_t kills = got < 0 ? -1 : csb_procfs_number(text, "\noom_kill ");
    free(text);
    return kills;
}

static int
is_alive(const struct csb_meter *meter)
{
    struct pollfd process = {.fd = meter->cell, .events = POLLIN};
    if (meter->cell < 0) {
        return kill(meter->pid, 0) == 0 || errno != ESRCH;
    }
    return poll(&process, 1, 0) == 0;
}

static uint64_t
above(uint64_t value, uint64_t floor)
{
    return value > floor ? value - floor : 0;
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
    ssize_t got = csb_procfs_read(path, text, sizeof text);
    if (got < 0) {
        return (int)got;
    }
    int64_t anonymous = csb_procfs_number(text, "\nRssAnon:");
    int64_t shared = csb_procfs_number(text, "\nRssShmem:");
    int64_t tables = csb_procfs_number(text, "\nVmPTE:");
    int64_t swapped = csb_procfs_number(text, "\nVmSwap:");
    if (anonymous < 0 || shared < 0 || tables < 0) {
        return -ENODATA;
    }
    ret->anonymous =
        ((uint64_t)anonymous + (swapped > 0 ? (uint64_t)swapped : 0)) * 1024;
    ret->shared = (uint64_t)shared * 1024;
    ret->tables = (uint64_t)tables * 1024;
    return 0;
}

struct stat_file {
    uint64_t faults;       /* that read nothing, since its birth */
    uint64_t ticks;        /* of processors, its own */
    uint64_t waited_ticks; /* ... and of children that it has waited for */
};

static int
read_stat(pid_t pid, struct stat_file *ret)
{
    char path[PATH_ROOM], text[1024];
    unsigned long long faults, user, system, user_below, system_below;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (csb_procfs_read(path, text, sizeof text) < 0) {
        return -ENOENT;
    }
    /* Behind the name, which may hold anything, the third field comes. */
    const char *at = strrchr(text, ')');
    if (at == NULL ||
        sscanf(at,
               ") %*c %*d %*d %*d %*d %*d %*u %llu %*u %*u %*u %llu %llu "
               "%llu %llu",
               &faults, &user, &system, &user_below, &system_below) != 5) {
        return -ENOENT;
    }
    *ret =
        (struct stat_file){faults, user + system, user_below + system_below};
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

/* Bytes and files of a spot, in which nothing moves meanwhile. */
static int
measure_spot(const struct csb_meter *meter, uint64_t *ret_bytes,
             uint64_t *ret_files)
{
    int result = csb_spot_measure(meter->spot, ret_bytes, ret_files);
    if (result == 0 && *ret_files <= CSB_SPOT_OWN_FILES) {
        return 0;
    }
    csb_halt(meter->cell, meter->pid);
    result = csb_spot_measure(meter->spot, ret_bytes, ret_files);
    csb_halt_end(meter->cell);
    return result;
}

static void
look_at_spot(struct csb_meter *meter)
{
    uint64_t bytes, files;
    int result = measure_spot(meter, &bytes, &files);
    if (result == -E2BIG) {
        meter->over = CSB_OVER_SCRATCH;
    } else if (result < 0) {
        return; /* no number is free: the next look sees more */
    }
    meter->scratch_used = bytes + files * INODE;
    if (meter->scratch_used > meter->peak_scratch) {
        meter->peak_scratch = meter->scratch_used;
    }
}

void
csb_meter_look_at_scratch(struct csb_meter *meter)
{
    struct statfs info;
    if (meter->spot != NULL) {
        look_at_spot(meter);
        return;
    }
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

/* One that has ended holds nothing. */
static int
is_over(int result)
{
    return result == -ENODATA || result == -ENOENT || result == -ESRCH;
}

static int
look_at_each(const struct csb_kin *kin, struct resident *ret_sum)
{
    *ret_sum = (struct resident){0, 0, 0};
    for (unsigned i = 0; i < kin->count; i++) {
        struct resident resident = {0, 0, 0};
        pid_t tid;
        int result = read_resident(kin->pid[i], &resident, &tid);
        if (result == 0) {
            ret_sum->anonymous += resident.anonymous;
            ret_sum->shared += resident.shared;
            ret_sum->tables += resident.tables;
        } else if (!is_over(result)) {
            return result;
        }
    }
    return 0;
}

/* -errno if that is not to be had.  Of the kin those stay that count. */
static int
measure_each(const struct csb_meter *meter, struct csb_kin *kin,
             struct csb_smaps *ret_sum)
{
    csb_kin_drop_sharers(kin);
    *ret_sum = (struct csb_smaps){0, 0, 0};
    for (unsigned i = 0; i < kin->count; i++) {
        struct resident resident = {0, 0, 0};
        pid_t tid;
        int result = read_resident(kin->pid[i], &resident, &tid);
        if (result == 0) {
            result = csb_smaps_add(kin->pid[i], tid, meter->scratch, ret_sum);
        }
        if (result < 0 && !is_over(result)) {
            return result;
        }
    }
    return 0;
}

/* What the first process inherited and has written to since is a copy of its
 * own.  No more than it has had faults, and no more than there was. */
static uint64_t
copied_at_most(const struct csb_meter *meter, const struct csb_kin *kin)
{
    struct stat_file stat;
    uint64_t faults = 0;
    for (unsigned i = 0; i < kin->count; i++) {
        faults += read_stat(kin->pid[i], &stat) == 0 ? stat.faults : 0;
    }
    uint64_t bytes = faults * (uint64_t)sysconf(_SC_PAGESIZE);
    return bytes < meter->inherited ? bytes : meter->inherited;
}

/* Copies of a little of what it inherited are not counted: every run makes
 * some, and malloc() is to say that a limit is reached, not the host. */
static uint64_t
free_copies(const struct csb_meter *meter)
{
    return meter->inherited < FREE_COPIES ? meter->inherited : FREE_COPIES;
}

/* grown: bytes of anonymous memory beyond the inherited. */
static uint64_t
exact_memory(const struct csb_meter *meter, const struct csb_smaps *sum,
             uint64_t grown)
{
    /* What they have in common with the zygote is not theirs. */
    uint64_t anonymous = sum->own + above(sum->part, meter->inherited);
    uint64_t copied = above(anonymous, grown), free = free_copies(meter);
    return anonymous - (copied < free ? copied : free) + sum->shared;
}

/* Where a run can listen, data waits in sockets that have no descriptor any
 * more.  Such a run has a network of its own, so the sockets are its own. */
static uint64_t
socket_buffers(const struct csb_meter *meter)
{
    char path[PATH_ROOM], text[1024];
    if (!meter->several) {
        return 0;
    }
    (void)snprintf(path, sizeof path, "/proc/%d/net/sockstat", meter->pid);
    if (csb_procfs_read(path, text, sizeof text) <= 0) {
        return 0; /* it is ending */
    }
    int64_t used = csb_procfs_number(text, "sockets: used ");
    return used > 0 ? (uint64_t)used * SOCKET_BUFFER : 0;
}

static int
look_at_memory(struct csb_meter *meter, struct csb_kin *kin, int *ret_exact)
{
    struct resident sum;
    struct csb_smaps exact;

    csb_meter_look_at_scratch(meter);
    int result = look_at_each(kin, &sum);
    if (result < 0) {
        return result;
    }
    uint64_t grown = above(sum.anonymous, meter->inherited);
    uint64_t rest = sum.tables + meter->scratch_used + socket_buffers(meter);
    uint64_t copied = above(copied_at_most(meter, kin), free_copies(meter));
    meter->memory = grown + sum.shared + rest;
    *ret_exact = 0;
    if (meter->memory + copied > meter->memory_limit &&
        measure_each(meter, kin, &exact) == 0) {
        meter->memory = exact_memory(meter, &exact, grown) + rest;
        *ret_exact = 1;
    }
    if (meter->memory > meter->peak_memory) {
        meter->peak_memory = meter->memory;
    }
    return 0;
}

/* --- time ---------------------------------------------------------------- */

static int64_t
cpu_of_one(const struct csb_meter *meter)
{
    clockid_t clock;
    struct timespec used;

    if (clock_getcpuclockid(meter->pid, &clock) != 0 ||
        clock_gettime(clock, &used) < 0) {
        return 0;
    }
    return used.tv_sec * SECOND + used.tv_nsec;
}

/* -1 without a cgroup. */
static int64_t
cpu_of_cgroup(const struct csb_meter *meter)
{
    struct csb_cgroup_cpu cpu;
    return meter->cpu_stat >= 0 &&
                   csb_cgroup_read_cpu(meter->cpu_stat, &cpu) == 0
               ? cpu.total_usec * 1000
               : -1;
}

static int
look_at_cpu(struct csb_meter *meter, const struct csb_kin *kin)
{
    int64_t cpu = cpu_of_cgroup(meter);
    int result = 0;
    if (cpu < 0 && meter->several) {
        result = csb_spent_look(&meter->spent, meter->init_pid, kin, &cpu);
    } else if (cpu < 0) {
        cpu = cpu_of_one(meter);
    }
    if (result == 0 && cpu > meter->cpu) {
        meter->cpu = cpu;
    }
    return result;
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
    int64_t pace = at_once(meter);
    int64_t wait =
        meter->several || meter->bare ? LONGEST_OF_SEVERAL : LONGEST;
    uint64_t room = meter->memory < meter->memory_limit
                        ? meter->memory_limit - meter->memory
                        : 0;
    int64_t filled = (int64_t)(room / (uint64_t)(FILL_RATE * pace));
    int64_t spent = (meter->cpu_limit - meter->cpu) / pace;

    filled = filled < shortest ? shortest : filled;
    if (meter->spot != NULL) {
        uint64_t most = meter->spot->bytes_limit;
        uint64_t free =
            most - (meter->scratch_used < most ? meter->scratch_used : most);
        int64_t full = (int64_t)(free / (uint64_t)(FILL_RATE * pace));
        filled = full < filled ? full : filled;
        filled = filled < shortest ? shortest : filled;
    }
    spent = spent < SHORTEST ? SHORTEST : spent;
    wait = filled < wait ? filled : wait;
    wait = spent < wait ? spent : wait;
    meter->next = now + wait;
}

/* --- all of it ----------------------------------------------------------- */

void
csb_meter_begin(struct csb_meter *meter, int64_t now)
{
    meter->oom_kills = -1;
    plan_next(meter, now, SHORTEST);
    if (meter->next > now + FIRST) {
        meter->next = now + FIRST;
    }
}

void
csb_meter_hurry(struct csb_meter *meter, int64_t now)
{
    int64_t soon = now + AFTER_FORK;
    soon = soon < meter->earliest ? meter->earliest : soon;
    meter->next = soon < meter->next ? soon : meter->next;
}

static int
begin_looking(struct csb_meter *meter)
{
    int result = meter->pid > 0 ? 0 : csb_kin_number(meter->cell, &meter->pid);
    if (result == 0 && meter->several) {
        result = csb_kin_number(meter->init, &meter->init_pid);
    }
    if (result == 0) {
        meter->begun = 1;
        meter->oom_kills = count_oom_kills();
    }
    return result;
}

static int
list_processes(struct csb_meter *meter, struct csb_kin *ret_kin)
{
    int result = 0;
    if (meter->several) {
        result = csb_kin_list(meter->pid, meter->init_pid, ret_kin);
    } else {
        ret_kin->count = 1;
        ret_kin->pid[0] = meter->pid;
    }
    return result;
}

static int
allocate_kin(struct csb_meter *meter)
{
    if (meter->kin == NULL) {
        meter->kin = malloc(sizeof *meter->kin);
    }
    return meter->kin == NULL ? -ENOMEM : 0;
}

/* A guest that makes looking costly shall not keep its host busy. */
static void
be_brief(struct csb_meter *meter, int64_t began)
{
    struct timespec clock;
    (void)clock_gettime(CLOCK_MONOTONIC, &clock); /* cannot fail */
    int64_t now = clock.tv_sec * SECOND + clock.tv_nsec;
    meter->earliest = now + COST_FACTOR * (now - began);
    if (meter->next < meter->earliest) {
        meter->next = meter->earliest;
    }
}

/* For a moment this process may have no number free. */
static int
forgive(struct csb_meter *meter, int result, int64_t now)
{
    if (result != -EMFILE && result != -ENFILE && result != -ENOMEM) {
        return result;
    }
    meter->blind_since = meter->blind_since != 0 ? meter->blind_since : now;
    return now - meter->blind_since > BLIND_MOST ? result : 0;
}

/* Where the user's tasks cannot be limited, those of the run are counted. */
static void
look_at_threads(struct csb_meter *meter)
{
    if (meter->bare && csb_kin_threads(meter->pid) > meter->tasks) {
        meter->over = CSB_OVER_THREADS;
    }
}

int
csb_meter_look(struct csb_meter *meter, int64_t now)
{
    int exact = 0;
    int result = allocate_kin(meter);
    if (result == 0 && !meter->begun) {
        result = begin_looking(meter);
    }
    if (result == 0) {
        result = list_processes(meter, meter->kin);
    }
    if (result == 0) {
        result = look_at_cpu(meter, meter->kin);
    }
    if (result == 0) {
        result = look_at_memory(meter, meter->kin, &exact);
    }
    if (result == 0) {
        look_at_threads(meter);
        meter->blind_since = 0;
    }
    plan_next(meter, now, exact ? SHORTEST_EXACT : SHORTEST);
    be_brief(meter, now);
    /* Of one that has just ended there is nothing to know. */
    return result < 0 && is_alive(meter) ? forgive(meter, result, now) : 0;
}

void
csb_meter_end(struct csb_meter *meter)
{
    csb_spent_end(&meter->spent);
    free(meter->kin);
    meter->kin = NULL;
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
    struct resident resident = {0, 0, 0};
    pid_t pid;

    int result = csb_kin_number(pidfd, &pid);
    return result < 0 ? result : read_status(pid, pid, &resident);
}
