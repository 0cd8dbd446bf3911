"""The environments, as data: what makes each, and what is expected of it."""

from typing import NamedTuple

import steps
from steps import container, limits, outer_filter

FULL, LANDLOCK, COMPUTE = "full", "landlock", "compute"
# The escape suite of each tier; of the full one without what is about memory
# and the kernel alone, which takes long and is the same everywhere.
ESCAPES = {
    FULL: "test_escape_[!mk]*.py",
    LANDLOCK: "test_tier_landlock.py",
    COMPUTE: "test_compute_bare.py",
}


class Environment(NamedTuple):
    """One environment.

    `tier` is what csandbox has to find there.  `root` says that making it
    takes root, `container` that it takes runc and Docker's profile.
    `at_once` is how many runs there is room for at the same time, and
    `escapes` whether the escape suite is run there.
    """

    about: str
    tier: str
    steps: tuple = ()
    root: bool = False
    container: bool = False
    at_once: int = 20
    escapes: bool = True


def _container(about, *, escapes=True, **options):
    return Environment(
        about,
        LANDLOCK,
        (container(**options),),
        root=True,
        container=True,
        escapes=escapes,
    )


NOBODY_KNOWN = 4711  # a user id that images have no name for

ENVIRONMENTS = {
    "root": Environment("root", FULL, root=True, escapes=False),
    "user": Environment(
        "an ordinary user", FULL, (steps.ordinary_user,), escapes=False
    ),
    "unknown-user": Environment(
        "a user id without an entry in /etc/passwd",
        FULL,
        (steps.unknown_user,),
        root=True,
    ),
    "no-user-namespaces": Environment(
        "an ordinary user, max_user_namespaces exhausted",
        LANDLOCK,
        (steps.ordinary_user, steps.no_user_namespaces),
    ),
    "docker": _container("Docker's profile, capabilities and masked paths"),
    "docker-user": _container("the same, not root", uid=NOBODY_KNOWN),
    "docker-hardened": _container(
        "--cap-drop ALL --security-opt no-new-privileges",
        capabilities=(),
        no_new_privileges=True,
    ),
    "docker-hardened-user": _container(
        "the same, not root",
        capabilities=(),
        no_new_privileges=True,
        uid=NOBODY_KNOWN,
    ),
    "docker-read-only": _container(
        "Docker's, not root, with --read-only: only /dev/shm is writable",
        uid=NOBODY_KNOWN,
        read_only=True,
        escapes=False,
    ),
    "kubernetes": _container("Kubernetes, RuntimeDefault", kubernetes=True),
    "kubernetes-restricted": _container(
        "Kubernetes, its Pod security standard `restricted`",
        kubernetes=True,
        capabilities=(),
        no_new_privileges=True,
        uid=NOBODY_KNOWN,
    ),
    "filter": Environment(
        "an outer seccomp filter without namespaces",
        LANDLOCK,
        (outer_filter(),),
    ),
    "filter-no-notify": Environment(
        "such a filter, without user notification either",
        LANDLOCK,
        (outer_filter("--no-notify"),),
        escapes=False,
    ),
    "filter-no-pidfd": Environment(
        "such a filter, without pidfds either",
        LANDLOCK,
        (outer_filter("--no-pidfd"),),
        escapes=False,
    ),
    "filter-strict": Environment(
        "such a filter, without Landlock, pidfds and notification either",
        COMPUTE,
        (outer_filter("--strict"),),
    ),
    "filter-strict-user": Environment(
        "the same, an ordinary user",
        COMPUTE,
        (steps.ordinary_user, outer_filter("--strict")),
        escapes=False,
    ),
    "no-landlock": Environment(
        "a kernel without Landlock, an ordinary user",
        FULL,
        (steps.ordinary_user, outer_filter("--namespaces", "--no-landlock")),
        escapes=False,
    ),
    "read-only": Environment(
        "every file system read-only",
        FULL,
        (steps.read_only, steps.ordinary_user),
        root=True,
    ),
    "hidepid": Environment(
        "a /proc that hides other users' processes",
        FULL,
        (steps.hidden_processes, steps.ordinary_user),
        root=True,
        escapes=False,  # attacks on /proc fail there without csandbox
    ),
    "few-descriptors": Environment(
        "RLIMIT_NOFILE of 64",
        FULL,
        (limits(nofile=64),),
        at_once=4,
        escapes=False,
    ),
    "few-processes": Environment(
        "RLIMIT_NPROC of 64, a user with nothing else running",
        FULL,
        (limits(nproc=64), steps.unknown_user),
        root=True,
        at_once=8,
        escapes=False,
    ),
    "closed-streams": Environment(
        "descriptors 0 to 2 closed",
        FULL,
        (steps.closed_streams,),
        escapes=False,
    ),
    "many-descriptors": Environment(
        "a thousand descriptors open",
        FULL,
        (steps.many_descriptors,),
    ),
    "ignored-children": Environment(
        "SIGCHLD ignored",
        FULL,
        (steps.ignored_children,),
    ),
}
