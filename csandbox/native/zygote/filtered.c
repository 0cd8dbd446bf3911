/* The filter of the zygote: that of its cells, but for the calls that it makes
 * for them.  A filter is inherited, and of several the kernel takes the most
 * severe answer.  So a cell needs one of its own only for those calls, and to
 * load that takes less time: a filter is translated, and then asked what it
 * says of each call there is. */
#define _GNU_SOURCE
#include "zygote.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../common/missing.h"
#include "../common/setup_calls.h"

#define CALLS CSB_SETUP_CALL_COUNT
/* Before the list, the list, and after it. */
#define PREFIX (3 + CALLS + 2)

/* Instructions that let the set-up pass, and leave the rest to those that
 * follow.  Jumps count from the next instruction. */
static void
write_prefix(struct sock_filter *at)
{
    static const uint32_t numbers[] = {
#define X(name) SYS_##name,
        CSB_SETUP_CALLS(X)
#undef X
    };
    const struct sock_filter begin[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CSB_AUDIT_ARCH, 0, PREFIX - 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    const struct sock_filter end[] = {
        BPF_STMT(BPF_JMP | BPF_JA, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    memcpy(at, begin, sizeof begin);
    at += sizeof begin / sizeof *begin;
    for (unsigned i = 0; i < CALLS; i++) {
        *at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                             numbers[i], CALLS - i, 0);
    }
    memcpy(at, end, sizeof end);
}

static int
load(const struct csb_plan *plan)
{
    const size_t size = plan->told_count * sizeof(struct sock_filter);
    struct sock_filter *code = malloc(PREFIX * sizeof *code + size);
    struct sock_fprog program = {
        .len = (unsigned short)(PREFIX + plan->told_count),
        .filter = code,
    };
    if (code == NULL || PREFIX + plan->told_count > BPF_MAXINSNS) {
        free(code);
        return -ENOMEM;
    }
    write_prefix(code);
    memcpy(code + PREFIX, csb_plan_told(plan), size);
    int result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
    int error = errno;
    free(code);
    return result < 0 ? -error : 0;
}

void
csb_filtered_begin(struct csb_zygote *zygote)
{
    if (zygote->filtered || zygote->plan->own_count == 0 ||
        (zygote->plan->mechanisms & CSB_MECH_SECCOMP) == 0 ||
        load(zygote->plan) < 0) {
        return;
    }
    zygote->filtered = 1;
    zygote->receipt.filters++;
}
