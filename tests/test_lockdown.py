"""Each detail of the lock-down, by a test that fails when it is left out."""

import errno
import fcntl
import os
import signal
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from unittest import mock

import pytest

import csandbox
import hosts
import support
from csandbox import _csandbox, cells, zygotes
from csandbox.errors import UnavailableError
from support import LANDLOCK, SECCOMP, USERNS
from test_source_rules import C_FILES, code

MIB = 1 << 20
ROOT = _csandbox.is_root()


@contextmanager
def asleep(source="print(1)", **options):
    """Run a guest that sleeps after it; yields the pids of zygote, init and
    cell, as the host sees them."""
    ready = Event()
    template = support.template(options.get("without", ()))
    zygotes.disarm()
    while template in zygotes._registry.zygotes and hosts.children(
        zygotes._registry.zygotes[template].pid
    ):
        time.sleep(0.01)
    with (
        mock.patch.object(cells, "wants_successor", return_value=False),
        ThreadPoolExecutor(1) as pool,
    ):
        run = pool.submit(
            support.run_guest,
            source + "\nimport time; time.sleep(1000)",
            sink=lambda *_: ready.set(),
            timeout=2000,
            **options,
        )
        run.add_done_callback(lambda _: ready.set())
        assert ready.wait(60)
        assert not run.done(), run.result()
        zygote = zygotes._registry.zygotes[template].pid
        pids = {
            status(pid)["NSpid"][-1]: pid for pid in hosts.children(zygote)
        }
        try:
            yield zygote, pids["1"], pids["2"]
        finally:
            os.kill(pids["2"], signal.SIGKILL)
        assert run.result().error.signal == signal.SIGKILL


def status(pid):
    """Return {name: words} of /proc/PID/status."""
    lines = hosts.read(f"/proc/{pid}/status").decode().splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name: value.split() for name, _, value in pairs}


# --- capabilities ------------------------------------------------------------

# NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE with their locks; the lock
# of KEEP_CAPS.
SECUREBITS = 0x3 | 0xC | 0xC0 | 0x20


def test_root_means_nothing_and_that_is_locked():
    source = """
[
    syscall('prctl', 27, 0, 0, 0, 0),  # PR_GET_SECUREBITS
    # Nor can it be unlocked, or a capability kept or made ambient.
    answer('prctl', 28, 0, 0, 0, 0), answer('prctl', 8, 1, 0, 0, 0),
    answer('prctl', 47, 2, 21, 0, 0),
    [n for n in range(64) if answer('prctl', 47, 1, n, 0, 0) == 1],
    [n for n in range(64) if answer('prctl', 23, n, 0, 0, 0) == 1],
]
"""
    found = support.value_of(source, without={SECCOMP})
    assert found == [SECUREBITS, *["EPERM"] * 3, [], []]


def test_a_cell_has_no_capability_and_nothing_to_get_one_from():
    with asleep() as (_, _, cell):
        found = status(cell)
    none = ["0" * 16]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert found[name] == none, name
    assert found["NoNewPrivs"] == ["1"]
    assert found["Seccomp"] == ["2"]
    assert found["SigBlk"] == none
    assert set(found["Uid"] + found["Gid"]) == {str(zygotes.uid())}


def test_a_cell_without_its_user_namespace_has_no_ambient_capability():
    with asleep(without={USERNS}) as (_, _, cell):
        found = status(cell)
    assert found["CapAmb"] == found["CapInh"] == ["0" * 16]


# --- canaries ----------------------------------------------------------------

# Functions of libc that only seem to do what a step asks of them.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static char fault[32];

__attribute__((constructor)) static void
choose(void)
{
    const char *name = getenv("CSANDBOX_TEST_FAULT");
    strncpy(fault, name != NULL ? name : "", sizeof fault - 1);
}

#define IS(name) (strcmp(fault, name) == 0)
#define ARGUMENTS(last) \\
    long a[6]; \\
    va_list list; \\
    va_start(list, last); \\
    for (int i = 0; i < 6; i++) { \\
        a[i] = va_arg(list, long); \\
    } \\
    va_end(list)

static int
drops_all(const long *data)
{
    return (data[0] | data[1] | data[2]) == 0;
}

long
syscall(long number, ...)
{
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    ARGUMENTS(number);
    if ((IS("capset") && number == SYS_capset &&
         drops_all((const long *)a[1])) ||
        /* The new root; trees have more attributes set. */
        (IS("read-only") && number == 442 && *(long *)a[3] == 1) ||
        ((IS("read-only") || IS("landlock")) && number == 446)) {
        return 0;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int
prctl(int option, ...)
{
    ARGUMENTS(option);
    if ((IS("filter") && option == PR_SET_SECCOMP) ||
        (IS("bounding set") && option == PR_CAPBSET_DROP) ||
        (IS("undumpable") && option == PR_SET_DUMPABLE && a[0] == 0) ||
        (IS("no new privileges") && option == PR_SET_NO_NEW_PRIVS)) {
        return 0;
    }
    return (int)syscall(SYS_prctl, (long)option, a[0], a[1], a[2], a[3]);
}

/* For a host: it dies as it lets its child go on, and a fork of it lives. */
ssize_t
write(int fd, const void *data, size_t size)
{
    if (IS("die at go") && size == 1 && *(const char *)data == 'g') {
        pid_t pid = fork();
        if (pid == 0) {
            sleep(100);
            _exit(0);
        }
        dprintf(1, "%d\\n", (int)pid);
        (void)kill(getpid(), SIGKILL);
    }
    return syscall(SYS_write, (long)fd, data, size);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """Return the path of a library with these functions."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(
        [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o"]
        + [str(folder / name) for name in ("shim.so", "shim.c")]
        + ["-ldl"],
        check=True,
    )
    return str(folder / "shim.so")


def preloading(shim, fault):
    """Return the environment with which a program uses it."""
    first = support.sanitizers().get("LD_PRELOAD", "")
    return {
        "LD_PRELOAD": f"{first}:{shim}".strip(":"),
        "CSANDBOX_TEST_FAULT": fault,
    }


def patched_plan(change):
    """Patch build_plan() so that `change` gets every plan, a bytearray."""
    real = _csandbox.build_plan

    def build(*args, **options):
        plan = bytearray(real(*args, **options))
        change(plan)
        return bytes(plan)

    return mock.patch.object(_csandbox, "build_plan", build)


@contextmanager
def zygotes_of_its_own():
    """Start zygotes anew, and end them."""
    registry = zygotes.Registry()
    with mock.patch.object(zygotes, "_registry", registry):
        try:
            yield
        finally:
            registry.close()


def canary(environment=(), change=lambda plan: None):
    """Return the number of the canary that sings, or None."""
    variables = dict(each.split("=", 1) for each in zygotes._environment())
    variables |= environment
    changed = [f"{name}={text}" for name, text in variables.items()]
    with (
        zygotes_of_its_own(),
        patched_plan(change),
        mock.patch.object(zygotes, "_environment", lambda _: changed),
    ):
        try:
            assert csandbox.run("7", timeout=60) == 7
        except UnavailableError as error:
            assert error.step == "canary", error
            return int(error.detail.split()[1].rstrip(":"))
    return None


# struct csb_plan
HEADER = struct.Struct("=4IiI6I")
MECHANISMS_AT, FILTER_AT, TOLD_AT, LISTENER_AT = 8, 32, 52, 60


def without_mechanisms(*names):
    """Return a change that takes mechanisms out of a plan."""

    def change(plan):
        (mask,) = struct.unpack_from("=I", plan, MECHANISMS_AT)
        for name in names:
            mask &= ~_csandbox.MECHANISMS[name]
        struct.pack_into("=I", plan, MECHANISMS_AT, mask)

    return change


def with_filter(*instructions, told=False):
    """Return a change that gives a plan another filter.

    It is the one that is loaded where the host listens to another, if `told`,
    and otherwise the one that is loaded where it cannot, as then it cannot.
    """

    def change(plan):
        at, count = struct.unpack_from(
            "=2I", plan, TOLD_AT if told else FILTER_AT
        )
        program = b"".join(
            struct.pack("=HBBI", *each) for each in instructions
        )
        assert len(instructions) <= count
        plan[at : at + len(program)] = program
        struct.pack_into(
            "=I", plan, (TOLD_AT if told else FILTER_AT) + 4, len(instructions)
        )
        if not told:
            struct.pack_into("=I", plan, LISTENER_AT + 4, 0)

    return change


@pytest.mark.parametrize(
    ("fault", "missing", "number"),
    [
        ("nothing", (), None),
        ("read-only", (), 2),
        ("capset", (), 3),
        ("bounding set", (), 3),
        ("filter", (), 9),  # but for that to which the host listens
        ("undumpable", (), 5),
        # These two ask for it.
        ("no new privileges", (SECCOMP, LANDLOCK), 5),
    ],
)
def test_a_canary_sings_when_a_step_had_no_effect(
    shim, fault, missing, number
):
    environment = preloading(shim, fault)
    assert canary(environment, without_mechanisms(*missing)) == number


LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBERS = support.syscall_numbers()


def refusing(**errors):
    """Return a filter that refuses these calls and allows the rest."""
    program = [(LOAD, 0, 0, 0)]
    for name, error in errors.items():
        program += [
            (EQUAL, 0, 1, NUMBERS[name]),
            (RETURN, 0, 0, ERRNO | error),
        ]
    return [*program, (RETURN, 0, 0, ALLOW)]


# Of 64 bits, which the high half of a number gets around.
NARROW_SOCKET = [
    (LOAD, 0, 0, 0),
    (EQUAL, 0, 5, NUMBERS["socket"]),
    (LOAD, 0, 0, 16),
    (EQUAL, 0, 3, 2),
    (LOAD, 0, 0, 20),
    (EQUAL, 0, 1, 0),
    (RETURN, 0, 0, ERRNO | errno.EACCES),
    *refusing(unshare=errno.EPERM, kill=errno.EPERM),
]


@pytest.mark.parametrize(
    ("program", "number"),
    [
        ([(RETURN, 0, 0, ALLOW)], 4),
        (refusing(unshare=errno.EPERM, kill=errno.EPERM), 4),
        (refusing(socket=errno.EACCES, kill=errno.EPERM), 4),
        (refusing(socket=errno.EACCES, unshare=errno.EPERM), 6),
        (NARROW_SOCKET, 4),
        (
            refusing(
                socket=errno.EACCES, unshare=errno.EPERM, kill=errno.EPERM
            ),
            None,
        ),
    ],
    ids=["all", "socket", "unshare", "kill", "a high bit", "none of these"],
)
def test_a_canary_sings_when_the_filter_allows_too_much(program, number):
    def change(plan):
        with_filter(*program)(plan)
        # Without this one, which keeps signals in as well.
        without_mechanisms(LANDLOCK)(plan)

    assert canary(change=change) == number


def test_a_canary_sings_when_only_the_listener_s_filter_is_there():
    change = with_filter((RETURN, 0, 0, ALLOW), told=True)
    assert canary(change=change) == 9


# --- limits ------------------------------------------------------------------

LIMITS = """
import json, os, resource, sys, csandbox, hosts
names = [name for name in dir(resource) if name.startswith('RLIMIT_')]
names.remove('RLIMIT_OFILE')  # NOFILE by another name
def limits():
    return {n: resource.getrlimit(getattr(resource, n)) for n in names}
# A host with more than is usual.
for name in ('NICE', 'RTPRIO', 'CORE', 'MEMLOCK', 'MSGQUEUE', 'SIGPENDING',
             'STACK', 'NPROC'):
    number = getattr(resource, 'RLIMIT_' + name)
    hard = resource.getrlimit(number)[1]
    try:
        more = 15 if name in ('NICE', 'RTPRIO') else 1 << 24
        resource.setrlimit(number, (more, more))
    except ValueError:
        resource.setrlimit(number, (hard, hard))  # only some may raise it
# The first cell of a zygote else is of one that has loaded less.
csandbox.warm()
guest = f'''
import resource
{{n: resource.getrlimit(getattr(resource, n)) for n in {names}}}
'''
hosts.show([limits(), *(
    csandbox.run(guest, timeout=timeout, memory=memory, threads=threads)
    for timeout, memory, threads in ((50, '64M', 3), (70, '128M', 5))
)])
"""


def test_every_limit_is_the_policys_soft_and_hard():
    host, *guests = hosts.run(LIMITS)
    memories = []
    for limits, (timeout, threads) in zip(
        guests, ((50, 3), (70, 5)), strict=True
    ):
        expected = {
            "CORE": 0,
            "NOFILE": 256,
            "NPROC": threads + 1,
            "CPU": 1 << (timeout + 1).bit_length(),
            "STACK": 8 * MIB,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
            "SIGPENDING": 128,
            "NICE": 0,
            "RTPRIO": 0,
        }
        memory = [limits.pop(f"RLIMIT_{name}") for name in ("DATA", "AS")]
        assert all(soft == hard for soft, hard in memory)
        memories.append([hard for _, hard in memory])
        for name, (_, hard) in host.items():
            short = name.removeprefix("RLIMIT_")
            if short in expected and hard >= 0:
                expected[short] = min(expected[short], hard)
        for name, given in limits.items():
            short = name.removeprefix("RLIMIT_")
            limit = expected.pop(short, None)
            # The others are the host's.
            assert given == ([limit] * 2 if limit is not None else host[name])
        assert expected == {}
    (data, size), (more_data, more_size) = memories
    # Less than the policy's, which the host's look bounds: so that malloc()
    # fails before that.
    assert abs(more_data - data - 63 * MIB) < MIB
    if _csandbox.SANITIZED:
        return  # what a cell inherits is terabytes wide, and AS unlimited
    # What a cell inherits, and the policy's; 64 MiB for what a zygote's own
    # may differ by.
    assert 64 * MIB < data < 128 * MIB
    # Address space per thread: its stack and an arena.
    thread = 136 * MIB
    assert size > data + 3 * (thread - 8 * MIB)
    assert abs(more_size - size - 64 * MIB - 2 * thread) < MIB


# --- landlock, by itself -----------------------------------------------------


def test_no_node_of_a_device_or_socket_can_be_made():
    source = """
import stat
found = []
for kind in (stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO):
    try:
        os.mknod(f'/tmp/{kind}', kind | 0o600, os.makedev(1, 3))
        found.append(0)
    except OSError as error:
        found.append(errno.errorcode[error.errno])
found
"""
    assert support.value_of(source) == [*["EPERM"] * 3, 0]
    landlock = support.value_of(source, without={SECCOMP})
    assert landlock == [*["EACCES"] * 3, 0]
    without = support.value_of(source, without={SECCOMP, LANDLOCK})
    assert without == [0, "EPERM", "EPERM", 0]


def test_no_command_can_be_given_to_a_device():
    # TIOCGWINSZ, TIOCSTI, RNDADDTOENTCNT
    source = """
[answer('ioctl', os.open(f'/dev/{name}', os.O_RDWR), command, 0)
 for name in ('null', 'full') for command in (0x5413, 0x5412,
 0x40045201)]
"""
    found = set(support.value_of(source, without={SECCOMP}))
    if csandbox.execute("1").isolation.landlock_abi < 5:
        pytest.skip("this kernel's Landlock does not know it")
    assert found == {"EACCES"}
    assert set(support.value_of(source, without={SECCOMP, LANDLOCK})) == {
        "ENOTTY"
    }


def test_devices_work_all_the_same():
    source = """
found = []
for name in ('null', 'zero', 'full', 'random', 'urandom'):
    mode = os.O_RDONLY if name == 'zero' else os.O_RDWR
    device = os.open(f'/dev/{name}', mode)
    found.append(len(os.read(device, 4)))
    try:
        found.append(os.write(device, b'xy'))
    except OSError as error:
        found.append(errno.errorcode[error.errno])
found
"""
    # Written to, /dev/zero could be mapped as memory that no limit counts.
    expected = [0, 2, 4, "EBADF", 4, "ENOSPC", 4, 2, 4, 2]
    assert support.value_of(source) == expected


# --- the process, and what it sees -------------------------------------------


@pytest.mark.parametrize("umask", [0o077, 0o177])
def test_umask_is_the_usual_one_under_a_host_with_another(umask):
    """The second refuses even the host the directories that it makes."""
    found = hosts.run(
        f"""
import os, csandbox, hosts
os.umask({umask})
source = '''
import os
open('/tmp/file', 'w').close()
os.mkdir('/tmp/folder')
[os.umask(0), os.stat('/tmp/file').st_mode & 0o777,
 os.stat('/tmp/folder').st_mode & 0o777]
'''
hosts.show([*csandbox.run(source, timeout=60), os.umask(0)])
"""
    )
    assert found == [0o022, 0o644, 0o755, umask]


def test_every_mount_has_the_flags_of_its_kind():
    view = zygotes.environment_view()
    kinds = {
        target: kind
        for kind, _, target in view
        if kind in ("tree", "device", "mask")
    }
    source = "{path: os.statvfs(path).f_flag for path in paths}"
    flags = support.value_of(
        source, {"paths": [*kinds, "/", "/tmp"]}, without={SECCOMP}
    )
    every = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC

    def flags_of(path):
        return flags[path] & every

    never = {"tree": os.ST_NOEXEC, "device": os.ST_NODEV, "mask": 0}
    assert {"tree", "device"} <= set(kinds.values())
    for path, kind in kinds.items():
        here = os.statvfs(path).f_flag & never[kind]  # it may be the host's
        assert flags_of(path) == every & ~never[kind] | here, path
    assert flags_of("/") == os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV
    assert flags_of("/tmp") == os.ST_NOSUID | os.ST_NODEV


def test_the_zygote_keeps_two_capabilities_and_gains_none():
    support.value_of("1")
    zygote = zygotes._registry.zygotes[support.template()].pid
    found = status(zygote)
    needed = [f"{1 << 21 | 1 << 19:016x}"]  # SYS_ADMIN, SYS_PTRACE
    assert found["CapEff"] == found["CapPrm"] == needed
    assert found["CapInh"] == found["CapAmb"] == ["0" * 16]
    assert found["NoNewPrivs"] == ["1"]
    assert set(found["Uid"] + found["Gid"]) == {str(zygotes.uid())}
    assert os.getsid(zygote) == os.getpgid(zygote) == zygote
    assert found["NStgid"] == [str(zygote), "1"]
    assert os.readlink(f"/proc/{zygote}/cwd") == "/"
    assert os.readlink(f"/proc/{zygote}/root") == "/"
    for path in Path(f"/proc/{zygote}/task").iterdir():
        assert path.name == str(zygote)  # one thread


def test_the_zygote_is_in_no_group_of_its_host():
    program = """
import os, csandbox, hosts
if os.geteuid() == 0:
    os.setgroups([4242, 4243])
csandbox.run("1", timeout=60)
(zygote,) = hosts.zygotes(os.getpid())
status = hosts.read(f"/proc/{zygote}/status").decode()
(line,) = [each for each in status.splitlines() if "Groups:" in each]
hosts.show([os.getgroups(), line.split()[1:]])
"""
    host, found = hosts.run(program)
    if ROOT:
        assert (host, found) == ([4242, 4243], [])
    else:  # who cannot leave them, and whose guests are told of none
        assert found == [str(group) for group in host]
        assert support.value_of("os.getgroups()") == []


def test_the_zygote_belongs_to_nobody_but_root():
    """An undumpable process's files in /proc are root's."""
    with asleep() as pids:
        for pid in pids:
            assert os.stat(f"/proc/{pid}/maps").st_uid == 0


def test_the_plan_is_sealed():
    support.value_of("1")
    zygote = zygotes._registry.zygotes[support.template()].pid
    path = f"/proc/{zygote}/fd/5"
    if not ROOT:  # as it is not dumpable
        with pytest.raises(PermissionError):
            os.open(path, os.O_RDONLY)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    finally:
        os.close(descriptor)
    # Beside these, Linux 6.3 seals that it is not to be executed.
    assert seals & ~0x20 == (
        fcntl.F_SEAL_SEAL
        | fcntl.F_SEAL_SHRINK
        | fcntl.F_SEAL_GROW
        | fcntl.F_SEAL_WRITE
    )


def test_the_init_holds_no_descriptor():
    with asleep() as (_, init, cell):
        if not ROOT:
            for pid in (init, cell):
                with pytest.raises(PermissionError):
                    os.listdir(f"/proc/{pid}/fd")
            return
        assert os.listdir(f"/proc/{init}/fd") == []
        assert set(os.listdir(f"/proc/{cell}/fd")) == set("012345")


KEYRING = """
import ctypes, sys
import hosts, support
NR = support.syscall_numbers()
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    result = libc.syscall(NR[name], *arguments)
    if result < 0:
        hosts.show(None)
        sys.exit()
    return result
call('keyctl', 1, None)  # join a new session keyring
call('add_key', b'user', b'csandbox-test', b'secret', 6, -3)
source = '''
[answer('keyctl', 0, -3, 0),  # the id of the session keyring
 answer('keyctl', 10, -3, ctypes.c_char_p(b'user'),
        ctypes.c_char_p(b'csandbox-test'), 0)]
'''
hosts.show([call('keyctl', 0, -3, 0),
            support.value_of(source, without={support.SECCOMP})])
"""


def test_the_session_keyring_is_another_without_the_filter():
    found = hosts.run(KEYRING)
    if found is None:
        pytest.skip("this kernel has no keyrings for us")
    here, (there, search) = found
    assert there != here
    assert search == "ENOKEY"


# --- the host's death --------------------------------------------------------


def test_host_killed_during_a_preload_leaves_no_zygote():
    program = """
import time, csandbox
from csandbox import bootstrap
slow = 'lambda names: __import__("time").sleep(100)'
bootstrap._TEXT = bootstrap._TEXT.replace(
    "_names =", '_guest["begin"] = ' + slow + "\\n_names =")
print("ready", flush=True)
csandbox.run("1")
"""

    def preloading():
        # Confined, so past all that comes before.
        return any(
            status(pid).get("CapEff") == [f"{1 << 21 | 1 << 19:016x}"]
            and status(pid).get("NoNewPrivs") == ["1"]
            for pid in host.processes()
        )

    with hosts.Host(program) as host:
        host.line()
        hosts.wait_until(preloading)
        host.kill()
        assert host.left() == []


# A fork that Python and csandbox know nothing of, with all descriptors.
FORKED = """
import ctypes, os, sys, threading, time
import csandbox, csandbox.sandbox
thread = threading.Thread(target=csandbox.run, args=("1",), daemon=True)
slow = sys.argv[1] + "/python"
with open(slow, "w") as file:
    file.write('#!/bin/sh\\nsleep 1\\nexec "%s" "$@"\\n' % sys.executable)
os.chmod(slow, 0o755)
sys.executable = slow
thread.start()
import hosts
hosts.wait_until(lambda: "sleep" in "".join(
    hosts.read(f"/proc/{pid}/cmdline").decode()
    for each in hosts.children(os.getpid()) for pid in hosts.children(each)))
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    time.sleep(100)
    os._exit(0)
print(pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_host_killed_before_the_zygote_says_hello_leaves_no_zygote():
    with hosts.Host(FORKED) as host:
        child = int(host.line())
        hosts.wait_until(lambda: host.processes() == [child], hosts.GONE)
        assert hosts.state(child) != "Z"


def test_host_killed_before_it_lets_the_zygote_go_leaves_no_zygote(shim):
    program = "import csandbox; csandbox.run('1')"
    with hosts.Host(program, env=preloading(shim, "die at go")) as host:
        child = int(host.line())
        hosts.wait_until(lambda: host.processes() == [child], hosts.GONE)
        assert hosts.state(child) != "Z"


# --- the sources -------------------------------------------------------------


def test_no_set_of_securebits_grows_with_the_headers():
    for path in C_FILES:
        assert "SECURE_ALL_" not in code(path), path
