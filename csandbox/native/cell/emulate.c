/* Calls that the filter of a cell without namespaces traps, answered here: in
 * a handler of SIGSYS, by calls that Landlock looks at, and as if the cell's
 * directory were /tmp and all that is not in its view were not there.
 *
 * This is for programs that are honest.  One that is not may do without it,
 * and gets what filter and Landlock let it.
 *
 * Runs in any thread of the guest, at any moment: raw system calls, nothing
 * that could take a lock, a few KiB of its stack. */
#define _GNU_SOURCE
#include "emulate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "../common/mark.h"
#include "../common/rawcall.h"

#define SCRATCH_LENGTH (sizeof CSB_SCRATCH - 1)
#define LONGEST CSB_EMULATED_PATH

static long
open_as_asked(int directory, const char *path, long flags, long mode)
{
    return csb_raw6(SYS_openat, directory, (long)path, flags, mode, 0,
                    (long)CSB_MARK);
}

static long
do_open(int directory, const char *path, long flags, long mode)
{
    char room[LONGEST];
    struct csb_place place;
    long result = csb_emulate_place(path, room, &place);
    if (result < 0) {
        return result;
    }
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        return -EOPNOTSUPP; /* tempfile unlinks then */
    }
    if (flags & O_PATH) {
        flags = (flags & ~(O_PATH | O_ACCMODE)) | O_RDONLY | O_NONBLOCK;
    }
    if ((flags & O_TRUNC) && (flags & O_ACCMODE) == O_RDONLY) {
        return -EACCES;
    }
    return csb_emulate_answer(
        &place, open_as_asked(directory, place.path, flags, mode));
}

/* --- what a file is ------------------------------------------------------ */

static void
be_directory(struct stat *ret_info)
{
    memset(ret_info, 0, sizeof *ret_info);
    ret_info->st_mode = S_IFDIR | 0555;
    ret_info->st_nlink = 2;
    ret_info->st_blksize = 4096;
}

static long
look(int directory, const char *path, struct stat *ret_info)
{
    char room[LONGEST];
    struct csb_place place;
    long result = csb_emulate_place(path, room, &place);
    if (result < 0) {
        return result;
    }
    if (place.kind == CSB_PLACE_ABOVE) {
        be_directory(ret_info);
        return 0;
    }
    long fd = csb_emulate_open(directory, place.path,
                               O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd == -EACCES && place.kind != CSB_PLACE_CLIMBING) {
        /* A file of its own that may only be written to. */
        fd = csb_emulate_open(directory, place.path,
                              O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
        fd = fd < 0 ? -EACCES : fd;
    }
    if (fd < 0) {
        return csb_emulate_answer(&place, fd);
    }
    result = csb_raw(SYS_fstat, fd, (long)ret_info, 0, 0, 0);
    csb_emulate_close(fd);
    return result;
}

static long
do_stat(int directory, const char *path, struct stat *ret_info, long flags)
{
    if ((flags & AT_EMPTY_PATH) && (path == NULL || *path == '\0') &&
        directory != AT_FDCWD) {
        return csb_raw(SYS_fstat, directory, (long)ret_info, 0, 0, 0);
    }
    return look(directory, path, ret_info);
}

static long
do_access(int directory, const char *path, long mode)
{
    struct stat info = {.st_mode = 0};
    char room[LONGEST];
    struct csb_place place;
    long result = look(directory, path, &info);
    if (result < 0) {
        return result;
    }
    if ((mode & X_OK) && (info.st_mode & 0111) == 0) {
        return -EACCES;
    }
    (void)csb_emulate_place(path, room, &place); /* that worked before */
    if ((mode & W_OK) && place.kind != CSB_PLACE_SCRATCH &&
        place.kind != CSB_PLACE_RELATIVE) {
        return -EACCES;
    }
    return 0;
}

static long
do_exist(int directory, const char *path)
{
    struct stat info;
    return look(directory, path, &info);
}

static long
do_readlink(int directory, const char *path)
{
    long result = do_exist(directory, path);
    return result < 0 ? result : -EINVAL; /* there are no links */
}

static long
do_truncate(const char *path, long size)
{
    long fd = do_open(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    long result = csb_raw(SYS_ftruncate, fd, size, 0, 0, 0);
    csb_emulate_close(fd);
    return result;
}

/* As where a file can have holes: it grows, and takes no room yet. */
static long
do_fallocate(int fd, long mode, long from, long size)
{
    struct stat info = {.st_mode = 0};
    long end;
    if (mode != 0) {
        return -EOPNOTSUPP;
    }
    if (from < 0 || size <= 0 || __builtin_add_overflow(from, size, &end)) {
        return -EINVAL;
    }
    long result = csb_raw(SYS_fstat, fd, (long)&info, 0, 0, 0);
    if (result < 0 || info.st_size >= end) {
        return result;
    }
    return csb_raw(SYS_ftruncate, fd, end, 0, 0, 0);
}

/* --- directories --------------------------------------------------------- */

static long
do_chdir(const char *path)
{
    long fd = do_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return fd;
    }
    long result = csb_raw(SYS_fchdir, fd, 0, 0, 0, 0);
    csb_emulate_close(fd);
    return result;
}

static long
do_getcwd(char *text, size_t size)
{
    char room[LONGEST];
    const char *path = room;
    long result =
        csb_raw6(SYS_getcwd, (long)room, sizeof room, 0, 0, 0, (long)CSB_MARK);
    if (result < 0) {
        return result;
    }
    if (csb_guest.directory[0] != '\0' &&
        csb_emulate_lies_in(room, csb_guest.directory)) {
        size_t before = strlen(csb_guest.directory) - SCRATCH_LENGTH;
        memcpy(room + before, CSB_SCRATCH, SCRATCH_LENGTH);
        path = room + before;
    }
    size_t length = strlen(path) + 1;
    if (length > size) {
        return -ERANGE;
    }
    memcpy(text, path, length);
    return (long)length;
}

static long
do_mkdir(int directory, const char *path, long mode)
{
    char room[LONGEST];
    struct csb_place place;
    long result = csb_emulate_place(path, room, &place);
    if (result < 0) {
        return result;
    }
    if (place.kind == CSB_PLACE_ABOVE) {
        return -EEXIST;
    }
    return csb_emulate_answer(&place, csb_raw6(SYS_mkdirat, directory,
                                               (long)place.path, mode, 0, 0,
                                               (long)CSB_MARK));
}

static long
do_mknod(int directory, const char *path, long mode)
{
    char room[LONGEST];
    struct csb_place place;
    long result = csb_emulate_place(path, room, &place);
    if (result < 0) {
        return result;
    }
    if ((mode & S_IFMT) != S_IFIFO) {
        return -EPERM;
    }
    return csb_emulate_answer(&place, csb_raw6(SYS_mknodat, directory,
                                               (long)place.path, mode, 0, 0,
                                               (long)CSB_MARK));
}

static long
do_rmdir(int directory, const char *path)
{
    char room[LONGEST];
    struct csb_place place;
    long result = csb_emulate_place(path, room, &place);
    if (result < 0) {
        return result;
    }
    return csb_emulate_answer(&place, csb_raw6(SYS_unlinkat, directory,
                                               (long)place.path, AT_REMOVEDIR,
                                               0, 0, (long)CSB_MARK));
}

/* --- the rest ------------------------------------------------------------ */

static long
do_uname(struct utsname *ret_names)
{
    *ret_names = csb_guest.names;
    return 0;
}

/* As the locks of one process never conflict, there is none in the way. */
static long
do_fcntl(long command, struct flock *lock)
{
    if (command != F_GETLK) {
        return -EPERM;
    }
    lock->l_type = F_UNLCK;
    return 0;
}

/* The mask is that of the interrupted thread, put back as the handler ends.
 * A SIGSYS that is blocked would kill it at its next call with a path. */
static long
do_sigprocmask(uint64_t *mask, long how, const uint64_t *set,
               uint64_t *ret_former)
{
    const uint64_t former = *mask;
    if (set != NULL) {
        const uint64_t given = *set & ~(UINT64_C(1) << (SIGSYS - 1));
        switch (how) {
        case SIG_BLOCK:
            *mask |= given;
            break;
        case SIG_UNBLOCK:
            *mask &= ~given;
            break;
        case SIG_SETMASK:
            *mask = given;
            break;
        default:
            return -EINVAL;
        }
    }
    if (ret_former != NULL) {
        *ret_former = former;
    }
    return 0;
}

static long
dispatch(long nr, const long *a)
{
    switch (nr) {
    case SYS_openat:
        return do_open((int)a[0], (char *)a[1], a[2], a[3]);
    case SYS_newfstatat:
        return do_stat((int)a[0], (char *)a[1], (struct stat *)a[2], a[3]);
    case SYS_faccessat:
    case CSB_SYS_faccessat2:
        return do_access((int)a[0], (char *)a[1], a[2]);
    case SYS_readlinkat:
        return do_readlink((int)a[0], (char *)a[1]);
    case SYS_getcwd:
        return do_getcwd((char *)a[0], (size_t)a[1]);
    case SYS_chdir:
        return do_chdir((char *)a[0]);
    case SYS_mkdirat:
        return do_mkdir((int)a[0], (char *)a[1], a[2]);
    case SYS_mknodat:
        return do_mknod((int)a[0], (char *)a[1], a[2]);
    case SYS_unlinkat:
        return (int)a[2] == AT_REMOVEDIR
                   ? do_rmdir((int)a[0], (char *)a[1])
                   : csb_emulate_unlink((int)a[0], (char *)a[1]);
    case SYS_renameat:
        return csb_emulate_rename((int)a[0], (char *)a[1], (int)a[2],
                                  (char *)a[3], 0);
    case SYS_renameat2:
        return csb_emulate_rename((int)a[0], (char *)a[1], (int)a[2],
                                  (char *)a[3], (unsigned)a[4]);
    case SYS_fchmodat:
        return do_exist((int)a[0], (char *)a[1]);
    case SYS_utimensat:
        return a[1] == 0 ? 0 : do_exist((int)a[0], (char *)a[1]);
    case SYS_truncate:
        return do_truncate((char *)a[0], a[1]);
    case SYS_fallocate:
        return do_fallocate((int)a[0], a[1], a[2], a[3]);
    case SYS_fcntl:
        return do_fcntl((int)a[1], (struct flock *)a[2]);
    case SYS_uname:
        return do_uname((struct utsname *)a[0]);
    default:
        return -ENOSYS;
    }
}

#ifdef SYS_open
/* The older names of the same calls. */
static long
dispatch_old(long nr, const long *a)
{
    switch (nr) {
    case SYS_open:
        return do_open(AT_FDCWD, (char *)a[0], a[1], a[2]);
    case SYS_creat:
        return do_open(AT_FDCWD, (char *)a[0], O_CREAT | O_WRONLY | O_TRUNC,
                       a[1]);
    case SYS_stat:
    case SYS_lstat:
        return do_stat(AT_FDCWD, (char *)a[0], (struct stat *)a[1], 0);
    case SYS_access:
        return do_access(AT_FDCWD, (char *)a[0], a[1]);
    case SYS_readlink:
        return do_readlink(AT_FDCWD, (char *)a[0]);
    case SYS_mkdir:
        return do_mkdir(AT_FDCWD, (char *)a[0], a[1]);
    case SYS_mknod:
        return do_mknod(AT_FDCWD, (char *)a[0], a[1]);
    case SYS_rmdir:
        return do_rmdir(AT_FDCWD, (char *)a[0]);
    case SYS_unlink:
        return csb_emulate_unlink(AT_FDCWD, (char *)a[0]);
    case SYS_rename:
        return csb_emulate_rename(AT_FDCWD, (char *)a[0], AT_FDCWD,
                                  (char *)a[1], 0);
    case SYS_chmod:
    case SYS_utime:
    case SYS_utimes:
        return do_exist(AT_FDCWD, (char *)a[0]);
    case SYS_futimesat:
        return a[1] == 0 ? 0 : do_exist((int)a[0], (char *)a[1]);
    default:
        return dispatch(nr, a);
    }
}
#else
#define dispatch_old dispatch
#endif

static long
emulate(long nr, const long *arguments, ucontext_t *context)
{
    if (nr == SYS_rt_sigprocmask) {
        return do_sigprocmask((uint64_t *)&context->uc_sigmask,
                              (int)arguments[0], (uint64_t *)arguments[1],
                              (uint64_t *)arguments[2]);
    }
    return dispatch_old(nr, arguments);
}

static void
on_trap(int number, siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;

    (void)number;
    if (info->si_code != CSB_SYS_SECCOMP) {
        return; /* somebody's kill() */
    }
#if defined(__x86_64__)
    greg_t *r = machine->gregs;
    const long arguments[] = {r[REG_RDI], r[REG_RSI], r[REG_RDX],
                              r[REG_R10], r[REG_R8],  r[REG_R9]};
    r[REG_RAX] = emulate(info->si_syscall, arguments, context);
#else
    unsigned long long *r = machine->regs;
    const long arguments[] = {(long)r[0], (long)r[1], (long)r[2],
                              (long)r[3], (long)r[4], (long)r[5]};
    r[0] = (unsigned long long)emulate(info->si_syscall, arguments, context);
#endif
}

static void
hide_host(struct utsname *names)
{
    memset(names->nodename, 0, sizeof names->nodename);
    strcpy(names->nodename, CSB_HOSTNAME);
    memset(names->domainname, 0, sizeof names->domainname);
}

int
csb_emulate_install(const struct csb_cell *cell)
{
    const struct sigaction action = {
        .sa_sigaction = on_trap,
        .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART,
    };
    if (!csb_plan_is_bare(cell->plan)) {
        return 0;
    }
    csb_guest.plan = cell->plan;
    if (*cell->directory != '\0') {
        (void)stpcpy(stpcpy(csb_guest.directory, cell->directory),
                     CSB_SCRATCH);
        (void)stpcpy(stpcpy(csb_guest.aside, cell->directory), "/gone");
    }
    if (uname(&csb_guest.names) < 0) {
        return -errno;
    }
    hide_host(&csb_guest.names);
    return sigaction(SIGSYS, &action, NULL) < 0 ? -errno : 0;
}
