"""Which mechanisms the runs of this process get: all that work here.

The first run finds out, by the whole chain of set-up: a cell gets its job
only when that has succeeded.  Where a step of it fails with an errno that
says "not here", the chain is tried again without what that step is for.  Once
a cell was ready, the choice stands for as long as the process lives: what
fails later is an error, or a guest or neighbour who exhausts something would
choose.
"""

from __future__ import annotations

import os
from errno import (
    EACCES,
    EINVAL,
    ENODEV,
    ENOSPC,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    EUSERS,
)

from csandbox import guarantees, zygotes
from csandbox.errors import UnavailableError
from csandbox.light import RLock
from csandbox.policy import Policy
from csandbox.remedies import remedy
from csandbox.result import Record
from csandbox.zygotes import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _T = TypeVar("_T")

NAMESPACES, LANDLOCK = "namespaces", "landlock"

_REFUSED = (EPERM, EACCES, ENOSYS)
_NONE_LEFT = (ENOSPC, EUSERS, EINVAL)
# By step, or by how steps begin: what is lost if one fails with such errnos.
# All others are no reason to do with less: too little memory, say, or too
# many descriptors.  (Nor is a source of the view that may not be read.)
_LOSSES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("namespaces", NAMESPACES, (*_REFUSED, *_NONE_LEFT)),
    ("uid-map", NAMESPACES, (EPERM, EACCES)),
    ("ambient-capabilities", NAMESPACES, (EPERM, EACCES)),
    ("hostname", NAMESPACES, (EPERM, EACCES)),
    ("become-uid", NAMESPACES, (EPERM, EINVAL)),
    ("view-source", NAMESPACES, (EPERM, ENOSYS)),
    ("view-", NAMESPACES, _REFUSED),
    ("zygote-capabilities", NAMESPACES, (EPERM,)),
    ("scratch", NAMESPACES, (*_REFUSED, ENODEV)),
    ("init", NAMESPACES, (*_REFUSED, ENOSPC, EUSERS)),
    ("pid-namespace", NAMESPACES, _REFUSED),
    ("cell-mounts", NAMESPACES, (*_REFUSED, ENOSPC, EUSERS)),
    ("cell-scratch", NAMESPACES, _REFUSED),
    ("cell-user-namespace", NAMESPACES, (*_REFUSED, *_NONE_LEFT)),
    ("cell-capabilities", NAMESPACES, (EPERM,)),
    ("landlock-paths", LANDLOCK, (ENOSYS, EOPNOTSUPP, EPERM)),
    ("landlock", LANDLOCK, (ENOSYS, EOPNOTSUPP, EPERM)),
)


class Cause(Record):
    """Why a mechanism is not used: what failed, and at which step.

    `lost` is "namespaces" or "landlock", `errno` the error number.
    """

    lost: str
    step: str
    errno: int
    detail: str = ""


class Tier(Record):
    """The mechanisms that all runs of a process have, and why not more.

    `name` is "full", with namespaces; "landlock", without; or "compute",
    with neither namespaces nor Landlock, which runs profile="compute" only.
    `mechanisms` is the sum of their bits.
    """

    name: str
    mechanisms: int
    causes: tuple[Cause, ...] = ()

    def cause(self, lost: str) -> Cause | None:
        """Return why namespaces or Landlock are not used, None if they are."""
        return next((each for each in self.causes if each.lost == lost), None)


class _Choice:
    def __init__(self) -> None:
        self.lock = RLock()  # reentrant: a signal handler may run something
        self.tier: Tier | None = None
        self.likely: Tier | None = None  # its zygote stands
        self.refused: tuple[Cause, ...] = ()  # of a search that found none


_choice = _Choice()


def current() -> Tier | None:
    """Return the tier of this process, None before its first run."""
    return _choice.tier


def causes() -> tuple[Cause, ...]:
    """Return why there is no better tier, or none at all."""
    tier = _choice.tier
    return tier.causes if tier is not None else _choice.refused


def settled(template: Template, policy: Policy) -> Template:
    """Return a template with the mechanisms that runs of this process have.

    Finds out which these are, if nothing has run yet.  Raises
    UnavailableError if they do not suffice for the policy.
    """
    tier = _choice.tier or _choose(template, policy)
    _check(tier, policy)
    if template.mechanisms == tier.mechanisms:
        return template
    return _changed(template, mechanisms=tier.mechanisms)


def lost_by(error: UnavailableError) -> str:
    """Return what a failed step says is not to be had here, or ""."""
    for step, lost, errnos in _LOSSES:
        if error.step == step or (
            step.endswith("-") and error.step.startswith(step)
        ):
            return lost if error.errno in errnos else ""
    return ""


def with_zygote(
    template: Template,
    policy: Policy,
    run: Callable[[Template], dict[str, Any]],
) -> tuple[dict[str, Any], Template]:
    """Return what `run` gives for a cell of a zygote, and with which template.

    A process that has run nothing yet finds out by the run itself, unless it
    asks for more than others, which shall not cost them their tier.
    """
    alike = not (template.several or template.compute or policy.require)
    likely = _choice.tier is None and alike and _likely(template)
    if likely:
        chosen = _changed(template, mechanisms=likely.mechanisms)
        try:
            outcome = run(chosen)
        except UnavailableError as error:
            if _choice.tier is None:  # it has not proved itself
                zygotes.discard_of(chosen)
            if not lost_by(error):
                raise
        else:
            if outcome["ready"]:
                _choice.tier = _choice.tier or likely
            return outcome, chosen
    template = settled(template, policy)
    return run(template), template


def _likely(template: Template) -> Tier | None:
    """Return the best tier of which a zygote stands, if runs may be in it."""
    choice = _choice
    with choice.lock:
        if choice.likely is None:
            choice.likely, _ = _descend(
                lambda tier: zygotes.booted(
                    _changed(
                        template,
                        mechanisms=tier.mechanisms,
                        compute=tier.name == "compute",
                    )
                )
            )
        return None if choice.likely.name == "compute" else choice.likely


def with_fork(
    template: Template,
    policy: Policy,
    run: Callable[[Template], dict[str, Any]],
) -> tuple[dict[str, Any], Template]:
    """Return what `run` gives for start="fork", and with which template.

    A process that has run nothing yet finds out by the fork itself, as it
    need not have a zygote.
    """
    if _choice.tier is not None:
        template = settled(template, policy)
        return run(template), template

    def attempt(tier: Tier) -> dict[str, Any] | UnavailableError:
        try:
            _check(tier, policy)
        except UnavailableError as error:
            return error
        return run(_changed(template, mechanisms=tier.mechanisms))

    tier, outcome = _descend(attempt)
    if isinstance(outcome, UnavailableError):
        raise outcome
    if outcome["ready"]:
        _choice.tier = _choice.tier or tier
    return outcome, _changed(template, mechanisms=tier.mechanisms)


def _choose(template: Template, policy: Policy) -> Tier:
    choice = _choice
    with choice.lock:
        while choice.tier is None:
            tier, _ = _descend(lambda each: _try(each, template, policy))
            # A signal handler may have chosen meanwhile.
            choice.tier = choice.tier or tier
        return choice.tier


def _descend(attempt: Callable[[Tier], _T]) -> tuple[Tier, _T]:
    """Return the best tier for which the attempt succeeds, and what it gave.

    Raises the error of the best one if it succeeds for none.
    """
    causes: tuple[Cause, ...] = ()
    first: UnavailableError | None = None
    while True:
        tier = _tier(causes)
        try:
            return tier, attempt(tier)
        except UnavailableError as error:
            lost = lost_by(error)
            if not lost:
                raise
            first = first or error
            if tier.cause(lost):
                _choice.refused = causes
                raise first from None
            causes += (
                Cause(
                    lost=lost,
                    step=error.step,
                    errno=error.errno,
                    detail=error.detail,
                ),
            )


def _tier(causes: tuple[Cause, ...]) -> Tier:
    lost = {each.lost for each in causes}
    mechanisms = zygotes.ALL_MECHANISMS
    if NAMESPACES in lost:
        mechanisms &= ~guarantees.mask(guarantees.NAMESPACES)
    if LANDLOCK in lost:
        mechanisms &= ~guarantees.mask((guarantees.LANDLOCK,))
    if NAMESPACES not in lost:
        name = "full"
    else:
        name = "landlock" if LANDLOCK not in lost else "compute"
    return Tier(name=name, mechanisms=mechanisms, causes=causes)


def _try(tier: Tier, template: Template, policy: Policy) -> None:
    """Have a cell made ready in this tier, which gets no job."""
    # What several processes need beside shall not cost others their tier.
    plain = _changed(
        template,
        mechanisms=tier.mechanisms,
        several=False,
        compute=template.compute or tier.name == "compute",
    )
    if plain.compute:
        policy = Policy(profile="compute")
    elif policy.processes:
        policy = policy.replace(processes=0)
    zygote = zygotes.booted(plain)
    try:
        zygotes.try_cell(zygote, policy, plain)
    except UnavailableError:
        zygotes.discard(plain, zygote)
        raise
    if plain != _changed(template, mechanisms=tier.mechanisms):
        zygotes.discard(plain, zygote)  # no run will ask for it


def _changed(template: Template, **changes: object) -> Template:
    fields = {name: getattr(template, name) for name in template._fields}
    return Template(**{**fields, **changes})


# --- what a tier cannot do ---------------------------------------------------


def _check(tier: Tier, policy: Policy) -> None:
    """Refuse what cannot be in this tier, before anything starts."""
    if not tier.causes:
        return
    for lost in policy.require:
        if cause := tier.cause(lost):
            raise _refusal(cause, f"require={lost!r} cannot be met here")
    without = tier.cause(NAMESPACES)
    if without is None:
        return
    if policy.processes:
        raise _refusal(
            without,
            f"processes={policy.processes} needs namespaces: leave it out",
            "processes",
        )
    if tier.name == "compute" and policy.profile != "compute":
        raise _refusal(
            tier.cause(LANDLOCK) or without,
            f"profile={policy.profile!r} needs namespaces or Landlock: take "
            'profile="compute", which opens no file and runs here',
            "files",
        )


def _refusal(cause: Cause, what: str, guarantee: str = "") -> UnavailableError:
    from csandbox.causes import explain
    from csandbox.surroundings import look

    found = explain(cause, look())
    return UnavailableError(
        guarantee or remedy(cause.step, cause.errno)[0],
        cause.step,
        cause.errno,
        f"{what}. It is not to be had as {found.why}. {found.remedy}",
        cause.detail,
    )


def _reinit() -> None:
    _choice.lock._at_fork_reinit()  # type: ignore[attr-defined]


# Another thread may have held it; what was chosen stays.
os.register_at_fork(after_in_child=_reinit)
