/* Forks, of which the host decides each: a filter that hands them to it.  It
 * is another filter than that of seccomp.c, as only one that is loaded with
 * seccomp(2) can be listened to; what that one refuses is refused unasked. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/missing.h"

#define LOAD(field)                                                           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_##action)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the low half of an argument is elsewhere here"
#endif

static const struct sock_filter program[] = {
    /* Other architectures die by the other filter. */
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CSB_AUDIT_ARCH, 1, 0),
    RETURN(ALLOW),
    LOAD(nr),
#ifdef SYS_fork
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fork, 5, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vfork, 4, 0),
#endif
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 2),
    /* Registers, which no other thread can change meanwhile. */
    LOAD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
    RETURN(ALLOW),
    RETURN(USER_NOTIF),
};

static int
load(struct sock_fprog *filter, unsigned flags)
{
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, filter);
}

/* A signal that comes while the host looks must not make fork() fail with
 * EINTR, which it never does elsewhere.  Before Linux 5.19 it may. */
static int
listen_to(struct sock_fprog *filter)
{
    int listener = load(filter, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    return listener < 0 && errno == EINVAL ? load(filter, 0) : listener;
}

int
csb_forks_ask(const struct csb_cell *cell)
{
    const struct csb_status status = {.kind = CSB_STATUS_FORKS};
    struct sock_fprog filter = {
        .len = sizeof program / sizeof *program,
        .filter = (struct sock_filter *)program,
    };
    if (!cell->plan->several) {
        return 0;
    }
    __attribute__((cleanup(csb_close))) int listener = listen_to(&filter);
    if (listener < 0) {
        return -errno;
    }
    return csb_send(cell->status, &status, sizeof status, &listener, 1);
}
