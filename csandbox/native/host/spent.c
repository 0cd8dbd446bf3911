#define _GNU_SOURCE
#include "spent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kin.h"
#include "procfs.h"

#define SECOND 1000000000ll
#define PATH_ROOM 64
#define TRIES 3

struct csb_spent_seen {
    pid_t pid;
    uint64_t born;   /* ticks since the machine started: numbers come again */
    uint64_t own;    /* ticks of processors */
    uint64_t waited; /* ... of children that it has waited for */
};

static int
read_stat(pid_t pid, struct csb_spent_seen *ret)
{
    char path[PATH_ROOM], text[1024];
    unsigned long long user, system, user_below, system_below, born;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (csb_procfs_read(path, text, sizeof text) <= 0) {
        return -ENOENT;
    }
    /* Behind the name, which may hold anything, the third field comes. */
    const char *at = strrchr(text, ')');
    if (at == NULL ||
        sscanf(at,
               ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu "
               "%llu %*d %*d %*d %*d %llu",
               &user, &system, &user_below, &system_below, &born) != 5) {
        return -ENOENT;
    }
    *ret = (struct csb_spent_seen){
        .pid = pid,
        .born = born,
        .own = user + system,
        .waited = user_below + system_below,
    };
    return 0;
}

static unsigned
read_all(const struct csb_kin *kin, struct csb_spent_seen *ret_seen)
{
    unsigned count = 0;
    /* Children before their parents, who get their time by waiting. */
    for (unsigned i = kin->count; i-- > 0;) {
        count += read_stat(kin->pid[i], &ret_seen[count]) == 0;
    }
    return count;
}

/* If one has been waited for meanwhile, its time may stand twice or not at
 * all. */
static int
are_there(const struct csb_spent_seen *seen, unsigned count)
{
    struct csb_spent_seen now;
    for (unsigned i = 0; i < count; i++) {
        if (read_stat(seen[i].pid, &now) != 0 || now.born != seen[i].born) {
            return 0;
        }
    }
    return 1;
}

/* Returns how many there are. */
static unsigned
read_at_once(const struct csb_kin *kin, pid_t init,
             struct csb_spent_seen *ret_seen, struct csb_spent_seen *ret_init)
{
    unsigned count = 0;
    for (int i = 0; i < TRIES; i++) {
        count = read_all(kin, ret_seen);
        (void)read_stat(init, ret_init);
        if (are_there(ret_seen, count)) {
            break;
        }
    }
    return count;
}

static const struct csb_spent_seen *
find(const struct csb_spent_seen *seen, unsigned count,
     const struct csb_spent_seen *who)
{
    for (unsigned i = 0; i < count; i++) {
        if (seen[i].pid == who->pid && seen[i].born == who->born) {
            return &seen[i];
        }
    }
    return NULL;
}

/* What the ended had used, less what others have got by waiting since. */
static uint64_t
lost(const struct csb_spent *before, const struct csb_spent_seen *seen,
     unsigned count, uint64_t init)
{
    uint64_t ended = 0, waited = init - before->init;
    for (unsigned i = 0; i < before->count; i++) {
        const struct csb_spent_seen *old = &before->seen[i];
        const struct csb_spent_seen *now = find(seen, count, old);
        if (now == NULL) {
            ended += old->own + old->waited;
        } else {
            waited += now->waited - old->waited;
        }
    }
    return ended > waited ? ended - waited : 0;
}

int
csb_spent_look(struct csb_spent *spent, pid_t init, const struct csb_kin *kin,
               int64_t *ret_ns)
{
    /* The init's own time is the zygote's as much as the run's. */
    struct csb_spent_seen of_init = {.waited = spent->init};
    struct csb_spent_seen *seen = calloc(kin->count, sizeof *seen);
    if (seen == NULL) {
        return -ENOMEM;
    }
    unsigned count = read_at_once(kin, init, seen, &of_init);
    spent->lost += lost(spent, seen, count, of_init.waited);
    free(spent->seen);
    spent->seen = seen;
    spent->count = count;
    spent->init = of_init.waited;

    uint64_t ticks = spent->lost + spent->init;
    for (unsigned i = 0; i < count; i++) {
        ticks += seen[i].own + seen[i].waited;
    }
    *ret_ns = (int64_t)ticks * (SECOND / sysconf(_SC_CLK_TCK));
    return 0;
}

void
csb_spent_end(struct csb_spent *spent)
{
    free(spent->seen);
    spent->seen = NULL;
    spent->count = 0;
}
