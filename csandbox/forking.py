"""start="fork": a cell that is forked from this very process.

The guest finds the objects of the host as they are, copied by the kernel when
either writes to them.  The fork is a zygote for this one run: it parts with
what the host shares with others, confines itself as every zygote does, and
forks the cell.  `_settle` is what Python's side of parting is; it runs in the
fork, `_enter` in the cell, and both on trusted code and memory.
"""

from __future__ import annotations

import gc
import marshal
import os
import signal
import sys
from contextlib import contextmanager, suppress
from time import monotonic, sleep

from csandbox import _csandbox, bootstrap, zygotes
from csandbox.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any

    from csandbox._csandbox import Run
    from csandbox.policy import Policy
    from csandbox.zygotes import Template

# Numbers that a cell may use: RLIMIT_NOFILE is 256 there.
_NUMBERS = range(255, 2, -1)
_NAMES = ("RESULT_FD", "JOB_FD", "STORE_FD")  # of the guest's side
_guest: dict[str, Any] | None = None
# By what they were built for; building one takes milliseconds.
_plans: dict[tuple[Template, int], bytes] = {}
# In the fork: what must not be destroyed there.  It would be flushed, or do
# what its finalizer does, to files of the host.
_kept: list[object] = []


@contextmanager
def started(template: Template, policy: Policy, live: object) -> Iterator[Run]:
    """Have a cell in the making, of a fork of this process.

    `live` is what the guest's main() takes.  Raises PolicyError if this
    process has more threads than the policy lets it, and UnavailableError.
    """
    _check_threads(policy)
    try:
        plan, guest = _plan(template), _load_guest()
    except OSError as error:
        raise zygotes.unavailable(
            "host-descriptors", error.errno or 0, ""
        ) from None
    _flush()
    zygote = _csandbox.Zygote(
        ["python"], [], template.mechanisms, template.fault
    )
    zygote.take_plan(plan)
    booting = zygotes._registry.booting
    free: list[int] = []
    try:
        try:
            with zygotes._no_fork:
                zygote.fork(
                    lambda: _settle(free), lambda: _enter(guest, free, live)
                )
                booting.add(zygote)  # not before, or the fork would close it
            zygote.boot(zygotes.BOOT_SECONDS)
            run = zygotes._request(zygote, policy, template=template)
        except _csandbox.SetupError as error:
            step, errno, detail = error.args
            raise zygotes.unavailable(step, errno, detail) from None
        except OSError as error:
            step = (
                "boot" if error.errno in zygotes.DEAD else "host-descriptors"
            )
            raise zygotes.unavailable(step, error.errno or 0, "") from None
        yield run
    finally:
        zygote.close()
        booting.discard(zygote)


def _check_threads(policy: Policy) -> None:
    if policy.allow_threads:
        return
    count = _thread_count()
    if count > 1:
        raise PolicyError(
            f'start="fork" is for a process with one thread, and this one has '
            f"{count}, those of C libraries included: importing numpy, which "
            "a result of its arrays does too, starts OpenBLAS's, unless "
            "OPENBLAS_NUM_THREADS=1 is set before. What another thread has "
            "locked would stay locked in the guest. Pass allow_threads=True "
            "if that cannot harm: then at worst the guest reaches its timeout"
        )


def _thread_count() -> int:
    from threading import active_count

    # The stand-in of a run counts, too, if that run's output brought us here.
    # One that was joined just now may take a moment to be gone.
    end = monotonic() + 0.1
    while True:
        try:
            count = len(os.listdir("/proc/self/task"))
        except OSError:
            return active_count()
        if count == 1 or active_count() > 1 or monotonic() > end:
            return count
        sleep(0.001)


def _plan(template: Template) -> bytes:
    uid = zygotes.uid() if _csandbox.is_root() else 0
    key = (template, uid)
    if key not in _plans:
        _plans[key] = zygotes.build_plan(template)
    return _plans[key]


def _load_guest() -> dict[str, Any]:
    """Return the guest's side, as a zygote loads it, before files vanish."""
    global _guest
    if _guest is None:
        import builtins

        loaded: dict[str, Any] = {
            "__name__": "csandbox_guest",
            "__builtins__": {**vars(builtins)},
        }
        for name in (bootstrap.FIRST_FILE, *bootstrap.GUEST_FILES):
            exec(_read_code(name), loaded)
        loaded["VALUES"] = marshal.dumps(_read_code(bootstrap.VALUES_FILE))
        loaded["CORE"] = _csandbox
        # Their first use has side effects that forks would repeat.
        import threading  # noqa: F401
        import traceback  # noqa: F401

        _guest = loaded
    return _guest


def _read_code(name: str) -> CodeType:
    path = os.path.join(os.path.dirname(__file__), name)
    with open(path, "rb") as file:
        return compile(file.read(), "<csandbox>", "exec")


def _flush() -> None:
    """Leave nothing in the standard streams that a guest could flush."""
    import io

    for stream in (sys.stdout, sys.stderr):
        if type(stream) is io.TextIOWrapper:
            with suppress(OSError, ValueError):
                stream.flush()


# --- in the fork -------------------------------------------------------------


def _settle(free: list[int]) -> None:
    """Part from what is only the host's; its files are still open."""
    for name in ("stdin", "stdout", "stderr"):
        _kept.extend((getattr(sys, name), getattr(sys, f"__{name}__")))
    _kept.append(sys.modules.get("__main__"))
    # A file or socket of the host that is closed in the guest closes its
    # number; so the guest's own are of numbers that the host has not.
    for number in _NUMBERS:
        try:
            os.fstat(number)
        except OSError:
            free.append(number)
            if len(free) == len(_NAMES):
                break
    _forget_signals()
    _forget_hooks()
    _forget_threads()
    _keep_source()
    sys.dont_write_bytecode = True
    # A collection would write to every object of the host, and copy it.
    _kept.extend(gc.callbacks)
    gc.callbacks.clear()
    gc.freeze()
    gc.enable()


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        handler = signal.SIG_DFL
        if number in (signal.SIGPIPE, signal.SIGXFSZ):
            handler = signal.SIG_IGN
        # None: not set by Python.  Some may not be set at all.
        former = signal.getsignal(number)
        if former not in (handler, None):
            _kept.append(former)
            with suppress(OSError, ValueError):
                signal.signal(number, handler)


def _forget_hooks() -> None:
    sys.settrace(None)
    sys.setprofile(None)
    _forget_monitors(getattr(sys, "monitoring", None))
    for name in ("excepthook", "unraisablehook", "displayhook"):
        _kept.append(getattr(sys, name))
        setattr(sys, name, getattr(sys, f"__{name}__"))
    _kept.append(sys.breakpointhook)
    sys.breakpointhook = sys.__breakpointhook__


def _forget_monitors(monitoring: Any) -> None:
    for tool in range(6) if monitoring else ():
        if monitoring.get_tool(tool) is None:
            continue
        monitoring.set_events(tool, 0)
        for event in vars(monitoring.events).values():
            # Some are not events but sets of them, or go with others.
            with suppress(ValueError, TypeError):
                monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


def _forget_threads() -> None:
    import threading

    state: Any = threading
    state.settrace(None)
    state.setprofile(None)
    _kept.append(threading.excepthook)
    threading.excepthook = threading.__excepthook__
    if isinstance(state._main_thread, state._DummyThread):
        # Of a thread that C made, which Python cannot end as its main one.
        state._main_thread = state._MainThread()
    # What only concurrent.futures registers, and its threads, which are gone.
    _kept.extend(state._threading_atexits)
    state._threading_atexits[:] = [
        function
        for function in state._threading_atexits
        if str(getattr(function, "__module__", "")).startswith("concurrent.")
    ]
    for module, queues in (
        ("concurrent.futures.thread", "_threads_queues"),
        ("concurrent.futures.process", "_threads_wakeups"),
    ):
        if module in sys.modules:
            threads = vars(sys.modules[module])[queues]
            _kept.extend(threads.items())
            threads.clear()


def _keep_source() -> None:
    """Let tracebacks show what linecache has, though the files vanish."""
    import linecache

    for name, entry in list(linecache.cache.items()):
        if len(entry) == 4:
            size, _, lines, path = entry
            linecache.cache[name] = (size, None, lines, path)


# --- in the cell -------------------------------------------------------------


def _enter(guest: dict[str, Any], free: list[int], live: object) -> None:
    import atexit

    atexit._clear()  # what that destroys can do no harm here
    for name, number in zip(_NAMES, free, strict=False):
        os.dup2(guest[name], number)
        os.close(guest[name])
        guest[name] = number
    guest["main"](live)
