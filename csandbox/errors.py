"""What csandbox raises.

    SandboxError
    ├── GuestError            the guest's code raised an exception
    ├── GuestExit             the guest ended itself
    ├── GuestCrash            a signal killed the guest
    ├── LimitError            the guest reached a limit of its policy
    │   ├── TimeLimitError    (also TimeoutError)
    │   ├── MemoryLimitError  (also MemoryError)
    │   └── OutputLimitError
    ├── ResultError           the value could not be brought back
    ├── Cancelled             the caller stopped the run, or exits
    ├── UnavailableError      the sandbox could not be set up; nothing ran
    └── PolicyError           (also ValueError) the policy is bad; nothing ran

Fields hold the guest's text exactly; `str()` of an error is inert.  Nothing
here ever holds or becomes a class or an object of the guest.
"""

from __future__ import annotations

from errno import errorcode
from os import strerror

from csandbox.text import inert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from csandbox.result import Result


class SandboxError(Exception):
    """Raised when a run gave no value; the base of all errors here."""

    # Of the run, once there was one.
    result: Result | None = None

    def __init__(self, *fields: object) -> None:
        # Not super(): OSError, a base of TimeLimitError, would read two
        # fields as errno and strerror.
        Exception.__init__(self, *fields)

    def __str__(self) -> str:
        return inert(self._message())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, self.__dict__

    def _message(self) -> str:
        return " ".join(map(str, self.args))


class GuestError(SandboxError):
    """Raised when the guest's code raised an exception and did not catch it.

    All that it says is text and further GuestErrors, never an object of the
    guest, and all of it is what the guest says; where that is long, parts
    are left out.

    `type_name` is the name of its class: dotted identifiers, at most 200
    characters, or "<unnamed>" if the guest's name is no such thing.
    `message` is its text, and `traceback` the whole report as Python prints
    it, "" if the guest sent none.  `notes` are what `add_note` added.

    `cause` is the exception that it was raised from, and `context` the one
    that was being handled, if Python would show it; each is None otherwise.
    `exceptions` are those of an exception group.  The tracebacks of all
    these tell of no causes: those are in the outermost one's.  There are at
    most 128 of them, 16 levels deep.
    """

    def __init__(
        self,
        type_name: str,
        message: str,
        traceback: str = "",
        *,
        notes: tuple[str, ...] = (),
        cause: GuestError | None = None,
        context: GuestError | None = None,
        exceptions: tuple[GuestError, ...] = (),
    ) -> None:
        # The others are no arguments of an exception: pickle and copy take
        # them from its attributes.
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback
        self.notes = notes
        # Not __cause__ and __context__: the traceback tells of them.
        self.cause = cause
        self.context = context
        self.exceptions = exceptions

    def _message(self) -> str:
        if self.traceback:
            return self.traceback.rstrip("\n")
        first = self.type_name
        if self.message:
            first = f"{first}: {self.message}"
        return "\n".join([first, *self.notes])


class GuestExit(SandboxError):
    """Raised when the guest ended itself, as with `sys.exit`.

    `code` is its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    def _message(self) -> str:
        return f"the guest exited with code {self.code}"


class GuestCrash(SandboxError):
    """Raised when the guest was killed, by a signal of not csandbox's choice.

    `signal` is its number.  `syscall` is the name of the system call for which
    it was killed, "" if it was not for one: loading a module into the kernel,
    say, which no program does by chance.  Such a call counts as SIGSYS.
    """

    def __init__(self, signal: int, syscall: str = "") -> None:
        super().__init__(*((signal, syscall) if syscall else (signal,)))
        self.signal = signal
        self.syscall = syscall

    @property
    def signal_name(self) -> str:
        """The signal's name, such as "SIGSEGV", or "" if it has none."""
        from signal import Signals

        try:
            return Signals(self.signal).name
        except ValueError:
            return ""

    def _message(self) -> str:
        if self.syscall:
            return (
                "the guest was killed because it called "
                f"{self.syscall}(), which no policy permits"
            )
        name = f" ({self.signal_name})" if self.signal_name else ""
        return f"the guest was killed by signal {self.signal}{name}"


class LimitError(SandboxError):
    """Raised when the guest reached a limit of its policy.

    `limit` is the policy field that set it, and `allowed` how much that was,
    in words with a unit, or "".
    """

    def __init__(self, limit: str, allowed: str = "") -> None:
        super().__init__(limit, allowed)
        self.limit = limit
        self.allowed = allowed

    def _message(self) -> str:
        of = f" of {self.allowed}" if self.allowed else ""
        return (
            f"the guest reached its {self.limit} limit{of}; "
            f"pass a larger {self.limit}= if it should have more"
        )


class TimeLimitError(LimitError, TimeoutError):
    """Raised when the guest ran for longer than its policy allows."""


class MemoryLimitError(LimitError, MemoryError):
    """Raised when the guest was ended for the memory that it held.

    That was more than its policy allows; or, if `allowed` is "", the machine
    or the cgroup of this process (a container, say) had none left, and the
    kernel's OOM killer chose the guest.  (Where the guest only asked for too
    much, it got a MemoryError of its own.)
    """

    def _message(self) -> str:
        if self.allowed:
            return super()._message()
        return (
            "the machine, or the cgroup of this process, ran out of memory, "
            "and the kernel ended the guest, which was within its limit; run "
            "fewer at once, or give them a smaller memory="
        )


class OutputLimitError(LimitError):
    """Raised when the guest wrote more than its policy allows."""


class ResultError(SandboxError):
    """Raised when the guest's value cannot or may not cross to the host.

    If it holds something that may not, `type_name` says what that is, such
    as "pathlib.PosixPath", and `path` where, such as 'result["rows"][3]';
    each is "" if it is not known.  Both are what the guest says.
    """

    def __init__(
        self, message: str, *, type_name: str = "", path: str = ""
    ) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.path = path


class Cancelled(SandboxError):
    """Raised when the caller stopped the run before it ended.

    Also when the interpreter exits, which then is what it says.
    """

    def __str__(self) -> str:
        # All of it is ours; and at exit inert() may be gone already.
        return self._message()

    def _message(self) -> str:
        return super()._message() or "the run was cancelled"


class UnavailableError(SandboxError):
    """Raised when a guarantee cannot be given here, so that nothing ran.

    `guarantee` names it: files, network, processes, kernel or resources, or
    "" for set-up as a whole.  `step` is the step of set-up that failed,
    `errno` its error number or 0, `detail` the path or word it failed on or
    "", and `remedy` a sentence saying what to do.
    """

    def __init__(
        self,
        guarantee: str,
        step: str,
        errno: int,
        remedy: str,
        detail: str = "",
    ) -> None:
        super().__init__(guarantee, step, errno, remedy, detail)
        self.guarantee = guarantee
        self.step = step
        self.errno = errno
        self.remedy = remedy
        self.detail = detail

    @property
    def errno_name(self) -> str:
        """The error's name, such as "EPERM", or "" when there is none."""
        if self.errno == 0:
            return ""
        return errorcode.get(self.errno, f"errno {self.errno}")

    def _message(self) -> str:
        what = "the sandbox could not be set up"
        if self.guarantee:
            what = f"cannot guarantee {self.guarantee}"
        on = f" on {self.detail}" if self.detail else ""
        why = ""
        if self.errno:
            why = f": {self.errno_name} ({strerror(self.errno)})"
        failure = f"{what}: step {self.step} failed{on}{why}."
        return f"{failure} {self.remedy}".rstrip()


class PolicyError(SandboxError, ValueError):
    """Raised when a policy, or a field of one, is not valid."""
