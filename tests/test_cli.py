"""The command line: first against a stand-in for the sandbox, then whole."""

import errno
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
import tomllib
import types
from pathlib import Path

import pytest

import csandbox
from csandbox import cli
from csandbox.errors import (
    Cancelled,
    GuestCrash,
    GuestError,
    GuestExit,
    MemoryLimitError,
    OutputLimitError,
    PolicyError,
    TimeLimitError,
    UnavailableError,
)
from csandbox.policy import Policy
from csandbox.result import Isolation, Result, Usage

MECHANISMS = frozenset(
    {
        "landlock",
        "mount namespace",
        "network namespace",
        "pid namespace",
        "rlimits",
        "seccomp",
        "user namespace",
    }
)
TRACEBACK = "Traceback (most recent call last):\nValueError: \x1b[31mé\n"


def make_result(value=None, *, mechanisms=MECHANISMS, dropped=0, **fields):
    return Result(
        value=value,
        stdout_bytes=b"",
        stderr_bytes=b"",
        usage=Usage(
            wall=0.1,
            user=0.1,
            system=0.1,
            peak_memory=1,
            stdout_dropped=dropped,
        ),
        isolation=Isolation(mechanisms=mechanisms, landlock_abi=7),
        **fields,
    )


class FakeSandbox(types.ModuleType):
    """Stands in for csandbox.sandbox: notes its calls, plays a script."""

    def __init__(self):
        super().__init__("csandbox.sandbox")
        self.calls = []
        self.output = []
        self.outcome = make_result(2, exit_code=0)

    def _play(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def run(self, target, **options):
        return self.execute(target, **options).unwrap()

    def execute(self, target, **options):
        return self._play()

    def run_program(self, source, filename, argv, *, on_output, **options):
        call = types.SimpleNamespace(
            source=source, filename=filename, argv=argv, **options
        )
        self.calls.append(call)
        for stream, chunk in self.output:
            on_output(stream, chunk)
        return self._play()

    @property
    def call(self):
        (call,) = self.calls
        return call


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding="utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self):
        return True

    def shown(self):
        return self.buffer.getvalue()


@pytest.fixture
def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        yield stream


@pytest.fixture
def full_disk():
    with open("/dev/full", "w") as stream:
        yield stream


def give_stdin(monkeypatch, data):
    stdin = io.TextIOWrapper(io.BytesIO(data))
    monkeypatch.setattr(sys, "stdin", stdin)


@pytest.fixture
def sandbox(monkeypatch):
    fake = FakeSandbox()
    monkeypatch.setitem(sys.modules, "csandbox.sandbox", fake)
    give_stdin(monkeypatch, b"")
    return fake


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("print('é')\n", encoding="utf-8")
    return str(path)


def test_a_file_runs_with_its_arguments_and_stdin(
    sandbox, program, monkeypatch
):
    give_stdin(monkeypatch, b"in\xff\r\n")
    assert cli.main(["run", program, "a", "--timeout", "-c", "--"]) == 0
    call = sandbox.call
    assert call.source == "print('é')\n"
    assert call.filename == program
    assert call.argv == [program, "a", "--timeout", "-c", "--"]
    assert call.stdin == b"in\xff\r\n"
    assert call.policy == Policy()


def test_code_runs_with_all_that_follows_as_its_arguments(sandbox):
    argv = ["run", "--raw", "-c", "1", "--raw", "-x", "a", "--", "b"]
    assert cli.main(argv) == 0
    assert sandbox.call.source == "1"
    assert sandbox.call.filename == "<string>"
    assert sandbox.call.argv == ["-c", "--raw", "-x", "a", "--", "b"]


def test_a_program_from_stdin_gets_an_empty_stdin(sandbox, monkeypatch):
    give_stdin(monkeypatch, b"print(1)\r\n")
    assert cli.main(["run", "-", "a", "-b"]) == 0
    assert sandbox.call.source == "print(1)\n"
    assert sandbox.call.filename == "<stdin>"
    assert sandbox.call.argv == ["-", "a", "-b"]
    assert sandbox.call.stdin == b""


def test_a_terminal_or_closed_stdin_is_empty_to_the_program(
    sandbox, program, monkeypatch
):
    for stdin in (Terminal(), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.main(["run", program]) == 0
    assert [call.stdin for call in sandbox.calls] == [b"", b""]


def test_the_encoding_that_a_file_declares_is_used(sandbox, tmp_path):
    path = tmp_path / "latin.py"
    path.write_bytes(b"# coding: latin-1\nprint('\xe9')\n")
    assert cli.main(["run", str(path)]) == 0
    assert "'é'" in sandbox.call.source


def test_options_become_the_policy(sandbox, program):
    options = [
        "--timeout=2.5", "--memory", "1G", "--threads", "3",
        "--scratch", "1M", "--output", "4096", "--preload", "json",
        "--preload", "os.path,re", "--env", "A=1=2", "--env", "B=",
        "--profile", "default",
    ]  # fmt: skip
    assert cli.main(["run", *options, program]) == 0
    assert sandbox.call.policy == Policy(
        timeout=2.5,
        memory="1G",
        threads=3,
        scratch="1M",
        output="4096",
        preload=("json", "os.path", "re"),
        env={"A": "1=2", "B": ""},
    )


def test_the_profile_becomes_the_policys(sandbox, program):
    assert cli.main(["run", "--profile=compute", program]) == 0
    assert sandbox.call.policy == Policy(profile="compute")
    assert cli.main(["run", "--profile=compute", "--threads=2", program]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--timeout", "nan"], "timeout must be more than 0"),
        (["--timeout=-1"], "timeout must be more than 0"),
        (["--memory", "lots"], "memory must be a whole number of bytes"),
        (["--threads", "100000"], "threads must be from 0"),
        (["--env", "A"], "--env needs NAME=VALUE, not 'A'"),
        (["--env", "=1"], "env must have names that are not empty"),
        (["--preload", "a b"], "preload must hold module names"),
    ],
)
def test_a_bad_policy_is_said_before_anything_runs(
    sandbox, program, capsys, options, message
):
    assert cli.main(["run", *options, program]) == 2
    assert capsys.readouterr().err.startswith(f"csandbox: {message}")
    assert sandbox.calls == []


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["walk"],
        ["run", "--network", "x.py"],
        ["run", "--time", "3", "x.py"],
        ["run", "--timeout", "soon", "x.py"],
        ["run", "--threads", "1.5", "x.py"],
    ],
)
def test_a_wrong_command_line_shows_the_usage(sandbox, capsys, argv):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: csandbox")
    assert sandbox.calls == []


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["rnu", "x.py"], "run"),
        (["run", "--timout", "3", "x.py"], "--timeout"),
        (["run", "--timout=3", "x.py"], "--timeout"),
        (["explain", "--jsn", "x.py"], "--json"),
        (["doctor", "--jsn"], "--json"),
        (["run", "--profile", "compte", "x.py"], "compute"),
        (["run", "--require", "namespace", "x.py"], "namespaces"),
        (["run", "--qqq", "x.py"], None),
    ],
)
def test_a_mistyped_word_is_told_what_was_meant(sandbox, capsys, argv, meant):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    if meant is None:
        assert "did you mean" not in error
    else:
        assert error.endswith(f"; did you mean {meant}?\n")
    assert sandbox.calls == []


def test_options_behind_the_program_are_its_own(sandbox, program):
    assert cli.main(["run", program, "--timout", "3"]) == 0
    assert len(sandbox.calls) == 1


def test_what_is_required_goes_to_the_policy(sandbox, program):
    words = ["--require", "landlock", "--require", "seccomp"]
    assert cli.main(["run", *words, program]) == 0
    assert sandbox.call.policy.require == ("landlock", "seccomp")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run"], 'name a program: FILE, "-" or -c CODE'),
        (["run", "-c"], "-c needs the program's text after it"),
        (["run", "/no/such.py"], "cannot read /no/such.py: No such file"),
        (["run", "/"], "cannot read /: Is a directory"),
        (["run", "a\x1bb"], "cannot read a\\x1bb: No such file"),
    ],
)
def test_a_program_that_cannot_be_read_is_said(sandbox, capsys, argv, message):
    assert cli.main(argv) == 2
    assert capsys.readouterr().err.startswith(f"csandbox: {message}")
    assert sandbox.calls == []


@pytest.mark.parametrize("content", [b"'\xff'\n", b"# coding: no\n", b"1\0"])
def test_a_file_that_is_no_source_is_said(sandbox, capsys, tmp_path, content):
    path = tmp_path / "bad.py"
    path.write_bytes(content)
    assert cli.main(["run", str(path)]) == 2
    assert "bad.py" in capsys.readouterr().err
    assert sandbox.calls == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (GuestError("ValueError", "x", TRACEBACK), 1),
        (GuestError("ValueError", "x"), 1),
        (GuestExit(3), 3),
        (GuestExit(-1), 255),
        (GuestExit(256), 0),
        (TimeLimitError("timeout", "1 s"), 124),
        (MemoryLimitError("memory"), 137),
        (OutputLimitError("output"), 1),
        (GuestCrash(signal.SIGSEGV), 139),
        (Cancelled(), 130),
        (UnavailableError("files", "view-mount", errno.EPERM, "Do."), 125),
    ],
)
def test_the_exit_status_says_how_the_run_ended(
    sandbox, program, error, status
):
    sandbox.outcome = make_result(error=error)
    assert cli.main(["run", program]) == status


def test_the_exit_code_of_a_program_that_ended_well_is_passed_on(
    sandbox, program
):
    sandbox.outcome = make_result(exit_code=7)
    assert cli.main(["run", program]) == 7


def test_a_refusal_to_run_is_said_with_its_remedy(sandbox, program, capsys):
    sandbox.outcome = UnavailableError(
        "files", "view-mount", errno.EPERM, "Allow user namespaces.", "/usr"
    )
    assert cli.main(["run", program]) == 125
    assert capsys.readouterr().err == (
        "csandbox: cannot guarantee files: step view-mount failed on /usr: "
        "EPERM (Operation not permitted). Allow user namespaces.\n"
    )


def test_a_policy_that_the_sandbox_refuses_is_a_usage_error(sandbox, program):
    sandbox.outcome = PolicyError("memory is more than this machine has")
    assert cli.main(["run", program]) == 2


@pytest.mark.parametrize(
    ("limit", "option"), [("timeout", "--timeout"), ("cpu_time", "--cpu-time")]
)
def test_a_limit_is_said_with_the_option_that_raises_it(
    sandbox, program, capsys, limit, option
):
    sandbox.outcome = make_result(error=TimeLimitError(limit, "1 s"))
    cli.main(["run", program])
    assert capsys.readouterr().err == (
        f"csandbox: the guest reached its {option[2:]} limit of 1 s; "
        f"pass a larger {option} if it should have more\n"
    )


def test_limits_go_into_the_policy(sandbox, program):
    options = ["--cpu-time", "0.5", "--output-action", "kill"]
    options += ["--processes", "3"]
    assert cli.main(["run", *options, program]) == 0
    assert sandbox.call.policy == Policy(
        cpu_time=0.5, output_action="kill", processes=3
    )


def test_an_interrupt_gives_130_and_no_traceback(sandbox, program, capsys):
    sandbox.outcome = KeyboardInterrupt()
    assert cli.main(["run", program]) == 130
    assert capsys.readouterr().err == ""


def test_the_value_of_a_last_expression_is_not_printed(
    sandbox, program, capsys
):
    cli.main(["run", program])
    assert capsys.readouterr() == ("", "")


def test_a_pipe_gets_the_exact_bytes(sandbox, program, capfdbinary):
    sandbox.output = [(1, b"\x1b[31m\xff\xe2"), (2, b"\x9b\r\n\0"), (1, b"\r")]
    cli.main(["run", program])
    assert capfdbinary.readouterr() == (b"\x1b[31m\xff\xe2\r", b"\x9b\r\n\0")


def test_a_terminal_gets_inert_text(sandbox, program, monkeypatch):
    stdout, stderr = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    error = GuestError("ValueError", "", TRACEBACK)
    sandbox.outcome = make_result(error=error)
    sandbox.output = [
        (1, b"\x1b[31m\xc3"),
        (2, b"\xc2\x9b"),
        (1, b"\xa9\r"),
        (1, b"\n\xff\xe2"),
    ]
    assert cli.main(["run", program]) == 1
    assert stdout.shown().decode() == "\\x1b[31mé\r\n\ufffd\ufffd"
    assert stderr.shown().decode() == (
        "\\x9bTraceback (most recent call last):\nValueError: \\x1b[31mé\n"
    )


def test_raw_gives_a_terminal_the_exact_bytes(sandbox, program, monkeypatch):
    stdout = Terminal()
    monkeypatch.setattr(sys, "stdout", stdout)
    sandbox.output = [(1, b"\x1b[31m\xff")]
    cli.main(["run", "--raw", program])
    assert stdout.shown() == b"\x1b[31m\xff"


def test_a_terminal_that_is_not_utf8_gets_what_it_can_show(
    sandbox, program, monkeypatch
):
    stdout = Terminal(encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stdout)
    sandbox.output = [(1, "é漢\x9b".encode())]
    cli.main(["run", program])
    assert stdout.shown() == b"\xe9\\u6f22\\x9b"


def test_a_closed_stdout_or_stderr_swallows_what_is_written(
    sandbox, program, monkeypatch
):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    sandbox.output = [(1, b"a"), (2, b"b")]
    sandbox.outcome = make_result(error=TimeLimitError("timeout"))
    assert cli.main(["run", program]) == 124


@pytest.mark.parametrize("argv", [["run", "-c", ""], ["doctor"]])
def test_a_broken_pipe_ends_quietly(
    sandbox, monkeypatch, capsys, broken_pipe, argv
):
    monkeypatch.setattr(sys, "stdout", broken_pipe)
    sandbox.output = [(1, b"a"), (2, b"never")]
    assert cli.main(argv) == 141
    assert capsys.readouterr().err == ""


def test_a_full_disk_under_stdout_is_said(
    sandbox, monkeypatch, capsys, full_disk
):
    monkeypatch.setattr(sys, "stdout", full_disk)
    sandbox.output = [(1, b"a")]
    assert cli.main(["run", "-c", ""]) == 125
    assert capsys.readouterr().err == (
        "csandbox: cannot write: No space left on device\n"
    )


def test_a_broken_stderr_does_not_hide_the_status(
    sandbox, monkeypatch, broken_pipe
):
    monkeypatch.setattr(sys, "stderr", broken_pipe)
    sandbox.outcome = make_result(error=TimeLimitError("timeout"))
    assert cli.main(["run", "-c", ""]) == 124


def test_dropped_output_is_said(sandbox, program, capsys):
    sandbox.outcome = make_result(dropped=12)
    assert cli.main(["run", program]) == 0
    assert capsys.readouterr().err == (
        "csandbox: 12 more bytes of stdout were dropped; "
        "pass a larger --output to see them\n"
    )


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"csandbox {csandbox.__version__}\n"
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text())["project"]
    assert project["version"] == csandbox.__version__


def test_doctor_names_every_guarantee_with_its_mechanisms(sandbox, capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert f"csandbox {csandbox.__version__}" in out
    rows = dict(
        line.split(maxsplit=1) for line in out.splitlines()[2:9] if line
    )
    assert {name: row.split(maxsplit=1)[0] for name, row in rows.items()} == {
        "files": "yes",
        "network": "yes",
        "processes": "yes",
        "kernel": "yes",
        "resources": "yes",
        "tier": "full",
    }
    assert rows["files"].endswith("mount namespace, landlock (ABI 7)")


def test_doctor_is_content_with_a_lower_tier(sandbox, capsys):
    sandbox.outcome = make_result(
        2, mechanisms={"landlock", "seccomp", "rlimits"}
    )
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "files      yes       landlock (ABI 7)\n" in out
    assert "network    yes       seccomp\n" in out
    assert "tier       landlock (no namespaces;" in out


@pytest.mark.parametrize("raised", [True, False])
def test_doctor_says_which_step_failed(sandbox, capsys, raised):
    error = UnavailableError(
        "files", "view-mount", errno.EPERM, "Allow user namespaces.", "/usr"
    )
    sandbox.outcome = error if raised else make_result(error=error)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "files      NO\n" in out
    assert "network    not seen\n" in out
    assert "tier       none\n" in out
    assert out.count("Allow user namespaces.") == 1
    assert "step view-mount failed on /usr: EPERM" in out


def test_doctor_gives_json(sandbox, capsys):
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["tier"] == "full"
    assert report["failure"] is None
    assert report["landlock_abi"] == 7
    assert report["guarantees"][0] == {
        "name": "files",
        "ok": True,
        "mechanisms": ["mount namespace", "landlock"],
    }
    for each in report["missing"]:
        assert each["mechanism"]
        assert each["why"]
        assert each["remedy"]


def test_doctor_gives_a_failure_as_json(sandbox, capsys):
    sandbox.outcome = UnavailableError("files", "view-mount", 1, "Do.", "/x")
    assert cli.main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failure"] == {
        "type": "UnavailableError",
        "message": str(sandbox.outcome),
        "guarantee": "files",
        "step": "view-mount",
        "errno": "EPERM",
        "detail": "/x",
        "remedy": "Do.",
    }


def test_doctor_stays_a_function_when_its_module_is_imported():
    import csandbox.doctor as module

    assert callable(csandbox.doctor)
    assert csandbox.doctor is sys.modules["csandbox.doctor"].doctor
    assert module is not None


def test_every_public_name_exists(sandbox):
    assert sorted(csandbox.__all__) == csandbox.__all__
    assert {*csandbox.__all__} <= {*dir(csandbox)}
    for name in {*csandbox.__all__} - {"run", "execute"}:
        assert hasattr(csandbox, name)
    with pytest.raises(AttributeError, match="no attribute 'sandboxes'"):
        _ = csandbox.sandboxes


# From here on: the whole, as a user starts it.


def start(*arguments, **options):
    command = [sys.executable, "-m", "csandbox", *arguments]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **{**streams, **options})


def complete(*arguments, stdin=b""):
    with start(*arguments) as process:
        out, err = process.communicate(stdin, timeout=60)
    return process.returncode, out, err


def test_whole_argv_streams_and_status_are_passed_on(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        "import sys\n"
        "print(sys.argv[1:], sys.stdin.read())\n"
        "sys.stderr.write('err')\n"
        "sys.exit(3)\n"
    )
    status, out, err = complete("run", str(path), "a", "-b", stdin=b"in")
    assert (status, out, err) == (3, b"['a', '-b'] in\n", b"err")


def test_whole_code_and_program_from_stdin_run():
    assert complete("run", "-c", "print(6 * 7); 1") == (0, b"42\n", b"")
    assert complete("run", "-", stdin=b"print(6 * 7)") == (0, b"42\n", b"")


@pytest.mark.parametrize("last", ["object()", "'x' * 10**8", "int"])
def test_whole_the_value_of_the_last_line_is_not_asked_for(last):
    assert complete("run", "-c", last) == (0, b"", b"")


def test_whole_an_exception_prints_the_guests_own_traceback(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("def f():\n    return 1 / 0\n\n\nf()\n")
    status, out, err = complete("run", str(path))
    expected = subprocess.run(
        [sys.executable, str(path)], check=False, capture_output=True
    ).stderr
    assert (status, out, err.decode()) == (1, b"", expected.decode())


def test_whole_a_crash_and_an_abrupt_exit_are_passed_on():
    code = "import ctypes; ctypes.string_at(0)"
    status, _, err = complete("run", "-c", code)
    assert (status, b"SIGSEGV" in err) == (139, True)
    assert complete("run", "-c", "import os; os._exit(9)")[0] == 9
    assert complete("run", "-c", "import sys; sys.exit('no')")[0] == 1


def test_whole_a_loop_ends_at_the_timeout():
    started = time.monotonic()
    status, _, err = complete("run", "--timeout", "1", "-c", "while 1: pass")
    assert (status, b"--timeout" in err) == (124, True)
    assert time.monotonic() - started < 20


def test_whole_output_comes_while_the_program_runs():
    code = "import time; print('now', flush=True); time.sleep(30)"
    with start("run", "--timeout=40", "-c", code) as process:
        process.stdin.close()
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert process.stderr.read() == b""


def test_whole_bytes_in_a_pipe_are_exact():
    code = r"import sys; sys.stdout.buffer.write(b'\x1b[31m\xff\r\0')"
    assert complete("run", "-c", code) == (0, b"\x1b[31m\xff\r\0", b"")


@pytest.mark.parametrize(
    ("options", "shown"),
    [((), b"\\x1b[31m"), (("--raw",), b"\x1b[31m")],
)
def test_whole_escape_sequences_on_a_terminal(options, shown):
    ours, theirs = pty.openpty()
    try:
        code = r"print('\x1b[31m', end='')"
        with start("run", *options, "-c", code, stdout=theirs) as process:
            process.communicate(timeout=60)
        assert os.read(ours, 100) == shown
    finally:
        os.close(ours)
        os.close(theirs)


def test_whole_a_reader_that_leaves_ends_the_run_quietly():
    code = "while True: print('y' * 1000)"
    with start("run", "--output=1G", "-c", code) as process:
        process.stdin.close()
        assert process.stdout.read(4) == b"yyyy"
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == b""


def test_whole_doctor_finds_everything_here():
    status, out, err = complete("doctor")
    assert (status, err) == (0, b""), out
    assert b"landlock (ABI " in out
