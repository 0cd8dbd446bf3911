/* Canaries: forbidden things tried by the cell on itself before READY.  What
 * is tested is the outcome, whichever mechanism brings it about. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"

static bool
opens(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    bool opened = fd >= 0;
    csb_close(&fd);
    return opened;
}

static bool
host_file_refused(void)
{
    return !opens("/etc/passwd", O_RDONLY) && !opens("/proc", O_RDONLY) &&
           !opens("/sys", O_RDONLY);
}

static bool
write_refused(void)
{
    return !opens("/canary", O_WRONLY | O_CREAT | O_EXCL);
}

/* Landlock alone would let it ask. */
static bool
host_is_hidden(void)
{
    struct stat info;
    return stat("/etc/passwd", &info) < 0 && stat("/proc/1", &info) < 0 &&
           access("/etc/passwd", F_OK) < 0 && !opens("/etc", O_PATH);
}

static bool
holds_no_capability(void)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    struct __user_cap_data_struct held[2];
    if (syscall(SYS_capget, &header, held) < 0) {
        return false;
    }
    return (held[0].effective | held[0].permitted | held[0].inheritable |
            held[1].effective | held[1].permitted | held[1].inheritable) == 0;
}

static bool
has_no_capability(void)
{
    return holds_no_capability() &&
           prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0;
}

static bool
filter_answers(void)
{
    /* With a bit that only a filter of 64 bits would look at. */
    long family = (1L << 32) | AF_INET;
    return syscall(SYS_socket, family, SOCK_STREAM, 0) == -1 &&
           errno == EACCES && unshare(CLONE_NEWUSER) == -1 && errno == EPERM &&
           prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2;
}

/* Where the host listens, the calls above are stopped by the filter that it
 * listens to: this one is the other's to stop.  It asks, and changes nothing;
 * without a filter it cannot fail. */
static bool
other_filter_answers(void)
{
    return syscall(SYS_personality, 0xffffffffl) == -1;
}

static bool
init_is_out_of_reach(void)
{
    return kill(1, 0) == -1 && errno == EPERM;
}

static bool
has_no_new_privs(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
           prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
}

static bool
computing_filter_answers(void)
{
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    return mmap(NULL, 1, PROT_READ | PROT_EXEC, anonymous, -1, 0) ==
               MAP_FAILED &&
           errno == EPERM && mprotect(NULL, 1, PROT_READ) == -1 &&
           errno == EPERM && dup(STDIN_FILENO) == -1 && errno == EPERM &&
           unshare(CLONE_NEWUSER) == -1 && errno == EPERM &&
           syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) == -1 &&
           errno == EACCES;
}

unsigned
csb_canary_try(const struct csb_cell *cell, int early)
{
    const int compute = (int)cell->plan->compute;
    const int bare = csb_plan_is_bare(cell->plan);
    const struct {
        uint32_t mechanisms; /* tried when the plan has any of them */
        int asks;            /* by calls that a filter for computing refuses */
        bool (*refused)(void);
    } canaries[] = {
        {bare ? CSB_MECH_ALL : CSB_MECH_VIEW, 0, host_file_refused},
        {bare ? CSB_MECH_ALL : CSB_MECH_VIEW, 0, write_refused},
        {CSB_MECH_USERNS, 1, has_no_capability},
        {CSB_MECH_SECCOMP, 0,
         compute ? computing_filter_answers : filter_answers},
        {CSB_MECH_ALL, 1, has_no_new_privs},
        /* One of several may signal the others, and the init, which is
         * immune. */
        {cell->plan->several ? 0 : CSB_MECH_SECCOMP, 0, init_is_out_of_reach},
        {bare ? CSB_MECH_ALL : 0, 0, host_is_hidden},
        {bare ? CSB_MECH_ALL : 0, 1, holds_no_capability},
        {*cell->listened ? CSB_MECH_SECCOMP : 0, 0, other_filter_answers},
    };
    for (unsigned i = 0; i < sizeof canaries / sizeof *canaries; i++) {
        if ((cell->plan->mechanisms & canaries[i].mechanisms) != 0 &&
            ((compute || bare) && canaries[i].asks) == early &&
            !canaries[i].refused()) {
            return i + 1;
        }
    }
    return 0;
}
