"""Jobs: what the caller asks for, checked and made ready for a cell."""

from __future__ import annotations

import marshal
import sys

from csandbox import _csandbox, shipping, zygotes
from csandbox.errors import PolicyError
from csandbox.policy import shown
from csandbox.terms import policy_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from csandbox.policy import Policy
    from csandbox.shipping import Cargo
    from csandbox.terms import Terms

FILENAME = "<guest>"


def prepare(
    target: object,
    args: object,
    kwargs: object,
    inputs: object,
    outputs: object,
    policy: Policy | None,
    overrides: dict[str, Any],
) -> tuple[dict[str, Any], Cargo, Policy]:
    """Return the job, what travels with it, and the policy for a call of run.

    Raises PolicyError or TypeError for bad arguments.
    """
    policy = policy_of(policy, overrides)
    if type(target) is str:
        if args or kwargs:
            raise TypeError(
                "args and kwargs go with a callable; give source text its "
                "variables with inputs={...}"
            )
        check_source(target)
        names = _output_names(outputs)
        variables = _string_keys("inputs", inputs)
        if policy.start == "fork":
            job, cargo = source_job(target, FILENAME, [""], {}, names)
            return {**job, "live": dict(variables)}, cargo, policy
        job, cargo = source_job(target, FILENAME, [""], variables, names)
        return job, cargo, policy
    if not callable(target):
        raise TypeError(
            "target must be source text or a callable, not "
            f"{type(target).__name__}"
        )
    if inputs is not None or outputs is not None:
        raise TypeError(
            "inputs and outputs go with source text; give a callable its "
            "arguments with args=(...) and kwargs={...}"
        )
    keywords = _string_keys("kwargs", kwargs)
    job, cargo = call_job(target, args, keywords, policy.start == "fork")
    return job, cargo, policy


def check_source(source: str) -> None:
    """Refuse text that cannot be Python source."""
    if "\0" in source:
        raise PolicyError(
            "target must be Python source, which cannot hold a NUL"
        )
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise PolicyError(
            "target must be Python source, which cannot hold the lone "
            f"surrogate at index {error.start}"
        ) from None


def _string_keys(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is not dict:
        raise TypeError(f"{name} must be a dict, not {type(value).__name__}")
    for key in value:
        if type(key) is not str:
            raise TypeError(
                f"{name} must have names as keys, not {type(key).__name__}"
            )
    return value


def _output_names(outputs: object) -> tuple[str, ...] | None:
    if outputs is None:
        return None
    if type(outputs) not in (tuple, list):
        raise TypeError(
            "outputs must be a tuple or list of names of variables, not "
            f"{type(outputs).__name__}"
        )
    names: tuple[Any, ...] = tuple(outputs)  # type: ignore[arg-type]
    if any(type(name) is not str for name in names):
        raise TypeError("outputs must hold names of variables")
    return names


def source_job(
    source: str,
    filename: str,
    argv: Sequence[str],
    inputs: dict[str, Any],
    outputs: tuple[str, ...] | None,
) -> tuple[dict[str, Any], Cargo]:
    """Return the job of source text; `inputs` are its variables."""
    cargo = shipping.Cargo()
    if inputs:
        cargo = shipping.dump_inputs(inputs, zygotes.visible_roots())
    job = {
        "kind": "source",
        "source": source,
        "filename": filename,
        "argv": tuple(argv),
        "outputs": outputs,
        "on_unsupported": "error",
    }
    return job, cargo


def call_job(
    function: Callable[..., Any],
    args: object,
    kwargs: dict[str, Any],
    live: bool,
) -> tuple[dict[str, Any], Cargo]:
    """Return the job of a call; `live` if the cell has the objects."""
    if type(args) not in (tuple, list):
        raise TypeError(
            f"args must be a tuple or list, not {type(args).__name__}"
        )
    positional: tuple[Any, ...] = tuple(args)  # type: ignore[arg-type]
    # Of a live function this makes linecache remember the source.
    lines = shipping.source_of(function)
    job: dict[str, Any] = {
        "kind": "call",
        "argv": ("",),
        "lines": None if live else lines,
        "on_unsupported": "error",
    }
    if live:
        job["live"] = (function, positional, kwargs)
        return job, shipping.Cargo()
    roots = zygotes.visible_roots()
    return job, shipping.dump_call(function, positional, kwargs, roots)


def unsupported_choice(on_unsupported: object) -> str:
    """Return a checked value of the parameter of that name."""
    if on_unsupported not in ("error", "repr"):
        raise PolicyError(
            'on_unsupported must be "error" or "repr", not '
            f"{shown(on_unsupported)}"
        )
    return str(on_unsupported)


def stdin_bytes(stdin: object) -> bytes:
    """Return standard input as bytes."""
    if stdin is None:
        return b""
    if type(stdin) is bytes:
        return stdin
    if type(stdin) is str:
        return stdin.encode("utf-8", "surrogateescape")
    raise TypeError(
        f"stdin must be str, bytes or None, not {type(stdin).__name__}"
    )


def frame(job: dict[str, Any], cargo: Cargo, terms: Terms) -> bytes:
    """Return the bytes that a cell reads its job from."""
    job = {
        **job,
        "payload": cargo.pickle,
        "stored": cargo.places,
        "room": terms.result_bytes,
        "env": terms.variables,
    }
    payload = marshal.dumps(job)
    order = sys.byteorder
    return (
        _csandbox.FRAME_MAGIC.to_bytes(4, order)
        + _csandbox.FRAME_JOB.to_bytes(4, order)
        + len(payload).to_bytes(8, order)
        + _csandbox.FRAME_INLINE.to_bytes(8, order)
        + payload
    )
