"""Profiles for people to paste: the least that lets csandbox use all it can.

Never more than that: nothing here takes a container's other confinement away.
"""

from __future__ import annotations

import json
import os
import sys

from csandbox import _csandbox

# What Docker's documentation lists as blocked, and what has come since, but
# for what makes namespaces and mounts in them.
REFUSED = (
    *("acct", "add_key", "afs_syscall", "bpf", "clock_adjtime"),
    *("clock_adjtime64", "clock_settime", "clock_settime64"),
    *("create_module", "delete_module", "fanotify_init", "finit_module"),
    *("get_kernel_syms", "get_mempolicy", "getpmsg", "init_module"),
    *("io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm"),
    *("iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl"),
    *("lookup_dcookie", "lsm_set_self_attr", "mbind", "migrate_pages"),
    *("move_pages", "nfsservctl", "open_by_handle_at", "perf_event_open"),
    *("pidfd_getfd", "process_vm_readv"),
    *("process_vm_writev", "ptrace", "putpmsg", "query_module", "quotactl"),
    *("quotactl_fd", "reboot", "request_key", "security"),
    *("set_mempolicy", "set_mempolicy_home_node"),
    *("settimeofday", "stime", "swapoff", "swapon", "sysfs", "syslog"),
    *("_sysctl", "tuxcall", "uselib", "userfaultfd", "ustat", "vhangup"),
    *("vm86", "vm86old", "vserver"),
    *("open_tree_attr", "listmount", "statmount", "removexattrat"),
)
# Linux programs of this kind, of the old one, and the question which it is.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_VSOCK = 40  # to the machine below this one
_ARCHITECTURES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
}
_EPERM, _ENOSYS = 1, 38


def docker_profile() -> str:
    """Return a seccomp profile for containers, JSON in Docker's format.

    It allows what this machine's kernel headers know by name, but what Docker
    documents as blocked; 32-bit programs do not run.  It differs from Docker's
    own profile in that namespaces can be made and, inside of them, mounts,
    which asks for no capability outside.
    """
    narrowed = {"socket", "personality"}
    known = {row[1] for row in _csandbox.syscalls()}
    rules: list[dict[str, object]] = [
        {
            "names": sorted(known & {*REFUSED}),
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": _EPERM,
        },
        _allowed(sorted(known - {*REFUSED} - narrowed)),
        _allowed(["socket"], _AF_VSOCK, "SCMP_CMP_NE"),
        *(
            _allowed(["personality"], each, "SCMP_CMP_EQ")
            for each in _PERSONALITIES
        ),
    ]
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,  # what is newer has something to fall to
        "archMap": [
            {
                "architecture": _ARCHITECTURES[os.uname().machine],
                "subArchitectures": [],
            }
        ],
        "syscalls": rules,
    }
    return json.dumps(profile, indent=2)


def _allowed(
    names: list[str], value: int | None = None, operator: str = ""
) -> dict[str, object]:
    rule: dict[str, object] = {"names": names, "action": "SCMP_ACT_ALLOW"}
    if value is not None:
        rule["args"] = [{"index": 0, "value": value, "op": operator}]
    return rule


def apparmor_profile(executable: str = "") -> str:
    """Return an AppArmor profile that lets a Python make user namespaces.

    For Ubuntu 23.10 and later, and others with AppArmor 4.  `executable` is
    its path, by default that of this Python.
    """
    path = os.path.realpath(executable or sys.executable)
    for character in '\\*?[]{}^"':
        path = path.replace(character, f"\\{character}")
    return f"""\
# Lets programs that {os.path.basename(path)} runs make user namespaces, as
# csandbox does to confine what it runs, and restricts nothing.  Every program
# of this Python gets that: an environment of its own that was made with
# python -m venv --copies has an executable of its own to name here.
abi <abi/4.0>,
include <tunables/global>

profile csandbox-python "{path}" flags=(unconfined) {{
  userns,

  include if exists <local/csandbox-python>
}}
"""
