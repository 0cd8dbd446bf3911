"""Why a mechanism is not to be had here, and the least that would change it.

The errno of a failed step says which kind of thing refused it; what is to be
seen around this process tells those of one kind apart.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOSPC, ENOSYS, EOPNOTSUPP, EUSERS

from csandbox.remedies import remedy
from csandbox.result import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox.surroundings import Surroundings
    from csandbox.tiers import Cause

_RESTRICTED = "kernel.apparmor_restrict_unprivileged_userns"
_CLONE = "kernel.unprivileged_userns_clone"
_MOST = "user.max_user_namespaces"
_ENOUGH = 15000

APPARMOR = (
    "Allow them to this Python alone, by a profile:\n"
    "csandbox doctor --apparmor-profile | "
    "sudo tee /etc/apparmor.d/csandbox-python\n"
    "sudo apparmor_parser -r /etc/apparmor.d/csandbox-python"
)
DOCKER = (
    "Run the container with a profile that allows them, and no more "
    "capabilities:\n"
    "csandbox doctor --docker-profile > profile.json\n"
    "docker run --security-opt seccomp=profile.json ..."
)
KUBERNETES = (
    "Put the profile on the nodes, below the kubelet's seccomp directory, "
    "and name it in the pod's securityContext:\n"
    "csandbox doctor --docker-profile > csandbox.json\n"
    "securityContext:\n"
    "  seccompProfile:\n"
    "    type: Localhost\n"
    "    localhostProfile: csandbox.json"
)
PODMAN = DOCKER.replace("docker run", "podman run")
_FILTERED = (
    "Have what starts this program let it make namespaces (a systemd unit: "
    "no RestrictNamespaces=, and @mount in SystemCallFilter=)."
)
_BY_CONTAINER = {
    "Docker": DOCKER,
    "Podman": PODMAN,
    "Kubernetes": KUBERNETES,
    "container": DOCKER,
}


class Explanation(Record):
    """`why` in words, and `remedy`: a sentence, and lines to paste."""

    why: str
    remedy: str


def explain(cause: Cause, seen: Surroundings) -> Explanation:
    """Return why the step of a cause failed here."""
    if cause.lost == "landlock":
        return _landlock(cause, seen)
    return _namespaces(cause, seen)


def sysctl_lines(name: str, value: int) -> str:
    """Return what sets a sysctl now and at every boot."""
    return (
        f"sudo sysctl -w {name}={value}\n"
        f"echo {name}={value} | sudo tee /etc/sysctl.d/90-csandbox.conf"
    )


def _namespaces(cause: Cause, seen: Surroundings) -> Explanation:
    if cause.errno in (ENOSPC, EUSERS):
        return _used_up(cause, seen)
    if cause.errno == EINVAL:
        return Explanation(
            why="the kernel was built without some kind of namespace",
            remedy="Use a kernel with CONFIG_USER_NS, CONFIG_PID_NS and "
            "CONFIG_NET_NS.",
        )
    if seen.sysctl(_CLONE) == "0" and not seen.root:
        return Explanation(
            why=f"the sysctl {_CLONE} is 0, which only Debian's kernels know",
            remedy="Allow them to every user:\n" + sysctl_lines(_CLONE, 1),
        )
    if seen.sysctl(_RESTRICTED) == "1" and not seen.root:
        return Explanation(
            why=f"AppArmor restricts user namespaces ({_RESTRICTED} is 1)",
            remedy=APPARMOR,
        )
    if cause.errno == ENOSYS and not seen.seccomp:
        return _too_old(seen, (5, 12), "mount_setattr")
    if seen.seccomp:
        return _filtered(seen)
    if seen.apparmor or (cause.errno == EACCES and seen.apparmor_loaded):
        label = f", {seen.apparmor}" if seen.apparmor else ""
        return Explanation(
            why=f"AppArmor refuses it by this program's profile{label}",
            remedy="Add the rules 'userns,' and 'mount,' and 'pivot_root,' "
            "to that profile, or start the program outside of it.",
        )
    if seen.chroot:
        return Explanation(
            why="this program runs in a chroot, where the kernel gives no "
            "user namespaces",
            remedy="Start it with a root of its own instead (a container, "
            "or RootDirectory= of a systemd unit, which mounts it).",
        )
    if "selinux" in seen.lsm:
        return Explanation(
            why="SELinux may refuse it: see ausearch -m avc",
            remedy="Allow user_namespace create to this program's domain.",
        )
    return Explanation(
        why="something refuses it that cannot be seen from here",
        remedy=remedy(cause.step, cause.errno)[1],
    )


def _used_up(cause: Cause, seen: Surroundings) -> Explanation:
    most = seen.sysctl(_MOST)
    if cause.errno == EUSERS:
        why = "user namespaces are nested 32 deep already"
    elif most == "0":
        why = f"the sysctl {_MOST} is 0"
    else:
        why = f"all namespaces that {_MOST} and the like allow are in use"
        if most:
            why += f" ({most} of users)"
    more = _ENOUGH if not most.isdecimal() else max(_ENOUGH, 2 * int(most))
    return Explanation(
        why=why,
        remedy="Allow more, on the machine itself if this is a container:\n"
        + sysctl_lines(_MOST, more),
    )


def _filtered(seen: Surroundings) -> Explanation:
    whose = f", that of {seen.container}," if seen.container else ""
    if seen.container == "container":
        whose = ", that of the container,"
    text = _BY_CONTAINER.get(seen.container, _FILTERED)
    if seen.apparmor:
        text += (
            "\n(AppArmor confines the container as well, by "
            f"{seen.apparmor}: a profile with 'userns,', 'mount,' and "
            "'pivot_root,' is needed too.)"
        )
    return Explanation(why=f"a seccomp profile{whose} refuses it", remedy=text)


def _too_old(
    seen: Surroundings, needed: tuple[int, int], what: str
) -> Explanation:
    have, need = (".".join(map(str, each)) for each in (seen.kernel, needed))
    if seen.kernel >= needed:
        return Explanation(
            why=f"Linux {have} should have {what}, and says that it has not",
            remedy="Allow the call in whatever filters system calls here.",
        )
    return Explanation(
        why=f"Linux {have} has no {what}, which came with {need}",
        remedy=f"Use Linux {need} or later.",
    )


def _landlock(cause: Cause, seen: Surroundings) -> Explanation:
    if (0, 0) < seen.kernel < (5, 13):
        return _too_old(seen, (5, 13), "Landlock")
    if cause.errno == EOPNOTSUPP or (seen.lsm and "landlock" not in seen.lsm):
        names = ",".join(("landlock", *seen.lsm)) if seen.lsm else "landlock,"
        return Explanation(
            why="Landlock is not among the security modules that were "
            f"started ({','.join(seen.lsm) or 'no list to be seen'})",
            remedy="Add it to the kernel's command line, in "
            f"GRUB_CMDLINE_LINUX of /etc/default/grub:\nlsm={names}\n"
            "sudo update-grub && sudo reboot",
        )
    if seen.seccomp:
        found = _filtered(seen)
        return Explanation(
            why=f"{found.why}, or the kernel was built without Landlock",
            remedy="A seccomp profile since Docker 20.10.14 or Podman 4 "
            "allows it: update, or take ours.\n"
            + found.remedy.partition("\n")[2],
        )
    return Explanation(
        why="the kernel was built without Landlock",
        remedy="Use a kernel with CONFIG_SECURITY_LANDLOCK.",
    )
