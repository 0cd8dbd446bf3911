"""What can be seen of where this process runs: for doctor, never for a run."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from csandbox.result import Record

# The first file that is there names the container.
_CONTAINERS = (
    ("run/.containerenv", "Podman"),
    (".dockerenv", "Docker"),
)


class Surroundings(Record):
    """Facts about a machine and a process; what cannot be read is empty.

    `kernel` is its version, `lsm` the security modules in use, `apparmor` the
    profile that this process runs under, `sysctls` the values of those that
    `look` knows, `seccomp` whether a filter came with the process,
    `container` a word for what it runs in.
    """

    kernel: tuple[int, int] = (0, 0)
    lsm: tuple[str, ...] = ()
    apparmor: str = ""
    apparmor_loaded: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()
    seccomp: bool = False
    container: str = ""
    chroot: bool = False
    root: bool = False

    def sysctl(self, name: str) -> str:
        """Return the value of a sysctl, "" if there is none."""
        return dict(self.sysctls).get(name, "")


SYSCTLS = (
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.unprivileged_userns_clone",
    "user.max_user_namespaces",
    "user.max_pid_namespaces",
    "user.max_mnt_namespaces",
)


def look(top: str = "/") -> Surroundings:
    """Return what is to be seen here; `top` is for tests."""

    def read(path: str) -> str:
        # A process has few bytes to say, and some files are for others.
        with (
            suppress(OSError),
            open(os.path.join(top, path), errors="replace") as file,
        ):
            return file.read(65536).strip("\0\n ")
        return ""

    status = read("proc/self/status")
    mounts = read("proc/self/mountinfo")
    lsm = read("sys/kernel/security/lsm")
    values = {
        name: read("proc/sys/" + name.replace(".", "/")) for name in SYSCTLS
    }
    return Surroundings(
        kernel=_version(read("proc/sys/kernel/osrelease")),
        lsm=tuple(lsm.split(",")) if lsm else (),
        apparmor=_label(
            read("proc/self/attr/apparmor/current")
            or read("proc/self/attr/current")
        ),
        apparmor_loaded=read("sys/module/apparmor/parameters/enabled") == "Y",
        sysctls=tuple((name, each) for name, each in values.items() if each),
        seccomp=_field(status, "Seccomp") == "2",
        container=_container(top, mounts),
        chroot=_is_chroot(mounts),
        root=os.geteuid() == 0,
    )


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _label(text: str) -> str:
    return "" if text in ("", "unconfined") else text


def _field(status: str, name: str) -> str:
    found = re.search(rf"^{name}:\s*(\S+)", status, re.M)
    return found[1] if found else ""


def _container(top: str, mountinfo: str) -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    for path, name in _CONTAINERS:
        if os.path.exists(os.path.join(top, path)):
            return name
    layered = any(
        each[1] == "/" and each[4] == "overlay" for each in _mounts(mountinfo)
    )
    # Of systemd-nspawn, LXC and Podman, written like this.
    told = os.environ.get("container")  # noqa: SIM112
    return "container" if layered or told else ""


def _mounts(mountinfo: str) -> list[tuple[str, str, str, str, str]]:
    """Return (root, target, options, those of the file system, its type)."""
    found = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        before, after = fields.split(), rest.split()
        if len(before) >= 6 and len(after) >= 3:
            root, target, options = before[3:6]
            found.append((root, target, options, after[2], after[0]))
    return found


def _is_chroot(mountinfo: str) -> bool:
    """Whether the root of this process is not the root of a mount."""
    mounts = _mounts(mountinfo)
    return bool(mounts) and not any(each[1] == "/" for each in mounts)
