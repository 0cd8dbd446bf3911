"""The guest reaches only the calls that the table lets through, whatever it
writes into the registers, and can loosen none of what holds it."""

import ctypes
import errno
import os
import signal
import socket

import pytest

import support
from csandbox import _csandbox
from support import (
    LANDLOCK,
    LIMITS,
    NETNS,
    SECCOMP,
    USERNS,
    VIEW,
    X86,
    Attack,
)

NEW_USER, NEW_MOUNT = 0x10000000, 0x00020000
ENTER = f"syscall('unshare', {NEW_USER | NEW_MOUNT})\n"
MAKE_NAMESPACE = Attack(f"syscall('unshare', {NEW_USER}) == 0", SECCOMP)
REGAIN = Attack(  # all capabilities, if only over a namespace of one's own
    f"""
syscall('unshare', {NEW_USER})
header, data = struct.pack('Ii', 0x20080522, 0), bytearray(24)
syscall('capget', ctypes.c_char_p(header),
        (ctypes.c_char * 24).from_buffer(data))
any(data)
""",
    SECCOMP,
)
MOUNT = Attack(
    ENTER
    + """
os.mkdir('/tmp/mount')
syscall('mount', ctypes.c_char_p(b'x'), ctypes.c_char_p(b'/tmp/mount'),
        ctypes.c_char_p(b'tmpfs'), 0, 0) == 0
""",
    LANDLOCK,
    SECCOMP,
)
BIND = Attack(
    ENTER
    + """
os.mkdir('/tmp/mount')
syscall('mount', ctypes.c_char_p(b'/tmp'), ctypes.c_char_p(b'/tmp/mount'),
        0, 4096 | 16384, 0) == 0
""",
    LANDLOCK,
    SECCOMP,
)
FSMOUNT = Attack(
    ENTER
    + """
context = syscall('fsopen', ctypes.c_char_p(b'tmpfs'), 0)
syscall('fsconfig', context, 6, 0, 0, 0)
syscall('fsmount', context, 0, 0) > 0
""",
    SECCOMP,
)
UNMOUNT = Attack(
    "syscall('umount2', ctypes.c_char_p(b'/tmp'), 2) == 0",
    USERNS,
    LANDLOCK,
    SECCOMP,
)
PIVOT = Attack(
    """
syscall('mount', ctypes.c_char_p(b'/tmp'), ctypes.c_char_p(b'/tmp'),
        0, 4096, 0)
os.chdir('/tmp')
syscall('pivot_root', ctypes.c_char_p(b'.'), ctypes.c_char_p(b'.')) == 0
""",
    USERNS,
    LANDLOCK,
    SECCOMP,
)
CHROOT = Attack(
    ENTER + "syscall('chroot', ctypes.c_char_p(b'/tmp')) == 0", SECCOMP
)
# The view made writable again, by remounting and by the newer call.
REMOUNT = Attack(
    ""
    """
place = next(path for path in sys.path if os.path.isdir(path))
while not os.path.ismount(place):
    place = os.path.dirname(place)
syscall('mount', 0, ctypes.c_char_p(place.encode()), 0, 32 | 4096, 0) == 0
""",
    USERNS,
    LANDLOCK,
    SECCOMP,
)
SET_WRITABLE = Attack(
    """
attributes = struct.pack('4Q', 0, 1, 0, 0)
syscall('mount_setattr', -100, ctypes.c_char_p(b'/'), 0,
        ctypes.c_char_p(attributes), 32) == 0
""",
    USERNS,
    SECCOMP,
)
RENAME_HOST = Attack(
    "syscall('sethostname', ctypes.c_char_p(b'other'), 5) == 0",
    USERNS,
    SECCOMP,
)
ESCAPES = {
    "unmount its /tmp": UNMOUNT,
    "pivot to another root": PIVOT,
    "remount the view writable": REMOUNT,
    "make the view writable": SET_WRITABLE,
    "change the hostname": RENAME_HOST,
}


@pytest.mark.parametrize(
    "attack",
    [MOUNT, BIND, FSMOUNT, UNMOUNT, PIVOT, CHROOT],
    ids=["mount", "bind", "fsmount", "unmount", "pivot", "chroot"],
)
def test_cannot_mount(attack):
    attack.check()


def test_cannot_make_the_view_writable():
    REMOUNT.check()
    SET_WRITABLE.check()


def test_cannot_change_the_hostname():
    RENAME_HOST.check()


def test_cannot_make_namespaces():
    MAKE_NAMESPACE.check()
    source = """
kinds = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000,
         0x20000000, 0x40000000)
[answer('unshare', kind | high) for kind in kinds for high in (0, 1 << 32)]
"""
    assert set(support.value_of(source)) == {"EPERM"}
    source = """
[answer('clone', 0x10f00 | kind | high, 0, 0, 0, 0) for kind in
 (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000,
  0x40000000, 0x2000, 0x4000, 0x8000, 0x800000, 0x1000)
 for high in (0, 1 << 32)]
"""
    assert set(support.value_of(source)) == {"EPERM"}


def test_cannot_enter_namespaces():
    source = """
[answer('setns', descriptor, 0) for descriptor in range(-1, 6)]
"""
    assert set(support.value_of(source)) == {"EPERM"}


def test_cannot_regain_capabilities():
    REGAIN.check()
    source = """
def sets(*numbers):
    return ctypes.c_char_p(struct.pack('6I', *numbers))
header = ctypes.c_char_p(struct.pack('Ii', 0x20080522, 0))
[
    answer('capset', header, sets(*[1 << 21] * 3, 0, 0, 0)),
    answer('setresuid', 0, 0, 0),
    answer('setuid', 0),
    answer('setresgid', 0, 0, 0),
    answer('setgroups', 0, 0),
    answer('setfsuid', 0),
    answer('prctl', 47, 2, 21, 0, 0),  # PR_CAP_AMBIENT_RAISE
    answer('prctl', 8, 1, 0, 0, 0),  # PR_SET_KEEPCAPS
    answer('prctl', 28, 0, 0, 0, 0),  # PR_SET_SECUREBITS
]
"""
    assert set(support.value_of(source)) == {"EPERM"}
    # Without the filter there is nothing to regain them from.
    refused = support.value_of(source, without={SECCOMP})
    assert set(refused[:4]) <= {"EPERM", "EINVAL"}


STATUS = """
def capabilities():
    header, data = struct.pack('Ii', 0x20080522, 0), bytearray(24)
    syscall('capget', ctypes.c_char_p(header),
            (ctypes.c_char * 24).from_buffer(data))
    return any(data)
[
    capabilities(),
    any(answer('prctl', 23, n, 0, 0, 0) == 1 for n in range(41)),
    syscall('prctl', 3, 0, 0, 0, 0),  # PR_GET_DUMPABLE
    syscall('prctl', 39, 0, 0, 0, 0),  # PR_GET_NO_NEW_PRIVS
    syscall('prctl', 21, 0, 0, 0, 0),  # PR_GET_SECCOMP
]
"""


def test_C01_no_capability_is_left_and_nothing_is_dumpable():
    assert support.value_of(STATUS) == [False, False, 0, 1, 2]
    without = support.value_of(STATUS, without={USERNS})
    assert without[:2] == [True, True]
    assert support.value_of(STATUS, without={SECCOMP})[4] == 0


K03 = """
import threading
filter = struct.pack('HxxxxxxQ', 1, ctypes.addressof(
    ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))))
filter = ctypes.c_char_p(filter)
attempts = [
    answer('prctl', 22, 2, filter, 0, 0),
    answer('prctl', 22, 0, 0, 0, 0),
    answer('prctl', 22, 1, 0, 0, 0),
    answer('prctl', 38, 0, 0, 0, 0),
    answer('prctl', 4, 1, 0, 0, 0),
    answer('prctl', 4 | 1 << 32, 1, 0, 0, 0),
    answer('seccomp', 1, 0, filter),
    answer('seccomp', 0, 0, 0),
    answer('seccomp', 3, 0, filter),
    answer('landlock_restrict_self', 0, 0),
]
def in_thread():
    attempts.append(answer('unshare', 0x10000000))
    attempts.append(answer('socket', 1, 1, 0))
    attempts.append(syscall('prctl', 21, 0, 0, 0, 0))
thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
attempts
"""


def test_K03_the_filter_cannot_be_loosened_and_covers_threads():
    assert support.value_of(K03) == [
        *["EPERM"] * 9,
        "ENOSYS",
        "EPERM",
        "EACCES",
        2,
    ]


# --- calls with a history ----------------------------------------------------

# Each is true if the kernel did it.
CALLS = {
    "io_uring": """
parameters = ctypes.create_string_buffer(120)
syscall('io_uring_setup', 4, parameters) > 0
""",
    "aio": """
context = ctypes.c_ulong(0)
syscall('io_setup', 4, ctypes.byref(context)) == 0
""",
    "perf": """
attributes = struct.pack('II7Q', 1, 64, 0, 0, 0, 0, 96, 0, 0)
syscall('perf_event_open', ctypes.c_char_p(attributes), 0, -1, -1, 0) > 0
""",
    "userfaultfd": "syscall('userfaultfd', 1) > 0",
    "keyctl": "syscall('keyctl', 0, -3, 1) != 0",
    "add_key": """
syscall('add_key', ctypes.c_char_p(b'user'), ctypes.c_char_p(b'x'),
        ctypes.c_char_p(b'y'), 1, -2) != 0
""",
    "splice": """
(a, b), (c, d) = os.pipe(), os.pipe()
os.write(b, b'x')
syscall('splice', a, 0, d, 0, 1, 0) == 1
""",
    "tee": """
(a, b), (c, d) = os.pipe(), os.pipe()
os.write(b, b'x')
syscall('tee', a, d, 1, 0) == 1
""",
    "vmsplice": """
(a, b), data = os.pipe(), ctypes.create_string_buffer(8)
vector = struct.pack('2Q', ctypes.addressof(data), 8)
syscall('vmsplice', b, ctypes.c_char_p(vector), 1, 0) == 8
""",
    "memfd": "syscall('memfd_create', ctypes.c_char_p(b'x'), 0) > 0",
    "inotify": "syscall('inotify_init1', 0) > 0",
    "fanotify": "syscall('fanotify_init', 0x200, 0) > 0",
    "file handles": """
handle = ctypes.create_string_buffer(struct.pack('Ii128x', 128, 0))
syscall('name_to_handle_at', -100, ctypes.c_char_p(b'/tmp'), handle,
        ctypes.byref(ctypes.c_int()), 0) == 0
""",
    "shared memory": "syscall('shmget', 0, 4096, 0o1600) >= 0",
    "semaphores": "syscall('semget', 0, 1, 0o1600) >= 0",
    "message queues": "syscall('msgget', 0, 0o1600) >= 0",
    "mincore": """
page = mmap.mmap(-1, 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
syscall('mincore', at, 4096, ctypes.create_string_buffer(1)) == 0
""",
    "personality": "syscall('personality', 0x0040000) >= 0",
    "sysinfo": """
syscall('sysinfo', ctypes.create_string_buffer(112)) == 0
""",
    "statfs": """
syscall('statfs', ctypes.c_char_p(b'/usr'),
        ctypes.create_string_buffer(120)) == 0
""",
    "priority inheritance": """
word = ctypes.c_int(0)
syscall('futex', ctypes.byref(word), 6, 0, 0, 0, 0) == 0
""",
    "a lock": "syscall('flock', os.open('/tmp', 0), 2) == 0",
    "a lease": """
file = os.open('/tmp/file', os.O_CREAT | os.O_RDWR)
syscall('fcntl', file, 1024, 1) == 0
""",
    "a signal owner": "syscall('fcntl', 1, 8, 2) == 0",
    "a bigger pipe": "syscall('fcntl', 1, 1031, 1 << 20) > 0",
    "a sync of all disks": "syscall('sync') == 0",
    "descriptors over sockets": """
import array, socket
one, two = socket.socketpair()
one.sendmsg([b'x'], [(1, 1, array.array('i', [1]))]) == 1
""",
}
if X86:
    CALLS["a local descriptor table"] = """
syscall('modify_ldt', 0, ctypes.create_string_buffer(16), 16) >= 0
"""


@pytest.mark.parametrize("source", CALLS.values(), ids=CALLS)
def test_cannot_reach_calls_with_a_history(source):
    attack = Attack(source)
    # Newer kernels count the memory of io_uring as locked, which is limited.
    if not attack.succeeds(None, {SECCOMP, LIMITS}):
        pytest.skip("the kernel refuses it to everybody")
    assert not attack.succeeds(None, {LIMITS})
    assert not attack.succeeds(None, ())


def test_cannot_reach_calls_that_the_kernel_refuses_without_capabilities():
    # No configuration lets these succeed; with the filter they do not even
    # reach the code that decides.
    source = """
program = struct.pack('IIII40x', 1, 4, 4, 1)
[
    answer('bpf', 0, ctypes.c_char_p(program), 56),
    answer('bpf', -1, 0, 0),
    answer('request_key', -1, -1, -1, 0),
    answer('open_by_handle_at', -1, -1, 0),
    answer('syslog', 10, 0, 0),
    answer('process_madvise', -1, 0, 0, 0, 0),
    answer('settimeofday', 0, 0),
]
"""
    assert set(support.value_of(source)) == {"EPERM"}
    without = support.value_of(source, without={SECCOMP})
    assert "EFAULT" in without or "EBADF" in without


# --- other ways into the kernel ----------------------------------------------

if X86:
    # getpid by the 32-bit gate: 20 there, writev here.
    INT_80 = "code(bytes.fromhex('b814000000cd80c3'))()"
    # getpid with the bit that says x32.
    X32 = "code(bytes.fromhex('b8270000400f05c3'))()"
    SYSENTER = "code(bytes.fromhex('b814000000' '0f34' 'c3'))()"

    def test_O02_int_0x80_kills():
        reached = support.value_of(INT_80, without={SECCOMP})
        assert reached in (2, -errno.ENOSYS)
        assert support.run_guest(INT_80).error.signal == signal.SIGSYS

    def test_O02_x32_kills():
        # 2 on a kernel built for x32.
        reached = support.value_of(X32, without={SECCOMP})
        assert reached in (2, -errno.ENOSYS)
        assert support.run_guest(X32).error.signal == signal.SIGSYS

    def test_x32_kills_whatever_the_number():
        for number in (0, 1, 41, 59, 512, 520, 547, 1 << 29):
            source = f"answer({number | 1 << 30})"
            error = support.run_guest(source).error
            assert error.signal == signal.SIGSYS, number
            high = f"answer({number | 1 << 30 | 1 << 32})"
            assert support.run_guest(high).error.signal == signal.SIGSYS

    def test_sysenter_does_not_get_in():
        error = support.run_guest(SYSENTER).error
        assert error.signal in (
            signal.SIGSYS,
            signal.SIGSEGV,
            signal.SIGILL,
        )

    def test_int_0x80_kills_from_another_thread():
        source = f"""
import threading
thread = threading.Thread(target=lambda: {INT_80})
thread.start()
thread.join()
"""
        assert support.run_guest(source).error.signal == signal.SIGSYS

    def test_a_far_call_to_32_bit_code_kills():
        # lret to a 32-bit code segment, then int 0x80.
        source = """
page = mmap.mmap(-1, 4096, 0x22 | 0x40, 7)  # MAP_32BIT
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
page.write(bytes.fromhex('b814000000cd80f4'))
stub = bytes.fromhex('6a23' '68') + struct.pack('I', at)
code(stub + bytes.fromhex('48cb'))()
"""
        error = support.run_guest(source).error
        assert error.signal == signal.SIGSYS
        # Without the filter it goes on to the privileged hlt after it.
        error = support.run_guest(source, without={SECCOMP}).error
        assert error.signal == signal.SIGSEGV


def test_a_kill_takes_the_whole_process():
    source = """
import threading, time
def kill():
    syscall('reboot', 0, 0, 0, 0)
threading.Thread(target=kill).start()
time.sleep(60)
"""
    assert support.run_guest(source).error.signal == signal.SIGSYS


# --- who and where it is -----------------------------------------------------


def test_Y04_nothing_tells_the_host(monkeypatch):
    monkeypatch.setenv("CSANDBOX_TEST_SECRET", "known only here")
    source = """
import socket, platform, getpass
[dict(os.environ), os.getcwd(), os.getuid(), os.geteuid(), os.getgid(),
 os.getgroups(), os.getpid(), os.getppid(), os.getsid(0), os.getpgrp(),
 os.uname().nodename, socket.gethostname(), platform.node(), sys.argv]
"""
    value = support.value_of(source, env={"GIVEN": "yes"})
    assert value == [
        {
            "GIVEN": "yes",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        },
        "/tmp",
        1000,
        1000,
        1000,
        [],
        2,
        0,
        2,
        2,
        "sandbox",
        "sandbox",
        "sandbox",
        [""],
    ]
    assert socket.gethostname() != "sandbox"


def test_Y04_the_environment_of_c_code_is_the_same():
    source = """
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(_libc, 'environ')
names = []
while environ[len(names)]:
    names.append(environ[len(names)])
sorted(names)
"""
    names = support.value_of(source, env={"GIVEN": "yes"})
    assert names == [
        b"GIVEN=yes",
        b"HOME=/tmp",
        b"LANG=C.UTF-8",
        b"PATH=/usr/local/bin:/usr/bin:/bin",
    ]


def test_O01_limits_are_set_soft_and_hard_and_cannot_be_raised():
    source = """
import resource
names = [n for n in dir(resource) if n.startswith('RLIMIT_')]
limits = {n: resource.getrlimit(getattr(resource, n)) for n in names}
raised = []
for name in names:
    kind, (soft, hard) = getattr(resource, name), limits[name]
    if hard == resource.RLIM_INFINITY:
        continue
    try:
        resource.setrlimit(kind, (hard, hard + 1))
        raised.append(name)
    except (OSError, ValueError):
        pass
limits, raised
"""
    limits, raised = support.value_of(source)
    assert raised == []
    assert limits["RLIMIT_CORE"] == (0, 0)
    assert limits["RLIMIT_NPROC"] == (17, 17)
    names = {"AS", "DATA", "CPU", "NOFILE", "STACK", "MEMLOCK"}
    if _csandbox.SANITIZED:
        names.remove("AS")  # see limits.c
    for name in names:
        soft, hard = limits[f"RLIMIT_{name}"]
        assert soft == hard
        assert soft not in (-1, 2**64 - 1), name
    without = support.value_of(source, without={support.LIMITS})[0]
    assert without["RLIMIT_DATA"] != limits["RLIMIT_DATA"]


def test_has_no_descriptor_but_its_pipes():
    source = """
import stat
found = {}
for number in range(4096):
    try:
        found[number] = stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        pass
found
"""
    pipes = {**dict.fromkeys(range(5), True), 5: False}  # 5 is the store
    assert support.value_of(source) == pipes
    # The host's own, even those that a program would inherit.
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    try:
        assert support.value_of(source, without={VIEW, SECCOMP}) == pipes
    finally:
        os.close(reader)
        os.close(writer)


def test_keeps_no_timer_signal_or_mask_of_the_zygote():
    source = """
import signal
[signal.getitimer(0), signal.getitimer(1), signal.getitimer(2),
 sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
 sorted(int(n) for n in signal.valid_signals()
        if n < 32 and signal.getsignal(n) == signal.SIG_IGN),
 os.umask(0)]
"""
    none = (0.0, 0.0)
    # SIGPIPE and SIGXFSZ, as in any Python.
    assert support.value_of(source) == [none, none, none, [], [13, 25], 18]


def test_the_networks_of_the_host_are_not_seen():
    interfaces = {name for _, name in socket.if_nameindex()}
    source = "import socket; [name for _, name in socket.if_nameindex()]"
    without = {SECCOMP}
    assert support.value_of(source, without=without) == ["lo"]
    assert interfaces == set(
        support.value_of(source, without={SECCOMP, NETNS})
    )


def test_the_tests_numbers_are_the_kernels():
    # getpid, asked by the number that the guests get.
    number = support.syscall_numbers()["getpid"]
    assert ctypes.CDLL(None).syscall(number) == os.getpid()
