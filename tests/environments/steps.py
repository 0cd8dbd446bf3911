"""What turns a process into one of an environment, a function each.

Each is given the command that will be executed, does its part to this
process for good, and returns the command, which it may put something before.
Nothing of it outlives the process: mounts are made in a namespace of its own.
"""

import ctypes
import os
import pwd
import resource
import signal
import sys
from functools import partial
from pathlib import Path

OUTER = Path(__file__).parent.parent / "outer.py"
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE = 4
WRITABLE = "/media"  # where a read-only system has its temporary files

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags):
    _check(_libc.unshare(flags), "unshare")


def mount(source, target, kind, flags, options=None):
    words = [
        each and os.fsencode(each) for each in (source, target, kind, options)
    ]
    _check(_libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]), target)


def private_mounts():
    """Have mounts of this process's own."""
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_PRIVATE)


# --- users -------------------------------------------------------------------


def _become(uid, gid, home):
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or root has its /proc/self
    os.environ["HOME"] = home
    for name in ("USER", "LOGNAME", "SUDO_USER"):
        os.environ.pop(name, None)


def ordinary_user(command):
    """Become a user who may log in, unless this process is no longer root."""
    if os.getuid() == 0:
        known = [
            each for each in pwd.getpwall() if 1000 <= each.pw_uid < 60000
        ]
        user = known[0] if known else pwd.getpwnam("nobody")
        _become(user.pw_uid, user.pw_gid, user.pw_dir)
    return command


def unknown_user(command):
    """Become a user of whom no file says anything."""
    uid = next(uid for uid in range(47110, 60000) if not _is_known(uid))
    _become(uid, uid, "/")
    return command


def _is_known(uid):
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


# --- kernel ------------------------------------------------------------------


def no_user_namespaces(command):
    """Exhaust the user namespaces: there may be none below this one."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    return command


def outer_filter(*options):
    """Return a step that puts the command under a filter of outer.py."""

    def step(command):
        return [sys.executable, str(OUTER), *options, *command]

    return step


def hidden_processes(command):
    """Mount a /proc that shows users only their own processes."""
    private_mounts()
    mount(
        "proc",
        "/proc",
        "proc",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
        "hidepid=invisible",
    )
    return command


def read_only(command):
    """Make every file system read-only, but a small one for tests."""
    here = os.getcwd()
    private_mounts()
    mount("none", WRITABLE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for point in mount_points():
        if point == WRITABLE or point.startswith(("/proc", "/dev", "/sys")):
            continue
        mount("none", point, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.chdir(here)
    use_writable()
    return command


def use_writable():
    """Have the tests write where they can."""
    os.environ["TMPDIR"] = os.environ["CSANDBOX_OUTSIDE"] = WRITABLE


def mount_points():
    """Return where file systems are mounted, each once."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = (line.split()[4].encode() for line in lines)
    return dict.fromkeys(point.decode("unicode_escape") for point in points)


# --- descriptors, limits, signals --------------------------------------------


def limits(**bounds):
    """Return a step that sets soft and hard limits, by their names."""

    def step(command):
        for name, value in bounds.items():
            number = getattr(resource, f"RLIMIT_{name.upper()}")
            resource.setrlimit(number, (value, value))
        return command

    return step


def closed_streams(command):
    """Close stdin, stdout and stderr."""
    for number in range(3):
        os.close(number)
    return command


def many_descriptors(command, count=1000):
    """Have a thousand descriptors open, which programs inherit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8 * count), hard))
    for _ in range(count):
        os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)
    return command


def ignored_children(command):
    """Ignore SIGCHLD, so that the kernel reaps children."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return command


def container(**options):
    """Return a step that makes the command the first one of a container."""
    import containers

    return partial(containers.entered, **options)
