#define _GNU_SOURCE
#include "forks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "procfs.h"
#include "watch.h"

#define MICROSECOND 1000ll
#define PATH_ROOM 64
#define CHILDREN_ROOM (16 * 1024)
/* Copying the tables of much memory takes long: not so long as this, of
 * processor time. */
#define FORK_TAKES (1000 * 1000 * MICROSECOND)
/* One that has been granted is seen soon after. */
#define PATIENCE (10 * 1000 * MICROSECOND)
#define PAUSE (50 * MICROSECOND)
/* Who is refused again and again waits for its answers: a bomb of forks shall
 * not keep the host busy. */
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

static int
is_gone(pid_t thread)
{
    char path[PATH_ROOM];
    (void)snprintf(path, sizeof path, "/proc/%d", thread);
    return access(path, F_OK) < 0;
}

/* Children stand in the order of their birth. */
static pid_t
last_number(const char *at)
{
    pid_t last = 0;
    char *end;
    for (;;) {
        long number = strtol(at, &end, 10);
        if (end == at) {
            return last;
        }
        last = (pid_t)number;
        at = end;
    }
}

static pid_t
newest_child(pid_t thread)
{
    char path[PATH_ROOM];
    pid_t newest = 0;

    char *text = malloc(CHILDREN_ROOM);
    if (text == NULL) {
        return 0;
    }
    /* A thread's number leads to its process, too. */
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", thread,
                   thread);
    if (csb_procfs_read(path, text, CHILDREN_ROOM) > 0) {
        newest = last_number(text);
    }
    free(text);
    return newest;
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

/* Whether it has come to its end, one way or another: then its child is alive
 * already, if there is one. */
static int
is_finished(const struct csb_grant *grant)
{
    int64_t ran = time_run(grant->thread);
    return is_gone(grant->thread) || is_in_fork(grant->thread) == 0 ||
           (grant->ran >= 0 && ran - grant->ran > FORK_TAKES);
}

static void
forget(struct csb_forks *forks, unsigned index)
{
    forks->grant[index] = forks->grant[--forks->grants];
}

static void
settle_finished(struct csb_forks *forks)
{
    for (unsigned i = forks->grants; i-- > 0;) {
        if (is_finished(&forks->grant[i])) {
            forget(forks, i);
            forks->muddled = 1;
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
            forks->muddled = 1;
        }
    }
}

static int
have_ended(const struct csb_forks *forks)
{
    for (unsigned i = 0; i < forks->grants; i++) {
        if (is_gone(forks->grant[i].thread)) {
            return 1;
        }
    }
    return 0;
}

/* Settles those whose child is new among the living: a thread that waits in
 * vfork() stays in it for long.  The children of a thread that ends go to
 * another of the same process, where they would pass for one that is yet to
 * be born; so not when that can be. */
static void
settle_born(struct csb_forks *forks, const struct csb_kin *living)
{
    for (unsigned i = forks->grants; i-- > 0;) {
        pid_t child = newest_child(forks->grant[i].thread);
        if (forks->muddled || have_ended(forks)) {
            return;
        }
        if (csb_kin_has(living, child) && !csb_kin_has(&forks->known, child)) {
            forget(forks, i);
        }
    }
}

/* --- counting ------------------------------------------------------------ */

/* What is settled as finished is settled before the living are counted, and
 * as born by that count: so one that comes meanwhile counts twice, not never.
 */
static int
count(struct csb_forks *forks, pid_t cell, pid_t init, unsigned *ret_children)
{
    struct csb_kin *living = malloc(sizeof *living);
    if (living == NULL) {
        return -ENOMEM;
    }
    settle_finished(forks);
    int result = csb_kin_list_living(cell, init, living);
    if (result == 0) {
        settle_born(forks, living);
        forks->known = *living;
        forks->muddled = forks->grants == 0 ? 0 : forks->muddled;
        *ret_children = living->count - 1;
    }
    free(living);
    return result;
}

/* 1, 0 or -errno. */
static int
has_room(struct csb_forks *forks, pid_t cell, pid_t init, int64_t now)
{
    const struct timespec pause = {0, PAUSE};
    int64_t until = now + PATIENCE;
    unsigned children = 0;

    for (;;) {
        int result = count(forks, cell, init, &children);
        if (result < 0) {
            return result == -EAGAIN ? 0 : result;
        }
        unsigned all = children + forks->grants;
        if (all < forks->most && forks->grants < CSB_GRANTS_MAX) {
            /* The first, and the one to come. */
            forks->peak = all + 2 > forks->peak ? all + 2 : forks->peak;
            return 1;
        }
        if (children >= forks->most || forks->grants == 0 ||
            csb_watch_clock() >= until) {
            return 0;
        }
        (void)nanosleep(&pause, NULL);
    }
}

/* --- answers ------------------------------------------------------------- */

static void
grant(struct csb_forks *forks, pid_t thread)
{
    forks->grant[forks->grants++] = (struct csb_grant){
        .thread = thread,
        .ran = time_run(thread),
    };
}

int
csb_forks_decide(struct csb_forks *forks, pid_t thread, int cell, int init,
                 int64_t now)
{
    pid_t cell_pid, init_pid;

    settle_own(forks, thread);
    int result = csb_kin_number(cell, &cell_pid);
    if (result == 0) {
        result = csb_kin_number(init, &init_pid);
    }
    if (result == 0) {
        result = has_room(forks, cell_pid, init_pid, now);
    }
    if (result > 0) {
        forks->refused = 0;
        /* Before it can have forked. */
        grant(forks, thread);
    }
    return result;
}

void
csb_forks_withdraw(struct csb_forks *forks, pid_t thread)
{
    settle_own(forks, thread);
}

int64_t
csb_forks_silence(struct csb_forks *forks)
{
    return ++forks->refused * SILENCE;
}
