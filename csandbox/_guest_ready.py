"""What cells find done: by the zygote, once, before it forks.

Part of the guest's side; loaded with _guest.py, and like that not trusted.
Each page that a cell writes to is a page that it must copy first, which is
most of what a cell costs.  So what is the same in all of them, and what Python
would do anew after each fork, is done here.
"""

import gc
import io
import linecache
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest import main
    from csandbox._guest_end import defer_logging
    from csandbox._guest_first import CORE, ENVIRONMENT, JOB_FD, RESULT_FD
    from csandbox._guest_wait import frame_of_rehearsal, rehearse

# Their hooks make locks anew, which nobody holds in a zygote of one thread,
# and seed `random`, which reseed() does.
_QUIET = frozenset(
    {"concurrent.futures.thread", "logging", "random", "threading"}
)
# After so many, Python's caches are full and its code is specialized, which
# each cell would do for itself.
REHEARSALS = 30
_STREAMS = (
    (0, "stdin", "r", "surrogateescape"),
    (1, "stdout", "w", "backslashreplace"),
    (2, "stderr", "w", "backslashreplace"),
)


class _Hooks:
    """Looks at what modules want to have done at forks, as they are imported.

    A cell that cannot fork needs none of it for its own forks, and after the
    one that makes it those of `_QUIET` have nothing to do.
    """

    def __init__(self):
        self.needed = False
        self.register = os.register_at_fork

    def __enter__(self):
        os.register_at_fork = self.look

    def __exit__(self, *exception):
        os.register_at_fork = self.register

    def look(self, **hooks):
        caller = sys._getframe(1).f_globals.get("__name__")
        self.needed = self.needed or caller not in _QUIET
        self.register(**hooks)


_hooks = _Hooks()
is_settled = False
_is_quiet = False


def settle(quietly) -> bool:
    """Make ready what cells begin with, when all is imported.

    `quietly`: whether they could do without Python's hooks at forks.  Returns
    whether they can.
    """
    global is_settled, _is_quiet
    threaded = len(sys._current_frames()) > 1
    _is_quiet = bool(quietly) and not _hooks.needed and not threaded
    if not is_settled:
        set_environment(ENVIRONMENT)
        _set_streams_of_pipes()
        is_settled = True
    if _is_quiet and "threading" in sys.modules:
        # Of the cells' only thread: they are process 2, each of its own.
        sys.modules["threading"].main_thread()._native_id = 2
    if not threaded:
        for _ in range(1 if CORE.SANITIZED else REHEARSALS):
            rehearse(len)
    settle_heap()
    return _is_quiet


def settle_heap() -> None:
    """Let go of what nobody needs, and keep the rest from the collector."""
    defer_logging()
    # Python 3.13 keeps the text of -c, which is the bootstrap's.
    linecache.clearcache()
    vars(linecache).get("_interactive_cache", {}).clear()
    gc.collect()
    gc.freeze()


class _Over(BaseException):
    """Raised where a process would end."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        return kind is _Over


def be_example() -> None:
    """Do all that a cell does, in a fork of the zygote that ends then."""
    globals()["_exit"] = _stop  # of all these files
    reading, writing = os.pipe()
    os.write(writing, frame_of_rehearsal("x = 1\nx + 1"))
    os.dup2(1, RESULT_FD)  # 1 is /dev/null
    os.dup2(reading, JOB_FD)
    with _Over():
        main()


def _stop(_code):
    raise _Over


def reseed() -> None:
    """Give this cell randomness of its own."""
    random = sys.modules.get("random")
    if random is not None and _is_quiet:
        random.seed()  # or it has done so itself
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(list(os.urandom(64)))
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(64), 64.0)
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        vars(uuid).update(_node=None, _last_timestamp=None)


def set_environment(variables) -> None:
    os.environ.clear()
    os.environ.update(variables)
    if "TZ" in variables:
        time.tzset()


def _set_streams_of_pipes() -> None:
    """Make the streams that cells have, whose descriptors are pipes."""
    kept = [os.dup(number) for number, *_ in _STREAMS]
    ends = os.pipe()
    try:
        for number, _, mode, _ in _STREAMS:
            os.dup2(ends[mode == "w"], number)
        set_streams()
    finally:
        for number, before in enumerate(kept):
            os.dup2(before, number)
        for descriptor in (*kept, *ends):
            os.close(descriptor)


def set_streams() -> None:
    """Make the streams anew: those of before were of other files."""
    for number, name, mode, errors in _STREAMS:
        stream = _stream(name, number, mode, errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _stream(name, descriptor, mode, errors):
    raw = io.FileIO(descriptor, mode, closefd=False)
    raw.name = f"<{name}>"
    buffered = io.BufferedReader if mode == "r" else io.BufferedWriter
    stream = io.TextIOWrapper(
        buffered(raw), encoding="utf-8", errors=errors, line_buffering=True
    )
    vars(stream).update(mode=mode)
    return stream
