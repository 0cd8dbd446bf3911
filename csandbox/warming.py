"""warm: what a first run would wait for, done before."""

from __future__ import annotations

from time import monotonic, sleep

from csandbox import cells, places, sandbox, tiers, zygotes
from csandbox.errors import UnavailableError
from csandbox.light import suppress
from csandbox.terms import policy_of, terms_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from csandbox.policy import Policy

READY_SECONDS = 2.0  # for a cell whose like has just been ready
PAUSE = 0.0005


@places.unless_exiting
def warm(policy: Policy | None = None, **overrides: Any) -> None:
    """Have the next run under a policy begin at once.

    Starts the process from which its runs are forked, with the packages of
    `preload` imported, and has a run's process ready and waiting for its
    job; returns when it waits.  Without it the first run takes that time:
    some 20 ms, and with pandas half a second.  Takes fields of Policy as
    `run` does.  Does nothing if all is ready; so it may be called from any
    thread, at any time, as often as one likes.

    What waits ends by itself after 25 seconds without a run, and the process
    from which it was forked after 10 minutes in which there were other runs
    but none of it, or if more than `zygotes` policies of other packages were
    used since (see set_capacity).  Nothing is ready in a fork of this
    process: call it there, as in the start-up hook of a server's worker.
    Not every run can be ready ahead: none is with start="fork", and with
    profile="compute", where namespaces are refused, or in a cgroup of its
    own only the first of those processes is.

    Raises PolicyError for a bad policy, and UnavailableError if the sandbox
    cannot be set up or had no place in time, as `run` does.
    """
    policy = policy_of(policy, overrides)
    if policy.start == "fork":
        return
    template = terms_of(policy).template
    if tiers.current() is None:
        with suppress(UnavailableError):  # then that tier is not to be had
            zygotes.booted(template, whole=True)
    template = tiers.settled(template, policy)
    zygotes.booted(template, whole=True)
    _import_packages(policy)
    order = cells.Order(template, policy)
    if not order.kind:
        return
    if cells.is_armed(order) is None:
        cells.expect(order)
        sandbox.run_nothing(policy)
    end = monotonic() + READY_SECONDS
    while cells.is_armed(order) is False and monotonic() < end:
        sleep(PAUSE)


def _import_packages(policy: Policy) -> None:
    """Import here what values of preloaded packages are made with."""
    for name in ("numpy", "pandas"):
        if name in policy.preload:
            with suppress(ImportError):
                __import__(name)
