"""Runs a command as under a filter of system calls that is not ours.

    python tests/outer.py [--strict | --no-landlock | ...] COMMAND...

By default it refuses what the default profiles of Docker and Kubernetes do
and csandbox might want: namespaces, mounts, setns, other users' keys.  With
--strict neither Landlock, pidfds nor user notification are there either.
Needs no privilege.
"""

import argparse
import ctypes
import errno
import os
import platform
import struct
import sys

import support

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
NAMESPACES = 0x7E020000  # of clone() and unshare(): CLONE_NEW*
NEW_LISTENER = 8  # of seccomp()
SET_MODE_FILTER = 1
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LOAD, JUMP, AND, RETURN = 0x20, 0x15, 0x54, 0x06
NR, ARCH_AT, ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data

NO_NAMESPACES = {
    "unshare": errno.EPERM,
    "setns": errno.EPERM,
    "mount": errno.EPERM,
    "umount2": errno.EPERM,
    "pivot_root": errno.EPERM,
    "open_tree": errno.EPERM,
    "move_mount": errno.EPERM,
    "fsopen": errno.EPERM,
    "fsconfig": errno.EPERM,
    "fsmount": errno.EPERM,
    "mount_setattr": errno.EPERM,
    "keyctl": errno.EPERM,
    "add_key": errno.EPERM,
    "request_key": errno.EPERM,
    "pidfd_getfd": errno.EPERM,
    "clone3": errno.ENOSYS,
}
NO_LANDLOCK = dict.fromkeys(
    (
        "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    ),
    errno.ENOSYS,
)
NO_PIDFD = dict.fromkeys(("pidfd_open", "pidfd_send_signal"), errno.ENOSYS)


def instruction(code, value, if_true=0, if_false=0):
    """Return one instruction of a BPF program."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def program(refused, *, namespaces, listener):
    """Return the filter that answers calls with the errno of their names."""
    numbers = support.syscall_numbers()
    code = [
        instruction(LOAD, ARCH_AT),
        instruction(JUMP, ARCH[platform.machine()], 1, 0),
        instruction(RETURN, ALLOW),
        instruction(LOAD, NR),
    ]
    for name, number in refused.items():
        if name in numbers:
            code += [
                instruction(JUMP, numbers[name], 0, 1),
                instruction(RETURN, ERRNO | number),
            ]
    flags = []
    if not namespaces:
        flags.append(("clone", 0, NAMESPACES))
    if not listener:
        flags.append(("seccomp", 1, NEW_LISTENER))
    for name, argument, mask in flags:
        code += [
            instruction(LOAD, NR),
            instruction(JUMP, numbers[name], 0, 4),
            instruction(LOAD, ARGUMENT + 8 * argument),
            instruction(AND, mask),
            instruction(JUMP, 0, 1, 0),
            instruction(RETURN, ERRNO | errno.EPERM),
        ]
    return b"".join([*code, instruction(RETURN, ALLOW)])


def confine(code):
    """Put this process under a filter, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    fields = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    for option, *arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, FILTER, fields, 0, 0),
    ):
        if libc.prctl(option, *arguments):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def main():
    """Confine this process and execute the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--namespaces", action="store_true")
    parser.add_argument("--no-landlock", action="store_true")
    parser.add_argument("--no-pidfd", action="store_true")
    parser.add_argument("--no-notify", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    refused = {} if options.namespaces else dict(NO_NAMESPACES)
    if options.strict or options.no_landlock:
        refused |= NO_LANDLOCK
    if options.strict or options.no_pidfd:
        refused |= NO_PIDFD
    listener = not (options.strict or options.no_notify)
    code = program(refused, namespaces=options.namespaces, listener=listener)
    confine(code)
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    sys.exit(main())
