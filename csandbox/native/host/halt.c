#define _GNU_SOURCE
#include "halt.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "procfs.h"

#define LOOKS 40
#define PAUSE 100000 /* ns */

static int
thread_stands(pid_t pid, const char *thread)
{
    char path[64], text[512];
    (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", pid, thread);
    if (csb_procfs_read(path, text, sizeof text) <= 0) {
        return 1; /* it has ended */
    }
    const char *state = strrchr(text, ')');
    return state == NULL || strchr("TtZX", state[2]) != NULL;
}

static int
all_stand(pid_t pid)
{
    char path[64];
    const struct dirent *entry;
    int stand = 1;

    (void)snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    while (threads != NULL && stand && (entry = readdir(threads)) != NULL) {
        stand = entry->d_name[0] == '.' || thread_stands(pid, entry->d_name);
    }
    if (threads != NULL) {
        (void)closedir(threads);
    }
    return stand;
}

static int
send(int pidfd, int number)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

void
csb_halt(int pidfd, pid_t pid)
{
    const struct timespec pause = {.tv_nsec = PAUSE};
    if (send(pidfd, SIGSTOP) < 0) {
        return; /* it has ended */
    }
    for (int i = 0; i < LOOKS && !all_stand(pid); i++) {
        (void)nanosleep(&pause, NULL);
    }
}

void
csb_halt_end(int pidfd)
{
    (void)send(pidfd, SIGCONT); /* it may have ended */
}
