"""What goes in: jobs, as bytes that a cell can load.

Everything here is trusted data on its way to an untrusted place.  Callables
travel by value through cloudpickle, with the modules that a cell cannot
import; plain data travels through pickle, which is the same but quicker.
"""

from __future__ import annotations

import os
import pickle
import sys
from threading import RLock
from types import CodeType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_PROTOCOL = 5
_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})
# cloudpickle's list of modules to ship by value belongs to the process.
_by_value = RLock()


def dump_inputs(inputs: dict[str, Any], roots: tuple[str, ...]) -> bytes:
    """Return the bytes of a namespace; `roots` are what the cell can see."""
    if all(type(value) in _SCALARS for value in inputs.values()):
        return pickle.dumps(inputs, _PROTOCOL)
    return _dump_by_value(inputs, roots, "inputs", {"inputs": inputs})


def dump_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    roots: tuple[str, ...],
) -> bytes:
    """Return the bytes of a call; `roots` are what the cell can see."""
    value = function, args, kwargs
    places = {_called(function): function, "args": args, "kwargs": kwargs}
    return _dump_by_value(value, roots, "the call", places)


def source_of(function: object) -> tuple[str, int, list[str]] | None:
    """Return the file name, first line number and lines of a function.

    For tracebacks; None if it has no source here.
    """
    import linecache

    for name in ("func", "__func__", "__wrapped__"):
        function = getattr(function, name, function)
    if type(function) is not FunctionType:
        function = vars(type(function)).get("__call__")
        if type(function) is not FunctionType:
            return None
    code = function.__code__
    first = code.co_firstlineno
    lines = linecache.getlines(code.co_filename, function.__globals__)
    name = os.path.basename(code.co_filename)
    return (
        (name, first, lines[first - 1 : _last_line(code)]) if lines else None
    )


def _last_line(code: CodeType) -> int:
    last = max((line or 0 for _, _, line in code.co_lines()), default=0)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            last = max(last, _last_line(constant))
    return last


def _called(function: object) -> str:
    """Return what a message calls a target."""
    if type(function) is FunctionType:
        return f"the function {function.__name__}"
    method = type(function) is MethodType and function.__func__
    if type(method) is FunctionType:
        return f"the method {method.__qualname__}"
    return "the callable"


def _dump_by_value(
    value: object,
    roots: tuple[str, ...],
    what: str,
    places: dict[str, object],
) -> bytes:
    import cloudpickle

    with _by_value:
        modules = list(_invisible_modules(roots))
        registered = cloudpickle.list_registry_pickle_by_value()
        modules = [each for each in modules if each.__name__ not in registered]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            data: bytes = cloudpickle.dumps(value, _PROTOCOL)
        except RecursionError:
            raise TypeError(
                f"{what} cannot be sent to the sandbox: it is nested too "
                "deeply or refers to too much"
            ) from None
        except Exception as error:
            raise TypeError(
                _explain(value, places)
                or f"{what} cannot be sent to the sandbox: {error}; "
                "send plain data, and open files or locks inside"
            ) from error
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)
    return data


def _explain(value: object, places: dict[str, object]) -> str | None:
    """Say what in a value failed and where, if that can be found."""
    from csandbox import untransportable

    try:
        return untransportable.explain(places, value, _PROTOCOL)
    except Exception:  # what it looks at may change meanwhile
        return None


def _invisible_modules(roots: tuple[str, ...]) -> Iterator[ModuleType]:
    """Yield the imported modules whose files a cell cannot see."""
    below = tuple(f"{root}/" for root in roots)
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType):
            continue
        # Past a lazy module's own lookup, which would import it.
        namespace = ModuleType.__getattribute__(module, "__dict__")
        file = namespace.get("__file__")
        if (
            type(file) is str
            and name not in ("__main__", "__mp_main__")
            and namespace.get("__name__") == name
            and not file.startswith(below)
            and name.partition(".")[0] != "csandbox"
        ):
            yield module


def _renew_lock() -> None:
    # A thread that does not exist in a fork may have held it.
    global _by_value
    _by_value = RLock()


os.register_at_fork(after_in_child=_renew_lock)
