"""doctor: what it sees, how it tells causes apart, and what it would do."""

import json
import os
import subprocess
import sys
from errno import (
    EACCES,
    EINVAL,
    ENOSPC,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    EUSERS,
)
from pathlib import Path

import pytest

import csandbox
from csandbox import causes, guarantees, profiles, remedies, surroundings
from csandbox.surroundings import Surroundings
from csandbox.tiers import Cause

TESTS = Path(__file__).parent
RESTRICT = "kernel.apparmor_restrict_unprivileged_userns"
CLONE = "kernel.unprivileged_userns_clone"
MOST = "user.max_user_namespaces"
FORBIDDEN = ("--privileged", "unconfined", "SYS_ADMIN", "sudo su")


def explain(lost, step, number, **seen):
    cause = Cause(lost=lost, step=step, errno=number)
    seen = Surroundings(**{"kernel": (6, 8), **seen})
    return causes.explain(cause, seen)


# --- causes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "number", "seen", "why", "remedy"),
    [
        (
            "namespaces",
            EPERM,
            {"seccomp": True, "container": "Docker"},
            "a seccomp profile, that of Docker, refuses it",
            "docker run --security-opt seccomp=profile.json",
        ),
        (
            "namespaces",
            EPERM,
            {"seccomp": True, "container": "Podman"},
            "that of Podman",
            "podman run --security-opt seccomp=profile.json",
        ),
        (
            "namespaces",
            EPERM,
            {"seccomp": True, "container": "Kubernetes"},
            "that of Kubernetes",
            "localhostProfile: csandbox.json",
        ),
        (
            "namespaces",
            EPERM,
            {"seccomp": True},
            "a seccomp profile refuses it",
            "RestrictNamespaces=",
        ),
        (
            "namespaces",
            EPERM,
            {"sysctls": ((CLONE, "0"),)},
            f"{CLONE} is 0",
            f"sysctl -w {CLONE}=1",
        ),
        (
            "namespaces",
            ENOSPC,
            {"sysctls": ((MOST, "0"),)},
            f"{MOST} is 0",
            f"sysctl -w {MOST}=15000",
        ),
        (
            "namespaces",
            ENOSPC,
            {"sysctls": ((MOST, "10000"),)},
            "are in use (10000 of users)",
            f"{MOST}=20000",
        ),
        ("cell-user-namespace", EUSERS, {}, "nested 32 deep", "sysctl -w"),
        (
            "namespaces",
            EACCES,
            {"sysctls": ((RESTRICT, "1"),)},
            "AppArmor restricts user namespaces",
            "csandbox doctor --apparmor-profile",
        ),
        (
            # Ubuntu lets them be made, and takes their capabilities away.
            "uid-map",
            EPERM,
            {"sysctls": ((RESTRICT, "1"),)},
            "AppArmor restricts user namespaces",
            "apparmor_parser -r",
        ),
        (
            "uid-map",
            EACCES,
            {"apparmor": "service (enforce)"},
            "this program's profile, service (enforce)",
            "'userns,'",
        ),
        ("namespaces", EPERM, {"chroot": True}, "chroot", "root of its own"),
        ("namespaces", EINVAL, {}, "built without", "CONFIG_USER_NS"),
        (
            "view-readonly",
            ENOSYS,
            {"kernel": (5, 10)},
            "Linux 5.10 has no mount_setattr, which came with 5.12",
            "Use Linux 5.12 or later",
        ),
        ("namespaces", EPERM, {"lsm": ("selinux",)}, "SELinux", "create"),
        ("namespaces", EPERM, {}, "cannot be seen from here", "seccomp"),
    ],
)
def test_why_there_are_no_namespaces(step, number, seen, why, remedy):
    found = explain("namespaces", step, number, **seen)
    assert why in found.why
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("number", "seen", "why", "remedy"),
    [
        (
            ENOSYS,
            {"kernel": (5, 10)},
            "Linux 5.10 has no Landlock, which came with 5.13",
            "Use Linux 5.13 or later.",
        ),
        (
            EOPNOTSUPP,
            {"lsm": ("lockdown", "yama", "apparmor")},
            "not among the security modules",
            "lsm=landlock,lockdown,yama,apparmor\n",
        ),
        (
            ENOSYS,
            {"seccomp": True, "container": "Docker"},
            "that of Docker",
            "docker run --security-opt",
        ),
        (ENOSYS, {}, "built without Landlock", "CONFIG_SECURITY_LANDLOCK"),
    ],
)
def test_why_there_is_no_landlock(number, seen, why, remedy):
    found = explain("landlock", "landlock-paths", number, **seen)
    assert why in found.why
    assert remedy in found.remedy


def test_no_remedy_takes_a_whole_layer_away():
    texts = [causes.APPARMOR, causes.DOCKER, causes.KUBERNETES, causes.PODMAN]
    texts += [
        text for _, each in remedies._STEPS.values() for text in each.values()
    ]
    texts += [profiles.docker_profile()]
    for text in texts:
        for word in FORBIDDEN:
            assert word not in text


# --- what is seen ------------------------------------------------------------

MOUNTS = """\
22 1 0:20 / / rw,relatime - {root} root rw
23 22 0:21 / /proc rw,nosuid,relatime - proc proc rw,hidepid=invisible
"""


def machine(top, **files):
    """Make files below `top` with the names that __ stands for / in."""
    for name, text in files.items():
        path = top / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_is_seen_of_a_machine(tmp_path, monkeypatch):
    for name in ("KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(name, raising=False)
    machine(
        tmp_path,
        proc__sys__kernel__osrelease="6.8.0-45-generic\n",
        proc__sys__kernel__apparmor_restrict_unprivileged_userns="1\n",
        proc__sys__user__max_user_namespaces="0\n",
        proc__self__status="Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\n",
        proc__self__mountinfo=MOUNTS.format(root="overlay"),
        proc__self__attr__current="docker-default (enforce)\n",
        sys__kernel__security__lsm="lockdown,capability,landlock,apparmor",
        sys__module__apparmor__parameters__enabled="Y\n",
    )
    seen = surroundings.look(str(tmp_path))
    assert seen.kernel == (6, 8)
    assert seen.lsm == ("lockdown", "capability", "landlock", "apparmor")
    assert seen.apparmor == "docker-default (enforce)"
    assert seen.apparmor_loaded
    assert seen.seccomp
    assert seen.container == "container"
    assert not seen.chroot
    assert seen.sysctl(RESTRICT) == "1"
    assert seen.sysctl(MOST) == "0"
    assert seen.sysctl(CLONE) == ""
    (tmp_path / ".dockerenv").touch()
    assert surroundings.look(str(tmp_path)).container == "Docker"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert surroundings.look(str(tmp_path)).container == "Kubernetes"


def test_a_machine_that_shows_nothing_is_no_error(tmp_path, monkeypatch):
    for name in ("KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(name, raising=False)
    seen = surroundings.look(str(tmp_path))
    assert seen == Surroundings(root=os.geteuid() == 0)
    assert surroundings.look().kernel >= (5, 0)


# --- profiles ----------------------------------------------------------------

# As Docker's documentation lists them, but for those that make namespaces
# and what is in them: clone, mount, pivot_root, setns, umount, unshare.
DOCUMENTED = """
acct add_key bpf clock_adjtime clock_settime create_module delete_module
finit_module get_kernel_syms get_mempolicy init_module ioperm iopl kcmp
kexec_file_load kexec_load keyctl lookup_dcookie mbind move_pages nfsservctl
open_by_handle_at perf_event_open process_vm_readv process_vm_writev ptrace
query_module quotactl reboot request_key set_mempolicy settimeofday stime
swapon swapoff sysfs _sysctl uselib userfaultfd ustat vm86 vm86old
""".split()
NEEDED = """
clone unshare setns mount umount2 pivot_root open_tree move_mount fsopen
fsconfig fsmount mount_setattr sethostname setdomainname seccomp
landlock_create_ruleset landlock_add_rule landlock_restrict_self pidfd_open
""".split()


def test_the_docker_profile_refuses_what_docker_documents_as_blocked():
    profile = json.loads(profiles.docker_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }
    assert not allowed & {*DOCUMENTED}
    assert {*NEEDED} <= allowed
    assert not allowed & {"io_uring_setup", "socket", "personality"}
    assert len(allowed) > 250


def test_the_apparmor_profile_names_this_python_and_one_rule():
    text = profiles.apparmor_profile("/opt/a b/py[3]")
    assert 'profile csandbox-python "/opt/a b/py\\[3\\]" flags=' in text
    rules = [line.strip() for line in text.splitlines() if "," in line]
    assert [line for line in rules if line[0] != "#"] == [
        "abi <abi/4.0>,",
        "userns,",
    ]
    assert os.path.realpath(sys.executable) in profiles.apparmor_profile()


# --- the whole ---------------------------------------------------------------


def doctor(*options, outer=None):
    command = [sys.executable, "-m", "csandbox", "doctor", *options]
    if outer is not None:
        command = [sys.executable, str(TESTS / "outer.py"), *outer, *command]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd="/",
        env={
            **os.environ,
            "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        },
    )


def test_here_all_is_given():
    report = csandbox.doctor()
    assert report.ok
    assert report.tier == "full"
    assert {row.name for row in report.guarantees} == {*guarantees.GUARANTEES}
    for row in report.guarantees:
        assert row.ok
        assert row.mechanisms


@pytest.mark.parametrize(
    ("outer", "tier", "missing", "files"),
    [
        ((), "landlock", ["namespaces"], ["landlock"]),
        (
            ("--no-landlock",),
            "compute",
            ["namespaces", "landlock"],
            ["no path calls"],
        ),
        (
            ("--strict",),
            "compute",
            ["namespaces", "landlock"],
            ["no path calls"],
        ),
        (
            ("--namespaces", "--no-landlock"),
            "full",
            ["landlock"],
            ["mount namespace"],
        ),
    ],
    ids=["no namespaces", "neither", "nothing at all", "no Landlock"],
)
def test_under_a_filter_a_lower_tier_gives_all(outer, tier, missing, files):
    done = doctor("--json", outer=outer)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["ok"], report["tier"]) == (True, tier)
    assert report["guarantees"][0]["mechanisms"] == files
    lost = [each for each in report["missing"] if each["step"]]
    assert [each["mechanism"] for each in lost] == missing
    assert all("Kubernetes" in each["why"] for each in lost)
    shown = doctor(outer=outer).stdout
    assert f"tier       {tier} (" in shown
    assert "localhostProfile: csandbox.json" in shown


def test_profiles_are_printed_and_nothing_is_tried():
    for option, start in (("docker", "{"), ("apparmor", "# Lets")):
        done = doctor(f"--{option}-profile", outer=("--strict",))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(start)
    assert doctor("--json", "--docker-profile").returncode == 2
