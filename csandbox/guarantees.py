"""What csandbox promises, and which features of a kernel keep it, as data.

A guarantee has ways to be given, the best first; all mechanisms of one way
together suffice.  All that a machine has are used, not just those of one way.
"""

from __future__ import annotations

from csandbox import _csandbox, cgroups
from csandbox.result import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

LANDLOCK, SECCOMP, LIMITS = "landlock", "seccomp", "rlimits"
NAMESPACES = (
    "mount namespace",
    "network namespace",
    "pid namespace",
    "user namespace",
)
CGROUP = cgroups.NAME
NOTIFY = "user notification"
UID = "own user id"
# Not of a kernel but of a profile: no call that takes a path is allowed.
NO_PATHS = "no path calls"

BITS = {
    **_csandbox.MECHANISMS,
    CGROUP: _csandbox.CGROUP,
    NOTIFY: _csandbox.NOTIFY,
    UID: _csandbox.UID,
}


class Guarantee(Record):
    """One promise.

    `ways` are sets of mechanisms of which each suffices, the best first;
    `also` what strengthens it where it is to be had.
    """

    ways: tuple[tuple[str, ...], ...]
    also: tuple[str, ...] = ()

    def given_by(self, present: Collection[str]) -> tuple[str, ...]:
        """Return all of `present` that give it, () if they do not suffice."""
        if not any(set(way).issubset(present) for way in self.ways):
            return ()
        return tuple(each for each in self.mechanisms if each in present)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """All that have a part in it, the best first."""
        named = (*(each for way in self.ways for each in way), *self.also)
        return tuple(dict.fromkeys(named))


# No run is without seccomp, which the guarantee of the kernel stands on.  With
# Landlock alone, it has each call that takes a path answered by one of those
# that Landlock checks.
GUARANTEES = {
    "files": Guarantee(
        ways=(("mount namespace",), (LANDLOCK,), (NO_PATHS,)),
    ),
    "network": Guarantee(ways=(("network namespace",), (SECCOMP,))),
    "processes": Guarantee(ways=(("pid namespace",), (SECCOMP,)), also=(UID,)),
    "kernel": Guarantee(ways=((SECCOMP,),), also=("user namespace",)),
    "resources": Guarantee(
        ways=((LIMITS,),),
        also=("mount namespace", "pid namespace", CGROUP),
    ),
}

# What each name that Policy(require=) may have stands for.
REQUIRED = {
    "namespaces": NAMESPACES,
    "landlock": (LANDLOCK,),
    "seccomp": (SECCOMP,),
    "notify": (NOTIFY,),
    "cgroup": (CGROUP,),
    "uid": (UID,),
}

# What a mechanism needs of the kernel, for those who have to find out why it
# is not there.
NEEDS = {
    **dict.fromkeys(
        NAMESPACES,
        "Linux 5.12 with user namespaces, which sysctls, AppArmor and the "
        "seccomp profiles of containers may refuse",
    ),
    LANDLOCK: "Linux 5.13 with landlock in /sys/kernel/security/lsm",
    SECCOMP: "CONFIG_SECCOMP_FILTER",
    LIMITS: "prlimit64, which a seccomp profile may refuse",
    NOTIFY: "Linux 5.5, and an outer seccomp filter without a listener",
    CGROUP: "a delegated cgroup v2 with memory and pids",
    UID: "root with its usual capabilities and, without namespaces, a Python "
    "that any user can read, not one below /root",
}


def mask(names: Collection[str]) -> int:
    """Return the sum of the bits of mechanisms."""
    return sum(BITS[name] for name in names)


def names(bits: int) -> frozenset[str]:
    """Return the names of the mechanisms in a sum of bits."""
    return frozenset(name for name, bit in BITS.items() if bits & bit)
