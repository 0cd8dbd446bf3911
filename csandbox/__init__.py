"""Runs untrusted Python in a child process that the Linux kernel confines.

>>> import csandbox
>>> csandbox.run("sum(range(10))")
45
"""

# `python -m csandbox` puts the current directory first, where the untrusted
# program may lie beside modules with the names of ours.  No import before.
import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    _words = [*sys.orig_argv, ""]
    if _words[_words.index("-m") + 1 if "-m" in _words else -1] == __name__:
        del sys.path[0]

# Imported here, not when first needed: the submodule would take the name of
# its function if its first import came later.
from csandbox.doctor import doctor
from csandbox.errors import (
    Cancelled,
    GuestCrash,
    GuestError,
    GuestExit,
    LimitError,
    MemoryLimitError,
    OutputLimitError,
    PolicyError,
    ResultError,
    SandboxError,
    TimeLimitError,
    UnavailableError,
)
from csandbox.policy import Policy
from csandbox.result import Repr, Result, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox.places import capacity, set_capacity
    from csandbox.sandbox import execute, run
    from csandbox.warming import warm

__version__ = "0.1.0"

__all__ = [
    "Cancelled",
    "GuestCrash",
    "GuestError",
    "GuestExit",
    "LimitError",
    "MemoryLimitError",
    "OutputLimitError",
    "Policy",
    "PolicyError",
    "Repr",
    "Result",
    "ResultError",
    "SandboxError",
    "TimeLimitError",
    "UnavailableError",
    "Violation",
    "capacity",
    "doctor",
    "execute",
    "run",
    "set_capacity",
    "warm",
]


def __getattr__(name: str) -> object:
    # The extension and what ships callables are loaded by the first use.
    if name not in ("capacity", "execute", "run", "set_capacity", "warm"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if sys.is_finalizing():
        raise Cancelled("the interpreter is shutting down")
    if name == "warm":
        from csandbox.warming import warm

        return warm
    from csandbox.places import capacity, set_capacity
    from csandbox.sandbox import execute, run

    globals().update(
        capacity=capacity, execute=execute, run=run, set_capacity=set_capacity
    )
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
