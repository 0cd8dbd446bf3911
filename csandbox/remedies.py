"""What a failed step of set-up means, and what to do about it."""

from __future__ import annotations

from errno import (
    EACCES,
    EAGAIN,
    EFBIG,
    EMFILE,
    ENFILE,
    ENOENT,
    ENOSPC,
    ENOSYS,
    EPERM,
)

_NO_NAMESPACES = (
    "User namespaces are refused here by a seccomp profile, as containers "
    "have by default, or by a chroot: run with a profile that allows "
    "unshare and clone with namespace flags (csandbox doctor --docker-profile "
    "> profile.json; docker run --security-opt seccomp=profile.json)."
)
_APPARMOR = (
    "AppArmor restricts user namespaces: allow them for this program by an "
    "AppArmor profile with the rule 'userns,', which csandbox doctor "
    "--apparmor-profile prints."
)
_TOO_MANY = (
    "Too many processes or descriptors: raise ulimit -u or ulimit -n, or "
    "run fewer cells at once."
)
_SHORT_FILES = (
    "The limit on the size of files (RLIMIT_FSIZE) is lower than what a run "
    "is given takes: raise ulimit -f."
)
_OLD_KERNEL = "The kernel is too old: Linux 5.13 or later is needed."
_BUG = "This should not happen: please report it as a bug of csandbox."

_CGROUP = (
    "The cgroup for this run could not be made or entered, though that worked "
    "when this program began: leave the program in the cgroup where it was "
    "started, and what it makes beside that alone."
)

# (guarantee, {errno: remedy, None: remedy}) by step.
_STEPS: dict[str, tuple[str, dict[int | None, str]]] = {
    "host-descriptors": (
        "",
        {
            EMFILE: _TOO_MANY,
            ENFILE: _TOO_MANY,
            ENOSYS: _OLD_KERNEL,
            None: "This process cannot make pipes, sockets or a memfd.",
        },
    ),
    "namespaces": (
        "processes",
        {
            EPERM: _NO_NAMESPACES,
            EACCES: _APPARMOR,
            ENOSPC: "No user namespace is left: raise the sysctl "
            "user.max_user_namespaces (0 forbids them).",
            EAGAIN: _TOO_MANY,
            None: _NO_NAMESPACES,
        },
    ),
    "uid-map": ("processes", {None: _APPARMOR}),
    "ambient-capabilities": ("processes", {None: _APPARMOR}),
    "exec": (
        "",
        {
            ENOENT: "The Python of this process is not where sys.executable "
            "says: start it by its full path.",
            None: "The Python of this process cannot be executed again: check "
            "the permissions of sys.executable and of the directories above.",
        },
    ),
    "boot": (
        "",
        {
            None: "A fresh `python -I` with this environment's standard "
            "library did not come up in time or at all; the detail says why.",
        },
    ),
    "view-source": (
        "files",
        {
            None: "The sandbox must be able to read this file or directory of "
            "the Python installation: check its permissions.",
        },
    ),
    "view-readonly": (
        "files",
        {ENOSYS: "mount_setattr is missing: Linux 5.12 or later is needed."},
    ),
    "view-root": ("files", {EACCES: _APPARMOR, EPERM: _APPARMOR}),
    "view-pivot": (
        "files",
        {
            EPERM: "pivot_root is refused, as some containers do whatever "
            "their capabilities: allow it in the container's seccomp profile.",
        },
    ),
    "landlock-paths": (
        "files",
        {
            None: "Landlock is missing: use Linux 5.13 or later with landlock "
            "in /sys/kernel/security/lsm (boot option lsm=landlock,...), and "
            "a container profile that allows its system calls.",
        },
    ),
    "preload": (
        "",
        {
            None: "A module named in preload= cannot be imported inside: it "
            "must be installed in this environment, readable by any user, "
            "and importable without network, /proc, home or any directory "
            "that can be written to (leave it to the guest to import it "
            "then).",
        },
    ),
    "cell": (
        "",
        {
            None: "The cell was killed, or hung, before it was ready: memory "
            "ran out, or the machine is overloaded; run again, or fewer at "
            "once.",
        },
    ),
    "scratch": (
        "resources",
        {
            None: "Without namespaces the private /tmp of a run is a "
            "directory of the host's, and there is nowhere to make one: give "
            "this system a /dev/shm or /tmp that can be written to and has "
            "room (docker run --tmpfs /tmp), or pass scratch=0.",
        },
    ),
    "pid-namespace": (
        "processes",
        {
            EPERM: "Runs with several processes need namespaces of their "
            "own, which are refused here: pass processes=0, or run where "
            "user namespaces are allowed.",
        },
    ),
    "meter": (
        "resources",
        {
            None: "What cells use is read in /proc: mount it here, of this "
            "PID namespace, and without hidepid for this user.",
        },
    ),
    "cgroup": (
        "resources",
        {
            EAGAIN: "The cgroup above has reached its limit of descendants: "
            "raise its cgroup.max.descendants, or run fewer at once.",
            None: _CGROUP,
        },
    ),
    "cell-cgroup": ("resources", {None: _CGROUP}),
    "cell-forks": (
        "processes",
        {
            None: "Child processes are counted by user notification of "
            "seccomp, which this kernel (Linux 5.5) or the seccomp profile "
            "of the container around this does not give: run with "
            "processes=0, or with a profile that allows seccomp().",
        },
    ),
    "receipt": (
        "kernel",
        {
            None: "What the kernel says of the cell is not what was asked "
            "for: the cell was not given the job. Something between csandbox "
            "and the kernel (an emulated one, a preloaded library) lets steps "
            "of set-up seem to work.",
        },
    ),
    "fork": ("", {EAGAIN: _TOO_MANY}),
    "init": ("", {EAGAIN: _TOO_MANY, EMFILE: _TOO_MANY}),
}
_BY_PREFIX = {
    "view-": "files",
    "landlock": "files",
    "cell-mounts": "files",
    "cell-scratch": "resources",
    "cell-limits": "resources",
    "seccomp": "kernel",
    "no-new-privileges": "kernel",
    "cell-": "processes",
    "pid-": "processes",
}


def remedy(step: str, errno: int) -> tuple[str, str]:
    """Return the guarantee that a failed step was for, and what to do."""
    guarantee, texts = _STEPS.get(step, ("", {}))
    if errno in (EMFILE, ENFILE):
        return "", _TOO_MANY  # whatever it was wanted for
    if errno == EFBIG:
        return "", _SHORT_FILES
    if step not in _STEPS:
        for prefix, name in _BY_PREFIX.items():
            if step.startswith(prefix):
                guarantee = name
                break
    if errno in texts:
        return guarantee, texts[errno]
    if None in texts:
        return guarantee, texts[None]
    if errno == ENOSYS:
        return guarantee, _OLD_KERNEL
    if errno in (EPERM, EACCES):
        return guarantee, _NO_NAMESPACES
    return guarantee, _BUG
