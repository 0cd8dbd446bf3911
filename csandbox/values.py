"""What the host rebuilds: arrays, and what numpy and pandas make of them.

The decoder calls `rebuild` with the kind of a thing and its fields, plain
values that a hostile guest has chosen.  Nothing is unpickled, imported or
looked up by a name that comes with them: kinds, dtypes, units and the like
are matched against closed tables, sizes against the bytes there are.  numpy
and pandas are imported only when something of theirs arrives.

The fields may refer to the same thing many times, so that a few bytes stand
for very much.  So nothing here walks over them without a bound, and what a
thing takes, in memory or in time, is charged before it is made.

Arrays are read-only views of the bytes that came; pandas objects own what
they hold.
"""

from __future__ import annotations

import re
from collections import deque

from csandbox.result import Repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Buffer

_NESTING = 8  # levels of structured dtypes
_FIELDS = 1000  # of one dtype, on all its levels
_DIMENSIONS = 32  # numpy 1 knows no more
_TEXT = 10_000  # characters of a Repr
_EACH = 4096  # bytes of an array, but for its time, 10 us, rather

_UNITS = "as|fs|ps|ns|us|ms|s|m|h|D|W|M|Y"
_SIMPLE = re.compile(
    r"\|b1|\|[iu]1|[<>](?:[iu][248]|f[248]|c(?:8|16))"
    r"|\|S[1-9][0-9]{0,8}|[<>]U[1-9][0-9]{0,7}"
    rf"|[<>][mM]8\[(?:{_UNITS})\]"  # not without a unit: numpy warns
)
_CONTAINERS = (tuple, list, dict, set, frozenset, deque)
_LOOK = 128  # bytes, but for its time, of a look at one thing in those

_NUMBERS = {
    f"{order}{kind}{size}": size
    for order in "<>"
    for kind, sizes in (("i", (2, 4, 8)), ("u", (2, 4, 8)), ("f", (2, 4, 8)))
    for size in sizes
}


class Bad(ValueError):
    """Raised with a message of ours, which is safe to show."""


class Builder:
    """Makes one thing, with what it may refer to and may still take."""

    def __init__(self, region: Buffer | None, memory: int) -> None:
        self.region = region
        self.memory = memory
        self.spent = 0

    def charge(self, size: int) -> None:
        """Take bytes from what is left, or bytes' worth of time."""
        self.spent += size
        if self.spent > self.memory:
            raise Bad(
                "it takes too much memory; of many small arrays or objects "
                "make one, or plain values, as with .tolist()"
            )


def rebuild(
    kind: str,
    fields: tuple[Any, ...],
    region: Buffer | None,
    memory: int,
    filling: frozenset[int] | None,
) -> tuple[Any, int, int]:
    """Return the thing of a kind with these fields, its size, and its weight.

    `region` is the buffer that arrays may lie in, `filling` the ids of
    containers that the fields must not lead to.  Sizes are bytes beyond what
    the fields take, at most `memory`; the weight is what hashing it costs,
    in units of 10 ns.  Raises ValueError, in words that are safe to show, if
    the fields are not such a thing's, take more, or what it takes is not
    installed here.
    """
    builder = Builder(region, memory)
    count, build = _find(kind)
    if len(fields) != count:
        raise Bad(f"{kind} has {count} fields, not {len(fields)}")
    if filling is not None and _leads_to(builder, fields, filling):
        raise Bad(
            "a frame or series would be part of a cycle, or of what holds a "
            "list or dict of its cells too; give it copies of those"
        )
    try:
        made = build(builder, *fields)
    except (Bad, MemoryError):
        raise
    except Exception as error:
        # What numpy and pandas say may quote what the guest has chosen.
        raise Bad(
            f"not the fields of a valid {kind}: {type(error).__name__}"
        ) from error
    return made, builder.spent, 16 if kind in _KINDS else 48


def _leads_to(
    builder: Builder, fields: tuple[Any, ...], filling: frozenset[int]
) -> bool:
    seen: set[int] = set()
    todo: list[Any] = [fields]
    while todo:
        thing = todo.pop()
        if id(thing) in filling:
            return True
        if id(thing) in seen or not isinstance(thing, _CONTAINERS):
            continue
        builder.charge(_LOOK * len(thing))
        seen.add(id(thing))
        todo.extend(thing)
        if isinstance(thing, dict):
            todo.extend(thing.values())
    return False


def _find(kind: str) -> tuple[int, Callable[..., Any]]:
    known = _KINDS.get(kind)
    if known is None:
        # Only now, so that arrays do without.
        from csandbox.values_pandas import KINDS

        known = KINDS.get(kind)
    if known is None:
        raise Bad(f"nothing of kind {kind[:40]!a} may cross")
    return known


def expect(value: object, kind: type, what: str) -> Any:
    """Return a value that must be exactly of a type."""
    if type(value) is not kind:
        raise Bad(f"{what} is a {type(value).__name__}")
    return value


def number(value: object, what: str) -> int:
    """Return a value that must be an int."""
    return int(expect(value, int, what))


def installed(name: str) -> Any:
    """Return a package that something was made with, if it is here."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise Bad(
            f"it is an object of {name}, which cannot be imported here"
        ) from None


def _array(
    builder: Builder, dtype: object, shape: object, order: object, at: object
) -> Any:
    np = installed("numpy")
    content = _content(builder, at)
    builder.charge(_EACH + content.nbytes)  # looked at, each time anew
    made = _view(np, _dtype(np, dtype, [_FIELDS]), shape, order, content)
    _check_content(np, made)
    return made


def _scalar(_builder: Builder, dtype: object, data: object) -> Any:
    np = installed("numpy")
    if type(dtype) is not str:
        raise Bad("the dtype of a scalar is no text")
    content = memoryview(expect(data, bytes, "its content"))
    if dtype in _NUMBERS and len(content) == _NUMBERS[dtype]:
        return np.ndarray((), dtype, content)[()]  # any bits are a number
    made = _view(np, _dtype(np, dtype, [1]), (), "C", content)
    _check_content(np, made)
    return made[()]


def _text(_builder: Builder, text: object) -> Any:
    return installed("numpy").str_(expect(text, str, "it"))


def _bytes(_builder: Builder, data: object) -> Any:
    return installed("numpy").bytes_(expect(data, bytes, "it"))


def _repr(_builder: Builder, type_name: object, text: object) -> Repr:
    return Repr(
        expect(type_name, str, "its type")[:_TEXT],
        expect(text, str, "its text")[:_TEXT],
    )


def _content(builder: Builder, at: object) -> memoryview:
    if type(at) is bytes:
        return memoryview(at)
    if type(at) is not tuple or len(at) != 2:
        raise Bad("its content is neither bytes nor a place")
    start, size = (number(each, "a place") for each in at)
    whole = memoryview(b"" if builder.region is None else builder.region)
    if not 0 <= start <= start + size <= len(whole):
        raise Bad("its content lies beyond the store")
    return whole[start : start + size]


def _view(
    np: Any, dtype: Any, shape: object, order: object, content: memoryview
) -> Any:
    sides = expect(shape, tuple, "its shape")
    if len(sides) > _DIMENSIONS:
        raise Bad(f"it has more than {_DIMENSIONS} dimensions")
    size = dtype.itemsize
    for side in sides:
        if not 0 <= number(side, "a side") < 1 << 62:
            raise Bad("a side is out of range")
        size *= side
    if size != len(content):
        raise Bad(f"it takes {size} bytes, and has {len(content)}")
    if order not in ("C", "F"):
        raise Bad("its order is neither C nor F")
    return np.ndarray(sides, dtype, content, order=order)


def _dtype(
    np: Any, spec: object, fields: list[int], depth: int = _NESTING
) -> Any:
    """Return a dtype of numbers, texts and times, and records of those.

    `fields` holds how many it may still have.
    """
    fields[0] -= 1
    if fields[0] < 0:
        raise Bad("a dtype of too many fields")
    if type(spec) is str:
        if _SIMPLE.fullmatch(spec) is None:
            raise Bad(f"arrays of dtype {spec[:40]!a} may not cross")
        return np.dtype(spec)
    if type(spec) is not tuple or depth == 0:
        raise Bad("not a dtype")
    if len(spec) == 2:
        base, shape = spec
        sides = expect(shape, tuple, "its shape")
        if not 0 < len(sides) <= _DIMENSIONS or any(
            not 0 < number(side, "a side") < 1 << 31 for side in sides
        ):
            raise Bad("not the shape of a field")
        return np.dtype((_dtype(np, base, fields, depth - 1), sides))
    if len(spec) != 4 or any(type(x) is not tuple for x in spec[:3]):
        raise Bad("not a dtype")
    names, formats, offsets, itemsize = spec
    if not 0 < len(names) == len(formats) == len(offsets) <= _FIELDS:
        raise Bad("not the fields of a record")
    if any(type(name) is not str for name in names):
        raise Bad("a field's name is no text")
    dtypes = [_dtype(np, each, fields, depth - 1) for each in formats]
    number(itemsize, "the size of a record")
    for offset, dtype in zip(offsets, dtypes, strict=True):
        end = number(offset, "a field's place") + dtype.itemsize
        if not 0 <= offset < end <= itemsize < 1 << 31:
            raise Bad("a field lies outside its record")
    # Fields that overlap would be looked at again and again.
    if sum(dtype.itemsize for dtype in dtypes) > itemsize:
        raise Bad("fields of a record overlap")
    return np.dtype(
        {
            "names": list(names),
            "formats": dtypes,
            "offsets": list(offsets),
            "itemsize": itemsize,
        }
    )


def _check_content(np: Any, array: Any) -> None:
    """Refuse bits that numpy or Python trusts nobody to write.

    numpy sizes the result of a boolean index by the sum of its bytes, and
    Python has no character beyond U+10FFFF.
    """
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:
            _check_content(np, array[name])
    elif array.size == 0:
        return
    elif dtype.kind == "b":
        if array.view("u1").max() > 1:
            raise Bad("a bool that is neither true nor false")
    elif dtype.kind == "U":
        unsigned = f"{dtype.str[0]}u4"
        flat = np.ascontiguousarray(array).reshape(-1).view(unsigned)
        if flat.max() > 0x10FFFF:
            raise Bad("a text of what are no characters")


# kind: how many fields, and what makes it; values_pandas has more
_KINDS: dict[str, tuple[int, Callable[..., Any]]] = {
    "array": (4, _array),
    "scalar": (2, _scalar),
    "text": (1, _text),
    "bytes": (1, _bytes),
    "repr": (2, _repr),
}
