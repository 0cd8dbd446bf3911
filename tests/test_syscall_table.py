"""Every system call has a decided fate, and the kernel agrees: proven by real
calls with bad arguments.  EFAULT or EBADF means let through; the errno of the
table means that it was not."""

import errno
import re
import signal

import pytest

import support
from csandbox import _csandbox
from support import SECCOMP, X86

TABLE = {
    name: (fate, number) for _, name, fate, number in _csandbox.syscalls()
}
NUMBERS = support.syscall_numbers()
# Of names that this machine has a number for.
HERE = {name: TABLE[name] for name in TABLE if name in NUMBERS}


# Answered 0 without being executed: there are no groups, and nothing of the
# guest's is on a disk.
PRETENDED = {"getgroups", "fsync", "fdatasync", "msync"}


def of_fate(fate):
    return sorted(name for name in HERE if HERE[name][0] == fate)


# --- Y13: all are decided ----------------------------------------------------


def test_Y13_every_syscall_of_the_headers_is_decided():
    assert len(NUMBERS) > 300
    assert sorted(set(NUMBERS) - set(TABLE)) == []


def test_Y13_no_syscall_is_decided_twice():
    names = [name for _, name, _, _ in _csandbox.syscalls()]
    assert len(names) == len(set(names))


def test_fates_have_the_errno_they_need():
    for name, (fate, number) in TABLE.items():
        assert fate in ("allow", "errno", "kill", "narrow"), name
        if fate in ("allow", "kill"):
            assert number == 0, name
        elif name not in PRETENDED:
            assert number in errno.errorcode, name


# Named in the issue as what a guest must not reach.
NEVER = re.findall(
    r"\w+",
    """
socket bind connect listen accept accept4 sendmsg sendmmsg recvmsg recvmmsg
fork vfork clone3 execve execveat ptrace process_vm_readv process_vm_writev
pidfd_open pidfd_getfd pidfd_send_signal tkill rt_sigqueueinfo
rt_tgsigqueueinfo unshare setns mount umount2 pivot_root chroot fsopen
fsconfig fsmount fspick open_tree move_mount mount_setattr io_uring_setup
io_uring_enter io_uring_register io_setup io_submit bpf perf_event_open
userfaultfd keyctl add_key request_key splice tee vmsplice memfd_create
memfd_secret capset setuid setgid setresuid setresgid setgroups seccomp
name_to_handle_at open_by_handle_at flock shmget shmat semget msgget
mq_open inotify_init1 fanotify_init personality kcmp process_madvise
mincore cachestat landlock_create_ruleset landlock_add_rule
landlock_restrict_self
    """,
)


@pytest.mark.parametrize("name", NEVER)
def test_what_the_guest_must_not_reach_is_denied(name):
    if name in TABLE:
        assert TABLE[name][0] in ("errno", "kill")
    else:
        assert name not in NUMBERS


# --- let through -------------------------------------------------------------

# What does not come back from such a call, or changes the one that asks.
SPECIAL = {
    "exit",
    "exit_group",
    "pause",
    "rt_sigreturn",
    "restart_syscall",
}
TRY = """
import json, signal
def outcome(name, arguments):
    result = answer(name, *arguments)
    if isinstance(result, int) and result > 2 and name in makes:
        os.close(result)
        return 'a descriptor'
    return result
makes = {'eventfd', 'epoll_create', 'timerfd_create', 'signalfd', 'dup'}
{name: outcome(name, arguments) for name, arguments in calls.items()}
"""
# Every argument a pointer to nothing, a descriptor and a size that are none.
BAD = (-1, -1, -1, -1, -1, -1)
# Where that would do something.
ARGUMENTS = {
    "alarm": (0,),
    "close_range": (-1, 0, 0),
    "eventfd": (0,),
    "sched_yield": (),
    "umask": (0o22,),
    "brk": (0,),
    # To show that the kernel looked at what was asked.
    "getrandom": (-1, 8, 0),
    "nanosleep": (-1, 0),
}
# What depends on the moment, or on what the filter is not.
VARIES = {"brk", "gettid", "sched_getaffinity", "times"}


def test_what_is_allowed_reaches_the_kernel():
    names = [name for name in of_fate("allow") if name not in SPECIAL]
    calls = {name: ARGUMENTS.get(name, BAD) for name in names}
    filtered = support.value_of(TRY, {"calls": calls})
    free = support.value_of(TRY, {"calls": calls}, without={SECCOMP})
    for name in names:
        if name not in VARIES:
            assert filtered[name] == free[name], name
        assert filtered[name] not in ("EPERM", "EACCES") or (
            free[name] == filtered[name]
        )
    # Most answer with what only the kernel's own code says.
    told = {"EFAULT", "EBADF", "EINVAL", "ECHILD", "ESRCH"}
    assert sum(filtered[name] in told for name in names) > len(names) * 3 // 4
    if "openat" in names:
        assert filtered["openat"] == "EFAULT"
    assert filtered["read"] == "EBADF"


def test_what_does_not_come_back_is_allowed():
    error = support.run_guest("syscall('exit_group', 7)").error
    assert error.code == 7
    error = support.run_guest("syscall('exit', 8)").error
    assert error.code == 8
    error = support.run_guest("syscall('rt_sigreturn')").error
    assert error.signal == signal.SIGSEGV  # of a frame that is none
    source = """
import signal
signal.signal(signal.SIGALRM, lambda number, frame: 1 / 0)
signal.setitimer(signal.ITIMER_REAL, 0.05)
answer('pause')
"""
    if "pause" in HERE:
        error = support.run_guest(source).error
        assert error.type_name == "ZeroDivisionError"
    assert support.value_of("answer('restart_syscall')") == "EINTR"


# --- denied ------------------------------------------------------------------


def test_what_is_denied_answers_with_its_errno():
    names = of_fate("errno")
    variants = {
        "bad": BAD,
        "zero": (0,) * 6,
        "small": (1, 1, 1, 1, 1, 1),
        "high bits": (1 << 32, 1 << 63, -1 << 32, 1 << 40, 1 << 33, 1 << 34),
    }
    for variant, arguments in variants.items():
        calls = dict.fromkeys(names, arguments)
        answers = support.value_of(TRY, {"calls": calls})
        for name in names:
            number = HERE[name][1]
            expected = errno.errorcode[number] if number else 0
            assert answers[name] == expected, (name, variant)


def test_what_is_denied_would_answer_otherwise():
    # Without the filter the kernel itself answers, mostly with another
    # errno.  Not asked: what takes the caller with it, and what acts.
    acts = {
        *("fork", "vfork", "sync", "munlockall", "inotify_init", "vhangup"),
        *("setuid", "setgid", "setfsuid", "setfsgid", "personality"),
        *("clone3", "getgroups", "sethostname", "mlockall", "syncfs"),
        *("setresuid", "setresgid", "setreuid", "setregid", "unshare"),
    }
    names = [name for name in of_fate("errno") if name not in acts]
    calls = dict.fromkeys(names, BAD)
    free = support.value_of(TRY, {"calls": calls}, without={SECCOMP})
    differ = [
        name
        for name in names
        if free[name] != errno.errorcode.get(HERE[name][1])
    ]
    assert len(differ) > len(names) * 6 // 10
    assert {"socket", "execve", "mount", "splice", "memfd_create"} <= set(
        differ
    )


# uretprobe and uprobe: from Linux 6.12 on, seccomp lets them through whatever
# the filter says.  Called from anywhere but a probe, they end the caller or
# answer ENXIO, and do nothing.
UNSEEN = {335, 336}


if X86:

    def test_the_calls_that_no_filter_sees_do_nothing():
        error = support.run_guest("answer(335)").error
        assert error is None or error.signal == signal.SIGILL
        assert support.value_of("answer(336)") in ("ENOSYS", "ENXIO")


def test_a_number_without_a_call_answers_enosys():
    source = """
[number for number in numbers if answer(number, -1, -1, -1) != 'ENOSYS']
"""
    known = set(NUMBERS.values())
    if X86:
        known |= UNSEEN
    numbers = [number for number in range(1024) if number not in known]
    numbers += [1 << 20, (1 << 29) + 1, -1, 1 << 32 | 1023]
    if not X86:
        numbers.append(1 << 30)
    assert len(numbers) > 500
    assert support.value_of(source, {"numbers": numbers}) == []


def test_high_bits_of_the_number_change_nothing():
    source = """
[answer(NR[name] | high, -1, -1, -1) for name in names]
"""
    names = ["socket", "execve", "read", "unshare", "memfd_create"]
    expected = ["EACCES", "EPERM", "EBADF", "EPERM", "ENOSYS"]
    for high in (1 << 32, 0xFFFFFFFF << 32, 1 << 63):
        inputs = {"names": names, "high": high - (1 << 64) * (high >> 63)}
        assert support.value_of(source, inputs) == expected


def test_arguments_beyond_the_sixth_change_nothing():
    assert support.value_of("answer('socket', *[1] * 12)") == "EACCES"


# --- killed ------------------------------------------------------------------


@pytest.mark.parametrize("name", of_fate("kill"))
def test_what_no_honest_program_tries_kills(name):
    result = support.run_guest(f"answer({name!r}, -1, -1, -1, -1, -1, -1)")
    assert result.error.signal == signal.SIGSYS
    assert result.stdout_bytes == b""


def test_Y14_nothing_kills_but_the_machine_itself():
    # What the standard library or a package might probe answers an errno.
    groups = {
        group for group, _, fate, _ in _csandbox.syscalls() if fate == "kill"
    }
    assert groups == {"machine"}


def test_Y14_the_standard_library_takes_the_errnos_in_its_stride():
    source = """
import getpass, locale, logging, multiprocessing, os, platform, resource
import select, selectors, shutil, socket, ssl, subprocess, tempfile, uuid
os.makedirs('/tmp/tree/below')
open('/tmp/tree/file', 'w').write('x')
shutil.copytree('/tmp/tree', '/tmp/copy')
shutil.copy2('/tmp/tree/file', '/tmp/other')
shutil.rmtree('/tmp/tree')
os.get_terminal_size.__call__
try:
    os.get_terminal_size()
except OSError:
    pass
selectors.DefaultSelector().close()
with tempfile.TemporaryFile() as file:
    file.write(b'x')
platform.platform(), uuid.uuid1(), os.cpu_count(), os.sched_getaffinity(0)
sys.stdin.isatty(), sys.stdout.isatty()
for attempt in (
    lambda: subprocess.run(['true']),
    lambda: socket.socket(),
    lambda: os.fork(),
    lambda: socket.getaddrinfo('localhost', 80),
    lambda: multiprocessing.Process(target=int).start(),
    lambda: os.nice(1),
    lambda: os.getloadavg(),
    lambda: os.getxattr('/tmp', 'user.x'),
    lambda: os.memfd_create('x'),
    lambda: os.statvfs('/'),
):
    try:
        attempt()
        raise SystemExit('it worked')
    except OSError:
        pass
'done'
"""
    assert support.value_of(source) == "done"


# --- by their arguments ------------------------------------------------------

# name: (what is refused, by errno; what is let through, by what the kernel
# then says).  -1 is a pointer to nothing.
HIGH = 1 << 32
UNSUPPORTED = errno.errorcode[errno.EOPNOTSUPP]  # it has two names
THREAD = 0x50F00  # the flags that a thread has
NARROW = {
    "preadv2": (
        {UNSUPPORTED: [(0, -1, 1, 0, 0, 8), (0, -1, 1, 0, 0, 8 | HIGH)]},
        {"EBADF": [(-1, -1, 1, 0, 0, 0), (-1, -1, 1, 0, 0, HIGH)]},
    ),
    "pwritev2": (
        {UNSUPPORTED: [(1, -1, 1, 0, 0, 8), (1, -1, 1, 0, 0, 1)]},
        {"EBADF": [(-1, -1, 1, 0, 0, 2), (-1, -1, 1, 0, 0, 16)]},
    ),
    "mmap": (
        {
            # MAP_HUGETLB, of any size
            "ENOMEM": [
                (0, 4096, 3, flags, -1, 0)
                for flags in (0x40022, 0x40022 | HIGH, 0x40022 | 21 << 26)
            ]
        },
        {
            "EBADF": [(0, 4096, 3, 2, -1, 0), (0, 4096, 3, 2 | HIGH, -1, 0)],
            "EINVAL": [(0, 4096, 3, 0x20, -1, 0)],  # of no type
        },
    ),
    "recvfrom": (
        {UNSUPPORTED: [(-1, -1, 1, f, 0, 0) for f in (1, 1 | HIGH, 0x41)]},
        {"EBADF": [(-1, 0, 1, f, 0, 0) for f in (0, 2, 0x40, HIGH)]},
    ),
    "setsockopt": (
        {
            # ATTACH_FILTER, ATTACH_BPF, PASSCRED, MARK, LOCK_FILTER,
            # SNDBUFFORCE, BINDTODEVICE; TCP and IP
            "ENOPROTOOPT": [
                *(
                    (-1, 1, option | high, -1, 4)
                    for option in (26, 50, 16, 36, 44, 32, 25)
                    for high in (0, HIGH)
                ),
                *((-1, level, 2, -1, 4) for level in (0, 6, 41, 6 | HIGH)),
            ]
        },
        {
            "EBADF": [(-1, 1, n, -1, 4) for n in (2, 9, 13, 2 | HIGH)],
            # SNDBUF and RCVBUF, which are pretended
            0: [(-1, 1, n, -1, 4) for n in (7, 8)],
        },
    ),
    "getsockopt": (
        {
            # PEERCRED, PEERSEC, PEERGROUPS, PEERPIDFD, GET_FILTER,
            # NETNS_COOKIE; TCP and IP
            "ENOPROTOOPT": [
                *(
                    (-1, 1, option | high, -1, -1)
                    for option in (17, 31, 59, 77, 26, 71)
                    for high in (0, HIGH)
                ),
                *((-1, level, 2, -1, -1) for level in (0, 6, 41)),
            ]
        },
        {"EBADF": [(-1, 1, n, -1, -1) for n in (3, 4, 7, 8, 38, 39)]},
    ),
    "mknod": (
        {
            "EPERM": [
                (-1, mode, 0)
                for mode in (
                    *(0o020600, 0o060600, 0o140600, 0o100600, 0),
                    *(0o060600 | HIGH, 0o020600 | HIGH),
                )
            ]
        },
        {"EFAULT": [(-1, 0o010600, 0), (-1, 0o010600 | HIGH, 0)]},
    ),
    "mknodat": (
        {
            "EPERM": [
                (-100, -1, mode, 0)
                for mode in (0o020600, 0o140600, 0o060600 | HIGH)
            ]
        },
        {"EFAULT": [(-100, -1, 0o010600, 0)]},
    ),
    "fcntl": (
        {
            # SETOWN, SETOWN_EX, SETLEASE, NOTIFY, SETPIPE_SZ, ADD_SEALS
            "EPERM": [
                (-1, command | high, 0)
                for command in (8, 15, 1024, 1026, 1031, 1033)
                for high in (0, HIGH)
            ],
            "ENOLCK": [(-1, c, 0) for c in (36, 37, 38, 37 | HIGH)],
        },
        {
            "EBADF": [
                (-1, command, 0)
                for command in (0, 1, 2, 3, 4, 5, 1030, 1032, 3 | HIGH)
            ],
            # SETLK and SETLKW: "granted", and not executed, which is the
            # true answer in a lone process.
            0: [(-1, command, -1) for command in (6, 7, 7 | HIGH)],
        },
    ),
    "ioctl": (
        {
            # TIOCSTI, TIOCLINUX, TIOCSCTTY, TIOCNOTTY, FIOASYNC, FIOSETOWN,
            # SIOCGIFCONF, BLKGETSIZE64, RNDADDENTROPY, FS_IOC_GETFLAGS,
            # TCSETS
            "ENOTTY": [
                (1, command, -1)
                for command in (
                    *(0x5412, 0x541C, 0x540E, 0x5422, 0x5452, 0x8901),
                    *(0x8912, 0x80081272, 0x40085203, 0x80086601, 0x5402),
                    *(0, 0x5412 | HIGH, (-1 << 32) | 0x5412),
                )
            ],
            UNSUPPORTED: [(-1, 0x40049409, 0), (-1, 0x4020940D, 0)],
        },
        {
            "EBADF": [
                (-1, command, 0)
                for command in (
                    *(0x5401, 0x5413, 0x541B, 0x5421, 0x5450),
                    *(0x5451 | HIGH, 0x5401 | HIGH),
                )
            ]
        },
    ),
    "madvise": (
        {
            # REMOVE, MERGEABLE, COLD, PAGEOUT, POPULATE, COLLAPSE,
            # HWPOISON, SOFT_OFFLINE
            "EINVAL": [
                (0, 0, advice)
                for advice in (9, 12, 20, 21, 22, 25, 100, 101, 100 | HIGH)
            ]
        },
        {0: [(0, 0, advice) for advice in (0, 1, 2, 3, 4, 8, 14, 15, HIGH)]},
    ),
    "membarrier": (
        {
            # GLOBAL, GLOBAL_EXPEDITED and its registration, SYNC_CORE, RSEQ
            "EPERM": [(command, 0, 0) for command in (1, 2, 4, 32, 128)]
            + [(1 | HIGH, 0, 0)]
        },
        {"EINVAL": [(0, -1, 0), (8, -1, 0), (16, -1, 0), (HIGH, -1, 0)]},
    ),
    "clone": (
        {
            # SIGCHLD, nothing, VM, VM | SIGHAND, VM | VFORK; a thread with
            # descriptors, a directory or semaphores of its own, with a
            # namespace, with PTRACE, PARENT, PIDFD, UNTRACED
            "EPERM": [
                (flags, 0, 0, 0, 0)
                for flags in (
                    *(17, 0, 0x100, 0x900, 0x4100, 17 | HIGH, 0xFFFFFFFF),
                    *(THREAD - 0x400, THREAD - 0x200, THREAD - 0x40000),
                    *(THREAD | 0x20000, THREAD | 0x10000000),
                    *(THREAD | 0x2000, THREAD | 0x8000, THREAD | 0x1000),
                    THREAD | 0x800000,
                )
            ]
        },
        # A real thread is tried elsewhere; with SIGHAND and no VM the
        # kernel would say EINVAL, which a filter does not.
        {},
    ),
    "futex": (
        {
            # FD, LOCK_PI, UNLOCK_PI, TRYLOCK_PI, WAIT_REQUEUE_PI,
            # CMP_REQUEUE_PI, LOCK_PI2
            "ENOSYS": [
                (-1, operation, 0, 0, 0, 0)
                for operation in (2, 6, 7, 8, 11, 12, 13, 6 | HIGH, 6 | 128)
            ],
            # To wake others that map the same file.
            "EINVAL": [
                (-4, operation, 1, 0, 0, 0)
                for operation in (1, 3, 4, 5, 10, 1 | HIGH, 1 | 256)
            ],
        },
        {
            "EFAULT": [
                *((-4, op, 0, 0, 0, 0) for op in (0, 128, HIGH)),
                *((-4, op, 0, 0, -4, 0) for op in (128 | 3, 128 | 4)),
                (-4, 9, 0, 0, 0, 1),
                (-4, 128 | 9, 0, 0, 0, 1),
                (-4, 128 | 1, 1, 0, 0, 0),
            ]
        },
    ),
    "prlimit64": (
        {"EPERM": [(pid, 7, 0, 0) for pid in (1, 3, -1, 1 | HIGH)]},
        {"EFAULT": [(pid, 7, 0, -1) for pid in (0, 2, HIGH, 2 | HIGH)]},
    ),
    "prctl": (
        {
            # PDEATHSIG, SET_DUMPABLE, KEEPCAPS, SET_SECCOMP, CAPBSET_DROP,
            # SET_TSC, SET_SECUREBITS, TIMERSLACK, MCE_KILL, SET_MM,
            # CHILD_SUBREAPER, NO_NEW_PRIVS, THP, CAP_AMBIENT, PTRACER
            "EPERM": [
                (option, 0, 0, 0, 0)
                for option in (
                    *(1, 4, 8, 22, 24, 26, 28, 29, 33, 35, 36, 38, 41, 47),
                    *(0x59616D61, 1 | HIGH, 4 | HIGH, -1),
                )
            ]
        },
        {
            "EFAULT": [(16, -1, 0, 0, 0)],
            0: [(3, 0, 0, 0, 0), (15, -1, 0, 0, 0)],  # pretended: SET_NAME
            1: [(39, 0, 0, 0, 0)],
            2: [(21, 0, 0, 0, 0)],
            "EINVAL": [(23, 99, 0, 0, 0)],
        },
    ),
    "kill": (
        {"EPERM": [(p, 0) for p in (1, 3, -1, -2, 1 | HIGH, -(1 << 31))]},
        {0: [(2, 0), (0, 0), (2 | HIGH, 0)], "EINVAL": [(2, 99)]},
    ),
    "tgkill": (
        {"EPERM": [(pid, pid, 0) for pid in (0, 1, 3, -1, 1 | HIGH)]},
        {0: [(2, 2, 0), (2 | HIGH, 2, 0)], "ESRCH": [(2, 1, 0)]},
    ),
    "socketpair": (
        {
            "EACCES": [
                (*pair, -1)
                for pair in (
                    *((2, 1, 0), (1, 2, 0), (1, 5, 0), (1, 1, 1), (16, 3, 0)),
                    *((2 | HIGH, 1, 0), (1, 2 | HIGH, 0), (1, 1, 1 | HIGH)),
                    *((1, 2 | 0o4000, 0), (10, 1, 0), (38, 5, 0), (40, 1, 0)),
                )
            ]
        },
        {"EFAULT": [(1, 1, 0, -1), (1 | HIGH, 1, HIGH, -1)]},
    ),
    "sendto": (
        {
            "EACCES": [
                *((-1, -1, 1, 0, at, 16) for at in (-1, 1, HIGH)),
                *((-1, 0, 0, flags, 0, 0) for flags in (1, 1 | HIGH)),
            ]
        },
        {"EBADF": [(-1, 0, 0, 0, 0, 0)]},
    ),
}


def test_every_narrowed_call_is_tried_below():
    assert set(of_fate("narrow")) <= set(NARROW)


ASK = "[answer(name, *arguments) for arguments in calls]"


@pytest.mark.parametrize("name", of_fate("narrow"))
def test_O03_calls_are_refused_by_their_arguments(name):
    for expected in NARROW[name]:
        for wanted, calls in expected.items():
            got = support.value_of(ASK, {"name": name, "calls": calls})
            assert got == [wanted] * len(calls)
    # The errno for all that matches nothing is the table's.
    assert errno.errorcode[HERE[name][1]] in NARROW[name][0]


def test_a_denied_call_is_denied_in_every_thread():
    source = """
import threading
answers = set()
def ask():
    for name in names:
        answers.add(answer(name, 1, 1, 1, 1, 1, 1) == expected[name])
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sorted(answers)
"""
    names = of_fate("errno")
    expected = {n: errno.errorcode.get(HERE[n][1], 0) for n in names}
    inputs = {"names": names, "expected": expected}
    assert support.value_of(source, inputs) == [True]
