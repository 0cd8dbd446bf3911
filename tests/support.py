"""Shared by the tests: guests that run with mechanisms switched off, attacks
that must be stopped by each of their layers, and what a test may leave.

Raw system calls come from GUEST, which goes before a guest's own source.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import os
import platform
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from unittest import mock

import pytest

from csandbox import _csandbox, jobs, sandbox, zygotes
from csandbox.errors import GuestCrash, GuestError
from csandbox.policy import Policy
from csandbox.zygotes import Template

X86 = platform.machine() == "x86_64"
MECHANISMS = frozenset(_csandbox.MECHANISMS)
# The supervision stands on it, so it cannot be switched off.
OPTIONAL = sorted(MECHANISMS - {"pid namespace"})
VIEW, LANDLOCK, SECCOMP = "mount namespace", "landlock", "seccomp"
NETNS, USERNS, LIMITS = "network namespace", "user namespace", "rlimits"
# The bits of what there is where all namespaces are refused.
BARE = sum(
    _csandbox.MECHANISMS[name]
    for name in MECHANISMS - {VIEW, NETNS, USERNS, "pid namespace"}
)

OS_ERRORS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, OSError)
)

# syscall(name or number, *arguments) raises OSError; code(bytes) makes a
# function of machine code.
GUEST = """\
import ctypes, errno, mmap, os, struct, sys
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_pages = []
def syscall(number, *arguments):
    number = NR[number] if isinstance(number, str) else number
    arguments = [
        ctypes.c_long(each) if isinstance(each, int) else each
        for each in (number, *arguments)
    ]
    ctypes.set_errno(0)
    result = _libc.syscall(*arguments)
    if result == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def answer(number, *arguments):
    try:
        return syscall(number, *arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
def code(instructions):
    page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 7)
    page.write(instructions)
    _pages.append(page)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_long)(at)
"""


@cache
def syscall_numbers():
    """Return {name: number} of this machine's kernel headers."""
    text = subprocess.run(
        [os.environ.get("CC", "cc"), "-E", "-dM", "-x", "c", "-"],
        input="#include <asm/unistd.h>\n",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pairs = re.findall(r"#define __NR_(\w+) (\w+)", text)
    values = dict(pairs)
    numbers = {}
    for name, value in pairs:
        while value.startswith("__NR"):  # an alias
            value = values.get(value.removeprefix("__NR_"), "")
        if value.isdecimal() and name not in ("syscalls", "arch_specific"):
            numbers[name] = int(value)
    return numbers


def sanitizers():
    """Return the variables without which a sanitized build does not load."""
    names = zygotes._SANITIZERS
    return {name: os.environ[name] for name in names if name in os.environ}


# --- running a guest ---------------------------------------------------------


@cache
def environment_is_closed():
    """Whether a user who is not root could not reach this environment."""
    files = (
        os.__file__,
        _csandbox.__file__,
        os.path.realpath(sys.executable),
    )
    for path in files:
        while path != "/":
            path = os.path.dirname(path)
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return True
    return False


def stays_root(without):
    """Whether a zygote without these mechanisms has to run as root.

    Root's zygote becomes an unused user.  Without a view of its own, that
    user cannot enter a Python under a 0700 home; it stays root then, and
    gives up the nested user namespace, which root cannot be mapped into.
    A layer that holds without those holds with them.
    """
    return VIEW in without and _csandbox.is_root() and environment_is_closed()


def template(
    without=(), fault=None, *, several=False, bare=False, compute=False
):
    """Return a template of all mechanisms but some, started.

    With `bare` it has no namespaces, and is not started.
    """
    if bare:
        return Template(
            mechanisms=BARE,
            fault=fault,
            preload=("ctypes",),
            several=several,
        )
    without = set(without)
    root = stays_root(without)
    if root:
        without.add(USERNS)
    mask = sum(_csandbox.MECHANISMS[name] for name in MECHANISMS - without)
    made = Template(
        mechanisms=mask,
        fault=fault,
        preload=("ctypes",),
        several=several,
        compute=compute,
    )
    if root and made not in zygotes._registry.zygotes:
        with mock.patch.object(zygotes, "uid", return_value=0):
            zygotes.booted(made)
    return made


def guest_uid(without=()):
    """Return the user id of such a guest, as the host sees it."""
    return 0 if stays_root(without) else zygotes.uid()


def run_guest(
    source,
    inputs=None,
    *,
    without=(),
    fault=None,
    stdin=b"",
    sink=None,
    bare=False,
    **policy,
):
    """Return the Result of source text after GUEST."""
    variables = {"NR": syscall_numbers(), **(inputs or {})}
    job, cargo = jobs.source_job(
        GUEST + source, "<guest>", [""], variables, None
    )
    return sandbox._execute(
        job,
        cargo,
        stdin,
        Policy(**{"timeout": 60, **policy}),
        sink=sink,
        template=template(
            without,
            fault,
            several=policy.get("processes", 0) > 0,
            bare=bare,
            compute=policy.get("profile") == "compute",
        ),
    )


def value_of(source, inputs=None, **options):
    """Return the value of a guest that must succeed."""
    return run_guest(source, inputs, **options).unwrap()


# --- attacks -----------------------------------------------------------------


class Attack:
    """A guest program whose value is true if it got what it came for.

    `layers` are the mechanisms of which each one alone must stop it.
    """

    def __init__(self, source, *layers):
        self.source = source
        self.layers = layers

    def succeeds(self, inputs, without, **policy):
        """Whether it gets through; an error of the kernel means no."""
        result = run_guest(self.source, inputs, without=without, **policy)
        error = result.error
        if error is None:
            return bool(result.value)
        stopped = (
            type(error) is GuestError and error.type_name in OS_ERRORS
        ) or (type(error) is GuestCrash and error.signal == signal.SIGSYS)
        if not stopped:
            raise AssertionError(f"the attack itself failed: {error}")
        return False

    def check(self, inputs=None, **policy):
        """Show that it works, and that each of its layers stops it."""
        layers = set(self.layers)
        assert self.succeeds(inputs, layers, **policy), (
            "it fails without its layers"
        )
        for layer in self.layers:
            others = layers - {layer}
            assert not self.succeeds(inputs, others, **policy), layer
        assert not self.succeeds(inputs, (), **policy)

    def check_without_one(self, inputs=None):
        """Show that no single mechanism is all that stops it."""
        for missing in OPTIONAL:
            assert not self.succeeds(inputs, {missing}), f"without {missing}"


def outside_of_tmp():
    """Return a new directory that a cell without a view could reach."""
    place = os.environ.get("CSANDBOX_OUTSIDE", "/var/tmp")
    made = tempfile.mkdtemp(prefix="csandbox-test-", dir=place)
    os.chmod(made, 0o755)
    return made


# --- what is left ------------------------------------------------------------


def parents():
    """Return {pid: parent's pid} of all living processes."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            file = os.open(f"/proc/{name}/stat", os.O_RDONLY)
        except OSError:
            continue
        with contextlib.suppress(OSError):  # it has gone meanwhile
            state, parent = os.read(file, 512).rpartition(b")")[2].split()[:2]
            if state != b"Z":
                found[int(name)] = int(parent)
        os.close(file)
    return found


def descendants(pid):
    """Return the pids of the living processes below one."""
    tree = parents()
    found, todo = set(), {pid}
    while todo:
        todo = {each for each in tree if tree[each] in todo} - found
        found |= todo
    return found


def left_behind(before, seconds=10.0):
    """Return the processes that runs have left, once they had time to go."""
    zygotes.disarm()
    end = time.monotonic() + seconds
    while True:
        after = descendants(os.getpid()) - zygote_pids() - before
        if not after or time.monotonic() > end:
            return after
        time.sleep(0.01)


def zygote_pids():
    """Return the pids of this process's zygotes."""
    return {each.pid for each in zygotes._registry.zygotes.values()}


@cache
def has_pidfds():
    """Whether the kernel, or a filter, knows them; else zygotes hang on a
    pipe."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def open_descriptors():
    """Count what pipes, sockets and the like this process has open, but for
    the two descriptors that each zygote keeps."""
    kinds = Counter()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            kinds[re.split(r"[:\[]", target)[0]] += 1
    count = len(zygotes._registry.zygotes)
    kinds["anon_inode"] -= count  # or "pidfd:" in newer kernels
    kinds["socket"] -= count
    kinds["pipe"] -= 0 if has_pidfds() else count
    kinds["anon_inode"] += kinds.pop("pidfd", 0)
    return {
        kind: count
        for kind, count in kinds.items()
        if count and not kind.startswith("/")
    }


class Snapshot:
    """What there was before a test."""

    def __init__(self):
        zygotes.disarm()
        self.processes = descendants(os.getpid())
        self.descriptors = open_descriptors()

    def differences(self):
        """Return what is there now and should not be."""
        processes = descendants(os.getpid()) - self.processes - zygote_pids()
        descriptors = open_descriptors()
        more = {
            kind: count - self.descriptors.get(kind, 0)
            for kind, count in descriptors.items()
            if count > self.descriptors.get(kind, 0)
        }
        return [*map("process {}".format, processes), *more.items()]

    def check(self, seconds=10.0):
        """Fail unless everything a test made is gone, or soon will be."""
        if zygotes.disarm():
            time.sleep(0.003)  # which most of these take to go
        begun = time.monotonic()
        left = self.differences()
        while left and time.monotonic() < begun + seconds:
            time.sleep(0.005)
            # A zygote's socket lives as long as the object does, and that as
            # long as the traceback of an error that came of it.
            if time.monotonic() > begun + 0.05:
                gc.collect()
            left = self.differences()
        if left:
            pytest.fail(f"the test left behind: {left}")
