"""cgroup v2: a leaf for every run, where the system lets us make one.

This process stays where it is.  Beside its own cgroup a base is made, and in
that a leaf for each run, which its cell enters before anything else.  The
controllers of a cgroup that is not ours are left alone; so the parent of both
must hand memory and pids down already, or be delegated to us and without a
process of its own.

A base belongs to the process that holds a lock on it: the kernel lets go of
that when the process dies, and whoever comes next beside it removes the base.
A fork of this process makes a base of its own.
"""

from __future__ import annotations

import fcntl
import os
from itertools import count
from time import sleep

from csandbox import _csandbox
from csandbox.light import suppress
from csandbox.result import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._csandbox import Run

NAME = "cgroup v2"  # among the mechanisms of a run
CONTROLLERS = frozenset({"memory", "pids"})
_BASE = r"csandbox-cells-\d+-[0-9a-f]{8}"
_LEAF = r"run-\d+|try"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 3
_PAUSES = (0.0, 0.001, 0.005, 0.02)  # seconds, for what is just dying

_DELEGATE = (
    "start the program in a cgroup that is delegated to it: systemd-run "
    "--user --scope -p Delegate=yes python ..., or a service with "
    "Delegate=memory pids and DelegateSubgroup=main."
)
# What doctor says; nothing but cgroups hangs on it.
REMEDIES = {
    "not mounted": "Mount cgroup v2, which systemd does with the boot option "
    "systemd.unified_cgroup_hierarchy=1.",
    "no controllers": "The memory and pids controllers are not in cgroup v2 "
    "here, but in v1, off (boot option cgroup_enable=memory), or not handed "
    f"down to this program: {_DELEGATE}",
    "not visible": "This program's cgroup, or the one above it, is not "
    "visible here: in a container, share the host's cgroup namespace, or "
    "move the program into a cgroup below the container's.",
    "read-only": "The cgroup file system is mounted read-only, as containers "
    "have it: mount it writable.",
    "threaded": "This program is in a threaded cgroup: use a domain.",
    "not permitted": "The cgroup above this program's belongs to another "
    f"user: {_DELEGATE}",
    "not handed down": "The cgroup above this program's does not hand its "
    "controllers down, and has processes of its own or belongs to the "
    f"system: {_DELEGATE}",
    "refused": "The kernel refused to make a cgroup or to enter it, though "
    f"the permissions allow that: {_DELEGATE}",
}


class Place(Record):
    """Where a base may be made.

    `parent` is the path of the cgroup above this process's own, or of that
    itself if it is the root of all; `enable` says that its controllers are to
    be handed down first, as may be done there.
    """

    parent: str
    enable: bool = False


class Absence(Record):
    """Why there is no base: a key of REMEDIES, and what it was about."""

    reason: str
    detail: str = ""

    @property
    def remedy(self) -> str:
        """A sentence on how to change that."""
        return REMEDIES[self.reason]


# --- discovery ---------------------------------------------------------------


def find_place(proc: str = "/proc/self", pid: int | None = None) -> Place:
    """Return where a base may be made; raises LookupError(Absence)."""
    own = _own_cgroup(proc)
    if not _is_listed(own.directory, os.getpid() if pid is None else pid):
        raise _absent("not visible", own.directory)
    if not os.path.exists(f"{own.directory}/cgroup.type"):
        parent = own.directory  # the root of all has none
    elif own.is_top:
        raise _absent("not visible", own.directory)
    else:
        parent = os.path.dirname(own.directory)
    _check_type(parent)
    if not _words(f"{parent}/cgroup.controllers") >= CONTROLLERS:
        raise _absent("no controllers", parent)
    if own.is_read_only:
        raise _absent("read-only", parent)
    if not _may_write(parent) or not _may_write(f"{parent}/cgroup.procs"):
        raise _absent("not permitted", parent)
    if _words(f"{parent}/cgroup.subtree_control") >= CONTROLLERS:
        return Place(parent=parent)
    if not _is_delegated(parent):
        raise _absent("not handed down", parent)
    return Place(parent=parent, enable=True)


class _Own(Record):
    directory: str
    is_top: bool  # of what is mounted here
    is_read_only: bool


def _absent(reason: str, detail: str = "") -> LookupError:
    return LookupError(Absence(reason=reason, detail=detail))


def _own_cgroup(proc: str) -> _Own:
    """Return the directory of this process's cgroup.

    Both its path and the roots of the mounts are told as seen from the root
    of the cgroup namespace, and begin with "/.." if they lie outside of it.
    """
    path = None
    for line in _lines(f"{proc}/cgroup"):
        if line.startswith("0::"):
            path = _parts(line.removeprefix("0::").removesuffix(" (deleted)"))
    mounts = [] if path is None else _cgroup2_mounts(proc)
    if path is None or not mounts:
        raise _absent("not mounted")
    # A later one may lie over an earlier one.
    for root, point, read_only in reversed(mounts):
        if path[: len(root)] == root:
            below = path[len(root) :]
            return _Own(
                directory=os.path.join(point, *below),
                is_top=not below,
                is_read_only=read_only,
            )
    raise _absent("not visible", "/" + "/".join(path))


def _cgroup2_mounts(proc: str) -> list[tuple[list[str], str, bool]]:
    """Return the root, the mount point and whether it is read-only of each."""
    found = []
    for line in _lines(f"{proc}/mountinfo"):
        fields, _, rest = line.partition(" - ")
        if rest.split(" ")[0] != "cgroup2":
            continue
        _, _, _, root, point, options = fields.split(" ")[:6]
        read_only = "ro" in options.split(",")
        found.append((_parts(_plain(root)), _plain(point), read_only))
    return found


def _plain(path: str) -> str:
    r"""Return a path of mountinfo without its escapes, such as \040."""
    if "\\" not in path:
        return path
    import re

    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _words(path: str) -> set[str]:
    return set(" ".join(_lines(path)).split())


def _is_listed(directory: str, pid: int) -> bool:
    return str(pid) in _lines(f"{directory}/cgroup.procs")


def _check_type(parent: str) -> None:
    kinds = _lines(f"{parent}/cgroup.type")
    if kinds not in ([], ["domain"]):
        raise _absent("threaded", parent)


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=True)


def _is_delegated(parent: str) -> bool:
    # Root may write everywhere, so that says nothing of what is root's.
    return (
        (os.geteuid() != 0 or _is_marked(parent))
        and _may_write(f"{parent}/cgroup.subtree_control")
        and os.path.exists(f"{parent}/cgroup.type")
        and not _lines(f"{parent}/cgroup.procs")
    )


def _is_marked(parent: str) -> bool:
    """Whether systemd says that it leaves a cgroup to its service."""
    for name in ("user.delegate", "trusted.delegate"):
        with suppress(OSError):
            if os.getxattr(parent, name) == b"1":
                return True
    return False


# --- the base ----------------------------------------------------------------


class Base:
    """A cgroup of this process's own, in which runs get their leaves."""

    def __init__(self, parent: str, name: str, fd: int) -> None:
        self.parent = parent
        self.name = name
        self.fd = fd  # holds the lock
        self._numbers = count(1)
        import weakref

        self._names: weakref.WeakKeyDictionary[Run, str] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def path(self) -> str:
        """Its directory."""
        return f"{self.parent}/{self.name}"

    def next_leaf(self) -> tuple[int, str]:
        """Return what Zygote.start() takes, for a new leaf."""
        if os.fstat(self.fd).st_nlink - 2 > len(self._names):
            self._sweep()
        return self.fd, f"run-{next(self._numbers)}"

    def keep(self, run: Run, leaf: tuple[int, str]) -> None:
        """Note that a leaf is in use for as long as the run exists."""
        self._names[run] = leaf[1]

    def _sweep(self) -> None:
        """Remove leaves of runs that took long to die."""
        used = set(self._names.values())
        for name in os.listdir(self.fd):
            if _is_named(name, _LEAF) and name not in used:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=self.fd)

    def remove(self) -> None:
        """Remove it, with all leaves and what may be in them."""
        with suppress(OSError):
            parent = os.open(self.parent, _DIRECTORY)
            try:
                _remove(parent, self.name, self.fd)
            finally:
                os.close(parent)
        self.close()

    def close(self) -> None:
        """Let go of it: in a fork it is the parent's."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def make_base(place: Place) -> Base:
    """Make a base, and remove those of dead processes; raises OSError."""
    parent = os.open(place.parent, _DIRECTORY)
    try:
        if place.enable:
            _hand_down(parent)
        _prune(parent)
        name, fd = _claim(parent)
        try:
            _hand_down(fd)
            _csandbox.try_cgroup(fd)
        except OSError:
            _remove(parent, name, fd)
            os.close(fd)
            raise
    finally:
        os.close(parent)
    return Base(place.parent, name, fd)


def _hand_down(directory: int) -> None:
    words = " ".join(f"+{name}" for name in sorted(CONTROLLERS))
    _write(directory, "cgroup.subtree_control", words)


def _write(directory: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _claim(parent: int) -> tuple[str, int]:
    """Make a cgroup and lock it, before somebody takes it for a dead one's."""
    for _ in range(_ATTEMPTS):
        name = f"csandbox-cells-{os.getpid()}-{os.urandom(4).hex()}"
        os.mkdir(name, 0o700, dir_fd=parent)
        with suppress(FileNotFoundError):
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            if _lock(fd) and _is_there(parent, name, fd):
                return name, fd
            os.close(fd)
    raise BlockingIOError


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(parent: int, name: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=parent), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_named(name: str, pattern: str) -> bool:
    import re

    return re.fullmatch(pattern, name) is not None


def _prune(parent: int) -> None:
    for name in os.listdir(parent):
        if not _is_named(name, _BASE):
            continue
        with suppress(OSError):
            fd = os.open(name, _DIRECTORY, dir_fd=parent)
            try:
                if _lock(fd):
                    _remove(parent, name, fd)
            finally:
                os.close(fd)


def _remove(parent: int, name: str, fd: int) -> None:
    """Remove a base that is ours, as far as that can be done now."""
    for pause in _PAUSES:
        sleep(pause)
        with suppress(OSError):
            for leaf in os.listdir(fd):
                if _is_named(leaf, _LEAF):
                    _remove_leaf(fd, leaf)
            os.rmdir(name, dir_fd=parent)
            return


def _remove_leaf(base: int, name: str) -> None:
    with suppress(OSError):
        os.rmdir(name, dir_fd=base)
        return
    with suppress(OSError):  # before Linux 5.14 there is no such file
        _write(base, f"{name}/cgroup.kill", "1")


# --- of this process ---------------------------------------------------------

_found: Base | Absence | None = None


def current() -> Base | Absence:
    """Return this process's base, made if need be, or why there is none.

    To be called where no fork can come between.
    """
    global _found
    if _found is None:
        made = _make()
        if _found is None:
            _found = made
        elif isinstance(made, Base):
            made.remove()  # a signal handler was faster
    return _found


def _make() -> Base | Absence:
    try:
        return make_base(find_place())
    except LookupError as error:
        absence = error.args[0]
        assert isinstance(absence, Absence)
        return absence
    except OSError as error:
        return Absence(reason="refused", detail=str(error))


def forget() -> None:
    """Begin anew: in a fork the base is the parent's; or it has vanished."""
    global _found
    if isinstance(_found, Base):
        _found.close()
    _found = None


def has_base() -> bool:
    """Whether there are cgroups to be removed at the end."""
    return isinstance(_found, Base)


def close() -> None:
    """Remove the base, at this process's end."""
    global _found
    found, _found = _found, None
    if isinstance(found, Base):
        found.remove()
