"""What runs without namespaces need of the host: a directory, and a user.

Such a run finds a directory of the host as its /tmp: on a file system in
memory if one has room, else where temporary files go.  All those of this
process lie in one that only it can change, which is locked as long as the
process lives: so the next one can tell what a process left that was killed,
and removes it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import suppress
from errno import EACCES, EAGAIN, ENOSPC
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import count

from csandbox import _csandbox
from csandbox.view import import_path, unused_uids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[int, int, str, str]  # of Zygote.start()

_MEMORY = "/dev/shm"
_NAME = re.compile(r"csandbox-[0-9a-f]{16}")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 8
# To make files another user's, reach and remove them, and to kill.
_NEEDED = (0, 1, 3, 5, 6, 7)  # CAP_CHOWN and so on


class _Base:
    """A directory of this process's own, in which runs get theirs."""

    def __init__(self, parent: str, mode: int) -> None:
        self.parent = parent
        for _ in range(_ATTEMPTS):
            # A guest can learn its directory: of others it knows no name.
            self.path = f"{parent}/csandbox-{os.urandom(8).hex()}"
            with suppress(FileExistsError, FileNotFoundError):
                os.mkdir(self.path, 0o700)
                self.fd = os.open(self.path, _DIRECTORY)
                if _lock(self.fd) and _is_at(self.fd, self.path):
                    os.fchmod(self.fd, mode)
                    return
                os.close(self.fd)
        raise OSError(EAGAIN, "names are taken", parent)

    def remove(self) -> None:
        with suppress(OSError):
            _clear(self.parent, os.path.basename(self.path))
        os.close(self.fd)


# By the directory that they are in, and the user this process was.
_bases: dict[tuple[str, int], _Base] = {}
_numbers = count(1)
_uids: dict[int, tuple[int, ...]] = {}  # by the user this process is


def place_for(size: int) -> Place:
    """Return what Zygote.start() needs for a run with so many bytes of /tmp.

    Raises OSError if there is no directory to be had.
    """
    number = next(_numbers)
    uids = _own_uids()
    uid = uids[(os.getpid() + number) % len(uids)] if uids else 0
    if not size:
        return uid, -1, "", ""
    base = _base(size)
    return uid, base.fd, base.path, f"run-{os.urandom(8).hex()}"


def forget() -> None:
    """Close what this process, a fork, has inherited of another's."""
    for base in _bases.values():
        os.close(base.fd)
    _bases.clear()


def close() -> None:
    """Remove all directories, as the process exits.

    Those of its forks too that have ended without doing so themselves.
    """
    while _bases:
        _, base = _bases.popitem()
        base.remove()
        _sweep(base.parent)


def _base(size: int) -> _Base:
    """Return the base on the first file system that has so much room."""
    failure = OSError(ENOSPC, os.strerror(ENOSPC))
    for parent in _parents():
        try:
            room = os.statvfs(parent)
            if room.f_bavail * room.f_frsize < size:
                continue
            key = parent, os.geteuid()
            if key not in _bases:
                _sweep(parent)
                mode = 0o711 if _own_uids() else 0o700
                _bases[key] = _Base(parent, mode)
                _close_at_end_of_worker()
        except OSError as error:
            failure = error
            continue
        return _bases[key]
    raise failure


def _close_at_end_of_worker() -> None:
    """Have multiprocessing call close(): its workers run no exit functions."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, close, exitpriority=0)


def _parents() -> Iterator[str]:
    """Yield where a base may be, the best first."""
    yield _MEMORY
    yield tempfile.gettempdir()  # raises where all else is read-only


def _sweep(parent: str) -> None:
    """Remove what processes of this user have left there that are gone."""
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if not _NAME.fullmatch(name):
            continue
        with suppress(OSError):
            fd = os.open(path, _DIRECTORY)
            try:
                if os.fstat(fd).st_uid == os.geteuid() and _lock(fd):
                    _clear(parent, name)
            finally:
                os.close(fd)


def _clear(parent: str, name: str) -> None:
    fd = os.open(parent, _DIRECTORY)
    try:
        _csandbox.clear_directory(fd, name)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError as error:
        if error.errno not in (EAGAIN, EACCES):
            raise
        return False
    return True


def _is_at(fd: int, path: str) -> bool:
    """Whether it is still there: somebody may have swept it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    return False


def _own_uids() -> tuple[int, ...]:
    """Return user ids that runs can get, if this process can give any."""
    user = os.geteuid()
    if user not in _uids:
        usable = _has_capabilities() and all(map(_is_open_to_all, _needed()))
        _uids[user] = unused_uids() if usable else ()
    return _uids[user]


def _has_capabilities() -> bool:
    wanted = sum(1 << number for number in _NEEDED)
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16) & wanted == wanted
    return False


def _needed() -> Iterator[str]:
    yield os.path.dirname(os.__file__)
    yield from filter(os.path.exists, import_path())


def _is_open_to_all(path: str) -> bool:
    """Whether any user can come to a file or directory, by its links too."""
    path = os.path.realpath(path)
    if not os.stat(path).st_mode & 0o004:
        return False
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True
