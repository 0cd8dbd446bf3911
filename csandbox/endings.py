"""What the ending of a run means: a value or an error, and what it used."""

from __future__ import annotations

import os

from csandbox import _csandbox, accounts, places, violations
from csandbox.errors import (
    Cancelled,
    GuestCrash,
    GuestError,
    GuestExit,
    LimitError,
    MemoryLimitError,
    OutputLimitError,
    ResultError,
    SandboxError,
    TimeLimitError,
    UnavailableError,
)
from csandbox.result import Usage
from csandbox.terms import terms_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from csandbox.policy import Policy

LEAST_MEMORY = 64 << 20  # bytes that any value may take here
EXPANSION = 8  # a value's bytes in this process to those of its pickle
_WAYS_OUT = (
    ("numpy.ndarray", "array.tolist(), or array.astype() of a plain dtype"),
    ("numpy.ma.", "array.filled() or array.tolist()"),
    ("numpy.longdouble", "float() of it"),
    ("numpy.random.", "what it gives"),
    ("numpy.", ".item(), .tolist(), tuple() or str() of it"),
    ("pandas.core.", "with .astype() of plain columns, or .to_dict() of it"),
    (
        "pandas.DataFrame",
        "with .astype() of plain columns, or .to_dict() of it",
    ),
    ("pandas.Series", "with .astype() of a plain dtype, or .tolist() of it"),
    ("pandas.", "str() or .tolist() of it"),
    ("pathlib.", "str(path)"),
    ("__main__.", "vars(), tuple(), .value or dataclasses.asdict() of it"),
    ("_io.BytesIO", "buffer.getvalue()"),
    ("_io.StringIO", "buffer.getvalue()"),
    ("builtins.map", "list() of it"),
    ("builtins.filter", "list() of it"),
    ("builtins.zip", "list() of it"),
    ("builtins.dict_", "list() of it"),
    ("builtins.memoryview", "bytes() of it"),
    ("array.array", "array.tolist()"),
    ("collections.ChainMap", "dict() of it"),
    ("types.SimpleNamespace", "vars() of it"),
    ("re.Match", "match.groups()"),
    ("ipaddress.", "str() of it"),
    ("matplotlib.", "figure.savefig() to an io.BytesIO, and its getvalue()"),
    ("builtins.generator", "list(generator)"),
    ("builtins.coroutine", "asyncio.run(coroutine)"),
)


def judge(
    outcome: dict[str, Any], policy: Policy
) -> tuple[Any, SandboxError | None]:
    """Say what an ending means: a value, or an error."""
    ending = outcome["ending"]
    if ending == "frame":
        return _open_frame(outcome, policy)
    if ending == "exited":
        return None, GuestExit(os.WEXITSTATUS(outcome["wait_status"]))
    if ending == "signalled":
        return None, _killed_by(outcome, policy)
    if ending == "denied":
        import signal

        call = violations.fatal_call(outcome)
        return None, GuestCrash(signal.SIGSYS, call)
    if ending == "cancelled":
        return None, _cancelled()
    limit = _limit_error(outcome, policy)
    if limit is not None:
        return None, limit
    if ending == "malformed":
        return None, ResultError(
            "the guest sent something that is no result: it was cut short, "
            "or the guest wrote to the result pipe itself"
        )
    if ending == "unsealed":
        return None, ResultError(
            "the guest's value lies in memory that could not be sealed, as "
            "the guest had not ended, or not be mapped, as there is no room"
        )
    if places.are_closed():
        return None, _cancelled()
    return None, UnavailableError(
        "",
        "zygote",
        0,
        "The process that forks cells was killed, by the system when memory "
        "ran out or by someone: run again.",
    )


def _cancelled() -> Cancelled:
    if places.are_closed():
        return Cancelled(places.SHUTTING_DOWN)
    return Cancelled()


def _killed_by(outcome: dict[str, Any], policy: Policy) -> SandboxError:
    import signal

    number = os.WTERMSIG(outcome["wait_status"])
    used = outcome["user"] + outcome["system"]
    # The kernel's, behind our own look; a guest may send it itself.
    ends = (signal.SIGXCPU, signal.SIGKILL)
    if number in ends and used >= policy.cpu_seconds:
        return _cpu_limit(policy)
    return GuestCrash(number)


def _limit_error(outcome: dict[str, Any], policy: Policy) -> LimitError | None:
    match outcome["ending"]:
        case "timeout":
            return TimeLimitError("timeout", f"{policy.timeout:g} s")
        case "cpu":
            return _cpu_limit(policy)
        case "memory":
            return MemoryLimitError("memory", str(policy.memory))
        case "oom":
            return MemoryLimitError("memory")
        case "processes":
            return LimitError("processes", f"{policy.processes} at a time")
        case "scratch":
            return LimitError("scratch", str(policy.scratch))
        case "threads":
            return LimitError("threads", str(policy.threads))
        case "output":
            over = outcome["stdout_total"] > policy.output_bytes
            which = "stdout" if over else "stderr"
            return OutputLimitError("output", f"{policy.output} of {which}")
        case "too big":
            return _too_big(outcome, policy)
    return None


def _cpu_limit(policy: Policy) -> LimitError:
    return TimeLimitError("cpu_time", f"{policy.cpu_seconds:g} s")


def _too_big(outcome: dict[str, Any], policy: Policy) -> LimitError:
    announced = outcome["announced"]
    if announced <= policy.result_bytes:
        return LimitError(
            "result",
            f"{outcome['room']} bytes, as this process may make no larger "
            f"file (RLIMIT_FSIZE, ulimit -f); its value takes {announced} "
            "bytes",
        )
    return LimitError(
        "result", f"{policy.result} (its value takes {announced} bytes)"
    )


def _decode(outcome: dict[str, Any], policy: Policy) -> Any:
    # A value takes more room than its pickle: a None is 1 byte there, and a
    # place in a list of 8 bytes here.
    memory = max(LEAST_MEMORY, EXPANSION * terms_of(policy).result_bytes)
    return _csandbox.decode(
        outcome["payload"], region=outcome["region"], memory=memory
    )


def _open_frame(
    outcome: dict[str, Any], policy: Policy
) -> tuple[Any, SandboxError | None]:
    kind = outcome["kind"]
    try:
        value = _decode(outcome, policy)
    except (ValueError, MemoryError) as error:
        return None, ResultError(f"the guest's value may not cross: {error}")
    if kind == _csandbox.FRAME_VALUE:
        return value, None
    told: SandboxError | None
    if kind == _csandbox.FRAME_ERROR:
        outcome["account"] = value
        told = accounts.guest_error(value)
    else:
        told = accounts.refused_value(value, _way_out)
    return None, told or ResultError(
        "the guest sent a malformed account of its end"
    )


def _way_out(type_name: str) -> str:
    """Return how people make plain data of such a thing, or ""."""
    for prefix, way in _WAYS_OUT:
        if type_name.startswith(prefix):
            return way
    return ""


def exit_code(error: SandboxError | None) -> int | None:
    """Return the exit status of a program that ended so, None if killed."""
    if error is None:
        return 0
    if isinstance(error, GuestExit):
        return error.code
    return 1 if isinstance(error, GuestError) else None


def _phases(
    outcome: dict[str, Any], asked: float, placed: float, done: float
) -> dict[str, float]:
    # A cell that never was ready took all its time to be armed.
    ready = outcome["ready_at"] or done
    return {
        "queue": placed - asked,
        "arm": ready - placed,
        "run": outcome["wall"],
        "decode": done - ready - outcome["wall"],
    }


def usage(
    outcome: dict[str, Any], times: tuple[float, float, float], policy: Policy
) -> Usage:
    """Return what a run used.

    `times` are when it was asked for, had its place, and was done.
    """
    phases = _phases(outcome, *times)
    most = policy.output_bytes
    return Usage(
        **phases,
        wall=sum(phases.values()),
        user=outcome["user"],
        system=outcome["system"],
        peak_memory=outcome["peak_memory"],
        stdout_bytes=outcome["stdout_total"],
        stderr_bytes=outcome["stderr_total"],
        stdout_dropped=max(0, outcome["stdout_total"] - most),
        stderr_dropped=max(0, outcome["stderr_total"] - most),
        scratch_bytes=outcome["scratch"],
        peak_processes=outcome["peak_processes"],
    )
