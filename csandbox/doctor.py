"""Says which guarantees csandbox can give on this machine, and how."""

from __future__ import annotations

import sys

from csandbox.errors import Cancelled, SandboxError, UnavailableError
from csandbox.result import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from csandbox.result import Isolation, Result
    from csandbox.surroundings import Surroundings

TIERS = {
    "full": "namespaces, and all else that is there",
    "landlock": "no namespaces; Landlock and seccomp in their place",
    "compute": 'neither namespaces nor Landlock; profile="compute" only',
    "": "none",
}


class Guarantee(Record):
    """One promise to the user, and what keeps it here.

    `mechanisms` are the kernel features in force.  `ok` is None if set-up
    failed elsewhere before this could be seen.
    """

    name: str
    ok: bool | None
    mechanisms: tuple[str, ...] = ()


class Missing(Record):
    """A mechanism that is not in force, why, and the least that changes it.

    `step` and `errno` say what the kernel refused, "" and 0 if nothing was
    tried.  `remedy` is a sentence, and may have lines after it to paste.
    """

    mechanism: str
    why: str
    remedy: str
    step: str = ""
    errno: int = 0


class Report(Record):
    """What `doctor` found.

    `tier` is "full", "landlock" or "compute", as in Result.isolation, or ""
    if nothing can run here; `missing` are the mechanisms that would make it
    stronger; `failure` is what the trial run raised, None if that went well;
    `landlock_abi` is the version of Landlock in use, 0 for none.
    """

    guarantees: tuple[Guarantee, ...]
    tier: str = ""
    missing: tuple[Missing, ...] = ()
    failure: SandboxError | None = None
    landlock_abi: int = 0

    @property
    def ok(self) -> bool:
        """Whether every guarantee is given, by whatever mechanisms."""
        return self.failure is None and all(row.ok for row in self.guarantees)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, fit for JSON."""
        return {
            "ok": self.ok,
            "tier": self.tier,
            "landlock_abi": self.landlock_abi,
            "failure": _failure_as_dict(self.failure),
            "guarantees": [_as_dict(row) for row in self.guarantees],
            "missing": [
                {**_as_dict(row), "errno": _errno_name(row.errno)}
                for row in self.missing
            ],
        }

    def __str__(self) -> str:
        lines = []
        for row in self.guarantees:
            verdict = {True: "yes", False: "NO", None: "not seen"}[row.ok]
            mechanisms = ", ".join(map(self._shown, row.mechanisms))
            lines.append(f"{row.name:10} {verdict:9} {mechanisms}".rstrip())
        lines += ["", f"tier       {self.tier or 'none'}"]
        if self.tier:
            lines[-1] += f" ({TIERS[self.tier]})"
        for each in self.missing:
            lines += ["", f"not in use: {each.mechanism}"]
            lines.append(f"  {each.why}{_step(each)}")
            lines += [f"  {line}" for line in each.remedy.splitlines()]
        if self.failure is not None:
            lines += ["", str(self.failure)]
        return "\n".join(lines)

    def _shown(self, mechanism: str) -> str:
        if mechanism == "landlock" and self.landlock_abi:
            return f"landlock (ABI {self.landlock_abi})"
        return mechanism


def doctor() -> Report:
    """Make a trial run and report what confined it.

    Takes as long as a first run, and leaves nothing behind.  It never
    raises for what this machine cannot do: the report says it.  Raises
    Cancelled while the interpreter shuts down.
    """
    if sys.is_finalizing():
        raise Cancelled("the interpreter is shutting down")
    from csandbox import surroundings

    seen = surroundings.look()
    try:
        result = _trial()
    except SandboxError as error:
        return _refused(error, seen)
    if result.error is not None:
        return _refused(result.error, seen)
    return _confined(result.isolation, seen)


def _trial() -> Result:
    from csandbox import tiers
    from csandbox.policy import YEAR
    from csandbox.sandbox import execute

    # As long as it takes: a full queue says nothing of the machine.
    try:
        return execute("1 + 1", queue_timeout=YEAR)
    except UnavailableError:
        tier = tiers.current()
        if tier is None or tier.name != "compute":
            raise
    return execute("1 + 1", profile="compute", queue_timeout=YEAR)


def _confined(isolation: Isolation, seen: Surroundings) -> Report:
    return Report(
        guarantees=tuple(
            Guarantee(name=name, ok=mechanisms != (), mechanisms=mechanisms)
            for name, mechanisms in isolation.guarantees.items()
        ),
        tier=isolation.tier,
        missing=(*_lost(seen), *_not_found(isolation, seen)),
        landlock_abi=isolation.landlock_abi,
    )


def _refused(error: SandboxError, seen: Surroundings) -> Report:
    from csandbox.guarantees import GUARANTEES

    guilty = getattr(error, "guarantee", "")
    rows = tuple(
        Guarantee(name=name, ok=False if name == guilty else None)
        for name in GUARANTEES
    )
    return Report(guarantees=rows, missing=_lost(seen), failure=error)


def _lost(seen: Surroundings) -> tuple[Missing, ...]:
    """Return what the search for a tier had to do without."""
    from csandbox import causes, tiers

    found = []
    for cause in tiers.causes():
        explanation = causes.explain(cause, seen)
        found.append(
            Missing(
                mechanism=cause.lost,
                why=explanation.why,
                remedy=explanation.remedy,
                step=cause.step,
                errno=cause.errno,
            )
        )
    return tuple(found)


def _not_found(isolation: Isolation, seen: Surroundings) -> list[Missing]:
    """Return what a run gets where it is to be had, and has not got."""
    from csandbox import guarantees

    rows = {
        guarantees.CGROUP: _without_cgroup,
        guarantees.NOTIFY: lambda: _without_notify(seen),
        guarantees.UID: _without_uid,
    }
    return [
        row
        for name, tell in rows.items()
        if name not in isolation.mechanisms
        for row in tell()
    ]


def _without_uid() -> list[Missing]:
    from csandbox import guarantees

    return [
        Missing(
            mechanism=guarantees.UID,
            why="guests have this program's user id, and no power of it",
            remedy=f"It takes {guarantees.NEEDS[guarantees.UID]}. "
            "Nothing else hangs on it.",
        )
    ]


def _without_cgroup() -> list[Missing]:
    from csandbox import cgroups, guarantees, zygotes

    absence = zygotes.current_cgroup()
    if not isinstance(absence, cgroups.Absence):
        return []  # it has been made meanwhile
    about = f": {absence.detail}" if absence.detail else ""
    return [
        Missing(
            mechanism=guarantees.CGROUP,
            why=f"{absence.reason}{about}; limits hold without, by looking",
            remedy=absence.remedy,
        )
    ]


def _without_notify(seen: Surroundings) -> list[Missing]:
    from csandbox import guarantees

    why = "the kernel, or a filter around this program, gives no listener"
    if (0, 0) < seen.kernel < (5, 5):
        why = f"Linux {seen.kernel[0]}.{seen.kernel[1]} is older than 5.5"
    return [
        Missing(
            mechanism=guarantees.NOTIFY,
            why=f"{why}; what is denied is not told",
            remedy="Nothing else hangs on it.",
        )
    ]


def _step(missing: Missing) -> str:
    if not missing.step:
        return ""
    return f" (step {missing.step}: {_errno_name(missing.errno)})"


def _errno_name(errno: int) -> str:
    return UnavailableError("", "", errno, "").errno_name


def _as_dict(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record._fields}


def _failure_as_dict(error: SandboxError | None) -> dict[str, str] | None:
    if error is None:
        return None
    failure = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, UnavailableError):
        failure["guarantee"] = error.guarantee
        failure["step"] = error.step
        failure["errno"] = error.errno_name
        failure["detail"] = error.detail
        failure["remedy"] = error.remedy
    return failure
