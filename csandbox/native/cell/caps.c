/* Every capability set empty, and kept so. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One by one: SECURE_ALL_BITS grows with the headers (Linux 6.14), and a
 * kernel answers EPERM to a bit that it does not know. */
#define SECURE_BITS                                                           \
    (SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_CAP_AMBIENT_RAISE)
#define SECURE_LOCKS                                                          \
    (SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED |                   \
     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED | SECBIT_KEEP_CAPS_LOCKED)

/* As many as capset(2) has room for. */
#define CAPS_MAX 64

static int
empty_bounding_set(void)
{
    for (int cap = 0; cap < CAPS_MAX; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
            return cap > 0 && errno == EINVAL ? 0 : -errno; /* the last */
        }
    }
    return 0;
}

int
csb_caps_drop(const struct csb_cell *cell)
{
    struct __user_cap_header_struct header = {
        .version = _LINUX_CAPABILITY_VERSION_3,
    };
    const struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

    (void)cell;
    int result = empty_bounding_set();
    if (result < 0) {
        return result;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECUREBITS, SECURE_BITS | SECURE_LOCKS, 0, 0, 0) < 0) {
        return -errno;
    }
    return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}
