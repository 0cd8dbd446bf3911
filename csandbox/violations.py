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
_FILES_HINT = "pass what the program reads as inputs= or stdin="
_WRITE_HINT = "it may write to /tmp, which is its own, and return the result"
_MODULE_HINT = (
    "install it in this environment, or put its source into the program"
)


def of_run(outcome: dict[str, Any], policy: Policy) -> tuple[Violation, ...]:
    """Return what a run was denied: as the kernel told, as its guest told."""
    calls = tuple(_of_call(each, policy) for each in outcome["violations"])
    return calls + told_by_guest(outcome.get("account"))


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


def told_by_guest(account: object) -> tuple[Violation, ...]:
    """Return the denials that an account of the guest's side tells of.

    They are no more than what it says: a list of dicts of "kind", "path",
    "line" and perhaps "module".  What is not of that shape is left out.
    """
    if type(account) is not dict:
        return ()
    tried = account.get("tried")
    if type(tried) is not list:
        return ()
    found: dict[Violation, int] = {}
    for each in tried[:FILES_LIMIT]:
        violation = _of_file(each)
        if violation is not None:
            found[violation] = found.get(violation, 0) + 1
    return tuple(each.replace(count=count) for each, count in found.items())


def _of_file(told: object) -> Violation | None:
    if type(told) is not dict:
        return None
    kind, path, line = (told.get(key) for key in ("kind", "path", "line"))
    if type(kind) is not str or type(path) is not str or not path:
        return None
    path = path[:PATH_LIMIT]
    place = (
        repr(line[:PATH_LIMIT])[1:-1] if type(line) is str and line else None
    )
    if kind == "module":
        return _file(
            "import", path, place, f"no module {path!r}", _MODULE_HINT
        )
    if kind not in _ERRORS:
        return None
    hint = _WRITE_HINT if kind == "read-only" else _FILES_HINT
    return _file("open", path, place, f"{path!r} {_ERRORS[kind]}", hint)


def _file(
    call: str, path: str, line: str | None, what: str, hint: str
) -> Violation:
    return Violation(
        syscall=call,
        category="files",
        arguments=repr(path),
        line=line,
        text=f"{what}: {hint}",
    )


def options(violations: Iterable[Violation]) -> tuple[str, ...]:
    """Return the policy that would permit what can be permitted.

    As options of the command line, such as "--processes", "1".
    """
    most: dict[str, int] = {}
    for each in violations:
        if each.permitted_by is not None:
            name, _, value = each.permitted_by.partition("=")
            most[name] = max(most.get(name, 0), int(value))
    return tuple(
        word
        for name, value in most.items()
        for word in (f"--{name}", str(value))
    )
