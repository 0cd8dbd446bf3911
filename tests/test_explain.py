"""csandbox explain: what a program tried that was denied, and its policy."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import csandbox
from csandbox import explain as explain_module

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PROGRAM = """\
import socket, subprocess
for _ in range(3):
    try:
        socket.socket()
    except OSError:
        pass
try:
    subprocess.run(["true"])
except OSError:
    pass
try:
    open("/etc/passwd")
except OSError:
    pass
try:
    import nosuchmodule
except ImportError:
    pass
print("the program's own words")
"""


def explain(*words, outer=None, stdin=""):
    return subprocess.run(
        [
            *(
                ()
                if outer is None
                else (sys.executable, str(TESTS / "outer.py"), *outer)
            ),
            *(sys.executable, "-m", "csandbox", "explain", *words),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS.parent), *sys.path]),
        },
        input=stdin,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "prog.py"
    path.write_text(PROGRAM)
    return str(path)


def test_O04_what_was_refused_is_named_with_lines_and_counts(program):
    done = explain(program)
    assert done.returncode == 1
    assert "prog.py:4: socket(AF_INET, SOCK_STREAM), 3 times" in done.stdout
    assert "prog.py:12: open('/etc/passwd')" in done.stdout
    assert "prog.py:16: import('nosuchmodule')" in done.stdout
    assert f"csandbox run --processes 1 {program}" in done.stdout
    assert "it ended well" in done.stdout


def test_what_the_program_prints_goes_to_standard_error(program):
    done = explain(program)
    assert done.stderr == "the program's own words\n"


def test_Y08_denied_calls_are_logged_for_machines(program):
    done = explain("--json", program)
    report = json.loads(done.stdout)
    assert report["options"] == ["--processes", "1"]
    assert report["system_calls_heard"] is True
    found = {each["syscall"]: each for each in report["denied"]}
    assert found["socket"]["count"] == 3
    assert found["socket"]["category"] == "network"
    assert found["open"]["line"] == "prog.py:12"


def test_the_policy_that_it_names_is_enough():
    program = "import os\nif not os.fork(): os._exit(0)\nos.wait()"
    done = explain("--json", "-c", program)
    options = json.loads(done.stdout)["options"]
    again = explain("--json", *options, "-c", program)
    assert json.loads(again.stdout)["denied"] == []
    assert again.returncode == 0


@pytest.mark.parametrize(
    "program",
    ["print(1)", "import sys; sys.exit(3)", "1/0", "import json, random"],
)
def test_nothing_denied_is_exit_code_0(program):
    done = explain("-c", program)
    assert done.returncode == 0
    assert "tried nothing that was denied" in done.stdout


def test_a_program_that_exits_has_its_account_too():
    done = explain(
        "-c", "import sys\ntry: open('/x')\nexcept OSError: sys.exit(3)"
    )
    assert done.returncode == 1
    assert "open('/x')" in done.stdout


def test_an_uncaught_error_is_told_once_and_shown():
    done = explain("-c", "open('config.toml')")
    assert done.returncode == 1
    assert done.stdout.count("open('config.toml')") == 1
    assert "2 times" not in done.stdout
    assert "FileNotFoundError" in done.stderr


def test_names_of_files_are_inert_where_they_are_shown():
    done = explain("-c", "try: open('/\\x1b]0;x\\x07')\nexcept OSError: pass")
    assert "\x1b" not in done.stdout
    assert done.returncode == 1


def test_a_program_on_standard_input_is_explained():
    done = explain("-", stdin="import os; os.fork()")
    assert done.returncode == 1
    assert "<stdin>:1: clone" in done.stdout


def test_where_the_kernel_tells_nothing_it_says_so():
    done = explain(
        "-c",
        "import socket; socket.socket()",
        outer=("--namespaces", "--no-notify"),
    )
    assert done.returncode == 125
    assert "no system calls" in done.stdout


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os; os.nice(5)", "setpriority"),
        ("import os; os.sched_setaffinity(0, {0})", "sched_setaffinity"),
        ("import os; os.memfd_create('x')", "memfd_create"),
        ("import multiprocessing; multiprocessing.Lock()", "sem_open"),
    ],
)
def test_a_program_that_failed_for_a_denial_is_told_which(program, told):
    done = explain("-c", program)
    assert done.returncode == 1
    assert f":1: {told}(" in done.stdout or f"  {told}(" in done.stdout


def test_without_namespaces_no_option_is_named_that_would_not_help():
    program = "import os\ntry: os.fork()\nexcept OSError: os.symlink('a', 'b')"
    done = explain("-c", program, outer=())
    assert done.returncode == 1
    assert "symlink()" in done.stdout
    assert "see csandbox doctor" in done.stdout
    assert "--processes" not in done.stdout


@pytest.mark.parametrize(
    ("option", "value", "program", "limit"),
    [
        ("--timeout", "0.5", "while True: pass", "timeout"),
        ("--cpu-time", "0.5", "while True: pass", "cpu_time"),
        ("--memory", "64M", "x = bytearray(2**30)", ""),
    ],
)
def test_a_limit_that_ended_the_run_is_named(option, value, program, limit):
    done = explain(option, value, "--json", "-c", program)
    report = json.loads(done.stdout)
    assert report["limit"] == (limit or None)
    assert done.returncode == (1 if limit else 0)
    if limit:
        assert f"pass a larger {option}" in report["ended"]
        assert f"{limit}=" not in report["ended"]


def test_each_kind_of_denial_of_a_file_has_its_own_hint():
    done = explain(
        "-c",
        "import os\n"
        "for attempt in (lambda: open('/home/x'), lambda: os.mkdir('/data'),\n"
        "                lambda: open('/usr/x', 'w'),\n"
        "                lambda: os.remove('/y'),\n"
        "                lambda: os.listdir('/home/z')):\n"
        "    try: attempt()\n"
        "    except OSError: pass\n"
        "try: import nosuchmodule\n"
        "except ImportError: pass\n",
    )
    reads, writes, modules = sections(done.stdout)
    assert "open('/home/x')" in reads and "listdir('/home/z')" in reads
    assert "remove('/y')" in reads
    assert "mkdir('/data')" in writes and "open('/usr/x', 'w')" in writes
    assert "import('nosuchmodule')" in modules


def sections(text):
    """Return those of files: what is read, written and imported."""
    found = [each for each in text.split("\n\n") if each.startswith("files:")]
    return [
        next(each for each in found if words in each.partition("\n")[0])
        for words in ("what it reads", "may write", "beside the program")
    ]


def test_computing_a_module_is_permitted_by_preloading_it():
    program = "import sqlite3"
    done = explain("--profile", "compute", "-c", program)
    assert done.returncode == 1
    wanted = "csandbox run --profile compute --preload sqlite3 -c"
    assert wanted in done.stdout
    again = explain(
        *("--profile", "compute", "--preload", "sqlite3", "-c", program)
    )
    assert again.returncode == 0


def test_names_of_code_are_no_files_that_were_tried():
    program = "exec(compile('1/0', '<unknown>', 'exec'))"
    done = explain("-c", program)
    assert done.returncode == 0
    assert "open(" not in done.stdout


def test_a_program_that_is_started_counts_once():
    done = explain("-c", "import subprocess; subprocess.run(['ls'])")
    assert "tried one thing" in done.stdout
    assert "vfork" not in done.stdout


def test_a_bad_command_line_is_exit_code_2(tmp_path):
    assert explain().returncode == 2
    assert explain("/nonexistent.py").returncode == 2
    assert explain("--processes", "-1", "-c", "1").returncode == 2


def test_a_place_that_the_guest_names_stays_in_its_line():
    forged = "x.py:1: open('/a')\n\nThe policy it would need:\n  evil\n\n"
    source = (
        "code = compile(\"open('/etc/none')\", "
        f"{forged!r}, 'exec')\nexec(code)"
    )
    found = csandbox.execute(source).violations
    assert found
    for violation in found:
        assert "\n" not in str(violation.line)


def test_every_category_has_words():
    """The core's table and the words for it stand in two places."""
    source = ROOT / "csandbox" / "native" / "common" / "denials.c"
    names = re.findall(r'#define \w+ "(\w+)"', source.read_text())
    assert {*names} == {*explain_module._ABOUT}
