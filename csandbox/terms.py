"""What a policy means for its runs, worked out once for each.

A run whose caller waits has no time to read sizes, to count processors, and
to compare policies field by field.  A policy has its terms with it, and a
bounded number of those is remembered that calls made by changing fields.
"""

from __future__ import annotations

from itertools import count

from csandbox import bootstrap, guarantees, zygotes
from csandbox.policy import Policy, cores, make_policy
from csandbox.zygotes import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 256  # policies that are remembered, and kinds of cells


class Terms:
    """What a policy means.

    `limits` are those of Run.communicate(); `variables` all that its guests
    have; `template` what its zygote is to be, before a tier is chosen.
    """

    def __init__(self, policy: Policy) -> None:
        self.output_bytes = policy.output_bytes
        self.result_bytes = policy.result_bytes
        self.limits: dict[str, Any] = {
            "timeout": policy.timeout,
            "cpu_time": _cpu_time(policy),
            "memory": policy.memory_bytes,
            "tasks": policy.threads + 1,
            "processes": policy.processes,
            "output": policy.output_bytes,
            "output_kills": policy.output_action == "kill",
            "result": policy.result_bytes,
            "required": required(policy),
        }
        self._cores = self._user = -1
        self.variables: dict[str, str] = {}
        self.template = Template()
        # Of all that decides what a cell is like before it has its job.
        self._alike = (
            *zygotes.limits(policy).values(),
            policy.result_bytes,
            policy.require,
        )
        self._kind: tuple[Template, bool, int] | None = None

    def refresh(self, policy: Policy) -> Terms:
        """Look again at what may have changed in this process."""
        processors, user = cores(), zygotes.changed_user()
        if (processors, user) != (self._cores, self._user):
            pools = {}
            threads = policy.library_threads
            if threads < processors:
                pools["OMP_NUM_THREADS"] = str(threads)
            self.variables = {**bootstrap.ENVIRONMENT, **pools, **policy.env}
            self.template = Template(
                preload=policy.preload,
                several=policy.processes > 0,
                threads=_preloaded(threads) if policy.preload and pools else 0,
                compute=policy.profile == "compute",
                user=user,
            )
            self._cores, self._user = processors, user
        return self

    def kind(self, template: Template, *, stored: bool) -> int:
        """Return a number that cells have which can stand for each other.

        `stored`: whether they have a place for large inputs.
        """
        known = self._kind
        if known is not None and known[0] is template and known[1] is stored:
            return known[2]
        number = _number_of((template, stored, *self._alike))
        self._kind = template, stored, number
        return number


_changed: dict[tuple[object, ...], Policy] = {}
_numbers: dict[tuple[object, ...], int] = {}
_new_numbers = count(1)


def terms_of(policy: Policy) -> Terms:
    """Return what a policy means now."""
    terms: Terms | None = getattr(policy, "_terms", None)
    if terms is None:
        terms = Terms(policy)
        object.__setattr__(policy, "_terms", terms)
    return terms.refresh(policy)


def policy_of(policy: Policy | None, overrides: dict[str, Any]) -> Policy:
    """Return what make_policy() does, the same object for the same fields."""
    if not overrides:
        return make_policy(policy, overrides)
    # By type too, as what 1 is valid for True may not be.
    key = (
        policy,
        *((name, type(value), value) for name, value in overrides.items()),
    )
    try:
        found = _changed.get(key)
    except TypeError:  # a dict or a list, which may change
        return make_policy(policy, overrides)
    if found is None:
        found = make_policy(policy, overrides)
        if len(_changed) >= MOST:
            _changed.clear()
        _changed[key] = found
    return found


def required(policy: Policy) -> int:
    """Return the bits of the mechanisms that a policy insists on."""
    if not policy.require:
        return 0
    return guarantees.mask(
        [each for name in policy.require for each in guarantees.REQUIRED[name]]
    )


def _preloaded(threads: int) -> int:
    """Return how many threads a preloaded library may have.

    A power of two, so that many limits share a few zygotes.
    """
    return 1 << threads.bit_length() >> 1


def _cpu_time(policy: Policy) -> float:
    if policy.cpu_time is not None:
        return policy.cpu_time
    # One busy thread shall reach its timeout, not this a moment before.
    return policy.timeout + min(0.05, policy.timeout / 20)


def _number_of(key: tuple[object, ...]) -> int:
    """Return the number of a key, which no other has, or had."""
    number = _numbers.get(key)
    if number is None:
        if len(_numbers) >= MOST:
            _numbers.clear()
        number = _numbers[key] = next(_new_numbers)
    return number
