"""The programs that the kernel runs on each call, simulated: what they answer
to every number, whatever stands in the arguments."""

import random
import struct

import pytest

import support
from csandbox import _csandbox, zygotes

LOAD, JUMP, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x05, 0x15, 0x35, 0x54, 0x06
KILL, TRAP, TOLD, ALLOW = 0x80000000, 0x30000, 0x7FC00000, 0x7FFF0000
ERRNO = 0x50000
FATES = {"allow": ALLOW, "kill": KILL, "trap": TRAP}
ARCHITECTURE = 0xC000003E if support.X86 else 0xC00000B7
FOREIGN = 0x40000003  # int 0x80
ENOSYS = 38


def programs(**kinds):
    """Return the filter without a listener, that with one, and its own."""
    mechanisms = zygotes.ALL_MECHANISMS
    plan = _csandbox.build_plan([], "", 0, mechanisms, None, **kinds)
    head = struct.unpack_from("18I", plan)
    return [
        [
            struct.unpack_from("HBBI", plan, head[at] + 8 * each)
            for each in range(head[at + 1])
        ]
        for at in (8, 13, 15)
    ]


def answer(program, number, arguments=(0,) * 6, architecture=ARCHITECTURE):
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    at = register = 0
    while True:
        code, yes, no, value = program[at]
        if code == RETURN:
            return value
        if code == LOAD:
            (register,) = struct.unpack_from("=I", data, value)
        elif code == AND:
            register &= value
        elif code == JUMP:
            at += value
        elif code == EQUAL:
            at += yes if register == value else no
        else:
            assert code == AT_LEAST
            at += yes if register >= value else no
        at += 1


@pytest.mark.parametrize("kinds", [{}, {"several": True}, {"compute": True}])
def test_every_number_is_answered_as_the_table_says(kinds):
    plain, _, _ = programs(**kinds)
    places = "several" in kinds, "compute" in kinds
    fates = {
        support.syscall_numbers()[name]: (fate, number)
        for _, name, fate, number in _csandbox.syscalls(*places)
        if name in support.syscall_numbers()
    }
    noise = random.Random(1)
    for number in range(1024):
        fate, err = fates.get(number, ("errno", ENOSYS))
        if fate == "narrow":
            continue
        arguments = [noise.getrandbits(64) for _ in range(6)]
        expected = FATES.get(fate, ERRNO | err)
        assert answer(plain, number, arguments) == expected, number


def test_other_architectures_die_in_each_program():
    for program in programs():
        for number in range(0, 512, 7):
            assert answer(program, number, architecture=FOREIGN) == KILL


@pytest.mark.skipif(not support.X86, reason="x32 is of x86-64")
def test_x32_dies_in_each_program():
    for program in programs():
        for number in range(512):
            assert answer(program, 0x40000000 | number) == KILL
        assert answer(program, 0x7FFFFFFF) == KILL


def test_what_a_tracer_makes_of_a_call_is_no_call():
    plain, told, listener = programs()
    assert answer(plain, 0xFFFFFFFF) == ERRNO | ENOSYS
    assert answer(told, 0xFFFFFFFF) == ERRNO | ENOSYS
    assert answer(listener, 0xFFFFFFFF) == ALLOW


def test_the_upper_half_of_an_int_slips_past_no_check():
    """The kernel reads 32 bits of a socket's family and a prctl's option."""
    plain, _, _ = programs()
    numbers = support.syscall_numbers()
    for name in ("socket", "prctl", "clone", "madvise"):
        for low in [*range(64), *(1 << bit for bit in range(6, 32))]:
            below = answer(plain, numbers[name], (low, *[0] * 5))
            above = answer(plain, numbers[name], (low | 1 << 32, *[0] * 5))
            assert above == below or above != ALLOW, (name, low)


def test_two_programs_deny_together_what_one_denies():
    """The one that lets pass what the other holds up lets nothing else."""
    plain, told, listener = programs()
    noise = random.Random(2)
    for number in range(512):
        for _ in range(8):
            arguments = [noise.choice((0, 1, 2, 0xFF)) for _ in range(6)]
            given = [
                answer(each, number, arguments) for each in (told, listener)
            ]
            if given == [ALLOW, ALLOW]:
                assert answer(plain, number, arguments) == ALLOW, number
