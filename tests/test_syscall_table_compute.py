"""The table of runs that may only compute, walked as that of others is."""

import errno

import pytest

import support
from csandbox import _csandbox
from test_syscall_table import ASK, BAD, HIGH, NUMBERS, TABLE, TRY

COMPUTE = {
    name: (fate, number)
    for _, name, fate, number in _csandbox.syscalls(False, True)
}
OPEN = ("allow", "narrow")
COMPUTES = {
    *(
        "read",
        "write",
        "close",
        "exit_group",
        "brk",
        "mmap",
        "munmap",
        "mremap",
    ),
    *("madvise", "clock_gettime", "clock_nanosleep", "getrandom", "futex"),
    *("rt_sigaction", "rt_sigreturn", "rt_sigprocmask", "restart_syscall"),
    *("tgkill", "getpid", "gettid"),
}


def value_of(source, inputs=None):
    return support.value_of(source, inputs, profile="compute")


def test_K01_the_calls_to_compute_with_are_these_and_no_others():
    allowed = {name for name in COMPUTE if COMPUTE[name][0] in OPEN}
    assert allowed == COMPUTES
    # Each of them is open to all guests: this is the smaller set.
    assert {TABLE[name][0] for name in allowed} <= set(OPEN)


def test_Y13_every_syscall_is_decided_here_too():
    assert set(COMPUTE) == set(TABLE)
    for name in set(COMPUTE) - COMPUTES:
        fate, number = COMPUTE[name]
        assert fate == ("kill" if TABLE[name][0] == "kill" else "errno")
        assert (number in errno.errorcode) == (fate == "errno"), name


def test_K01_the_kernel_denies_all_that_does_not_compute():
    names = sorted(
        name
        for name in set(COMPUTE) & set(NUMBERS)
        if COMPUTE[name][0] == "errno"
    )
    assert len(names) > 300
    for arguments in (BAD, (0,) * 6, (1,) * 6, (HIGH,) * 6):
        calls = dict.fromkeys(names, arguments)
        answers = value_of(TRY, {"calls": calls})
        for name in names:
            assert answers[name] == errno.errorcode[COMPUTE[name][1]], name


def test_K01_the_calls_to_compute_with_reach_the_kernel():
    calls = {
        "read": (-1, -1, 1),
        "write": (-1, -1, 1),
        "close": (-1,),
        "munmap": (1, 4096),
        "mremap": (1, 4096, 4096, 0, 0),
        "getrandom": (-1, 8, 0),
        "rt_sigaction": (-1, 0, 0, 8),
        "rt_sigprocmask": (-1, -1, 0, 8),
    }
    answers = value_of(TRY, {"calls": calls})
    assert answers["read"] == answers["write"] == answers["close"] == "EBADF"
    told = {"EBADF", "EINVAL", "EFAULT", "EOPNOTSUPP", "ENOTSUP"}
    assert set(answers.values()) <= told
    source = "answer('getpid'), answer('gettid'), answer('brk', 0) > 0"
    assert value_of(source) == (2, 2, True)
    result = support.run_guest("syscall('exit_group', 7)", profile="compute")
    assert result.exit_code == 7


def test_a_number_without_a_call_answers_enosys_here_too():
    source = "[answer(n, -1, -1, -1) for n in numbers]"
    answers = value_of(source, {"numbers": [1000, 1 << 20, -1]})
    assert answers == ["ENOSYS"] * 3


# As NARROW of the default table: what is refused, what is let through.
NARROW = {
    "mmap": (
        {
            # PROT_EXEC; shared; huge
            "EPERM": [
                *((0, 4096, prot, 0x22, -1, 0) for prot in (4, 5, 7)),
                *((0, 4096, 7 | high, 0x22, -1, 0) for high in (HIGH, 8)),
                *((0, 4096, 3, flags, 5, 0) for flags in (1, 3, 0x21)),
                (0, 4096, 3, 0x40022, -1, 0),
            ]
        },
        {"EBADF": [(0, 4096, 3, 2, -1, 0), (0, 4096, 3 | HIGH, 2, -1, 0)]},
    ),
    "madvise": (
        {"EINVAL": [(0, 0, n) for n in (1, 2, 3, 8, 9, 10, 12, 16, 25, 100)]},
        {0: [(0, 0, 4), (0, 0, 14), (0, 0, 4 | HIGH)]},
    ),
    "futex": (
        {
            # Not private; WAKE_OP, REQUEUE, LOCK_PI
            "ENOSYS": [
                (-4, operation, 0, 0, 0, 0)
                for operation in (0, 1, 9, 10, 128 | 3, 128 | 5, 128 | 6)
            ]
        },
        {
            "EFAULT": [
                *((-4, operation, 0, 0, 0, 0) for operation in (128, 129)),
                *((-4, 128 | op, 0, 0, 0, 1) for op in (9, 9 | 256)),
            ]
        },
    ),
    "clock_gettime": (
        # CPU clocks of processes 1 and 0, and of descriptor 0
        {"EINVAL": [(~1 << 3 | 2, -1), (-6, -1), (-5, -1), (1 << 31, -1)]},
        {"EFAULT": [(clock, -1) for clock in (0, 1, 2, 3, 4, 7, HIGH)]},
    ),
    "clock_nanosleep": (
        {"EINVAL": [(~1 << 3 | 2, 0, -1, 0), (-6, 0, -1, 0)]},
        {"EFAULT": [(clock, 0, -1, 0) for clock in (0, 1, 1 | HIGH)]},
    ),
    "tgkill": (
        {"EPERM": [(pid, pid, 0) for pid in (0, 1, 3, -1, 1 | HIGH)]},
        {0: [(2, 2, 0), (2 | HIGH, 2, 0)], "ESRCH": [(2, 1, 0)]},
    ),
}


def test_every_narrowed_call_is_tried_here_too():
    narrow = {name for name in COMPUTE if COMPUTE[name][0] == "narrow"}
    assert narrow == set(NARROW)


@pytest.mark.parametrize("name", NARROW)
def test_O03_calls_are_refused_by_their_arguments_here_too(name):
    for expected in NARROW[name]:
        for wanted, calls in expected.items():
            got = value_of(ASK, {"name": name, "calls": calls})
            assert got == [wanted] * len(calls), wanted
    assert errno.errorcode[COMPUTE[name][1]] in NARROW[name][0]
