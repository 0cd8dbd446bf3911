"""How many cells may be alive at once in this process, and who is next.

Every run takes a place before its cell is asked for, and gives it back when
the cell is gone; run() of a short run does when that is killed, as the kernel
may still be removing it.  Cells that wait for a job have no place, and
capacity() does not count them: csandbox.armed bounds those.

Who comes when all are taken waits, first come, first served.  A run that is
started while its thread has one already, out of a signal handler or of the
`write` of sys.stdout, takes another at once: it would wait for itself.  A fork
of this process begins with all places free.

At interpreter exit the runs that still go in daemon threads are killed, and
no other thread than the one that exits starts another.
"""

from __future__ import annotations

import atexit
import os
import sys
from time import monotonic, sleep

from csandbox import _csandbox, zygotes
from csandbox.errors import Cancelled, PolicyError, UnavailableError
from csandbox.light import get_ident, is_main_thread
from csandbox.policy import shown
from csandbox.result import Record
from csandbox.zygote_pool import MOST as MOST_ZYGOTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ParamSpec, TypeVar

    from csandbox._csandbox import Place

    _P = ParamSpec("_P")
    _T = TypeVar("_T")

# Twice that on one core gives no more runs in a second, not even of those that
# sleep most of the time, and makes each take twice as long; half of it gives
# half as many of those.
CELLS_PER_CORE = 8
# Half of what a run may hold by default: few hold that much. (One that does
# nothing takes 1 MiB, one that imports numpy 8.)
MEMORY_PER_CELL = 256 << 20  # bytes
LEAST_CELLS = 4
MOST_CELLS = 1_000_000
EXIT_SECONDS = 1.0  # for runs that are killed to be gone
LAST_SECONDS = 0.1  # for their threads, after that, to say what happened
SHUTTING_DOWN = "the interpreter is shutting down"


class Capacity(Record):
    """The cells of this process.

    `cells` is how many may be alive at once, `alive` how many are, and
    `waiting` how many runs wait until one is gone.  `alive` may be more than
    `cells`, if that was made less, or by runs inside of runs.  `zygotes` is
    how many of the processes are kept that cells are forked from.
    """

    cells: int
    alive: int
    waiting: int
    zygotes: int


def capacity() -> Capacity:
    """Return how many cells may be alive at once, are alive, and waited for.

    All are counts, of this process alone.
    """
    return Capacity(
        cells=_places.cells,
        alive=_places.alive,
        waiting=_places.waiting,
        zygotes=zygotes.most(),
    )


def set_capacity(
    cells: int | None = None, *, zygotes: int | None = None
) -> None:
    """Have at most `cells` cells alive at once in this process.

    None means the default: 8 for each core that this process may use, but
    no more than one for each 256 MiB of memory that the machine or this
    process's cgroup has, and at least 4.  May be called at any time, from any
    thread: those that wait go on as soon as there is a place, and no run that
    goes is ended.  A fork of this process has the same capacity for itself.

    Cells are forked from a zygote, a process that has imported what
    `preload` names: one for all policies that have the same `preload`,
    `profile`, some `processes` or none, and, with `preload`, as many threads
    for libraries.  `zygotes` is how many of them are kept between
    runs, 16 if None: each takes 12 MB of memory, with pandas 60, and three
    descriptors here, and its start some 20 ms, with pandas 500.  A run of
    another takes the place of that whose last run began longest ago, which
    ends when its runs are over: so at most `cells` more are there.

    Raises PolicyError for what is no count from 1 to 1000000.
    """
    cells = _checked("cells", cells, _default_cells())
    _set_most(_checked("zygotes", zygotes, MOST_ZYGOTES))
    _places.resize(cells)


def _set_most(count: int) -> None:
    zygotes.set_most(count)


def _checked(name: str, count: object, default: int) -> int:
    if count is None:
        return default
    if type(count) is not int:
        raise PolicyError(
            f"{name} must be an int, or None for the default, not "
            f"{type(count).__name__}"
        )
    if not 1 <= count <= MOST_CELLS:
        raise PolicyError(
            f"{name} must be from 1 to {MOST_CELLS}, not {shown(count)}"
        )
    return count


def take(queue_timeout: float) -> Place:
    """Wait up to `queue_timeout` seconds for a place, and return it.

    Raises UnavailableError if there was none, and Cancelled at exit.
    """
    place = _places.enter(queue_timeout, is_main_thread())
    if place is not None:
        return place
    if _places.closed:
        raise Cancelled(SHUTTING_DOWN)
    raise UnavailableError(
        "resources",
        "queue",
        0,
        f"Cells alive: {_places.alive}, of at most {_places.cells}; other "
        f"runs that wait: {_places.waiting}. Have more at once with "
        "csandbox.set_capacity, wait longer with queue_timeout=, or run "
        "fewer.",
        f"a wait of {queue_timeout:g} s",
    )


def unless_exiting(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Have a function raise Cancelled when modules are being torn down.

    The globals that it needs may be None then, and imports fail.
    """
    is_exiting, error, text = sys.is_finalizing, Cancelled, SHUTTING_DOWN

    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if is_exiting():
            raise error(text)
        return function(*args, **kwargs)

    # As functools.wraps() does.
    call.__dict__.update(vars(function), __wrapped__=function)
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(call, name, getattr(function, name))
    call.__annotations__ = function.__annotations__
    return call


def are_closed() -> bool:
    """Whether this thread may start no run, as the interpreter exits."""
    return _places.closed


# --- the default -------------------------------------------------------------


def _default_cells() -> int:
    cores = len(os.sched_getaffinity(0))
    memory = min([_machine_memory(), *_cgroup_memory()])
    return max(
        LEAST_CELLS, min(CELLS_PER_CORE * cores, memory // MEMORY_PER_CELL)
    )


def _machine_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_memory() -> Iterator[int]:
    """Yield the limits of the cgroups that this process is in, in bytes."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = "/sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            root, name = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be one of the machine outside, and only
        # the root be there: that is this process's own then.
        folders = [each for each in path.split("/") if each]
        for depth in range(len(folders) + 1):
            limit = _read("/".join([root, *folders[:depth], name])).strip()
            if limit.isdecimal():
                yield int(limit)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# --- forks and the end -------------------------------------------------------

_places = _csandbox.Places(_default_cells())


def _at_exit() -> None:
    """End the runs of other threads, and then all zygotes."""
    threads = {*_places.close()} - {get_ident()}
    end = monotonic() + EXIT_SECONDS
    while _places.alive and monotonic() < end:
        # Again and again: one may have been in the making.
        zygotes.kill_runs()
        sleep(0.002)
    zygotes.end()
    # A thread that prints an error while the interpreter ends may end it
    # badly: it dies with the lock of stderr.
    end = monotonic() + LAST_SECONDS
    while threads & sys._current_frames().keys() and monotonic() < end:
        sleep(0.002)


os.register_at_fork(after_in_child=_places.fork_began)
atexit.register(_at_exit)
