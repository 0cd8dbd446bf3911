"""A cell's filter in two parts, the larger of which its zygote has loaded."""

import ctypes
import re
import struct
import time
from itertools import product
from pathlib import Path

import csandbox
import support
from csandbox import zygotes

NATIVE = Path(csandbox.__file__).parent / "native"
SETUP = re.findall(
    r"X\((\w+)\) ", (NATIVE / "common/setup_calls.h").read_text()
)
ALLOWED = 0x7FFF0000
IDLE = 0.5  # seconds; the zygote needs a moment in which nothing is asked


def programs():
    """Return the filter of a cell whose denials are told, and its own part."""
    plan = zygotes.build_plan(zygotes.Template())
    fields = struct.unpack_from("4IiI15I", plan)
    (told_at, told_count), (own_at, own_count) = fields[13:15], fields[18:20]
    return [
        [*struct.iter_unpack("HBBI", plan[at : at + 8 * count])]
        for at, count in ((told_at, told_count), (own_at, own_count))
    ]


def answer(program, number, arguments):
    """Do what the kernel does with the instructions that there are in ours."""
    arch = 0xC000003E if support.X86 else 0xC00000B7
    data = struct.pack("IIQ6Q", number, arch, 0, *arguments)
    at = accumulator = 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("I", data, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return k
        else:
            compare = {0x15: int.__eq__, 0x25: int.__gt__, 0x35: int.__ge__}
            holds = compare[code](accumulator, k)
            at += yes if holds else no


def numbers():
    names = [name for _, name, _, _ in zygotes._csandbox.syscalls()]
    library = ctypes.CDLL("libseccomp.so.2")
    found = {
        name: library.seccomp_syscall_resolve_name(name.encode())
        for name in names
    }
    return {name: number for name, number in found.items() if number >= 0}


def values(programs):
    """Return what any instruction compares with, and what is beside it."""
    found = {0, 1, 2, 2**32 - 1, 2**63}
    for program in programs:
        for code, _, _, k in program:
            if code in (0x15, 0x54):
                found |= {k, k ^ 1}
    return sorted(found)


def test_both_parts_together_say_what_the_whole_says():
    told, own = programs()
    some = values([own])
    called = numbers()
    assert SETUP, "none found"
    assert set(SETUP) <= called.keys()
    for name, number in called.items():
        for first, second in product(some, some[:12]):
            arguments = (first, second, first, second, 0, 0)
            given = answer(own, number, arguments)
            if name in SETUP:
                assert given == answer(told, number, arguments), name
            else:
                assert given == ALLOWED, name


def test_both_parts_kill_calls_of_other_numberings():
    for program in programs():
        x32 = answer(program, 0x40000000 | 1, (0,) * 6)
        assert not support.X86 or x32 == 0x80000000


def tried(policy):
    """Return what becomes of each call of a set-up, tried by a guest."""
    calls = {name: numbers()[name] for name in SETUP if name != "kill"}
    source = f"""
found = {{}}
for name, number in {calls!r}.items():
    ctypes.set_errno(0)
    result = _libc.syscall(number, 0xbad, 0xbad, 0xbad, 0xbad, 0xbad, 0xbad)
    found[name] = (result, ctypes.get_errno())
found
"""
    result = csandbox.execute(support.GUEST + source, policy=policy)
    (filters,) = re.findall(r"filters=(\d+)", repr(result.isolation))
    return result.unwrap(), int(filters)


def test_a_guest_finds_the_set_up_refused_by_either_filter():
    policy = csandbox.Policy(env={"FRESH": "1"})
    template = zygotes.Template()
    zygote = zygotes._registry.zygotes.get(template)
    if zygote is not None:
        zygotes.discard(template, zygote)  # for one that is not idle yet
    whole, before = tried(policy)
    time.sleep(IDLE)
    zygotes.disarm()
    parts, after = tried(policy)
    assert after == before + 1, "the zygote has none"
    assert whole == parts
    assert not [name for name, (result, _) in parts.items() if result >= 0]
