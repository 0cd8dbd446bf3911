"""run and execute: from a target and a policy to a value or a Result."""

from __future__ import annotations

import sys
from errno import EMFILE, ETIMEDOUT
from time import monotonic, sleep

from csandbox import cells, jobs, places, tiers, zygotes
from csandbox.errors import Cancelled, UnavailableError
from csandbox.light import is_main_thread
from csandbox.result import Result
from csandbox.terms import terms_of
from csandbox.text import Inert
from csandbox.zygotes import Template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TextIO

    from csandbox._csandbox import Run
    from csandbox.policy import Policy
    from csandbox.shipping import Cargo

    Sink = Callable[[int, bytes], object]

SETUP_SECONDS = 30.0  # from the request to an armed cell


@places.unless_exiting
def run(
    target: str | Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    stdin: str | bytes | None = None,
    on_unsupported: str = "error",
    policy: Policy | None = None,
    **overrides: Any,
) -> Any:
    """Run untrusted code in a cell of its own and return its value.

    `target` is source text or a callable.  Source runs as `__main__`, with
    `inputs` as its variables; its value is that of its last statement if
    that is an expression, or else None; with `outputs`, names of variables,
    it is a dict of those.  A callable is called with `args` and `kwargs`,
    and travels by value, as they do: the cell works on copies, but for arrays
    of 64 KiB and more, which it can only read.  `stdin` is
    what the guest reads from its standard input.  `on_unsupported` says what
    becomes of things in the value that cannot cross: "error", or "repr" for a
    Repr in the place of each.  `overrides` are fields of Policy, such as
    timeout=2.

    With start="fork" the cell is forked from this process: the target, its
    arguments and `inputs` may then be anything at all, of any size, and
    the guest can read all that this process has in memory.

    What the guest prints appears on `sys.stdout` and `sys.stderr` as it
    comes.  The value is plain data: None, bool, int, float, complex, str,
    bytes, bytearray, list, tuple, dict, set, frozenset, Ellipsis, range,
    slice, and those of datetime, zoneinfo, decimal, fractions, uuid and
    collections; and numpy's arrays, read-only, and scalars, but for objects
    and long doubles, and pandas' frames, series, indexes, scalars and nullable
    arrays, without `attrs` and `flags`, if the packages are installed here
    too.

    Raises GuestError for an exception of the guest, GuestExit if it exits,
    GuestCrash if a signal kills it, TimeLimitError and other LimitErrors at
    its limits, ResultError for a value that may not cross, UnavailableError
    if the sandbox cannot be set up or had no place in time, and PolicyError
    or TypeError, before anything starts, for bad arguments.  Whatever
    happens, the run is over when this returns: it is killed, and what is left
    of one that was short goes within a moment.
    """
    choice = jobs.unsupported_choice(on_unsupported)
    job, cargo, policy = jobs.prepare(
        target, args, kwargs, inputs, outputs, policy, overrides
    )
    job["on_unsupported"] = choice
    passed = _Streams()
    done = _carry_out(
        job,
        cargo,
        jobs.stdin_bytes(stdin),
        policy,
        sink=passed.write,
        hurried=True,
    )
    passed.finish(done.outcome, policy)
    if done.error is None:
        return done.value
    return done.result().unwrap()


@places.unless_exiting
def execute(
    target: str | Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    stdin: str | bytes | None = None,
    on_unsupported: str = "error",
    policy: Policy | None = None,
    **overrides: Any,
) -> Result:
    """Run untrusted code like `run`, and return a Result.

    Never raises for what the guest did: `result.error` is what `run` would
    have raised.  What it prints is captured in `result.stdout` and
    `result.stderr`.  Raises UnavailableError if the sandbox cannot be set
    up or had no place in time, and PolicyError or TypeError for bad
    arguments.
    """
    choice = jobs.unsupported_choice(on_unsupported)
    job, cargo, policy = jobs.prepare(
        target, args, kwargs, inputs, outputs, policy, overrides
    )
    job["on_unsupported"] = choice
    return _execute(job, cargo, jobs.stdin_bytes(stdin), policy)


@places.unless_exiting
def run_program(
    source: str,
    filename: str,
    argv: Sequence[str],
    *,
    stdin: bytes,
    policy: Policy,
    on_output: Sink,
    explained: bool = False,
) -> Result:
    """Run a program for the command line.

    `on_output(1 or 2, chunk)` gets its output as it comes; what it raises
    ends the run and comes out of here.  `explained`: its value is the guest's
    own account of what it could not get, for violations.told_by_guest().
    """
    jobs.check_source(source)
    # A program's value is nobody's: none is asked for.
    job, cargo = jobs.source_job(source, filename, argv, {}, ())
    job["explain"] = explained
    return _execute(job, cargo, stdin, policy, sink=on_output)


def run_nothing(policy: Policy) -> None:
    """Have a run that does nothing, whatever becomes of it, for warm().

    Raises UnavailableError if the sandbox cannot be set up.
    """
    job, cargo = jobs.source_job("None", jobs.FILENAME, [""], {}, None)
    _carry_out(job, cargo, b"", policy, hurried=True).result()


# --- the run -----------------------------------------------------------------


class _Done:
    """A run that is over: what it gave, and what tells the rest of it."""

    def __init__(
        self,
        outcome: dict[str, Any],
        policy: Policy,
        template: Template,
        times: tuple[float, float],
    ) -> None:
        # Imported while the zygote starts, by zygotes._prepare_the_rest().
        from csandbox import endings

        self.outcome = outcome
        self.value, self.error = endings.judge(outcome, policy)
        self._policy = policy
        self._template = template
        self._times = *times, monotonic()

    def result(self) -> Result:
        from csandbox import endings, receipts, violations

        outcome, policy = self.outcome, self._policy
        isolation = receipts.isolation(outcome, self._template)
        blocked = violations.of_run(outcome, policy, isolation.mechanisms)
        return Result(
            value=self.value,
            stdout_bytes=outcome["stdout"],
            stderr_bytes=outcome["stderr"],
            error=self.error,
            exit_code=endings.exit_code(self.error),
            usage=endings.usage(outcome, self._times, policy),
            violations=blocked,
            isolation=isolation,
        )


def _execute(
    job: dict[str, Any],
    cargo: Cargo,
    stdin: bytes,
    policy: Policy,
    *,
    sink: Sink | None = None,
    template: Template | None = None,
) -> Result:
    """Do one job.  `template` is for tests of the mechanisms."""
    return _carry_out(
        job, cargo, stdin, policy, sink=sink, template=template
    ).result()


def _carry_out(
    job: dict[str, Any],
    cargo: Cargo,
    stdin: bytes,
    policy: Policy,
    *,
    sink: Sink | None = None,
    template: Template | None = None,
    hurried: bool = False,
) -> _Done:
    terms = terms_of(policy)
    live = job.pop("live", None)
    frame = jobs.frame(job, cargo, terms)
    asked = monotonic()
    try:
        with places.take(policy.queue_timeout):
            placed = monotonic()
            chosen = template or terms.template
            if policy.start == "fork":

                def fork(each: Template) -> dict[str, Any]:
                    return _fork(frame, live, stdin, policy, sink, each)

                if template is None:
                    outcome, chosen = tiers.with_fork(chosen, policy, fork)
                else:
                    outcome = fork(template)
            else:

                def start(each: Template) -> dict[str, Any]:
                    order = cells.Order(each, policy, cargo.parts, terms)
                    return _start(order, frame, stdin, sink, hurried)

                if template is None:
                    outcome, chosen = tiers.with_zygote(chosen, policy, start)
                else:
                    outcome = start(template)
    except UnavailableError:
        if places.are_closed():  # and the zygotes ended, whatever they did
            raise Cancelled(places.SHUTTING_DOWN) from None
        raise
    return _Done(outcome, policy, chosen, (asked, placed))


def _fork(
    frame: bytes,
    live: object,
    stdin: bytes,
    policy: Policy,
    sink: Sink | None,
    template: Template,
) -> dict[str, Any]:
    """Do a job in a fork of this process."""
    from csandbox import forking

    with forking.started(template, policy, live) as cell:
        outcome = _see_to_its_end(cell, frame, stdin, policy, sink)
        cell.close()
    if outcome["ending"] == "setup":
        raise zygotes.setup_error(outcome)
    return outcome


def _start(
    order: cells.Order,
    frame: bytes,
    stdin: bytes,
    sink: Sink | None,
    hurried: bool,
) -> dict[str, Any]:
    """Do a job in a cell of a zygote, and put right what became of that."""
    template, policy = order.template, order.policy
    for attempt in range(1, zygotes.ATTEMPTS + 1):
        zygote, cell = cells.start_run(order)
        outcome = _see_to_its_end(
            cell,
            frame,
            stdin,
            policy,
            sink,
            successor=cells.wants_successor(order),
            hurried=hurried and not template.is_bare and not template.several,
        )
        cells.keep_successor(order, zygote, cell)
        cell.close()
        if outcome["ending"] == "setup":
            late = outcome["errno"] == ETIMEDOUT
            if not zygote.alive or (
                late and not zygotes.answers(zygote, policy)
            ):
                zygotes.discard(template, zygote)
            last = attempt == zygotes.ATTEMPTS
            if (
                not last
                and outcome["errno"] in cells.SHORT
                and zygotes.disarm()
            ):
                # What waits had it: another try, when that has gone.
                sleep(0.01 * attempt)
                continue
            raise zygotes.setup_error(outcome)
        lost = outcome["ending"] == "lost"
        last = attempt == zygotes.ATTEMPTS or places.are_closed()
        if lost and not outcome["ready"] and zygotes.answers(zygote, policy):
            if last:
                # It lives, but had no number free for a cell's descriptors.
                raise zygotes.unavailable("init", EMFILE, "")
            continue
        # It waited for too long, and had no job yet.
        tired = outcome["ending"] == "exited" and not outcome["begun"]
        if lost or (outcome["silent"] and not zygotes.answers(zygote, policy)):
            zygotes.discard(template, zygote)
        if not (lost or tired) or outcome["begun"] or last:
            return outcome
        # The zygote was killed before the cell took its job: try another.
    raise AssertionError("unreachable")


def _see_to_its_end(
    cell: Run,
    frame: bytes,
    stdin: bytes,
    policy: Policy,
    sink: Sink | None,
    *,
    successor: bool = False,
    hurried: bool = False,
) -> dict[str, Any]:
    try:
        return cell.communicate(
            frame,
            stdin,
            **terms_of(policy).limits,
            setup_timeout=SETUP_SECONDS,
            signals=is_main_thread(),
            sink=sink,
            successor=successor,
            hurried=hurried,
        )
    except BaseException:
        cell.close()
        raise


# --- output that is passed on ------------------------------------------------


class _Streams:
    """Passes on what a guest prints; most runs print nothing."""

    def __init__(self) -> None:
        self._streams = sys.stdout, sys.stderr
        self._passed: dict[int, _Passed] = {}

    def write(self, number: int, chunk: bytes) -> None:
        self._stream(number).write(chunk)

    def finish(self, outcome: dict[str, Any], policy: Policy) -> None:
        for number, total in enumerate(
            (outcome["stdout_total"], outcome["stderr_total"]), 1
        ):
            if total:
                dropped = max(0, total - policy.output_bytes)
                self._stream(number).finish(dropped)

    def _stream(self, number: int) -> _Passed:
        if number not in self._passed:
            self._passed[number] = _Passed(self._streams[number - 1])
        return self._passed[number]


class _Passed:
    """Writes a stream of the guest to a text stream of ours, as it comes."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._decoder = Inert(raw=not _shows_markup(stream))

    def write(self, chunk: bytes) -> None:
        self._put(self._decoder.feed(chunk))

    def finish(self, dropped: int) -> None:
        text = self._decoder.finish()
        if dropped:
            text += f"\n[csandbox: {dropped} more bytes were dropped]\n"
        self._put(text)

    def _put(self, text: str) -> None:
        if self._stream is None or not text:
            return
        encoding = getattr(self._stream, "encoding", None)
        if encoding:
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(text)
        # As with print(), write() is all that a stream needs to have.
        flush = getattr(self._stream, "flush", None)
        if flush is not None:
            flush()


def _shows_markup(stream: TextIO | None) -> bool:
    """Whether escape sequences in the stream would act on what shows it."""
    if stream is None:
        return False
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        return True
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and bool(isatty())
