"""What a caller gets wrong is said clearly, before anything starts; what is
wrong in the guest's source is said as Python says it."""

import os
import subprocess
import sys
import threading

import pytest

import csandbox
import support
from csandbox import cells, zygotes
from csandbox.errors import GuestError, PolicyError

ENTRIES = [csandbox.run, csandbox.execute]


@pytest.fixture
def nothing_starts(monkeypatch):
    """Fail if anything is started."""

    def start(*arguments):
        pytest.fail("a run was started")

    monkeypatch.setattr(cells, "start_run", start)
    monkeypatch.setattr(zygotes, "booted", start)


class Lying(str):
    """A string that says different things at different times."""

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


# --- of the source -----------------------------------------------------------


def test_a_syntax_error_shows_the_line_and_the_caret():
    source = "x = 1\nif x == 1\n    pass\n"
    result = csandbox.execute(source)
    error = result.error
    assert type(error) is GuestError
    assert error.type_name == "SyntaxError"
    assert "line 2" in error.traceback
    assert "    if x == 1\n" in error.traceback
    assert "^" in error.traceback
    assert "csandbox" not in error.traceback
    assert "_guest" not in error.traceback
    # As Python itself shows it, but for the name of the file.
    with pytest.raises(SyntaxError) as caught:
        compile(source, "<guest>", "exec")
    line = error.traceback.splitlines()
    caret = next(each for each in line if "^" in each)
    # In a traceback four spaces stand before the line, which has no indent.
    assert caret.index("^") == 4 + caught.value.offset - 1


@pytest.mark.parametrize(
    "source",
    [
        "(",
        "'",
        "x = = 1",
        "def f(:",
        " indented",
        "\tx\n        y",
        "é = ½",
        "f'{'",
        "return 1",
        "x = 1 +",
        "# -*- coding: no-such -*-\nx = (",
    ],
)
def test_any_syntax_error_is_an_error_of_the_guest(source):
    error = csandbox.execute(source).error
    assert type(error) is GuestError
    assert error.type_name in ("SyntaxError", "IndentationError", "TabError")
    assert "line " in error.traceback
    assert "csandbox" not in error.traceback
    with pytest.raises(GuestError):
        csandbox.run(source)


def test_source_that_breaks_the_compiler_is_contained():
    for source in ("(" * 100_000, "-" * 200_000 + "1", "x" + ".x" * 100_000):
        error = csandbox.execute(source).error
        assert isinstance(error, csandbox.SandboxError)
    assert csandbox.run("1") == 1


def test_a_traceback_shows_the_guests_lines_and_nothing_of_ours():
    source = "def f(x):\n    return 1 / x\n\nf(0)\n"
    error = csandbox.execute(source).error
    assert error.type_name == "ZeroDivisionError"
    assert error.message == "division by zero"
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert "    return 1 / x\n" in error.traceback
    assert "    f(0)\n" in error.traceback
    assert error.traceback.count('File "') == 2
    assert "csandbox" not in error.traceback


def test_empty_source_is_no_error():
    for source in ("", "\n", "# nothing", "pass", "'''a doc'''; None"):
        assert csandbox.run(source) is None


# --- of the target -----------------------------------------------------------


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "target",
    [None, 1, b"1", bytearray(b"1"), ["1"], {}, object(), Ellipsis, 1.5],
    ids=lambda value: type(value).__name__,
)
def test_a_target_that_is_neither_source_nor_callable(entry, target):
    with pytest.raises(TypeError) as caught:
        entry(target)
    message = str(caught.value)
    assert "target must be source text or a callable" in message
    assert type(target).__name__ in message


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_subclass_of_str_is_no_source(entry):
    with pytest.raises(TypeError) as caught:
        entry(Lying("1"))
    assert "Lying" in str(caught.value)


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_target_that_cannot_be_printed(entry):
    with pytest.raises(TypeError):
        entry(Unprintable())


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("source", ["\0", "1\0", "'\0'", "# \0\n1"])
def test_a_nul_in_source(entry, source):
    with pytest.raises((PolicyError, TypeError)) as caught:
        entry(source)
    assert "NUL" in str(caught.value)


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_lone_surrogate_in_source(entry):
    with pytest.raises((PolicyError, TypeError)) as caught:
        entry("x = '\ud800'")
    assert "surrogate" in str(caught.value)
    assert "5" in str(caught.value)


# --- of the arguments --------------------------------------------------------


def named(x):
    return x


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        sys.stderr,
        (n for n in range(3)),
        sys._getframe(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_argument_that_cannot_be_sent(entry, value):
    for call in (
        lambda: entry(named, (value,)),
        lambda: entry(named, kwargs={"x": value}),
        lambda: entry("x", inputs={"x": value}),
        lambda: entry("x", inputs={"x": [{1: value}]}),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert "cannot be sent to the sandbox" in str(caught.value)


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_argument_nested_too_deeply(entry):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TypeError) as caught:
        entry("x", inputs={"x": deep})
    assert "deep" in str(caught.value)


class Refuses:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


@pytest.mark.usefixtures("nothing_starts")
def test_an_argument_whose_reduce_fails():
    for error in (ValueError("no"), OSError(5, "no"), AttributeError("no")):
        with pytest.raises(TypeError) as caught:
            csandbox.run("x", inputs={"x": Refuses(error)})
        assert "no" in str(caught.value)
        assert caught.value.__cause__ is error
    # But what ends the host is the host's own.
    with pytest.raises(KeyboardInterrupt):
        csandbox.run("x", inputs={"x": Refuses(KeyboardInterrupt())})


MISUSES = {
    "args with source": lambda run: run("1", (2,)),
    "kwargs with source": lambda run: run("1", kwargs={"a": 1}),
    "inputs with a callable": lambda run: run(named, inputs={"a": 1}),
    "outputs with a callable": lambda run: run(named, outputs=("a",)),
    "args that are a string": lambda run: run(named, "abc"),
    "args that are a number": lambda run: run(named, 5),
    "args that are a set": lambda run: run(named, {1}),
    "kwargs that are a list": lambda run: run(named, (), [("a", 1)]),
    "kwargs whose names are numbers": lambda run: run(named, (), {1: 2}),
    "inputs that are a list": lambda run: run("1", inputs=["a"]),
    "inputs whose names are numbers": lambda run: run("1", inputs={1: 2}),
    "inputs whose names lie": lambda run: run("1", inputs={Lying("a"): 2}),
    "outputs that are a string": lambda run: run("a = 1", outputs="a"),
    "outputs that are a dict": lambda run: run("a = 1", outputs={"a": 1}),
    "outputs of numbers": lambda run: run("a = 1", outputs=(1,)),
    "stdin that is a number": lambda run: run("1", stdin=5),
    "stdin that is a file": lambda run: run("1", stdin=sys.stdin),
    "stdin that is a list": lambda run: run("1", stdin=["a"]),
}


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_arguments_of_a_wrong_type(entry, misuse):
    with pytest.raises(TypeError) as caught:
        misuse(entry)
    assert len(str(caught.value)) > 20  # a sentence


def test_too_few_or_too_many_arguments_are_the_guests_error():
    for arguments in ((), (1, 2)):
        error = csandbox.execute(named, arguments).error
        assert type(error) is GuestError
        assert error.type_name == "TypeError"


def test_an_output_that_was_not_left():
    result = csandbox.execute("a = 1", outputs=("a", "b"))
    assert result.error.type_name == "NameError"
    assert "'b'" in result.error.message


# --- of the policy -----------------------------------------------------------

BAD_POLICIES = {
    "a negative timeout": {"timeout": -1},
    "a timeout of nothing": {"timeout": 0},
    "a timeout that is NaN": {"timeout": float("nan")},
    "an endless timeout": {"timeout": float("inf")},
    "a timeout that is text": {"timeout": "5"},
    "a timeout that is a bool": {"timeout": True},
    "no timeout": {"timeout": None},
    "a negative memory": {"memory": -1},
    "too little memory": {"memory": 1},
    "memory of no unit": {"memory": "12X"},
    "memory that is a float": {"memory": 1e9},
    "negative threads": {"threads": -1},
    "threads that are a bool": {"threads": True},
    "a module that is no name": {"preload": ("os; import sys",)},
    "modules in a string": {"preload": "os"},
    "a variable with a NUL": {"env": {"A": "\0"}},
    "a variable with =": {"env": {"A=B": "1"}},
    "a variable that is a number": {"env": {"A": 1}},
    "other packages": {"packages": "everything"},
    "output of nothing": {"output": 0},
    "a result of nothing": {"result": 0},
}


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("fields", BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_a_bad_policy_is_refused(entry, fields):
    with pytest.raises(PolicyError) as caught:
        entry("1", **fields)
    assert next(iter(fields)) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(PolicyError):
        csandbox.Policy(**fields)


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
def test_an_unknown_policy_field_is_refused(entry):
    with pytest.raises(PolicyError) as caught:
        entry("1", timout=5)
    assert "timout" in str(caught.value)
    assert "did you mean 'timeout'" in str(caught.value)
    with pytest.raises(PolicyError):
        csandbox.Policy(nothing_like_it=1)


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("policy", [{"timeout": 5}, 5, "default", object()])
def test_a_policy_that_is_none(entry, policy):
    with pytest.raises(PolicyError) as caught:
        entry("1", policy=policy)
    assert "csandbox.Policy" in str(caught.value)


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize(
    "fields",
    [
        {"in_process": True},
        {"start": "in-process"},
        {"process": False},
        {"use_subprocess": False},
        {"mechanisms": 0},
        {"template": None},
        {"fault": None},
        {"uid": 0},
    ],
    ids=str,
)
def test_P05_no_in_process_mode(fields):
    # Nor any other way to ask for less than a cell.
    for entry in (*ENTRIES, lambda _, **rest: csandbox.Policy(**rest)):
        with pytest.raises((PolicyError, TypeError)) as caught:
            entry("1", **fields)
        assert next(iter(fields)) in str(caught.value)


# --- of the command line -----------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "1\0"],
        ["--timeout", "-1", "-c", "1"],
        ["--timeout", "nan", "-c", "1"],
        ["--timeout", "soon", "-c", "1"],
        ["--no-such-option", "-c", "1"],
        ["/nonexistent/program.py"],
        ["/"],
        [],
    ],
    ids=str,
)
def test_bad_input_to_the_command_line(arguments):
    if any("\0" in each for each in arguments):
        arguments, data = ["-"], b"x = 1\0"
    else:
        data = b""
    completed = subprocess.run(
        [sys.executable, "-m", "csandbox", "run", *arguments],
        input=data,
        capture_output=True,
        env={
            **os.environ,
            "PYTHONPATH": os.path.dirname(os.path.dirname(csandbox.__file__)),
        },
    )
    assert completed.returncode not in (0, 1, 124)
    assert completed.stdout == b""
    assert completed.stderr
    assert b"Traceback" not in completed.stderr


def test_bad_input_leaves_the_sandbox_usable():
    for _ in range(3):
        with pytest.raises(TypeError):
            csandbox.run("x", inputs={"x": threading.Lock()})
        with pytest.raises(PolicyError):
            csandbox.run("x", timeout=-1)
        with pytest.raises(GuestError):
            csandbox.run("(")
    assert support.value_of("1") == 1
