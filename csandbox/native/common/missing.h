/* Kernel numbers and flags that an older libc may lack; numbers from 424 on
 * are the same on every architecture. */
#ifndef CSB_MISSING_H
#define CSB_MISSING_H

#include <sys/syscall.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1 << 5)
#endif

#define CSB_NOTIF_SET_FLAGS _IOW('!', 4, unsigned long long)
#define CSB_NOTIF_SYNC_WAKE_UP 1ul

#if defined(__x86_64__)
#define CSB_AUDIT_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define CSB_AUDIT_ARCH AUDIT_ARCH_AARCH64
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 0x00000004
#endif
/* enum fsconfig_command and flags of <linux/mount.h>, which does not go with
 * <sys/mount.h>. */
#define CSB_FSCONFIG_SET_STRING 1
#define CSB_FSCONFIG_CREATE 6
#define CSB_FSOPEN_CLOEXEC 1
#define CSB_FSMOUNT_CLOEXEC 1
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef MOUNT_ATTR_NOEXEC
#define MOUNT_ATTR_NOEXEC 0x00000008
#endif
#ifndef MOUNT_ATTR_RDONLY
#define MOUNT_ATTR_RDONLY 0x00000001
#define MOUNT_ATTR_NOSUID 0x00000002
#define MOUNT_ATTR_NODEV 0x00000004
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Landlock: rights by ABI, which the headers of older kernels lack. */
#define CSB_LANDLOCK_ABI_KNOWN 7
#define CSB_LANDLOCK_FS_EXECUTE (1ull << 0)
#define CSB_LANDLOCK_FS_WRITE_FILE (1ull << 1)
#define CSB_LANDLOCK_FS_READ_FILE (1ull << 2)
#define CSB_LANDLOCK_FS_READ_DIR (1ull << 3)
#define CSB_LANDLOCK_FS_MAKE_CHAR (1ull << 6)
#define CSB_LANDLOCK_FS_MAKE_SOCK (1ull << 9)
#define CSB_LANDLOCK_FS_MAKE_BLOCK (1ull << 11)
#define CSB_LANDLOCK_FS_ABI1 ((1ull << 13) - 1)
#define CSB_LANDLOCK_FS_REFER (1ull << 13)     /* ABI 2 */
#define CSB_LANDLOCK_FS_TRUNCATE (1ull << 14)  /* ABI 3 */
#define CSB_LANDLOCK_FS_IOCTL_DEV (1ull << 15) /* ABI 5 */
#define CSB_LANDLOCK_NET_ALL 3ull              /* ABI 4: bind, connect TCP */
#define CSB_LANDLOCK_SCOPE_ALL 3ull /* ABI 6: abstract sockets, signals */

#define CSB_LANDLOCK_VERSION 1 /* LANDLOCK_CREATE_RULESET_VERSION */
#define CSB_LANDLOCK_PATH 1    /* LANDLOCK_RULE_PATH_BENEATH */

struct csb_landlock_path {
    unsigned long long allowed;
    int fd;
} __attribute__((packed));

struct csb_landlock_ruleset {
    unsigned long long handled_fs;
    unsigned long long handled_net;
    unsigned long long scoped;
};

struct csb_mount_attr {
    unsigned long long attr_set;
    unsigned long long attr_clr;
    unsigned long long propagation;
    unsigned long long userns_fd;
};

#endif
