/* A user namespace nested in the zygote's: nothing that the cell sees is
 * owned by it, so no capability in it has power over anything. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../common/fdio.h"

/* Who the guest is: the same on every host. */
#define GUEST_ID "1000 "

static int
write_file(int proc, const char *name, const char *text)
{
    int fd = openat(proc, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    size_t length = strlen(text);
    ssize_t wrote = write(fd, text, length);
    int result = wrote < 0 ? -errno : (size_t)wrote == length ? 0 : -EIO;
    csb_close(&fd);
    return result;
}

static void
map_text(unsigned outside, char *ret_text)
{
    char digits[10];
    unsigned count = 0;
    char *at = ret_text;

    memcpy(at, GUEST_ID, sizeof GUEST_ID - 1);
    at += sizeof GUEST_ID - 1;
    do {
        digits[count++] = (char)('0' + outside % 10);
        outside /= 10;
    } while (outside != 0);
    while (count > 0) {
        *at++ = digits[--count];
    }
    memcpy(at, " 1\n", sizeof " 1\n");
}

int
csb_userns_enter(const struct csb_cell *cell)
{
    char users[32], groups[32];
    map_text(geteuid(), users); /* before: in the new one nobody is mapped */
    map_text(getegid(), groups);

    /* The files in /proc belong to a dumpable process; undone later. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 || unshare(CLONE_NEWUSER) < 0) {
        return -errno;
    }
    int result = write_file(cell->proc, "self/setgroups", "deny");
    if (result == 0) {
        result = write_file(cell->proc, "self/uid_map", users);
    }
    if (result == 0) {
        result = write_file(cell->proc, "self/gid_map", groups);
    }
    /* When memory runs out, the guests go before their host does.  Refused
     * where /proc is read-only, and then as the host is. */
    (void)write_file(cell->proc, "self/oom_score_adj", "1000");
    return result;
}
