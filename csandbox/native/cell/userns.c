/* A user namespace nested in the zygote's: nothing that the cell sees is
 * owned by it, so no capability in it has power over anything. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "../common/digits.h"

/* Who the guest is: the same on every host. */
#define GUEST_ID "1000 "

static void
map_text(unsigned outside, char *ret_text)
{
    char *at = csb_digits_append(ret_text, GUEST_ID, outside);
    (void)csb_digits_append(at, " ", 1);
}

int
csb_userns_enter(const struct csb_cell *cell)
{
    char users[32], groups[32];
    map_text(geteuid(), users); /* before: in the new one nobody is mapped */
    map_text(getegid(), groups);

    if (unshare(CLONE_NEWUSER) < 0) {
        return -errno;
    }
    int result = csb_procfile_write(cell, "self/setgroups", "deny");
    if (result == 0) {
        result = csb_procfile_write(cell, "self/uid_map", users);
    }
    if (result == 0) {
        result = csb_procfile_write(cell, "self/gid_map", groups);
    }
    return result;
}
