import copy
import errno
import pickle
import signal

import pytest

from csandbox import errors
from csandbox.errors import (
    Cancelled,
    GuestCrash,
    GuestError,
    GuestExit,
    LimitError,
    MemoryLimitError,
    OutputLimitError,
    PolicyError,
    ResultError,
    SandboxError,
    TimeLimitError,
    UnavailableError,
)
from csandbox.result import Isolation, Result, Usage

TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "<string>", line 1, in <module>\n'
    "ZeroDivisionError: division by zero\n"
)
EXAMPLES = [
    GuestError("ZeroDivisionError", "division by zero", TRACEBACK),
    GuestError("ValueError", "no"),
    GuestExit(3),
    GuestCrash(signal.SIGSEGV),
    LimitError("result", "64M"),
    TimeLimitError("timeout", "2 s"),
    MemoryLimitError("memory"),
    OutputLimitError("output", "1M"),
    ResultError("a generator cannot cross; return list(it)"),
    Cancelled(),
    UnavailableError(
        "files", "view-mount", errno.EPERM, "Allow user namespaces.", "/usr"
    ),
    PolicyError("timeout must be positive"),
]
CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, SandboxError)
]


def make_result(error):
    return Result(
        value=None,
        stdout_bytes=b"out",
        stderr_bytes=b"",
        error=error,
        usage=Usage(wall=0.1, user=0.0, system=0.0, peak_memory=1),
        isolation=Isolation(mechanisms=frozenset({"seccomp"})),
    )


def test_every_error_has_an_example_here():
    assert {type(each) for each in EXAMPLES} == {*CLASSES} - {SandboxError}


@pytest.mark.parametrize("cls", CLASSES)
def test_every_docstring_says_when_it_is_raised(cls):
    assert cls.__doc__.startswith("Raised when ")
    assert f" {cls.__name__} " in f"{errors.__doc__} ".replace("\n", " ")


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (TimeLimitError, TimeoutError),
        (MemoryLimitError, MemoryError),
        (PolicyError, ValueError),
        (TimeLimitError, LimitError),
        (MemoryLimitError, LimitError),
        (OutputLimitError, LimitError),
    ],
)
def test_errors_are_caught_as_their_bases(cls, base):
    assert issubclass(cls, base)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda each: str(type(each)))
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_class_fields_and_text(error, protocol):
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (again.args, str(again)) == (error.args, str(error))


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda each: str(type(each)))
@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_pickling_keeps_the_run_of_an_error_and_the_error_of_a_run(error, how):
    error = copy.copy(error)
    result = make_result(error)
    assert error.result is result
    again = how(error)
    assert again.result.error is again
    assert again.result.stdout == "out"
    again = how(result)
    assert again.error.result is again


def test_an_error_before_any_run_has_no_result():
    assert PolicyError("bad").result is None


def test_a_guest_error_reads_like_the_traceback():
    error = GuestError("ZeroDivisionError", "division by zero", TRACEBACK)
    assert str(error) == TRACEBACK.rstrip("\n")
    assert error.traceback == TRACEBACK


def test_a_guest_error_without_traceback_reads_like_its_last_line():
    assert str(GuestError("ValueError", "no")) == "ValueError: no"
    assert str(GuestError("ValueError", "")) == "ValueError"


def test_text_of_the_guest_is_inert_when_shown_and_exact_in_the_fields():
    evil = "\x1b]0;owned\x07\u202e\udc80"
    error = GuestError(evil, evil, evil)
    assert str(error) == "\\x1b]0;owned\\x07\\u202e\\udc80"
    assert (error.type_name, error.message, error.traceback) == (evil,) * 3
    assert "\x1b" not in str(GuestError(evil, evil))
    assert "\x1b" not in str(ResultError(evil))
    assert "\x1b" not in str(UnavailableError("", "s", 0, "r", evil))


def test_a_guest_error_without_traceback_shows_its_notes():
    error = GuestError("ValueError", "no", notes=("a\x1b", "b"))
    assert str(error) == "ValueError: no\na\\x1b\nb"


def test_a_guest_error_holds_others_and_is_not_chained_to_them():
    inner = GuestError("KeyError", "'x'")
    error = GuestError("E", "", cause=inner, exceptions=(inner,))
    assert (error.cause, error.context) == (inner, None)
    assert error.exceptions == (inner,)
    assert error.__cause__ is None


def test_a_guest_error_is_never_what_the_guest_raised():
    error = GuestError("KeyboardInterrupt", "")
    assert not isinstance(error, KeyboardInterrupt)
    error = GuestError("TimeoutError", "")
    assert not isinstance(error, TimeoutError)


def test_a_crash_names_its_signal():
    error = GuestCrash(11)
    assert (error.signal, error.signal_name) == (11, "SIGSEGV")
    assert str(error) == "the guest was killed by signal 11 (SIGSEGV)"
    assert str(GuestCrash(40)) == "the guest was killed by signal 40"
    assert GuestCrash(40).signal_name == ""


def test_a_limit_says_which_how_much_and_what_to_do():
    assert str(TimeLimitError("timeout", "2 s")) == (
        "the guest reached its timeout limit of 2 s; "
        "pass a larger timeout= if it should have more"
    )
    assert TimeLimitError("timeout", "2 s").limit == "timeout"
    assert TimeLimitError("timeout", "2 s").errno is None


def test_an_unavailable_guarantee_says_where_why_and_what_to_do():
    error = UnavailableError(
        "files", "view-mount", errno.EPERM, "Allow user namespaces.", "/usr"
    )
    assert str(error) == (
        "cannot guarantee files: step view-mount failed on /usr: "
        "EPERM (Operation not permitted). Allow user namespaces."
    )
    assert error.errno_name == "EPERM"


def test_an_unavailable_guarantee_without_errno_or_detail_reads_well():
    error = UnavailableError("", "boot", 0, "")
    assert str(error) == ("the sandbox could not be set up: step boot failed.")
    assert UnavailableError("", "boot", 9999, "").errno_name == "errno 9999"


def test_notes_survive_pickling():
    error = GuestExit(1)
    error.add_note("in cell 3")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["in cell 3"]
