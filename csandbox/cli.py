"""The command csandbox, which is also `python -m csandbox`."""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import sys
from contextlib import suppress
from errno import EIO, EPIPE
from importlib.util import decode_source
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import csandbox
from csandbox import explain
from csandbox.errors import (
    Cancelled,
    GuestCrash,
    GuestError,
    GuestExit,
    LimitError,
    MemoryLimitError,
    PolicyError,
    SandboxError,
    TimeLimitError,
    UnavailableError,
)
from csandbox.policy import REQUIRABLE, Policy
from csandbox.text import Inert, inert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from csandbox.result import Result

EXIT_STATUS = """\
exit status:
  that of the program, or
  1    it raised an exception, or broke a limit not named here
  2    the command line, the policy or FILE is wrong; nothing ran
  124  it ran out of time, of clocks or of processors
  125  the sandbox could not be set up, or its output not be written
  130  interrupted
  137  it held too much memory
  128+n  signal n killed it
"""
FAILED, MISUSED, TIMED_OUT, BROKEN = 1, 2, 124, 125
INTERRUPTED, OUT_OF_MEMORY, PIPE_CLOSED = 130, 137, 141
STATUSES = {
    TimeLimitError: TIMED_OUT,
    MemoryLimitError: OUT_OF_MEMORY,
    UnavailableError: BROKEN,
    Cancelled: INTERRUPTED,
}

PLAIN_ENCODINGS = ("utf-8", "ascii", "iso8859-", "cp125", "koi8-")

# Of a policy, one option each.
FIELDS = (
    *("timeout", "cpu_time", "memory", "threads", "processes", "scratch"),
    *("output", "output_action", "profile"),
)

# As Python names programs that are not files.
FILENAMES = {"-": "<stdin>", "-c": "<string>"}


class UsageError(Exception):
    """Raised when the command line asks for what cannot be done."""


class OutputError(Exception):
    """Raised when one of our own streams cannot be written."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (UsageError, PolicyError) as error:
        return _complain(str(error), MISUSED)
    except OutputError as error:
        if error.errno == EPIPE:
            return PIPE_CLOSED
        return _complain(f"cannot write: {os.strerror(error.errno)}", BROKEN)
    return status


def _complain(message: str, status: int) -> int:
    with suppress(OutputError):
        Sink(sys.stderr).write_text(f"csandbox: {inert(message)}\n")
    return status


class Parser(argparse.ArgumentParser):
    """Says which word was meant, with the usage of its own command."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Refuse what is not known here, and not in the parser above."""
        found, extra = super().parse_known_args(args, namespace)
        for word in extra:
            name = word.partition("=")[0]
            if name.startswith("-"):
                known = list(self._option_string_actions)
                self.error(f"no option {name}{_meant(name, known)}")
        return found, extra

    def error(self, message: str) -> NoReturn:
        """Print the usage and `message`, and exit with 2."""
        choice = re.search(r"invalid choice: '(.*)' \(choose from", message)
        if choice:
            known = re.findall(r"[\w-]+", message[choice.end() :])
            message += _meant(choice[1], known)
        super().error(message)


def _meant(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="csandbox",
        description="Run untrusted Python that the Linux kernel confines.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"csandbox {csandbox.__version__}",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    explain.add(commands, _add_program)
    _add_doctor(commands)
    return parser


def _add_run(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="run a program",
        usage="csandbox run [options] (FILE | - | -c CODE) [ARG ...]",
        description="Run a Python program in the sandbox. FILE is the only "
        "file of yours that it gets. Standard input is read to its end before "
        "it starts, and is empty from a terminal: use </dev/null if there is "
        "none to read. Options go before FILE; the value of a last "
        "expression is not printed.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=_run)
    _add_program(parser)


def _add_program(parser: argparse.ArgumentParser) -> None:
    """Add the program and its policy, as options and arguments."""
    parser.add_argument(
        "-c",
        dest="code",
        nargs=argparse.REMAINDER,
        metavar="CODE",
        help="the program's text; what follows it are its arguments",
    )
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="FILE [ARG ...]",
        help='the program, "-" for standard input, and its arguments',
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="default: 10"
    )
    parser.add_argument(
        "--cpu-time",
        type=float,
        metavar="SECONDS",
        help="of processors, all together; default: the timeout",
    )
    for name, what in (
        ("memory", "memory it may hold; default: 512M"),
        ("scratch", "size of its private /tmp; default: 64M"),
        ("output", "size of stdout and of stderr, each; default: 1M"),
    ):
        parser.add_argument(f"--{name}", metavar="SIZE", help=what)
    parser.add_argument(
        "--output-action",
        choices=("drop", "kill"),
        help="what becomes of a program that writes more; default: drop",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads beside the first; default: 16",
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="child processes at a time; default: 0",
    )
    parser.add_argument(
        "--preload",
        action="append",
        metavar="MODULE",
        help="import MODULE before the program starts (repeatable)",
    )
    parser.add_argument(
        "--require",
        action="append",
        choices=REQUIRABLE,
        metavar="NAME",
        help="refuse to run without this of the kernel (repeatable): "
        + ", ".join(REQUIRABLE),
    )
    parser.add_argument(
        "--env",
        action="append",
        metavar="NAME=VALUE",
        help="set an environment variable of the program (repeatable)",
    )
    parser.add_argument(
        "--profile",
        choices=("default", "compute"),
        help='"compute": it only computes and prints, imports what '
        "--preload names or is common, and opens no file; "
        'default: "default", ordinary Python',
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="let escape sequences through to a terminal",
    )


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="say what can be guaranteed on this machine",
        description="Make a trial run; print each guarantee with the kernel "
        "features that deliver it here, and what is not in use, why, and what "
        "would change that. Exits with 1 if a guarantee cannot be given.",
        allow_abbrev=False,
    )
    parser.set_defaults(command=_doctor)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--json", action="store_true", help="print the report as JSON"
    )
    choice.add_argument(
        "--apparmor-profile",
        action="store_const",
        const="apparmor_profile",
        dest="profile",
        help="print an AppArmor profile that lets this Python make user "
        "namespaces",
    )
    choice.add_argument(
        "--docker-profile",
        action="store_const",
        const="docker_profile",
        dest="profile",
        help="print a seccomp profile for Docker, Podman and Kubernetes that "
        "lets containers make user namespaces",
    )


def _run(arguments: argparse.Namespace) -> int:
    from csandbox.sandbox import run_program

    program = program_of(arguments)
    sinks = {
        1: Sink(sys.stdout, raw=arguments.raw),
        2: Sink(sys.stderr, raw=arguments.raw),
    }
    try:
        result = run_program(
            *program[:3],
            stdin=program[3],
            policy=program[4],
            on_output=lambda stream, chunk: sinks[stream].write(chunk),
        )
    except PolicyError:
        raise
    except SandboxError as error:
        return report(error, sinks[2])
    for sink in sinks.values():
        sink.finish()
    _report_dropped(result)
    if result.error is not None:
        return report(result.error, sinks[2])
    return (result.exit_code or 0) & 0xFF


def program_of(
    arguments: argparse.Namespace,
) -> tuple[str, str, list[str], bytes, Policy]:
    """Return a program's text, file name, sys.argv, stdin and policy."""
    policy = _policy(arguments)
    source, argv = _program(arguments)
    stdin = b"" if argv[0] == "-" else _read_stdin()
    return source, FILENAMES.get(argv[0], argv[0]), argv, stdin, policy


def policy_options(arguments: argparse.Namespace) -> list[str]:
    """Return the options of the policy as they were given."""
    words = []
    for name in (*FIELDS, "preload", "env", "require"):
        value = getattr(arguments, name)
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                words += [
                    f"--{name.replace('_', '-')}",
                    f"{each:g}" if isinstance(each, float) else f"{each}",
                ]
    return words


def _policy(arguments: argparse.Namespace) -> Policy:
    given = {name: getattr(arguments, name) for name in FIELDS}
    fields = {name: each for name, each in given.items() if each is not None}
    modules = ",".join(arguments.preload or ())
    if modules:
        fields["preload"] = tuple(modules.split(","))
    if arguments.require:
        fields["require"] = tuple(arguments.require)
    env = {}
    for setting in arguments.env or ():
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--env needs NAME=VALUE, not {setting!r}")
        env[name] = value
    return Policy(env=env, **fields)


def _program(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the program's text and its sys.argv."""
    if arguments.code is not None:
        if not arguments.code:
            raise UsageError("-c needs the program's text after it")
        code, *rest = arguments.code
        return code, ["-c", *rest, *arguments.program]
    if not arguments.program:
        raise UsageError('name a program: FILE, "-" or -c CODE')
    name = arguments.program[0]
    try:
        if name == "-":
            content = sys.stdin.buffer.read() if sys.stdin else b""
        else:
            with open(name, "rb") as file:
                content = file.read()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    source = _decode(name, content)
    if "\0" in source:
        raise UsageError(f"{name} is not Python source: it holds a NUL byte")
    return source, arguments.program


def _decode(name: str, content: bytes) -> str:
    """Return the text of a program, in the encoding that it declares.

    Only in the plain ones: some codecs take quadratic time, run code of
    other packages or are not of text, and nothing limits us here.
    """
    import codecs
    from tokenize import detect_encoding

    try:
        encoding, _ = detect_encoding(io.BytesIO(content).readline)
        codec = codecs.lookup(encoding).name
        if not codec.startswith(PLAIN_ENCODINGS):
            raise UsageError(
                f"{name} declares the encoding {codec}; save it as UTF-8"
            )
        return decode_source(content)
    except (SyntaxError, UnicodeError, LookupError) as error:
        raise UsageError(f"cannot decode {name}: {error}") from None


def _read_stdin() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        return b""
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise UsageError(f"cannot read stdin: {error.strerror}") from None


class Sink:
    """Passes one stream of the guest on to one of ours.

    A terminal gets inert text, unless `raw`; anything else the exact bytes.
    """

    def __init__(self, stream: TextIO | None, *, raw: bool = False) -> None:
        self._stream = stream
        self._inert: Inert | None = None
        if stream is not None and stream.isatty() and not raw:
            self._inert = Inert()

    def write(self, chunk: bytes) -> None:
        """Pass `chunk` on at once."""
        if self._inert is not None:
            chunk = self._encode(self._inert.feed(chunk))
        self._pass(chunk)

    def write_text(self, text: str) -> None:
        """Pass on `text` from the guest."""
        self._pass(self._encode(inert(text) if self._inert else text))

    def finish(self) -> None:
        """Pass on what an incomplete last character held back."""
        if self._inert is not None:
            self._pass(self._encode(self._inert.finish()))

    def _encode(self, text: str) -> bytes:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return text.encode(encoding, "backslashreplace")

    def _pass(self, data: bytes) -> None:
        if self._stream is None or not data:
            return
        try:
            self._stream.flush()
            self._stream.buffer.write(data)
            self._stream.buffer.flush()
        except OSError as error:
            _abandon(self._stream)
            raise OutputError(error.errno or EIO) from None


def _abandon(stream: TextIO) -> None:
    """Point a stream that cannot be written at /dev/null.

    Otherwise the interpreter fails again, aloud, when it flushes at exit.
    """
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def report(error: SandboxError, stderr: Sink) -> int:
    """Say on stderr how the run ended, and return the exit status."""
    if isinstance(error, GuestExit):
        return error.code & 0xFF
    if isinstance(error, GuestError) and error.traceback:
        stderr.write_text(error.traceback.rstrip("\n") + "\n")
        return FAILED
    if isinstance(error, GuestCrash):
        return _complain(str(error), 128 + error.signal)
    if isinstance(error, LimitError):
        return _complain(limit_text(error), STATUSES.get(type(error), FAILED))
    return _complain(str(error), STATUSES.get(type(error), FAILED))


def limit_text(error: LimitError) -> str:
    """Return what an error at a limit says, in words of the command line."""
    option = f"--{error.limit.replace('_', '-')}"
    text = str(error).replace(f"{error.limit}=", option)
    return text.replace(f"its {error.limit} limit", f"its {option[2:]} limit")


def _report_dropped(result: Result) -> None:
    usage = result.usage
    for name, dropped in (
        ("stdout", usage.stdout_dropped),
        ("stderr", usage.stderr_dropped),
    ):
        if dropped:
            _complain(
                f"{dropped} more bytes of {name} were dropped; "
                "pass a larger --output to see them",
                0,
            )


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.profile is not None:
        from csandbox import profiles

        text = getattr(profiles, arguments.profile)()
        Sink(sys.stdout).write_text(text.rstrip("\n") + "\n")
        return 0
    report = csandbox.doctor()
    versions = {
        "csandbox": csandbox.__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }
    if arguments.json:
        text = json.dumps({**versions, **report.as_dict()}, indent=2)
    else:
        heading = ", ".join(f"{key} {each}" for key, each in versions.items())
        text = f"{heading}\n\n{report}"
    Sink(sys.stdout).write_text(f"{text}\n")
    return 0 if report.ok else FAILED
