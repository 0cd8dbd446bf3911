"""csandbox explain: what a program tried that was denied, and its policy."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from csandbox.errors import PolicyError, SandboxError
from csandbox.text import inert

if TYPE_CHECKING:
    from collections.abc import Callable

    from csandbox.result import Result, Violation

EXIT_STATUS = """\
exit status:
  0    nothing that it tried was denied
  1    something was
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
    from csandbox.violations import options, told_by_guest

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
    denied = _grouped((*result.violations, *told_by_guest(result.value)))
    needed = options(denied)
    heard = NOTIFY in result.isolation.mechanisms
    told = _as_json if arguments.json else _as_text
    text = told(argv, denied, needed, heard=heard, ended=_ending(result))
    cli.Sink(sys.stdout).write_text(f"{text}\n")
    if denied:
        return DENIED
    return NOTHING if heard else cli.BROKEN


def _ending(result: Result) -> str:
    if result.error is None:
        return "it ended well"
    # Of a traceback, the exception; notes follow it.
    error = result.error
    type_name = getattr(error, "type_name", "")
    if type_name:
        message = str(getattr(error, "message", "")).partition("\n")[0]
        return f"it raised {type_name}: {message}"
    return str(error)


def _grouped(found: tuple[Violation, ...]) -> list[Violation]:
    """Return each thing that was denied once, by category."""
    seen: dict[tuple[str, str, str], Violation] = {}
    for each in found:
        key = (each.category, each.syscall, each.arguments)
        before = seen.get(key)
        if before is None:
            seen[key] = each
        elif each.category != "files":  # of those, one was told twice
            seen[key] = before.replace(count=before.count + each.count)
    order = list(_ABOUT)
    return sorted(seen.values(), key=lambda each: order.index(each.category))


def _as_json(
    argv: list[str],
    denied: list[Violation],
    needed: tuple[str, ...],
    *,
    heard: bool,
    ended: str,
) -> str:
    return json.dumps(
        {
            "program": argv[0],
            "ended": ended,
            "denied": [
                {name: getattr(each, name) for name in each._fields}
                for each in denied
            ],
            "options": list(needed),
            "system_calls_heard": heard,
        },
        indent=2,
    )


def _as_text(
    argv: list[str],
    denied: list[Violation],
    needed: tuple[str, ...],
    *,
    heard: bool,
    ended: str,
) -> str:
    name = argv[0] if argv[0] != "-c" else "the program"
    count = len(denied)
    nothing = "nothing" if heard else "nothing that can be told here and"
    what = {0: nothing, 1: "one thing"}.get(count, f"{count} things")
    verb = "were" if count > 1 else "was"
    lines = [f"{name} tried {what} that {verb} denied; {ended}."]
    category = ""
    for each in denied:
        if each.category != category:
            category = each.category
            lines += ["", f"{category}: {_ABOUT[category]}"]
        lines.append(f"  {_line(each)}")
    if not heard:
        lines += ["", _UNHEARD]
    if denied:
        lines += ["", *_advice(argv, denied, needed)]
    return inert("\n".join(lines))


def _line(violation: Violation) -> str:
    where = f"{violation.line}: " if violation.line else ""
    call = f"{violation.syscall}({violation.arguments})"
    times = f", {violation.count} times" if violation.count > 1 else ""
    permitted = violation.permitted_by
    allowed = f"; {permitted} permits it" if permitted else ""
    return f"{where}{call}{times}{allowed}"


def _advice(
    argv: list[str], denied: list[Violation], needed: tuple[str, ...]
) -> list[str]:
    lines = []
    if needed:
        program = "-c ..." if argv[0] == "-c" else shlex.join(argv)
        command = " ".join(("csandbox run", *needed, program))
        lines = ["The policy it would need:", f"  {command}"]
    barred = {each.category for each in denied if each.permitted_by is None}
    if barred:
        order = [each for each in _ABOUT if each in barred]
        lines.append(f"No policy permits the rest: {', '.join(order)}.")
    return lines
