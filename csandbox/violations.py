"""What a run was denied: the core's account and the guest's, as records."""

from __future__ import annotations

from csandbox.result import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from csandbox.policy import Policy

# Of one run, told by the guest's side; the core bounds its own.
FILES_LIMIT = 64
PATH_LIMIT = 1000  # characters
_ERRORS = {
    "missing": "is not in what the sandbox shows",
    "read-only": "is read-only in the sandbox",
    "refused": "may not be opened in the sandbox",
}
FILES_HINT = "pass what the program reads as inputs= or stdin="
WRITE_HINT = "it may write to /tmp, which is its own, and return the result"
MODULE_HINT = (
    "the sandbox has the standard library and the packages installed in this "
    "environment, not modules beside the program; install it, or pass what "
    "it needs as inputs= or as a function"
)
PRELOAD_HINT = (
    'with profile="compute" it can import what it began with; preload= '
    "imports more before"
)
SHARED_HINT = "shared memory and semaphores need processes=1"
LINKS_HINT = (
    "it needs namespaces, which this machine refuses: see csandbox doctor"
)
_SHARED = "there is no shared memory and no semaphore"
# Names that an account of the guest's side may use of a call.
_CALLS = {
    *("open", "listdir", "scandir", "chdir", "mkdir", "mkfifo", "mknod"),
    *("remove", "unlink", "rmdir", "rename", "replace", "truncate", "chmod"),
    *("utime", "shm_open", "sem_open"),
}
_MODE = frozenset("rwaxbt+")
_PIDS = "pid namespace"


def of_run(
    outcome: dict[str, Any], policy: Policy, mechanisms: frozenset[str]
) -> tuple[Violation, ...]:
    """Return what a run was denied: as the kernel told, as its guest told."""
    calls = tuple(_of_call(each, policy) for each in outcome["violations"])
    account = outcome.get("account")
    return calls + told_by_guest(account, policy, mechanisms)


def fatal_call(outcome: dict[str, Any]) -> str:
    """Return the name of the denied call that ended a run, or ""."""
    for each in outcome["violations"]:
        if each["fatal"]:
            return str(each["syscall"])
    return ""


def _of_call(told: dict[str, Any], policy: Policy) -> Violation:
    permitted_by = None
    if told["field"] == "processes":
        more = policy.processes + 1 if told["limited"] else 1
        permitted_by = f"processes={more}"
    line = f"{told['file']}:{told['line']}" if told["line"] else None
    return Violation(
        syscall=told["syscall"],
        category=told["category"],
        arguments=told["arguments"],
        line=line,
        count=told["count"],
        permitted_by=permitted_by,
        text=f"{told['syscall']}({told['arguments']}): {told['reason']}",
    )


def told_by_guest(
    account: object, policy: Policy, mechanisms: frozenset[str]
) -> tuple[Violation, ...]:
    """Return the denials that an account of the guest's side tells of.

    They are no more than what it says: a list of dicts of "kind", "path",
    "line" and perhaps "call" and "mode".  What is not of that shape is left
    out.  `policy` and `mechanisms` are those of the run, and decide what
    would permit them.
    """
    if type(account) is not dict:
        return ()
    tried = account.get("tried")
    if type(tried) is not list:
        return ()
    found: dict[Violation, int] = {}
    for each in tried[:FILES_LIMIT]:
        violation = _of_guest(each, policy, _PIDS in mechanisms)
        if violation is not None:
            found[violation] = found.get(violation, 0) + 1
    return tuple(each.replace(count=count) for each, count in found.items())


def _of_guest(
    told: object, policy: Policy, namespaces: bool
) -> Violation | None:
    if type(told) is not dict:
        return None
    kind, path, line = (told.get(key) for key in ("kind", "path", "line"))
    if type(kind) is not str or type(path) is not str or not path:
        return None
    path = path[:PATH_LIMIT]
    place = (
        repr(line[:PATH_LIMIT])[1:-1] if type(line) is str and line else None
    )
    if kind == "threads":
        return _of_thread(path, place, policy)
    if kind == "module":
        return _of_module(path, place, policy)
    call, arguments = _call_of(told, path)
    if kind == "shared":
        hint = SHARED_HINT if namespaces else LINKS_HINT
        permitted_by = "processes=1" if namespaces else None
        return _file(call, arguments, place, _SHARED, hint, permitted_by)
    if kind not in _ERRORS:
        return None
    hint = WRITE_HINT if kind == "read-only" else FILES_HINT
    return _file(call, arguments, place, f"{path!r} {_ERRORS[kind]}", hint)


def _call_of(told: dict[Any, Any], path: str) -> tuple[str, str]:
    """Return a name of a call that is known, and its arguments as text."""
    call, mode = told.get("call"), told.get("mode")
    if type(call) is not str or call not in _CALLS:
        call = "open"
    reads = type(mode) is not str or mode in ("", "r", "rb", "rt")
    if reads or call != "open" or not _MODE.issuperset(str(mode)):
        return call, repr(path)
    return call, f"{path!r}, {str(mode)[:4]!r}"


def _of_module(name: str, line: str | None, policy: Policy) -> Violation:
    what, permitted_by, hint = f"no module {name!r}", None, MODULE_HINT
    if policy.profile == "compute":
        hint = PRELOAD_HINT
        if all(each.isidentifier() for each in name.split(".")):
            permitted_by = f"preload={name}"
    return _file("import", repr(name), line, what, hint, permitted_by)


def _of_thread(
    alive: str, line: str | None, policy: Policy
) -> Violation | None:
    # With fewer it was memory that its stack had no room in.
    if not alive.isdecimal() or int(alive[:9]) <= policy.threads:
        return None
    more = policy.threads + 1
    return Violation(
        syscall="clone",
        category="processes",
        arguments="CLONE_THREAD",
        line=line,
        permitted_by=f"threads={more}",
        text="as many threads as the policy lets it have are alive; a larger "
        "threads= permits more",
    )


def _file(
    call: str,
    arguments: str,
    line: str | None,
    what: str,
    hint: str,
    permitted_by: str | None = None,
) -> Violation:
    return Violation(
        syscall=call,
        category="files",
        arguments=arguments,
        line=line,
        permitted_by=permitted_by,
        text=f"{what}: {hint}",
    )


def options(violations: Iterable[Violation]) -> tuple[str, ...]:
    """Return the policy that would permit what can be permitted.

    As options of the command line, such as "--processes", "1".
    """
    most: dict[str, int] = {}
    modules: dict[str, None] = {}
    for each in violations:
        name, _, value = (each.permitted_by or "").partition("=")
        if name == "preload":
            modules[value] = None
        elif name:
            most[name] = max(most.get(name, 0), int(value))
    numbers = {f"--{name}": str(value) for name, value in most.items()}
    pairs = [*numbers.items(), *(("--preload", each) for each in modules)]
    return tuple(word for pair in pairs for word in pair)
