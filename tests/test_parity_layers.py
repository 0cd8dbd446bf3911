"""Parity: defence in depth, and the same through every entry point.

Rows of PARITY.md that are tested elsewhere: K03, C01, O01, O02 and Y04 in
test_escape_kernel, O03, Y13 and Y14 in test_syscall_table, S01, S02 and P16
in test_escape_files, S03 and P15 in test_escape_result, PV2 in
test_fault_injection, P05 in test_bad_input, C03 in test_real_stdlib.

Rows that cannot be tested yet: K01, K02, K04 and K05 (there is no profile
"compute"), O04 (no diagnostic mode), V02 (no broker: nothing is handed over),
V03 (a measurement, which belongs to the benchmarks).
"""

import inspect
import os
import subprocess
import sys

import pytest

import csandbox
import support
import test_escape_files
import test_escape_kernel
import test_escape_network
import test_escape_processes

ESCAPES = {
    **test_escape_files.ESCAPES,
    **test_escape_network.ESCAPES,
    **test_escape_processes.ESCAPES,
    **test_escape_kernel.ESCAPES,
}
SOURCES = {name: attack.source for name, attack in ESCAPES.items()}


def battery(prelude, sources, inputs):
    """Return the names of the attacks that succeed.  Runs inside."""
    import ast

    successes = []
    for name, source in sources.items():
        scope = dict(inputs)
        exec(prelude, scope)
        tree = ast.parse(source)
        last = ast.Expression(tree.body.pop().value)
        try:
            exec(compile(tree, "<attack>", "exec"), scope)
            if eval(compile(last, "<attack>", "eval"), scope):
                successes.append(name)
        except OSError:
            pass
    return successes


@pytest.fixture
def arguments(outside):
    """Return what a battery is called with."""
    inputs = {**outside.inputs(), "NR": support.syscall_numbers()}
    return [support.GUEST, SOURCES, inputs]


@pytest.fixture
def program(arguments):
    """Return the battery as the source of a program."""
    text = inspect.getsource(battery)
    call = ", ".join(map(repr, arguments))
    return f"{text}\nfound = battery({call})\n"


def test_C02_every_escape_has_more_than_one_layer():
    assert len(ESCAPES) > 20
    for name, attack in ESCAPES.items():
        assert len(attack.layers) > 1, name


@pytest.mark.parametrize("name", ESCAPES)
def test_C02_the_battery_finds_what_succeeds(arguments, name):
    # One at a time: some of them move the root away from the others.
    prelude, sources, inputs = arguments
    text = inspect.getsource(battery)
    one = {name: sources[name]}
    without = set(ESCAPES[name].layers)
    source = f"{text}\nbattery({prelude!r}, {one!r}, {inputs!r})"
    assert support.value_of(source, without=without) == [name]


@pytest.mark.parametrize("missing", [None, *support.OPTIONAL])
def test_C02_no_single_mechanism_is_all_there_is(program, missing):
    without = {missing} - {None}
    assert support.value_of(program + "found", without=without) == []


def test_PV1_run_and_execute_of_source_are_contained(program):
    assert csandbox.run(program + "found") == []
    assert csandbox.execute(program + "found").value == []
    assert csandbox.run(program, outputs=["found"]) == {"found": []}


def test_PV1_run_and_execute_of_a_callable_are_contained(arguments):
    assert csandbox.run(battery, arguments) == []
    assert csandbox.execute(battery, arguments).value == []


def test_PV1_inputs_and_stdin_are_contained(arguments):
    text = inspect.getsource(battery)
    inputs = dict(zip(("a", "b", "c"), arguments, strict=True))
    source = f"{text}\nbattery(a, b, c)"
    assert csandbox.run(source, inputs=inputs) == []
    source = "import sys\nexec(sys.stdin.read())\nfound"
    call = ", ".join(map(repr, arguments))
    stdin = f"{text}\nfound = battery({call})\n"
    assert csandbox.run(source, stdin=stdin) == []


def test_PV1_the_command_line_is_contained(program, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(program + "print('found:', found)\n")
    environment = {
        **os.environ,
        "PYTHONPATH": os.path.dirname(os.path.dirname(csandbox.__file__)),
    }
    for arguments, stdin in (
        ([str(file)], None),
        (["-"], file.read_bytes()),
    ):
        completed = subprocess.run(
            [sys.executable, "-m", "csandbox", "run", *arguments],
            input=stdin,
            env=environment,
            capture_output=True,
        )
        assert completed.stdout == b"found: []\n", completed
        assert completed.returncode == 0


def test_PV1_every_entry_point_tells_the_same_isolation():
    for result in (
        csandbox.execute("1"),
        csandbox.execute(int),
        csandbox.execute("1", inputs={"x": 1}),
        csandbox.execute("1", preload=("json",), threads=0),
    ):
        assert result.isolation == csandbox.execute("1").isolation


class LyingStr(str):
    """Is one thing when it is checked and another when it is used."""

    def __eq__(self, other):
        return True

    def __str__(self):
        return "/etc/passwd"

    __fspath__ = __str__
    __hash__ = str.__hash__

    def __contains__(self, other):
        return False

    def encode(self, *arguments):
        return b"/etc/passwd"


class LyingPath(os.PathLike):
    """Another path every time it is asked."""

    def __init__(self):
        self.count = 0

    def __fspath__(self):
        self.count += 1
        return "/tmp" if self.count == 1 else "/etc/passwd"


def test_PV3_a_string_that_lies_is_refused_by_every_argument():
    lie = LyingStr("harmless")
    for misuse in (
        {"packages": lie},
        {"preload": (lie,)},
        {"preload": lie},
        {"env": {lie: "1"}},
        {"env": {"A": lie}},
        {"memory": LyingStr("512M")},
        {"scratch": LyingStr("1M")},
        {"timeout": lie},
    ):
        with pytest.raises(csandbox.PolicyError):
            csandbox.run("1", **misuse)
    for call in (
        lambda: csandbox.run(lie),
        lambda: csandbox.run("1", inputs={lie: 1}),
        lambda: csandbox.run("1", outputs=(lie,)),
        lambda: csandbox.run("1", stdin=lie),
        lambda: csandbox.run(int, kwargs={lie: 1}),
    ):
        with pytest.raises(TypeError):
            call()


def test_PV3_lies_that_are_values_gain_nothing_inside():
    source = """
class Lie(str):
    def __fspath__(self): return '/etc/passwd'
    def __str__(self): return '/etc/passwd'
    def encode(self, *_): return b'/etc/passwd'
def reads(path):
    try:
        return open(path).read()
    except (OSError, TypeError) as error:
        return type(error).__name__
[reads(each) for each in (Lie('/tmp'), lying, lying)]
"""
    value = csandbox.run(source, inputs={"lying": LyingPath()})
    assert set(value) <= {"FileNotFoundError", "IsADirectoryError"}


def test_V01_the_filter_lets_paths_through_because_the_root_is_private():
    # The two are designed together: what opens is inside, and what is
    # outside has no name, for whatever flags.
    source = """
import itertools
flags = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_PATH, os.O_CREAT,
         os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW,
         os.O_TMPFILE)
opened = []
for one, two in itertools.product(flags, flags):
    for path in ('/etc/passwd', '/proc/1/root', '/root', '/home', '/boot',
                 '/sys', '/run', '/var', '/../../etc/passwd'):
        try:
            os.open(path, one | two)
            opened.append(path)
        except OSError:
            pass
sorted(set(opened))
"""
    targets = [entry[2] for entry in csandbox.view.environment_view()]
    for path in support.value_of(source):
        # A directory above the environment, which holds nothing else.
        below = {
            target.removeprefix(f"{path}/").split("/")[0]
            for target in targets
            if target.startswith(f"{path}/")
        }
        assert set(support.value_of(f"os.listdir({path!r})")) == below
