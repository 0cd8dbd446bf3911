"""What a run gives back, and the read-only records it is made of."""

from __future__ import annotations

from types import MappingProxyType

from csandbox.text import inert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, ClassVar, NoReturn

    from typing_extensions import dataclass_transform

    from csandbox.errors import SandboxError
else:

    def dataclass_transform(**_options):
        """Return what leaves a class as it is."""
        return lambda cls: cls


# A frozen dataclass in all but name: importing dataclasses, which imports
# inspect, would take several times as long as importing csandbox.
@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """A frozen, keyword-only record of the fields that a subclass annotates.

    A class attribute is the default of the field of its name.  Records are
    equal when their types and fields are, hash if their fields do, and pickle.
    """

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, **values: Any) -> None:
        cls = type(self)
        for name in self._fields:
            if name in values:
                vars(self)[name] = values.pop(name)
            elif hasattr(cls, name):
                vars(self)[name] = getattr(cls, name)
            else:
                raise TypeError(f"{cls.__name__}() needs {name}=")
        for name in values:
            raise TypeError(f"{cls.__name__}() has no field {name!r}")
        self.__post_init__()

    def __post_init__(self) -> None:
        pass

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is read-only")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is read-only")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        fields = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in self._fields
        )
        return f"{type(self).__name__}({fields})"


class Repr:
    """A leaf that could not cross, as text.

    `type_name` is the qualified name of its type, `text` its repr(), cut to
    1000 characters, both as the guest gave them: to be believed as little as
    the rest of what it says.
    """

    __slots__ = ("text", "type_name")

    def __init__(self, type_name: str, text: str) -> None:
        self.type_name = type_name
        self.text = text

    def __repr__(self) -> str:
        return inert(f"<csandbox.Repr of {self.type_name}: {self.text}>")

    def __eq__(self, other: object) -> bool:
        if type(other) is not Repr:
            return NotImplemented
        return (self.type_name, self.text) == (other.type_name, other.text)

    def __hash__(self) -> int:
        return hash((self.type_name, self.text))


class Usage(Record):
    """What a run took.

    `wall`, `user` and `system` are seconds: that the caller waited in all,
    and of processor time in the guest's code and in the kernel for it.
    `wall` is the sum of four phases, in seconds too: `queue`, until there was
    a place for it; `arm`, until its cell was ready; `run`, until it ended or
    was ended; and `decode`, until it was gone and its value was read.

    `peak_memory` is the most bytes that it held at once beyond what it began
    with, pages of the files that it mapped included; `scratch_bytes` is the
    most that were seen in its /tmp, 1 KiB for each file included;
    `peak_processes` is the most processes that were alive at once, the first
    included.  `stdout_bytes` and `stderr_bytes` are the bytes it wrote in all,
    `stdout_dropped` and `stderr_dropped` those of them that lay beyond the
    policy's `output` and were thrown away.
    """

    wall: float
    user: float
    system: float
    peak_memory: int
    queue: float = 0.0
    arm: float = 0.0
    run: float = 0.0
    decode: float = 0.0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    scratch_bytes: int = 0
    peak_processes: int = 1


class Violation(Record):
    """One thing that a run tried and was denied.

    `syscall` is the name of the system call, of files that of the function,
    such as "mkdir", "open" and "import", `category` one of network,
    processes, namespaces, identity, kernel and files, `arguments` those of
    its arguments that mean something outside, as text: "AF_INET,
    SOCK_STREAM".  `count` is how often it was tried.  `permitted_by` is the
    least policy that would permit it, such as "processes=1" or
    "preload=sqlite3", or None if none does here.  `text` says all that in a
    sentence.

    The kernel reports system calls itself.  `line`, where in the guest's
    program that was the first time, such as "prog.py:12", is what the guest
    says, None if it did not; and so are files, and a thread too many.
    `str()` is inert, the fields need not be.
    """

    syscall: str
    category: str
    arguments: str = ""
    line: str | None = None
    count: int = 1
    permitted_by: str | None = None
    text: str = ""

    def replace(self, **changes: Any) -> Violation:
        """Return a copy with other values of some fields."""
        return Violation(**{**vars(self), **changes})

    def __str__(self) -> str:
        where = f"{self.line}: " if self.line else ""
        times = f" ({self.count} times)" if self.count > 1 else ""
        return inert(f"{where}{self.text}{times}")


class KernelState(Record):
    """What the kernel said of a cell when it was ready, before it had a job.

    `namespaces` are the kinds that were not the host's, by their names in
    /proc/PID/ns.  `effective`, `permitted`, `inheritable`, `ambient` and
    `bounding` are sets of capabilities, as numbers of 64 bits.  `seccomp` is
    the mode, 2 for a filter, and `filters` how many there were, those of the
    container included, 0 if this kernel does not say.  `limits` are pairs of
    a name such as "NPROC" and a number, -1 for none; bytes, counts and
    seconds, as in getrlimit(2).
    """

    no_new_privs: bool
    seccomp: int
    filters: int
    namespaces: tuple[str, ...]
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    bounding: int
    limits: tuple[tuple[str, int], ...]


class Isolation(Record):
    """The receipt of a run: what confined it.

    `mechanisms` are the names of the kernel features that were in force, as
    `csandbox doctor` prints them; none is there that the kernel's own account
    of the cell, `kernel`, does not bear out.  `landlock_abi` is the version
    of Landlock that was used, 0 for none.  `uid` is the guest's user id as
    the host sees it.

    Receipts are equal when these are; `kernel` has numbers that differ from
    run to run, and is None for a cell that was lost before it was ready.
    """

    mechanisms: frozenset[str]
    landlock_abi: int = 0
    uid: int | None = None
    kernel: KernelState | None = None

    def __eq__(self, other: object) -> bool:
        if type(other) is not Isolation:
            return NotImplemented
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[object, ...]:
        return self.mechanisms, self.landlock_abi, self.uid

    @property
    def tier(self) -> str:
        """The kind of confinement: "full", "landlock" or "compute".

        "full" has namespaces, "landlock" has Landlock in their place, and
        "compute" neither, but no call that takes a path.
        """
        if "pid namespace" in self.mechanisms:
            return "full"
        return "landlock" if "landlock" in self.mechanisms else "compute"

    @property
    def guarantees(self) -> Mapping[str, tuple[str, ...]]:
        """What gave each guarantee: the names of mechanisms by its name."""
        from csandbox.guarantees import GUARANTEES

        return MappingProxyType(
            {
                name: guarantee.given_by(self.mechanisms)
                for name, guarantee in GUARANTEES.items()
            }
        )


class Result(Record):
    """How a run ended, and what it left.

    `value` is the guest's value, None after an error.  `stdout_bytes` and
    `stderr_bytes` are exactly what was captured, at most the policy's
    `output` each.  `error` is None if the guest ended well, and otherwise
    what `run` would have raised.  `exit_code` is its exit code, None if it
    had none.  `violations` are the denied calls that matter to a
    person, at most 64 different ones, where the kernel can report them
    ("user notification" of `isolation.mechanisms`), and the file that an
    uncaught exception was about, if the sandbox is why.

    Results are equal only to themselves.
    """

    value: Any
    stdout_bytes: bytes
    stderr_bytes: bytes
    error: SandboxError | None = None
    exit_code: int | None = None
    usage: Usage
    violations: tuple[Violation, ...] = ()
    isolation: Isolation

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __post_init__(self) -> None:
        if self.error is not None:
            self.error.result = self

    @property
    def ok(self) -> bool:
        """Whether the guest ended without an error."""
        return self.error is None

    @property
    def stdout(self) -> str:
        """What the guest wrote to its standard output, as text.

        Bytes that are not UTF-8 show as U+FFFD, and a last line says how
        many bytes were dropped, if any were.  Escape sequences are in it.
        """
        return _text(self.stdout_bytes, self.usage.stdout_dropped)

    @property
    def stderr(self) -> str:
        """What the guest wrote to its standard error, like `stdout`."""
        return _text(self.stderr_bytes, self.usage.stderr_dropped)

    def unwrap(self) -> Any:
        """Return `value`, or raise `error` if there is one."""
        if self.error is not None:
            raise self.error
        return self.value

    def __repr__(self) -> str:
        parts = [f"value={_brief(self.value)}"]
        if self.stdout_bytes:
            parts.append(f"stdout={_brief(self.stdout_bytes)}")
        if self.stderr_bytes:
            parts.append(f"stderr={_brief(self.stderr_bytes)}")
        if self.error is not None:
            kind = type(self.error).__name__
            last = str(self.error).rpartition("\n")[2]
            parts.append(f"error=<{kind}: {last[:_WIDE]}>")
        if self.exit_code is not None:
            parts.append(f"exit_code={self.exit_code}")
        return f"Result({', '.join(parts)})"


def _text(captured: bytes, dropped: int) -> str:
    text = captured.decode("utf-8", "replace")
    if not dropped:
        return text
    start = "\n" if text and not text.endswith("\n") else ""
    return f"{text}{start}[csandbox: {dropped} more bytes were dropped]\n"


_WIDE = 80  # characters of a string
_LONG = 6  # items of a container
_DEEP = 2  # containers in containers
_PLAIN = (type(None), bool, float, complex, type(...))
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def _brief(value: Any, depth: int = 0) -> str:
    """Return a repr whose size and cost do not grow with the value."""
    kind = type(value)
    if kind in _PLAIN or (kind is int and value.bit_length() <= 256):
        return repr(value)
    if kind is str or kind is bytes:
        return f"{value[:_WIDE]!r}{'...' if len(value) > _WIDE else ''}"
    if kind not in _BRACKETS or depth > _DEEP:
        return inert(f"<{kind.__name__}>")
    opening, closing = _BRACKETS[kind]
    parts: list[str] = []
    for item in value.items() if kind is dict else value:
        if len(parts) == _LONG:
            parts.append("...")
            break
        pair = item if kind is dict else (item,)
        parts.append(": ".join([_brief(each, depth + 1) for each in pair]))
    comma = "," if kind is tuple and len(parts) == 1 else ""
    return f"{opening}{', '.join(parts)}{comma}{closing}"
