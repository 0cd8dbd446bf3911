"""The first run of a program: what it imports, here and there, and that a
cell which has not loaded all of our side answers as any other does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import csandbox
import hosts
from csandbox import bootstrap, zygotes

PACKAGE = Path(csandbox.__file__).parent
SLOW = (
    *("asyncio", "cloudpickle", "collections", "concurrent.futures"),
    *("contextlib", "dataclasses", "enum", "functools", "numpy", "pickle"),
    *("re", "tempfile", "threading", "typing", "weakref"),
)


def outcome(program, path=PACKAGE.parent, **variables):
    """Return what a program prints in a fresh Python without site."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=path,
        env={**os.environ, "PYTHONPATH": str(path), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def first(source, **options):
    """Return the result of a run that is the first of its zygote."""
    zygotes.shutdown()
    return csandbox.execute(source, **options)


@pytest.mark.parametrize(
    "use", ["", "csandbox.run", "csandbox.run('1 + 1')", "csandbox.Policy()"]
)
def test_a_first_run_imports_nothing_that_takes_long(use):
    names = f"sorted({{*{SLOW!r}}} & {{*sys.modules}})"
    program = f"import csandbox, sys; {use}\nprint({names})"
    assert outcome(program) == "[]"


# --- a cell that has not loaded the rest -------------------------------------

PLAIN = [
    "1 + 1",
    "sum(range(10))",
    "-1 << 100",
    "0",
    "-128",
    "255",
    "2 ** 2000",
    "2 ** 3000",
    "1 << 5_000_000 == 0",
    "0.1 + 0.2",
    "float('-inf')",
    "None",
    "True",
    "not 1",
    "''",
    "'\\u00e9' * 70",
    "chr(0xd800)",
    "'a' * 70_000",
    "b'ab' * 3",
    "[x for x in range(3)]",
    "{1: (2, 3.5)}",
    "max((lambda x: x)(1), 2)",
    "1j * 1j",
    "",
]


@pytest.mark.parametrize("source", PLAIN)
def test_its_values_are_those_of_any_other(source):
    expected = eval(source or "None")
    got = first(source).unwrap()
    assert (type(got), got) == (type(expected), expected)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("undefined", "NameError"),
        ("sum(", "SyntaxError"),
        ("int('x')", "ValueError"),
        ("'a' * 10 ** 12", "MemoryError"),
        ("max()", "TypeError"),
        ("(lambda f: f(f))(lambda f: f(f))", "RecursionError"),
    ],
)
def test_its_errors_are_those_of_any_other(source, kind):
    early, late = first(source).error, csandbox.execute(source).error
    assert early.type_name == kind
    assert (early.message, early.traceback) == (late.message, late.traceback)


@pytest.mark.parametrize(
    ("source", "stdout", "stderr"),
    [
        ("print(1)", "1\n", ""),
        ("1 is 1", "", "SyntaxWarning"),
        ("import sys\nprint(2, file=sys.stderr)", "", "2\n"),
        ("__import__('traceback').print_stack()", "", "print_stack()"),
        ("exit()", "", ""),
        ("import pickle, mmap; mmap.mmap(-1, 4096).read(1)", "", ""),
    ],
)
def test_what_it_prints_is_what_any_other_does(source, stdout, stderr):
    early, late = first(source), csandbox.execute(source)
    assert early.stdout == late.stdout == stdout
    assert early.stderr == late.stderr
    assert stderr in early.stderr
    assert early.exit_code == late.exit_code


@pytest.mark.parametrize(
    "source", ["abs(1)", "[abs(1)]", "abs(1) + max()", "'a' * 70_000 * abs(1)"]
)
def test_its_expression_is_evaluated_once(source, monkeypatch):
    """The value of most, and what they raise, is sent by the rest of us."""
    tells = "from posix import write; builtins.abs = lambda n: write(1, b'x')"
    text = bootstrap._TEXT.replace("_guest[", f"{tells}\n_guest[", 1)
    monkeypatch.setattr(bootstrap, "_TEXT", text)
    try:
        assert first(source).stdout == "x"
    finally:
        zygotes.shutdown()  # whose cells all do so


def test_it_reaches_nothing_by_the_way_of_an_expression():
    source = "[c for c in ().__class__.__base__.__subclasses__()] and 1"
    assert first(source).value == 1  # not plain: by the rest of our side
    assert first("x := 1").error.type_name == "SyntaxError"
    assert first("(x := 1)").value == 1


def test_its_inputs_outputs_and_functions_are_those_of_any_other():
    assert first("x + 1", inputs={"x": 1}).value == 2
    assert first("y = 2", outputs=("y",)).value == {"y": 2}
    assert first(lambda: 3).value == 3
    assert first("input()", stdin="in").value == "in"
    assert first("__import__('os').environ['A']", env={"A": "b"}).value == "b"


def test_an_idle_zygote_loads_the_rest_for_later_cells():
    source = "import sys; 'cloudpickle' in sys.modules"
    assert not first(source).value
    for _ in range(200):
        if csandbox.run(source):
            return
        csandbox.run("__import__('time').sleep(0.01)")
    pytest.fail("it never did")


# --- the byte code of our side -----------------------------------------------

SWAPPED = ('True: b"\\x88"', 'True: b"\\x89"')


@pytest.fixture
def copied(tmp_path):
    """Return the folder of a copy of the package without byte code."""
    ignored = shutil.ignore_patterns("__pycache__", "native")
    shutil.copytree(PACKAGE, tmp_path / "csandbox", ignore=ignored)
    return tmp_path


def caches(folder):
    return {
        path.name.partition(".")[0]
        for path in (folder / "csandbox/__pycache__").glob("_guest*.pyc")
    }


TRUE = "import csandbox; print(csandbox.run('True'))"


def test_a_start_leaves_byte_code_as_any_import_does(copied):
    assert outcome(TRUE, copied, PYTHONDONTWRITEBYTECODE="") == "True"
    names = (bootstrap.FIRST_FILE, *bootstrap.GUEST_FILES)
    assert {name[:-3] for name in names} <= caches(copied)
    assert outcome(TRUE, copied, PYTHONDONTWRITEBYTECODE="") == "True"


def test_a_start_leaves_none_where_python_shall_not(copied):
    assert outcome(TRUE, copied, PYTHONDONTWRITEBYTECODE="1") == "True"
    assert caches(copied) == set()


def test_byte_code_counts_only_if_it_is_of_the_source(copied):
    assert outcome(TRUE, copied, PYTHONDONTWRITEBYTECODE="") == "True"
    source = copied / "csandbox" / bootstrap.FIRST_FILE
    text = source.read_text()
    assert SWAPPED[0] in text
    source.write_text(text.replace(*SWAPPED) + "# longer\n")
    assert outcome(TRUE, copied, PYTHONDONTWRITEBYTECODE="") == "False"


def test_broken_byte_code_does_not_count(copied):
    assert outcome(TRUE, copied, PYTHONDONTWRITEBYTECODE="") == "True"
    folder = copied / "csandbox/__pycache__"
    (path,) = folder.glob(f"{bootstrap.FIRST_FILE[:-3]}.*.pyc")
    path.write_bytes(b"")
    assert outcome(TRUE, copied, PYTHONDONTWRITEBYTECODE="") == "True"


# --- launched before there is a plan -----------------------------------------

# What is in `meanwhile` happens between the launch and the plan.
BETWEEN = """
import os, signal, sys, time, threading
import csandbox, csandbox.sandbox, hosts
from csandbox import zygotes
build = zygotes.build_plan
def slowly(template, **options):
    zygotes.build_plan = build
    hosts.wait_until(lambda: hosts.zygotes(os.getpid()))
    meanwhile()
    return build(template, **options)
before = hosts.steady_counts()
zygotes.build_plan = slowly
def raised(call, *arguments, **options):
    try: call(*arguments, **options)
    except BaseException as error: return type(error).__name__
def left():
    "What is there beside what was; and that all goes on."
    after = hosts.settled_counts(before)
    return [after == before, csandbox.run("3")]
"""


def test_importing_and_bad_arguments_start_nothing():
    program = """
import os, csandbox, hosts
from csandbox import execute, run, warm
for bad in ({"timeout": -1}, {"inputs": [1]}, {"stdin": 5}, {"args": (1,)}):
    try: run("1", **bad)
    except (TypeError, ValueError): pass
    else: raise AssertionError(bad)
hosts.show(hosts.zygotes(os.getpid()))
"""
    assert hosts.run(program) == []


@pytest.mark.parametrize(
    ("meanwhile", "error"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", "KeyboardInterrupt"),
        ("raise MemoryError", "MemoryError"),
    ],
)
@pytest.mark.parametrize("call", ["execute", "warm"])
def test_a_start_that_fails_before_its_plan_leaves_nothing(
    meanwhile, error, call
):
    program = f"""{BETWEEN}
def meanwhile(): {meanwhile}
argument = ["1"] if {call!r} == "execute" else []
hosts.show([raised(csandbox.{call}, *argument), *left()])
"""
    assert hosts.run(program) == [error, True, 3]


def test_a_plan_that_cannot_be_built_is_told():
    program = f"""{BETWEEN}
def meanwhile(): raise zygotes.unavailable("host-descriptors", 12, "")
hosts.show([raised(csandbox.run, "1"), *left()])
"""
    assert hosts.run(program) == ["UnavailableError", True, 3]


def test_a_zygote_that_dies_before_its_plan_is_told():
    program = f"""{BETWEEN}
def meanwhile():
    (pid,) = hosts.zygotes(os.getpid())
    os.kill(pid, signal.SIGKILL)
hosts.show([raised(csandbox.run, "1"), *left()])
"""
    assert hosts.run(program) == ["UnavailableError", True, 3]


def test_a_handler_may_run_something_before_the_plan():
    program = f"""{BETWEEN}
found = []
def meanwhile():
    signal.signal(signal.SIGUSR1, lambda *_: found.append(csandbox.run("2")))
    os.kill(os.getpid(), signal.SIGUSR1)
found.append(csandbox.run("1"))
hosts.show([found, len(hosts.zygotes(os.getpid()))])
"""
    assert hosts.run(program) == [[2, 1], 1]


def test_a_fork_before_the_plan_inherits_nothing():
    program = f"""{BETWEEN}
def meanwhile():
    wait.set()
    time.sleep(0.5)
wait = threading.Event()
found = []
thread = threading.Thread(target=lambda: found.append(csandbox.run("1")))
thread.start()
wait.wait()
pid = os.fork()
if pid == 0:
    kept = [what for what in hosts.descriptors().values()
            if "socket:" in what or "pidfd" in what or "memfd" in what]
    os._exit(not (kept == [] and csandbox.run("2") == 2))
found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread.join()
hosts.show(sorted(found))
"""
    assert hosts.run(program) == [0, 1]


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_an_end_before_the_plan_leaves_nothing(end):
    program = f"""{BETWEEN}
def meanwhile():
    wait.set()
    time.sleep(60)
wait = threading.Event()
threading.Thread(target=csandbox.run, args=("1",), daemon=True).start()
wait.wait()
if {end!r} == "kill": os.kill(os.getpid(), signal.SIGKILL)
"""
    with hosts.Host(program) as host:
        code, out, _ = host.end()
        assert (code, out) == (-9 if end == "kill" else 0, "")
        assert host.left() == []
