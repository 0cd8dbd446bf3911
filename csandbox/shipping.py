"""What goes in: jobs, as bytes that a cell can load.

Everything here is trusted data on its way to an untrusted place.  Callables
travel by value through cloudpickle, with the modules that a cell cannot
import; plain data travels through pickle, which is the same but quicker.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, FunctionType, MethodType, ModuleType

from csandbox.light import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Iterator
    from typing import Any

    from typing_extensions import Buffer

_PROTOCOL = 5
LARGE = 64 * 1024  # bytes from which on a buffer travels by itself
_ALIGNMENT = 64  # of such a buffer
_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})
# cloudpickle's list of modules to ship by value belongs to the process.
_by_value = RLock()


class Cargo:
    """A pickle on its way to a cell.

    A small one is in `pickle`.  Of a large one, `parts` are pairs of a place
    and a buffer, to be put in a store that the cell maps, and `places` what
    it must know to load them: place and size of the pickle itself, then of
    each buffer that the pickle leaves out.
    """

    def __init__(self) -> None:
        self.pickle = b""
        self.parts: list[tuple[int, Buffer]] = []
        self.places: list[tuple[int, int]] | None = None
        self._chunks: list[Buffer] = []
        self._buffers: list[memoryview] = []
        self.write = self._chunks.append  # as the file of a pickler

    def keep_out(self, buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of the pickle if it is large; else return True."""
        try:
            raw = buffer.raw()
        except BufferError:  # it is not contiguous
            return True
        if raw.nbytes >= LARGE:
            self._buffers.append(raw)
        return raw.nbytes < LARGE

    def close(self) -> Cargo:
        """Lay out what was written; return itself."""
        size = sum(memoryview(chunk).nbytes for chunk in self._chunks)
        if size < LARGE and not self._buffers:
            self.pickle = b"".join(self._chunks)
            return self
        self.places = [(0, size)]
        end = 0
        for chunk in self._chunks:
            self.parts.append((end, chunk))
            end += memoryview(chunk).nbytes
        for buffer in self._buffers:
            start = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = start + buffer.nbytes
            self.parts.append((start, buffer))
            self.places.append((start, buffer.nbytes))
        return self


def dump_inputs(inputs: dict[str, Any], roots: tuple[str, ...]) -> Cargo:
    """Return a namespace as cargo; `roots` are what the cell can see."""
    cargo = Cargo()
    if all(type(value) in _SCALARS for value in inputs.values()):
        from _pickle import Pickler

        Pickler(cargo, _PROTOCOL).dump(inputs)
        return cargo.close()
    from csandbox.plain import PlainPickler

    try:
        PlainPickler(cargo, roots).dump(inputs)
    except Exception:  # an object's own, too: it is asked again, and blamed
        return _dump_by_value(inputs, roots, "inputs", {"inputs": inputs})
    return cargo.close()


def dump_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    roots: tuple[str, ...],
) -> Cargo:
    """Return a call as cargo; `roots` are what the cell can see."""
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
) -> Cargo:
    import cloudpickle

    from csandbox.pickling import Pickler

    cargo = Cargo()
    with _by_value:
        modules = list(_invisible_modules(roots))
        registered = cloudpickle.list_registry_pickle_by_value()
        modules = [each for each in modules if each.__name__ not in registered]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            pickler = Pickler(cargo, _PROTOCOL, buffer_callback=cargo.keep_out)
            pickler.dump(value)
        except Exception as error:
            # cloudpickle makes a PicklingError of it.
            if RecursionError in (type(error), type(error.__context__)):
                raise TypeError(
                    f"{what} cannot be sent to the sandbox: it is nested too "
                    "deeply or refers to too much"
                ) from None
            raise TypeError(
                _explain(value, places)
                or f"{what} cannot be sent to the sandbox: {error}; "
                "send plain data, and open files or locks inside"
            ) from error
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)
    return cargo.close()


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
        if (
            isinstance(module, ModuleType)
            and is_hidden(module, below)
            and name not in ("__main__", "__mp_main__")
            and _namespace(module).get("__name__") == name
            and name.partition(".")[0] != "csandbox"
        ):
            yield module


def is_hidden(module: ModuleType, below: tuple[str, ...]) -> bool:
    """Whether a module has a file that is not below what a cell sees."""
    file = _namespace(module).get("__file__")
    return type(file) is str and not file.startswith(below)


def _namespace(module: ModuleType) -> dict[str, Any]:
    # Past a lazy module's own lookup, which would import it.
    namespace: dict[str, Any] = ModuleType.__getattribute__(module, "__dict__")
    return namespace


def _renew_lock() -> None:
    # A thread that does not exist in a fork may have held it.
    global _by_value
    _by_value = RLock()


os.register_at_fork(after_in_child=_renew_lock)
