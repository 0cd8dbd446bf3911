"""Finds what in a job cannot be sent, where it is, and what to do instead.

Imported only after pickling has failed.  Pickling is done once more, watched,
which tells the very object; then it is looked for in what the caller gave,
by identity.  Nothing of the caller's runs but what pickling calls.
"""

from __future__ import annotations

import dis
from collections import deque
from itertools import islice
from time import monotonic
from types import (
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)

import cloudpickle

from csandbox.pickling import Pickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    # What is between a thing and one of its parts: text to put behind the
    # expression for the thing, or a name to put before "of" it.
    Step = tuple[str, bool]

LOOKS_LIMIT = 300_000  # things that a search looks at
SECONDS_LIMIT = 2.0  # of a search
RECENT = 100  # objects that pickling came by last
KEY_LIMIT = 40  # characters of a key

_SIMPLE = (type(None), bool, int, float, complex, str, bytes)
_ADVICE = (
    ("_thread.lock", "make the lock inside"),
    ("_thread.RLock", "make the lock inside"),
    ("_thread.", "make it inside"),
    ("logging.", "set logging up inside"),
    ("threading.Thread", "start the thread inside"),
    ("threading.", "make it inside"),
    ("queue.", "make it inside, and send its items in a list"),
    ("_queue.", "make it inside, and send its items in a list"),
    ("_io.", "open it inside, or send its contents: f.read()"),
    ("tempfile.", "open it inside, or send its contents: f.read()"),
    ("generator", "send its items: list(it)"),
    ("coroutine", "call the function inside: asyncio.run(f())"),
    ("async_generator", "call the function inside"),
    ("frame", "send the text that you need of it"),
    ("traceback", "send its text: traceback.format_exc()"),
    ("_socket.", "the sandbox has no network: send the data that you read"),
    ("socket.", "the sandbox has no network: send the data that you read"),
    ("_ssl.", "the sandbox has no network: send the data that you read"),
    ("ssl.", "the sandbox has no network: send the data that you read"),
    ("sqlite3.", "query here, and send the rows: cursor.fetchall()"),
    ("subprocess.", "the sandbox starts no process: send its output"),
    ("concurrent.futures.", "wait here, and send future.result()"),
    ("_asyncio.", "wait here, and send what it gives"),
    ("asyncio.", "make it inside, or send what it gives"),
    ("mmap.", "send its contents: bytes(m)"),
    ("re.Match", "send its groups: match.groups()"),
    ("_contextvars.", "send its value: var.get()"),
    ("weakref.", "send the object itself"),
)


def explain(
    places: dict[str, object], value: object, protocol: int
) -> str | None:
    """Return a sentence about what in a value cannot be sent, or None.

    `places` are the parts of it by the expressions that the caller knows
    them by.
    """
    watch = _watch(value, protocol)
    search = _Search(watch, places)
    # The last is what failed, unless it was made for the pickle alone; then
    # it is one before it, which can be found.
    for thing in reversed(watch.recent):
        if search.find(thing):
            error = _watch(thing, protocol).error
            if error is not None:
                return _sentence(thing, search, error)
        if monotonic() > search.deadline:
            break
    return None


# --- what it is --------------------------------------------------------------


class _Watch(Pickler):
    """Notes what pickling comes by, and what of that it takes apart."""

    def __init__(self, protocol: int) -> None:
        super().__init__(self, protocol)
        self.recent: deque[object] = deque(maxlen=RECENT)
        self.by_value: dict[int, object] = {}
        self.error: Exception | None = None

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes

    def reducer_override(self, obj: Any) -> Any:
        self.recent.append(obj)
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented:
            self.by_value[id(obj)] = obj
        return reduced


def _watch(value: object, protocol: int) -> _Watch:
    """Return what was seen when a value was pickled once more."""
    watch = _Watch(protocol)
    try:
        watch.dump(value)
    except Exception as error:
        watch.error = error
    return watch


# --- where it is -------------------------------------------------------------


class _Search:
    """Finds things by identity, nearest first, and knows the ways to them."""

    def __init__(self, watch: _Watch, places: dict[str, object]) -> None:
        self.deadline = monotonic() + SECONDS_LIMIT
        self._watch = watch
        # By id: the thing, so that it lives; what holds it; the step there.
        self._found: dict[int, tuple[object, object, Step]] = {}
        self._todo: deque[object] = deque()
        for place, thing in places.items():
            self._enter(thing, None, (place, False))

    def find(self, thing: object) -> bool:
        """Whether the thing is there and not beyond the limits."""
        while id(thing) not in self._found and self._todo:
            if monotonic() > self.deadline:
                return False
            holder = self._todo.popleft()
            room = LOOKS_LIMIT - len(self._found)
            for step, part in islice(_parts(holder, self._watch), room):
                self._enter(part, holder, step)
        return id(thing) in self._found

    def line(self, thing: object) -> list[object]:
        """Return the thing, what holds it, what holds that, and so on."""
        line = []
        while thing is not None:
            line.append(thing)
            thing = self._found[id(thing)][1]
        return line

    def steps(self, thing: object) -> list[Step]:
        """Return the steps to the thing from a place of the caller's."""
        line = self.line(thing)
        return [self._found[id(each)][2] for each in reversed(line)]

    def _enter(self, thing: object, holder: object, step: Step) -> None:
        if type(thing) not in _SIMPLE and id(thing) not in self._found:
            self._found[id(thing)] = thing, holder, step
            self._todo.append(thing)


def _parts(thing: Any, watch: _Watch) -> Iterator[tuple[Step, object]]:
    """Yield (step, part) for what pickling may find in a thing."""
    kind = type(thing)
    if issubclass(kind, FunctionType):
        if id(thing) in watch.by_value:
            yield from _parts_of_function(thing)
    elif issubclass(kind, MethodType):
        yield ("self", True), thing.__self__
        yield (".__func__", False), thing.__func__
    elif issubclass(kind, type):
        if id(thing) in watch.by_value:
            for name, part in _class_dict(thing).items():
                yield (f".{name}", False), part
            for base in _bases(thing):
                yield (f"the base {_name(base)}", True), base
    elif issubclass(kind, ModuleType):
        names = ModuleType.__getattribute__(thing, "__dict__")
        if (
            names.get("__name__")
            in cloudpickle.list_registry_pickle_by_value()
        ):
            for name, part in names.items():
                yield (f".{name}", False), part
    elif kind is CellType:
        if thing != CellType():
            yield (".cell_contents", False), thing.cell_contents
    else:
        yield from _items(thing, kind)
        yield from _attributes(thing, kind)
        if id(kind) in watch.by_value:
            yield (f"the class {_name(kind)}", True), kind


def _items(thing: Any, kind: type) -> Iterator[tuple[Step, object]]:
    # By the methods of the base, not by what a subclass makes of them.
    if issubclass(kind, dict):
        for key, part in dict.items(thing):
            yield ("a key", True), key
            yield (f"[{_key(key)}]", False), part
    for base in (list, tuple, deque):
        if issubclass(kind, base):
            for index, part in enumerate(base.__iter__(thing)):
                yield (f"[{index}]", False), part
    for group in (set, frozenset):
        if issubclass(kind, group):
            for part in group.__iter__(thing):
                yield ("an element", True), part


def _attributes(thing: Any, kind: type) -> Iterator[tuple[Step, object]]:
    for cls in _mro(kind):
        for name, member in _class_dict(cls).items():
            if type(member) is MemberDescriptorType:  # of __slots__, or of C
                try:
                    yield (f".{name}", False), member.__get__(thing)
                except AttributeError:
                    continue
            elif name == "__dict__" and type(member) is GetSetDescriptorType:
                for attribute, part in member.__get__(thing).items():
                    yield (f".{attribute}", False), part
    if issubclass(kind, BaseException):
        yield (".args", False), vars(BaseException)["args"].__get__(thing)


def _parts_of_function(
    function: FunctionType,
) -> Iterator[tuple[Step, object]]:
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
    for name, cell in cells:
        if cell != CellType():
            yield (f"the variable {name!r}", True), cell.cell_contents
    arguments = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    named = dict(zip(reversed(arguments), reversed(defaults), strict=False))
    for name, part in {**named, **(function.__kwdefaults__ or {})}.items():
        yield (f"the default of {name!r}", True), part
    for name in _global_names(code):
        if name in function.__globals__:
            yield (f"the global {name!r}", True), function.__globals__[name]
    for name, part in function.__dict__.items():
        yield (f".{name}", False), part


def _global_names(code: CodeType) -> list[str]:
    """Return the names of globals in a code and in those inside it."""
    names = [
        each.argval
        for each in dis.get_instructions(code)
        if each.opname.endswith("_GLOBAL")
    ]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _global_names(constant)
    return list(dict.fromkeys(names))


# Past what a metaclass may have put in their place.


def _class_dict(cls: type) -> dict[str, Any]:
    return dict(vars(type)["__dict__"].__get__(cls))


def _mro(cls: type) -> tuple[type, ...]:
    found: tuple[type, ...] = vars(type)["__mro__"].__get__(cls)
    return found


def _bases(cls: type) -> tuple[type, ...]:
    found: tuple[type, ...] = vars(type)["__bases__"].__get__(cls)
    return found


def _name(cls: type) -> str:
    name = vars(type)["__qualname__"].__get__(cls)
    module = vars(type)["__module__"].__get__(cls)
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


# --- what to say -------------------------------------------------------------


def _sentence(thing: object, search: _Search, error: Exception) -> str:
    why = f": {_text(error)}; send the plain data in it, or make it inside"
    # Not of the lock of an event, but of the event.
    for each in search.line(thing):
        advice = _advice(each)
        if advice:
            thing, why = each, f"; {advice}"
    name = _name(type(thing))
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    return (
        f"{_place(search.steps(thing))} {article} {name}, which cannot be "
        f"sent to the sandbox{why}"
    )


def _advice(thing: object) -> str:
    """Return what to do instead of sending such a thing, or ""."""
    for cls in _mro(type(thing)):
        name = _name(cls)
        for prefix, advice in _ADVICE:
            if name.startswith(prefix):
                return advice
    return ""


def _place(steps: list[Step]) -> str:
    """Return where a thing is and a verb, such as "args[0].x holds"."""
    text, of, verb = "", "", "is"
    for step, named in steps:
        if named:
            text, of = step, f" of {text}{of}"
            verb = "holds" if step.startswith("the ") else "is"
        else:
            verb = "holds" if text else "is"
            text += step
    return f"{text}{of} {verb}"


def _key(key: object) -> str:
    """Return a short expression for a key, or what kind of thing it is."""
    if type(key) is tuple and 0 < len(key) <= 4:
        comma = "," if len(key) == 1 else ""
        return f"({', '.join(map(_key, key))}{comma})"
    if type(key) is int and key.bit_length() > 128:
        return "<int>"
    if type(key) is str or type(key) is bytes:
        more = "..." if len(key) > KEY_LIMIT else ""
        text = repr(key[:KEY_LIMIT])
        if text[0] == "'" and not {"'", '"'} & {*text[1:-1]}:
            text = f'"{text[1:-1]}"'
        return text + more
    return repr(key) if type(key) in _SIMPLE else f"<{_name(type(key))}>"


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return _name(type(error))
