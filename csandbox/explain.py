"""csandbox explain: what a program tried that was denied, and its policy."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from csandbox import violations
from csandbox.errors import LimitError, PolicyError, SandboxError
from csandbox.text import inert

if TYPE_CHECKING:
    from collections.abc import Callable

    from csandbox.result import Result, Violation

EXIT_STATUS = """\
exit status:
  0    nothing that it tried was denied, and no limit ended it
  1    something was, or a limit did
  2    the command line, the policy or FILE is wrong; nothing ran
  125  the sandbox could not be set up, or there is no telling here
  130  interrupted
"""
NOTHING, DENIED = 0, 1
NOTIFY = "user notification"
_UNHEARD = (
    "The kernel, or the container around this, reports no system calls "
    "here: only files and modules are told."
)
_ABOUT = {
    "network": "There is no network, and no policy permits it: get the data "
    "before, and pass it as inputs= or on standard input.",
    "processes": "Other processes than its own are out of its reach.",
    "namespaces": "Mounts and namespaces are the sandbox's own.",
    "identity": "It stays the user that it is.",
    "kernel": "The kernel and the machine are out of its reach.",
    "files": "It sees Python, the packages of this environment and its own "
    "/tmp: pass what it reads as inputs= or on standard input.",
}
# By how what a denial says ends; others by their category.
_BY_HINT = {
    violations.WRITE_HINT: "It may write to its own /tmp only: print or "
    "return what comes of it.",
    violations.MODULE_HINT: "It has the standard library and the packages "
    "installed in this environment, not modules beside the program: install "
    "it, or pass what it needs as inputs= or as a function.",
    violations.PRELOAD_HINT: "With --profile compute it can import what it "
    "began with: --preload imports more before.",
    violations.SHARED_HINT: "Shared memory and semaphores are for several "
    "processes.",
    'no files with profile="compute"': "With --profile compute it opens no "
    "file: pass what it reads as inputs= or on standard input.",
    "which this machine refuses: see csandbox doctor": "They need namespaces, "
    "which this machine refuses: see csandbox doctor.",
}
_BOUNDED = "The policy says how many it may have of them."


def add(
    commands: Any, add_program: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add the command to those of the command line."""
    parser = commands.add_parser(
        "explain",
        help="run a program, and say what it tried that was denied",
        usage="csandbox explain [options] (FILE | - | -c CODE) [ARG ...]",
        description="Run a Python program as `csandbox run` does, and print "
        "what it tried that was denied, also if it caught the error, and the "
        "policy that it would need. All that the program prints goes to "
        "standard error. Of files it knows those that were opened or listed, "
        "not those that were only looked for.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=_explain)
    add_program(parser)
    parser.add_argument(
        "--json", action="store_true", help="print the report as JSON"
    )


def _explain(arguments: argparse.Namespace) -> int:
    from csandbox import cli
    from csandbox.sandbox import run_program

    source, filename, argv, stdin, policy = cli.program_of(arguments)
    stderr = cli.Sink(sys.stderr, raw=arguments.raw)
    try:
        result = run_program(
            source,
            filename,
            argv,
            stdin=stdin,
            policy=policy,
            on_output=lambda _, chunk: stderr.write(chunk),
            explained=True,
        )
    except PolicyError:
        raise
    except SandboxError as error:
        return cli.report(error, stderr)
    stderr.finish()
    if result.error is not None:
        cli.report(result.error, stderr)
    mechanisms = result.isolation.mechanisms
    told = violations.told_by_guest(result.value, policy, mechanisms)
    report = _Report(
        argv=argv,
        given=cli.policy_options(arguments),
        denied=_grouped((*result.violations, *told)),
        limit=getattr(result.error, "limit", ""),
        ended=_ending(result),
        heard=NOTIFY in mechanisms,
    )
    text = _as_json(report) if arguments.json else _as_text(report)
    cli.Sink(sys.stdout).write_text(f"{text}\n")
    if report.denied or report.limit:
        return DENIED
    return NOTHING if report.heard else cli.BROKEN


class _Report(NamedTuple):
    argv: list[str]
    given: list[str]  # options of the policy
    denied: list[Violation]
    limit: str  # that ended it, the policy's field; "" if none did
    ended: str  # how, in words
    heard: bool  # system calls

    @property
    def needed(self) -> tuple[str, ...]:
        return violations.options(self.denied)


def _ending(result: Result) -> str:
    from csandbox import cli

    if result.error is None:
        return "it ended well"
    if isinstance(result.error, LimitError):
        return cli.limit_text(result.error)
    # Of a traceback, the exception; notes follow it.
    error = result.error
    type_name = getattr(error, "type_name", "")
    if type_name:
        message = str(getattr(error, "message", "")).partition("\n")[0]
        return f"it raised {type_name}: {message}"
    return str(error)


def _grouped(found: tuple[Violation, ...]) -> list[Violation]:
    """Return each thing that was denied once, by category."""
    if any(each.syscall in ("clone", "fork") for each in found):
        # subprocess tries vfork() first, and then the other.
        found = tuple(each for each in found if each.syscall != "vfork")
    seen: dict[tuple[str, str, str], Violation] = {}
    for each in found:
        key = (each.category, each.syscall, each.arguments)
        before = seen.get(key)
        if before is None:
            seen[key] = each
        elif each.category != "files":  # of those, one was told twice
            seen[key] = before.replace(count=before.count + each.count)
    order = {category: place for place, category in enumerate(_ABOUT)}
    return sorted(
        seen.values(),
        key=lambda each: (order.get(each.category, len(order)), _about(each)),
    )


def _about(violation: Violation) -> str:
    for hint, about in _BY_HINT.items():
        if violation.text.endswith(hint):
            return about
    if violation.category == "processes" and violation.permitted_by:
        return _BOUNDED
    return _ABOUT.get(violation.category, "no policy permits them")


def _as_json(report: _Report) -> str:
    return json.dumps(
        {
            "program": report.argv[0],
            "ended": report.ended,
            "limit": report.limit or None,
            "denied": [
                {name: getattr(each, name) for name in each._fields}
                for each in report.denied
            ],
            "options": list(report.needed),
            "system_calls_heard": report.heard,
        },
        indent=2,
    )


def _as_text(report: _Report) -> str:
    argv, denied = report.argv, report.denied
    name = argv[0] if argv[0] != "-c" else "the program"
    count = len(denied)
    nothing = (
        "nothing" if report.heard else "nothing that can be told here and"
    )
    what = {0: nothing, 1: "one thing"}.get(count, f"{count} things")
    verb = "were" if count > 1 else "was"
    lines = [f"{name} tried {what} that {verb} denied; {report.ended}."]
    about = ""
    for each in denied:
        if _about(each) != about:
            about = _about(each)
            lines += ["", f"{each.category}: {about}"]
        lines.append(f"  {_line(each)}")
    if not report.heard:
        lines += ["", _UNHEARD]
    if denied:
        lines += ["", *_advice(report)]
    return inert("\n".join(lines))


def _line(violation: Violation) -> str:
    where = f"{violation.line}: " if violation.line else ""
    call = f"{violation.syscall}({violation.arguments})"
    times = f", {violation.count} times" if violation.count > 1 else ""
    permitted = violation.permitted_by
    allowed = f"; {permitted} permits it" if permitted else ""
    return f"{where}{call}{times}{allowed}"


def _advice(report: _Report) -> list[str]:
    lines, argv = [], report.argv
    if report.needed:
        program = "-c ..." if argv[0] == "-c" else shlex.join(argv)
        given = shlex.join(report.given)
        words = ["csandbox run", given, *report.needed, program]
        command = " ".join(filter(None, words))
        lines = ["The policy it would need:", f"  {command}"]
    barred = {
        each.category for each in report.denied if each.permitted_by is None
    }
    if barred:
        order = [each for each in _ABOUT if each in barred]
        lines.append(f"No policy permits the rest: {', '.join(order)}.")
    return lines
