"""Says which guarantees csandbox can give on this machine, and how."""

from __future__ import annotations

from csandbox.errors import SandboxError, UnavailableError
from csandbox.result import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from csandbox.result import Result

GUARANTEES = {
    "files": ("mount namespace", "landlock"),
    "network": ("network namespace", "seccomp"),
    "processes": ("pid namespace", "seccomp"),
    "kernel": ("seccomp", "user namespace"),
    "resources": ("rlimits", "mount namespace", "pid namespace"),
}

# What is used where it is to be had, and not needed.
OPTIONAL = {"resources": ("cgroup v2",)}

_NAMESPACES = (
    "Allow user namespaces: check the sysctls user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone and "
    "kernel.apparmor_restrict_unprivileged_userns, and in a container its "
    "seccomp profile."
)
_REMEDIES = {
    "mount namespace": _NAMESPACES,
    "network namespace": _NAMESPACES,
    "pid namespace": _NAMESPACES,
    "user namespace": _NAMESPACES,
    "rlimits": "Allow prlimit64, which a seccomp profile here refuses.",
    "landlock": (
        "Use Linux 5.13 or later with landlock in /sys/kernel/security/lsm "
        "(boot option lsm=landlock,...)."
    ),
    "seccomp": "Use a kernel built with CONFIG_SECCOMP_FILTER.",
}


class Guarantee(Record):
    """One promise to the user, and what delivers it here.

    `mechanisms` are the kernel features in force, `missing` those that
    should have been, and `remedy` a sentence saying how to get them, or "".
    `ok` is None if set-up failed elsewhere before this could be seen.
    `optional` are those that are not needed and not there, `reason` says why
    they are not, and `advice` how to get them.
    """

    name: str
    ok: bool | None
    mechanisms: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    remedy: str = ""
    optional: tuple[str, ...] = ()
    reason: str = ""
    advice: str = ""


class Report(Record):
    """What `doctor` found.

    `failure` is what its trial run raised, None if that went well, and
    `landlock_abi` the version of Landlock in use, 0 for none.
    """

    guarantees: tuple[Guarantee, ...]
    failure: SandboxError | None = None
    landlock_abi: int = 0

    @property
    def ok(self) -> bool:
        """Whether every guarantee is given by everything that should."""
        return self.failure is None and all(row.ok for row in self.guarantees)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, fit for JSON."""
        failure: dict[str, str] | None = None
        if self.failure is not None:
            failure = {
                "type": type(self.failure).__name__,
                "message": str(self.failure),
            }
            if isinstance(self.failure, UnavailableError):
                failure["guarantee"] = self.failure.guarantee
                failure["step"] = self.failure.step
                failure["errno"] = self.failure.errno_name
                failure["detail"] = self.failure.detail
                failure["remedy"] = self.failure.remedy
        return {
            "ok": self.ok,
            "landlock_abi": self.landlock_abi,
            "failure": failure,
            "guarantees": [
                {name: getattr(row, name) for name in row._fields}
                for row in self.guarantees
            ],
        }

    def __str__(self) -> str:
        lines = []
        for row in self.guarantees:
            verdict = {True: "yes", False: "NO", None: "not seen"}[row.ok]
            mechanisms = ", ".join(map(self._shown, row.mechanisms))
            lines.append(f"{row.name:10} {verdict:9} {mechanisms}".rstrip())
            if row.missing:
                lines.append(f"{'':10} missing: {', '.join(row.missing)}")
            if row.remedy and self.failure is None:
                lines.append(f"{'':10} {row.remedy}")
            if row.optional:
                names = ", ".join(row.optional)
                lines.append(f"{'':10} optional: {names} ({row.reason})")
                lines.append(f"{'':10} {row.advice}")
        if self.failure is not None:
            lines.append(f"\n{self.failure}")
        return "\n".join(lines)

    def _shown(self, mechanism: str) -> str:
        if mechanism == "landlock" and self.landlock_abi:
            return f"landlock (ABI {self.landlock_abi})"
        return mechanism


def doctor() -> Report:
    """Make a trial run and report what confined it.

    Takes as long as a first run, and leaves nothing behind.  It never
    raises for what this machine cannot do: the report says it.
    """
    from csandbox.sandbox import execute

    try:
        result = execute("1 + 1")
    except SandboxError as error:
        return _refused(error)
    return _refused(result.error) if result.error else _confined(result)


def _confined(result: Result) -> Report:
    in_force = result.isolation.mechanisms
    rows = []
    for name, wanted in GUARANTEES.items():
        missing = tuple(each for each in wanted if each not in in_force)
        remedies = dict.fromkeys(_REMEDIES[each] for each in missing)
        extra = OPTIONAL.get(name, ())
        lacking = tuple(each for each in extra if each not in in_force)
        reason, advice = _why_no_cgroup() if lacking else ("", "")
        rows.append(
            Guarantee(
                name=name,
                ok=not missing,
                mechanisms=tuple(
                    each for each in wanted + extra if each in in_force
                ),
                missing=missing,
                remedy=" ".join(remedies),
                optional=lacking,
                reason=reason,
                advice=advice,
            )
        )
    return Report(
        guarantees=tuple(rows), landlock_abi=result.isolation.landlock_abi
    )


def _why_no_cgroup() -> tuple[str, str]:
    """Return the reason, what it is about included, and the remedy."""
    from csandbox import cgroups, zygotes

    found = zygotes.current_cgroup()
    if not isinstance(found, cgroups.Absence):
        return "", ""  # it has been made meanwhile
    about = f": {found.detail}" if found.detail else ""
    return f"{found.reason}{about}", found.remedy


def _refused(error: SandboxError) -> Report:
    rows = []
    for name in GUARANTEES:
        guilty = getattr(error, "guarantee", "") == name
        remedy = getattr(error, "remedy", "") if guilty else ""
        ok = False if guilty else None
        rows.append(Guarantee(name=name, ok=ok, remedy=remedy))
    return Report(guarantees=tuple(rows), failure=error)
