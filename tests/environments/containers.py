"""Containers as Docker and Kubernetes make them, by runc.

The root file system is this machine's own under an overlay in memory, in a
mount namespace that goes with this process; the network is none.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import steps

PLACE = Path("/media")  # outside, covered by a file system in memory
DEFAULT_CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL"),
    *("MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP"),
    *("SETUID", "SYS_CHROOT"),
)
MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore"),
    *("/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi"),
    *("/proc/timer_list", "/proc/timer_stats", "/sys/firmware"),
    "/sys/devices/virtual/powercap",
)
READ_ONLY = (
    *("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"),
    "/proc/sysrq-trigger",
)
MOUNTS = {  # of which a container has its own: kind and options
    "/proc": ("proc", "nosuid,noexec,nodev"),
    "/dev": ("tmpfs", "nosuid,strictatime,mode=755,size=64m"),
    "/dev/pts": (
        "devpts",
        "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
    ),
    "/dev/shm": ("tmpfs", "nosuid,noexec,nodev,mode=1777,size=64m"),
    "/dev/mqueue": ("mqueue", "nosuid,noexec,nodev"),
    "/sys": ("sysfs", "nosuid,noexec,nodev,ro"),
}
NAMESPACES = ("pid", "mount", "ipc", "uts", "network", "cgroup")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


# --- the profile -------------------------------------------------------------


def docker_profile():
    """Return Docker's default seccomp profile, as Docker writes it."""
    path = os.environ.get("CSANDBOX_DOCKER_PROFILE")
    if not path:
        sys.exit("CSANDBOX_DOCKER_PROFILE has to be the path of Docker's")
    return json.loads(Path(path).read_text())


def seccomp(profile, capabilities):
    """Return such a profile as runc wants it: without its conditions."""
    rules = [
        {
            key: rule[key]
            for key in ("names", "action", "args", "errnoRet")
            if rule.get(key)
        }
        for rule in profile["syscalls"]
        if _applies(rule, capabilities)
    ]
    native = f"SCMP_ARCH_{platform.machine().upper()}"
    others = [
        each["subArchitectures"]
        for each in profile["archMap"]
        if each["architecture"] == native
    ]
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
        "architectures": [native, *(others[0] if others else ())],
        "syscalls": rules,
    }


def _applies(rule, capabilities):
    wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
    here = ARCHITECTURES[platform.machine()]
    held = {f"CAP_{name}" for name in capabilities}
    return (
        here in wanted.get("arches", [here])
        and here not in unwanted.get("arches", [])
        and held.issuperset(wanted.get("caps", []))
        and not held.intersection(unwanted.get("caps", []))
        and _release() >= _numbers(wanted.get("minKernel", "0"))
    )


def _release():
    return _numbers(platform.release())


def _numbers(text):
    parts = text.partition("-")[0].split(".")[:2]
    return [int(part) for part in parts]


# --- the container -----------------------------------------------------------


def specification(
    command,
    *,
    uid=0,
    capabilities=DEFAULT_CAPABILITIES,
    no_new_privileges=False,
    read_only=False,
    kubernetes=False,
):
    """Return the config.json of a container, as a dict."""
    bounding = [f"CAP_{name}" for name in capabilities]
    held = bounding if uid == 0 else []
    return {
        "ociVersion": "1.0.2",
        "hostname": "container",
        "root": {"path": str(PLACE / "root"), "readonly": read_only},
        "process": {
            "args": command,
            "cwd": os.getcwd(),
            "env": _environment(kubernetes),
            "user": {"uid": uid, "gid": uid},
            "noNewPrivileges": no_new_privileges,
            "capabilities": {
                "bounding": bounding,
                "effective": held,
                "permitted": held,
            },
        },
        "mounts": [
            {
                "destination": place,
                "type": kind,
                "source": kind,
                "options": options.split(","),
            }
            for place, (kind, options) in MOUNTS.items()
        ],
        "linux": {
            "cgroupsPath": f"/{_name()}",
            "namespaces": [{"type": name} for name in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            "seccomp": seccomp(docker_profile(), capabilities),
        },
    }


def _name():
    return f"csandbox-{os.getpid()}"


def _environment(kubernetes):
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("CSANDBOX_", "PYTEST", "PYTHON"))
        or name in ("LANG", "TERM", "TMPDIR")
    }
    passed |= {"HOME": "/tmp", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    if kubernetes:
        passed["KUBERNETES_SERVICE_HOST"] = "10.0.0.1"
    return [f"{name}={value}" for name, value in passed.items()]


def entered(command, **options):
    """Run the command in a container, and end with its exit status."""
    if not shutil.which("runc"):
        sys.exit("this takes runc")
    configuration = specification(command, **options)
    here = os.getcwd()
    steps.private_mounts()
    _lay_over()
    (PLACE / "config.json").write_text(json.dumps(configuration))
    os.chdir(here)
    sys.exit(_run())


def _lay_over():
    """Mount the root file system: what is written to it is in memory."""
    steps.mount("none", str(PLACE), "tmpfs", 0, "mode=755")
    for name in ("root", "upper", "work"):
        (PLACE / name).mkdir()
    layers = f"lowerdir=/,upperdir={PLACE}/upper,workdir={PLACE}/work"
    steps.mount("overlay", str(PLACE / "root"), "overlay", 0, layers)


def _run():
    runc = ["runc", "--root", str(PLACE / "state")]
    running = subprocess.Popen([*runc, "run", "--bundle", str(PLACE), _name()])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.terminate())
    try:
        return running.wait()
    finally:  # a container that has ended well is gone already
        subprocess.run(
            [*runc, "delete", "--force", _name()],
            stderr=subprocess.DEVNULL,
            check=False,
        )
