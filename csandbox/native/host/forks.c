#define _GNU_SOURCE
#include "forks.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../common/missing.h"
#include "kin.h"
#include "procfs.h"

#define MICROSECOND 1000ll
#define PATH_ROOM 64
/* A fork of much memory takes some milliseconds of processor time. */
#define FORK_TAKES (50 * 1000 * MICROSECOND)
/* One that has been granted is seen soon after. */
#define TRIES 20
#define PAUSE (50 * MICROSECOND)
/* Who is refused again and again waits for its answers: a bomb of forks shall
 * not keep the host busy. */
#define LONGEST_SILENCE (10 * 1000 * MICROSECOND)
#define SILENCE (200 * MICROSECOND)

/* --- what became of a grant ---------------------------------------------- */

static int64_t
time_run(pid_t thread)
{
    char path[PATH_ROOM], text[128];
    (void)snprintf(path, sizeof path, "/proc/%d/schedstat", thread);
    return csb_procfs_read(path, text, sizeof text) > 0
               ? strtoll(text, NULL, 10)
               : -1;
}

static pid_t
newest_child(pid_t thread)
{
    char path[PATH_ROOM], text[16 * 1024], *at = text, *end;
    pid_t newest = 0;

    /* A thread's number leads to its process, too. */
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", thread,
                   thread);
    if (csb_procfs_read(path, text, sizeof text) <= 0) {
        return 0;
    }
    for (;;) {
        long child = strtol(at, &end, 10);
        if (end == at) {
            return newest; /* they stand in the order of their birth */
        }
        newest = (pid_t)child;
        at = end;
    }
}

static int
is_in_fork(pid_t thread)
{
    char path[PATH_ROOM], text[256];
    (void)snprintf(path, sizeof path, "/proc/%d/syscall", thread);
    if (csb_procfs_read(path, text, sizeof text) <= 0 ||
        strncmp(text, "running", 7) == 0) {
        return -1; /* there is no telling */
    }
    long number = strtol(text, NULL, 10);
#ifdef SYS_fork
    if (number == SYS_fork || number == SYS_vfork) {
        return 1;
    }
#endif
    return number == SYS_clone;
}

/* Whether its child is among those that are counted, or there is none. */
static int
is_settled(const struct csb_grant *grant)
{
    int64_t ran = time_run(grant->thread);
    if (ran < 0) {
        return 1; /* it is gone */
    }
    if (newest_child(grant->thread) != grant->newest ||
        is_in_fork(grant->thread) == 0) {
        return 1;
    }
    return grant->ran >= 0 && ran - grant->ran > FORK_TAKES;
}

static void
forget(struct csb_forks *forks, unsigned index)
{
    forks->grant[index] = forks->grant[--forks->grants];
}

static void
settle(struct csb_forks *forks)
{
    for (unsigned i = forks->grants; i-- > 0;) {
        if (is_settled(&forks->grant[i])) {
            forget(forks, i);
        }
    }
}

/* Who asks again has its last one behind it. */
static void
settle_own(struct csb_forks *forks, pid_t thread)
{
    for (unsigned i = forks->grants; i-- > 0;) {
        if (forks->grant[i].thread == thread) {
            forget(forks, i);
        }
    }
}

/* --- counting ------------------------------------------------------------ */

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

/* Children that are alive; those that nobody has waited for yet are not. */
static int
count_children(pid_t cell, pid_t init, unsigned *ret_count)
{
    struct csb_kin kin;
    unsigned count = 0;
    int result = csb_kin_list(cell, init, &kin);

    for (unsigned i = 1; i < kin.count; i++) {
        count += !is_dead(kin.pid[i]);
    }
    *ret_count = count;
    return result;
}

static int
has_room(struct csb_forks *forks, pid_t cell, pid_t init)
{
    const struct timespec pause = {0, PAUSE};
    unsigned children;

    for (int i = 0; i < TRIES; i++) {
        /* Settled first: a child that comes between counts twice, not never.
         */
        settle(forks);
        int result = count_children(cell, init, &children);
        if (result < 0) {
            return result;
        }
        unsigned all = children + forks->grants;
        if (all < forks->most && forks->grants < CSB_GRANTS_MAX) {
            /* The first, and the one to come. */
            forks->peak = all + 2 > forks->peak ? all + 2 : forks->peak;
            return 1;
        }
        if (children >= forks->most || forks->grants == 0) {
            break;
        }
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

/* --- answers ------------------------------------------------------------- */

static void
grant(struct csb_forks *forks, pid_t thread)
{
    forks->grant[forks->grants++] = (struct csb_grant){
        .thread = thread,
        .ran = time_run(thread),
        .newest = newest_child(thread),
    };
}

/* Returns 0 when it was heard. */
static int
answer(const struct csb_forks *forks, uint64_t id, int granted)
{
    struct seccomp_notif_resp response = {
        .id = id,
        .error = granted ? 0 : -EAGAIN,
        .flags = granted ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };
    return ioctl(forks->listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void
be_silent(struct csb_forks *forks, int64_t now)
{
    int64_t silence = ++forks->refused * SILENCE;
    forks->silent =
        now + (silence < LONGEST_SILENCE ? silence : LONGEST_SILENCE);
}

int
csb_forks_answer(struct csb_forks *forks, int cell, int init, int64_t now)
{
    struct seccomp_notif request;
    pid_t cell_pid, init_pid;

    memset(&request, 0, sizeof request); /* or the kernel refuses it */
    if (ioctl(forks->listener, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0) {
        return 0; /* who asked has been killed */
    }
    pid_t thread = (pid_t)request.pid;
    settle_own(forks, thread);
    int result = csb_kin_number(cell, &cell_pid);
    if (result == 0) {
        result = csb_kin_number(init, &init_pid);
    }
    if (result == 0) {
        result = has_room(forks, cell_pid, init_pid);
    }
    if (result <= 0) {
        be_silent(forks, now);
        (void)answer(forks, request.id, 0);
        return result == -ESRCH ? 0 : result; /* it is ending */
    }
    forks->refused = 0;
    /* Before it can have forked. */
    grant(forks, thread);
    if (answer(forks, request.id, 1) != 0) {
        settle_own(forks, thread); /* a signal came, or it was killed */
    }
    return 0;
}
