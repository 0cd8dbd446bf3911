"""What the standard library has in modules that take long to import.

A program that makes one run and ends waits for every import: threading,
contextlib and weakref would take a fifth of its time, with what they import.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock, get_ident, get_native_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RLock", "get_ident", "is_main_thread", "suppress"]


def _forget_half_imported() -> None:
    """Let a fork import anew what another thread was importing.

    Of that only the beginning is there, and Python would wait for the rest for
    ever.  (A lock that forks wait for would have them run hooks after them
    that were registered meanwhile, and not before them.)
    """
    importlib = sys.modules["_frozen_importlib"]
    locks = getattr(importlib, "_module_locks", {})
    for name, module in [*sys.modules.items()]:
        spec = getattr(module, "__spec__", None)
        if name.startswith("csandbox.") and getattr(
            spec, "_initializing", False
        ):
            del sys.modules[name]
            locks.pop(name, None)


os.register_at_fork(after_in_child=_forget_half_imported)


def is_main_thread() -> bool:
    """Whether this is the thread in which signal handlers are called."""
    threading = sys.modules.get("threading")
    if threading is None:
        # Python began in the process's first thread, or forked in this one.
        return get_native_id() == os.getpid()
    # Not current_thread(), which makes an object for each thread of others.
    return bool(threading.main_thread().ident == get_ident())


class suppress:  # noqa: N801
    """As contextlib's."""

    def __init__(self, *exceptions: type[BaseException]) -> None:
        self._exceptions = exceptions

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        """Say whether what was raised is one of them."""
        return kind is not None and issubclass(kind, self._exceptions)
