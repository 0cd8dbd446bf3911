#define _GNU_SOURCE
#include "denials.h"

#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define NETWORK "network"
#define PROCESSES "processes"
#define NAMESPACES "namespaces"
#define KERNEL "kernel"
#define IDENTITY "identity"
#define FILES "files"
#define CHILDREN "processes"

#define DENIAL(name, category, ...)                                           \
    {                                                                         \
        name, category, NULL,                                                 \
        {                                                                     \
            __VA_ARGS__                                                       \
        }                                                                     \
    }
#define WITH(field, name, category, ...)                                      \
    {                                                                         \
        name, category, field,                                                \
        {                                                                     \
            __VA_ARGS__                                                       \
        }                                                                     \
    }

static const struct csb_denial denials[] = {
    DENIAL("socket", NETWORK, CSB_KIND_FAMILY, CSB_KIND_SOCKET),
    DENIAL("socketpair", NETWORK, CSB_KIND_FAMILY, CSB_KIND_SOCKET),
    DENIAL("bind", NETWORK, CSB_KIND_NUMBER),
    DENIAL("connect", NETWORK, CSB_KIND_NUMBER),
    DENIAL("listen", NETWORK, CSB_KIND_NUMBER),
    DENIAL("accept", NETWORK, CSB_KIND_NUMBER),
    DENIAL("accept4", NETWORK, CSB_KIND_NUMBER),
    DENIAL("sendto", NETWORK, CSB_KIND_NUMBER),
    /* Not sendmsg(), by which a cell sends its listener to the host. */
    DENIAL("sendmmsg", NETWORK, CSB_KIND_NUMBER),
    WITH(CHILDREN, "fork", PROCESSES, CSB_KIND_UNTOLD),
    WITH(CHILDREN, "vfork", PROCESSES, CSB_KIND_UNTOLD),
    WITH(CHILDREN, "clone", PROCESSES, CSB_KIND_CLONE),
    WITH(CHILDREN, "execve", PROCESSES, CSB_KIND_UNTOLD),
    WITH(CHILDREN, "execveat", PROCESSES, CSB_KIND_UNTOLD),
    DENIAL("kill", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_SIGNAL),
    DENIAL("tkill", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_SIGNAL),
    DENIAL("tgkill", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("rt_sigqueueinfo", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_SIGNAL),
    DENIAL("rt_tgsigqueueinfo", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("pidfd_send_signal", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_SIGNAL),
    DENIAL("pidfd_getfd", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("ptrace", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("process_vm_readv", PROCESSES, CSB_KIND_NUMBER),
    DENIAL("process_vm_writev", PROCESSES, CSB_KIND_NUMBER),
    DENIAL("process_madvise", PROCESSES, CSB_KIND_NUMBER),
    DENIAL("process_mrelease", PROCESSES, CSB_KIND_NUMBER),
    DENIAL("kcmp", PROCESSES, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("unshare", NAMESPACES, CSB_KIND_CLONE),
    DENIAL("setns", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("mount", NAMESPACES, CSB_KIND_UNTOLD),
    DENIAL("umount2", NAMESPACES, CSB_KIND_UNTOLD),
    DENIAL("pivot_root", NAMESPACES, CSB_KIND_UNTOLD),
    DENIAL("chroot", NAMESPACES, CSB_KIND_UNTOLD),
    DENIAL("fsopen", NAMESPACES, CSB_KIND_UNTOLD),
    DENIAL("fsconfig", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("fsmount", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("fspick", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("mount_setattr", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("open_tree", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("move_mount", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("open_by_handle_at", NAMESPACES, CSB_KIND_NUMBER),
    DENIAL("sethostname", NAMESPACES, CSB_KIND_UNTOLD),
    DENIAL("setdomainname", NAMESPACES, CSB_KIND_UNTOLD),
    DENIAL("setpriority", KERNEL, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("sched_setaffinity", KERNEL, CSB_KIND_NUMBER),
    DENIAL("sched_setscheduler", KERNEL, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("sched_setparam", KERNEL, CSB_KIND_NUMBER),
    DENIAL("sched_setattr", KERNEL, CSB_KIND_NUMBER),
    DENIAL("ioprio_set", KERNEL, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("memfd_create", KERNEL, CSB_KIND_UNTOLD),
    /* Only without namespaces. */
    DENIAL("symlink", FILES, CSB_KIND_UNTOLD),
    DENIAL("symlinkat", FILES, CSB_KIND_UNTOLD),
    DENIAL("link", FILES, CSB_KIND_UNTOLD),
    DENIAL("linkat", FILES, CSB_KIND_UNTOLD),
    DENIAL("setuid", IDENTITY, CSB_KIND_NUMBER),
    DENIAL("setgid", IDENTITY, CSB_KIND_NUMBER),
    DENIAL("setreuid", IDENTITY, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("setregid", IDENTITY, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("setresuid", IDENTITY, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("setresgid", IDENTITY, CSB_KIND_NUMBER, CSB_KIND_NUMBER),
    DENIAL("setgroups", IDENTITY, CSB_KIND_NUMBER),
    DENIAL("capset", IDENTITY, CSB_KIND_UNTOLD),
    DENIAL("bpf", KERNEL, CSB_KIND_NUMBER),
    DENIAL("perf_event_open", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("io_uring_setup", KERNEL, CSB_KIND_NUMBER),
    DENIAL("userfaultfd", KERNEL, CSB_KIND_NUMBER),
    DENIAL("keyctl", KERNEL, CSB_KIND_NUMBER),
    DENIAL("add_key", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("request_key", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("syslog", KERNEL, CSB_KIND_NUMBER),
    DENIAL("mknod", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("mknodat", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("vhangup", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("clock_settime", KERNEL, CSB_KIND_NUMBER),
    DENIAL("settimeofday", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("modify_ldt", KERNEL, CSB_KIND_NUMBER),
    DENIAL("iopl", KERNEL, CSB_KIND_NUMBER),
    DENIAL("ioperm", KERNEL, CSB_KIND_NUMBER),
    DENIAL("kexec_load", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("kexec_file_load", KERNEL, CSB_KIND_NUMBER),
    DENIAL("create_module", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("init_module", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("finit_module", KERNEL, CSB_KIND_NUMBER),
    DENIAL("delete_module", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("query_module", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("get_kernel_syms", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("reboot", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("swapon", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("swapoff", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("acct", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("quotactl", KERNEL, CSB_KIND_NUMBER),
    DENIAL("quotactl_fd", KERNEL, CSB_KIND_NUMBER),
    DENIAL("nfsservctl", KERNEL, CSB_KIND_UNTOLD),
    DENIAL("uselib", KERNEL, CSB_KIND_UNTOLD),
    {NULL, NULL, NULL, {CSB_KIND_UNTOLD}},
};

struct word {
    const char *name; /* NULL: end */
    uint64_t value;
};

#define WORD(name) {#name, name}

static const struct word families[] = {
    WORD(AF_UNIX),   WORD(AF_INET), WORD(AF_INET6), WORD(AF_NETLINK),
    WORD(AF_PACKET), WORD(AF_ALG),  WORD(AF_VSOCK), WORD(AF_BLUETOOTH),
    WORD(AF_CAN),    WORD(AF_KEY),  WORD(AF_TIPC),  {NULL, 0},
};

static const struct word sockets[] = {
    WORD(SOCK_STREAM),    WORD(SOCK_DGRAM), WORD(SOCK_RAW),
    WORD(SOCK_SEQPACKET), {NULL, 0},
};

/* What only tells libc's bookkeeping is left out. */
#define BOOKKEEPING                                                           \
    (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID |        \
     CLONE_SETTLS)
static const struct word clone_flags[] = {
    WORD(CLONE_NEWUSER),   WORD(CLONE_NEWNS),   WORD(CLONE_NEWNET),
    WORD(CLONE_NEWPID),    WORD(CLONE_NEWIPC),  WORD(CLONE_NEWUTS),
    WORD(CLONE_NEWCGROUP), WORD(CLONE_VM),      WORD(CLONE_VFORK),
    WORD(CLONE_FS),        WORD(CLONE_FILES),   WORD(CLONE_SIGHAND),
    WORD(CLONE_THREAD),    WORD(CLONE_SYSVSEM), WORD(CLONE_PARENT),
    WORD(CLONE_PTRACE),    WORD(CLONE_PIDFD),   {NULL, 0},
};

static const struct word signals[] = {
    WORD(SIGHUP),  WORD(SIGINT),  WORD(SIGQUIT), WORD(SIGABRT), WORD(SIGKILL),
    WORD(SIGSEGV), WORD(SIGTERM), WORD(SIGCHLD), WORD(SIGCONT), WORD(SIGSTOP),
    WORD(SIGUSR1), WORD(SIGUSR2), WORD(SIGSYS),  {NULL, 0},
};

const struct csb_denial *
csb_denial_find(const char *name)
{
    for (const struct csb_denial *each = denials; each->name != NULL; each++) {
        if (strcmp(each->name, name) == 0) {
            return each;
        }
    }
    return NULL;
}

uint64_t
csb_denial_argument(const struct csb_denial *denial, unsigned index,
                    uint64_t value)
{
    switch (denial->kinds[index]) {
    case CSB_KIND_UNTOLD:
        return 0;
    case CSB_KIND_CLONE:
        return value & UINT32_MAX & ~(uint64_t)BOOKKEEPING;
    case CSB_KIND_SOCKET:
        return value & 0xf; /* without SOCK_CLOEXEC and the like */
    default:
        return value & UINT32_MAX;
    }
}

/* --- text, without stdio ------------------------------------------------- */

static void
append(char *text, const char *more)
{
    size_t used = strlen(text), size = strlen(more);
    if (size >= CSB_DENIAL_ROOM - used) {
        size = CSB_DENIAL_ROOM - used - 1;
    }
    memcpy(text + used, more, size);
    text[used + size] = '\0';
}

static void
append_number(char *text, int32_t number)
{
    char digits[16], *at = digits + sizeof digits - 1;
    uint32_t left = number < 0 ? -(uint32_t)number : (uint32_t)number;

    *at = '\0';
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0) {
        *--at = '-';
    }
    append(text, at);
}

static void
append_word(char *text, const struct word *words, uint64_t value)
{
    for (; words->name != NULL; words++) {
        if (words->value == value) {
            append(text, words->name);
            return;
        }
    }
    append_number(text, (int32_t)value);
}

static void
append_flags(char *text, uint64_t value)
{
    const char *between = "";
    for (const struct word *word = clone_flags; word->name != NULL; word++) {
        if ((value & word->value) != 0) {
            append(text, between);
            append(text, word->name);
            value &= ~word->value;
            between = " | ";
        }
    }
    if (value != 0 || *between == '\0') {
        append(text, between);
        append_word(text, signals, value);
    }
}

static void
append_argument(char *text, enum csb_denial_kind kind, uint64_t value)
{
    switch (kind) {
    case CSB_KIND_FAMILY:
        append_word(text, families, value);
        return;
    case CSB_KIND_SOCKET:
        append_word(text, sockets, value);
        return;
    case CSB_KIND_SIGNAL:
        append_word(text, signals, value);
        return;
    case CSB_KIND_CLONE:
        append_flags(text, value);
        return;
    default:
        append_number(text, (int32_t)value);
    }
}

static void
append_arguments(char *text, const struct csb_denial *denial,
                 const uint64_t *arguments)
{
    const char *between = "";
    for (unsigned i = 0; i < CSB_DENIAL_ARGS; i++) {
        if (denial->kinds[i] != CSB_KIND_UNTOLD) {
            append(text, between);
            append_argument(text, denial->kinds[i], arguments[i]);
            between = ", ";
        }
    }
}

void
csb_denial_arguments(const struct csb_denial *denial,
                     const uint64_t *arguments, char ret_text[CSB_DENIAL_ROOM])
{
    *ret_text = '\0';
    append_arguments(ret_text, denial, arguments);
}

const char *
csb_denial_field(const struct csb_denial *denial, unsigned where)
{
    return where & (CSB_DENIAL_BARE | CSB_DENIAL_COMPUTE)
               ? NULL
               : denial->permitted_by;
}

static const char *
reason_for_child(unsigned where)
{
    if (where & CSB_DENIAL_LIMITED) {
        return "as many processes as the policy lets it have are alive; a "
               "larger processes= permits more";
    }
    if (where & CSB_DENIAL_COMPUTE) {
        return "child processes are denied with profile=\"compute\"";
    }
    return where & CSB_DENIAL_BARE
               ? "child processes are denied; they need namespaces, which "
                 "this machine refuses: see csandbox doctor"
               : "child processes are denied; processes=1 or more permits "
                 "them";
}

const char *
csb_denial_reason(const struct csb_denial *denial, unsigned where)
{
    if (denial->permitted_by != NULL) {
        return reason_for_child(where);
    }
    if (strcmp(denial->category, FILES) == 0) {
        return where & CSB_DENIAL_COMPUTE
                   ? "there are no files with profile=\"compute\""
                   : "links need namespaces, which this machine refuses: see "
                     "csandbox doctor";
    }
    return strcmp(denial->category, NETWORK) == 0
               ? "there is no network, and no policy permits it"
               : "no policy permits it";
}

void
csb_denial_describe(const struct csb_denial *denial, const uint64_t *arguments,
                    unsigned where, char ret_text[CSB_DENIAL_ROOM])
{
    *ret_text = '\0';
    append(ret_text, "csandbox denied ");
    append(ret_text, denial->name);
    append(ret_text, "(");
    append_arguments(ret_text, denial, arguments);
    append(ret_text, "): ");
    append(ret_text, csb_denial_reason(denial, where));
}
