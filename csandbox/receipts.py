"""The receipt of a run, of what its cell said when it was ready.

What does not bear out the plan has been refused before the cell got its job:
see csb_receipt_check().
"""

from __future__ import annotations

from csandbox import guarantees
from csandbox.result import Isolation, KernelState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from csandbox.zygotes import Template

NO_LIMIT = 2**64 - 1  # RLIM_INFINITY


def isolation(outcome: dict[str, Any], template: Template) -> Isolation:
    """Return what confined a run, as its outcome tells it."""
    told = outcome["receipt"]
    if told is None:  # it was lost
        return Isolation(mechanisms=frozenset())
    bits = outcome["detail"]
    mechanisms = guarantees.names(bits & 0xFFFF)
    if template.compute:
        mechanisms |= {guarantees.NO_PATHS}
    inheritable, permitted, effective, bounding, ambient = told["capabilities"]
    return Isolation(
        mechanisms=mechanisms,
        landlock_abi=bits >> 16,
        uid=told["uid"],
        kernel=KernelState(
            no_new_privs=told["no_new_privs"] == 1,
            seccomp=told["seccomp"],
            filters=told["filters"],
            namespaces=tuple(told["namespaces"]),
            effective=effective,
            permitted=permitted,
            inheritable=inheritable,
            ambient=ambient,
            bounding=bounding,
            limits=tuple(
                (name, -1 if limit == NO_LIMIT else limit)
                for name, limit in told["limits"].items()
            ),
        ),
    )
