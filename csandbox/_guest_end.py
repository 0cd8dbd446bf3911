"""How a program ends: part of the guest's side, and not trusted.

Executed in the namespace of _guest.py, before that.
"""

from __future__ import annotations

import atexit
import sys


def defer_logging() -> None:
    """Have no exit function, if logging's is the only one.

    It is registered by the import, so that it would be called last, and
    cells can spare themselves that while there is nothing to log to.
    """
    logging = sys.modules.get("logging")
    if logging is not None:
        atexit.unregister(logging.shutdown)


def _end_logging() -> None:
    logging = sys.modules.get("logging")
    with _Suppress():
        # The one that is always there is of standard error.
        if logging is not None and len(logging._handlerList) > 1:
            logging.shutdown()


class _Suppress:
    """What the guest left behind may raise anything."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return True


def finish() -> None:
    """End as Python ends: threads, exit functions, streams."""
    threading = sys.modules.get("threading")
    try:
        if threading is not None and _has_threads(threading):
            threading._shutdown()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if atexit._ncallbacks():
        with _Suppress():
            atexit._run_exitfuncs()
    _end_logging()
    _flush()


def _has_threads(threading):
    """Whether there is, or was, anything for the module to do at the end."""
    return (
        len(threading._active) != 1
        or threading._limbo
        or threading._threading_atexits
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with _Suppress():
            stream.flush()
