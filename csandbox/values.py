"""What the host rebuilds: arrays, and what numpy and pandas make of them.

The decoder calls `rebuild` with the kind of a thing and its fields, plain
values that a hostile guest has chosen.  Nothing is unpickled, imported or
looked up by a name that comes with them: kinds, dtypes, units and the like
are matched against closed tables, sizes against the bytes there are.  numpy
and pandas are imported only when something of theirs arrives.

Arrays are read-only views of the bytes that came; pandas objects own what
they hold.
"""

from __future__ import annotations

import re

from csandbox.result import Repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from typing_extensions import Buffer

_NESTING = 8  # levels of structured dtypes
_FIELDS = 1000  # of one of them
_DIMENSIONS = 32  # numpy 1 knows no more
_TEXT = 10_000  # characters of a Repr
_RANGE = 1 << 24  # items of a range that is made an array
_COPIES = 3  # of what a pandas object holds, while it is made
# Kinds that hold no more than their fields do.
_SMALL = frozenset({"array", "scalar", "text", "bytes", "repr"})

_UNITS = "as|fs|ps|ns|us|ms|s|m|h|D|W|M|Y"
_SIMPLE = re.compile(
    r"\|b1|\|[iu]1|[<>](?:[iu][248]|f[248]|c(?:8|16))"
    r"|\|S[1-9][0-9]{0,8}|[<>]U[1-9][0-9]{0,7}"
    rf"|[<>][mM]8\[(?:{_UNITS})\]"  # not without a unit: numpy warns
)
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")
_FIXED_ZONE = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
_FREQUENCY = re.compile(r"[A-Za-z0-9-]{1,32}")
_CLOSED = frozenset({"left", "right", "both", "neither"})
_MASKED = {
    "boolean": "b1",
    **{f"Int{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"Float{bits}": f"f{bits // 8}" for bits in (32, 64)},
}


def rebuild(
    kind: str, fields: tuple[Any, ...], region: Buffer | None, memory: int
) -> tuple[Any, int]:
    """Return the thing of a kind that has these fields, and its size.

    `region` is the buffer that arrays may lie in.  Sizes are bytes beyond
    what the fields take, at most `memory`.  Raises ValueError, in words that
    are safe to show, if the fields are not such a thing's, take more, or
    what it takes is not installed here.
    """
    known = _KINDS.get(kind)
    if known is None:
        raise ValueError(f"nothing of kind {kind[:40]!a} may cross")
    count, build = known
    if len(fields) != count:
        raise ValueError(f"{kind} has {count} fields, not {len(fields)}")
    size = 0 if kind in _SMALL else _COPIES * _size(fields)
    if size > memory:
        raise ValueError(f"a {kind} takes too much memory")
    try:
        return build(_Builder(region), *fields), size
    except (_Bad, MemoryError):
        raise
    except Exception as error:
        # What numpy and pandas say may quote what the guest has chosen.
        raise ValueError(
            f"not the fields of a valid {kind}: {type(error).__name__}"
        ) from error


def _size(fields: tuple[Any, ...] | list[Any], depth: int = 4) -> int:
    """Return about how many bytes the arrays in fields hold."""
    size = 8 * len(fields)
    for each in fields:
        if type(each) is tuple or type(each) is list:
            size += _size(each, depth - 1) if depth else 0
        else:
            size += getattr(each, "nbytes", 0)
    return size


class _Bad(ValueError):
    """Raised with a message of ours."""


def _expect(value: object, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise _Bad(f"{what} is a {type(value).__name__}")
    return value


def _number(value: object, what: str) -> int:
    return int(_expect(value, int, what))


def _import(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise _Bad(
            f"it is an object of {name}, which is not installed here"
        ) from None


class _Builder:
    """Makes one thing, and what it is made of."""

    def __init__(self, region: Buffer | None) -> None:
        self.region = region

    # --- numpy ----------------------------------------------------------

    def array(
        self, dtype: object, shape: object, order: str, at: object
    ) -> Any:
        np = _import("numpy")
        made = self._view(
            np, _dtype(np, dtype), shape, order, self._content(at)
        )
        _check_content(np, made)
        return made

    def scalar(self, dtype: object, data: object) -> Any:
        np = _import("numpy")
        if type(dtype) is not str:
            raise _Bad("the dtype of a scalar is no text")
        content = memoryview(_expect(data, bytes, "its content"))
        made = self._view(np, _dtype(np, dtype), (), "C", content)
        _check_content(np, made)
        return made[()]

    def text(self, text: object) -> Any:
        return _import("numpy").str_(_expect(text, str, "it"))

    def bytes(self, data: object) -> Any:
        return _import("numpy").bytes_(_expect(data, bytes, "it"))

    def _content(self, at: object) -> memoryview:
        if type(at) is bytes:
            return memoryview(at)
        if type(at) is not tuple or len(at) != 2:
            raise _Bad("its content is neither bytes nor a place")
        start, size = (_number(each, "a place") for each in at)
        whole = memoryview(b"" if self.region is None else self.region)
        if not 0 <= start <= start + size <= len(whole):
            raise _Bad("its content lies beyond the store")
        return whole[start : start + size]

    @staticmethod
    def _view(
        np: Any,
        dtype: Any,
        shape: object,
        order: object,
        content: memoryview,
    ) -> Any:
        sides = _expect(shape, tuple, "its shape")
        if len(sides) > _DIMENSIONS:
            raise _Bad(f"it has more than {_DIMENSIONS} dimensions")
        size = dtype.itemsize
        for side in sides:
            if not 0 <= _number(side, "a side") < 1 << 62:
                raise _Bad("a side is out of range")
            size *= side
        if size != len(content):
            raise _Bad(f"it takes {size} bytes, and has {len(content)}")
        if order not in ("C", "F"):
            raise _Bad("its order is neither C nor F")
        return np.ndarray(sides, dtype, content, order=order)

    # --- pandas ---------------------------------------------------------

    def series(self, column: object, index: object, name: object) -> Any:
        pd = _import("pandas")
        data = _column(pd, column)
        made = pd.Series(
            data,
            index=_index(pd, index),
            dtype=data.dtype,
            copy=True,
        )
        made.name = _name(name)
        return made

    def frame(self, content: object, index: object, columns: object) -> Any:
        pd = _import("pandas")
        rows, names = _index(pd, index), _index(pd, columns)
        if type(content) is not list:
            return pd.DataFrame(
                _plain(content, 2), index=rows, columns=names, copy=True
            )
        if len(content) != len(names):
            raise _Bad(f"{len(content)} columns have {len(names)} names")
        arrays = {i: _column(pd, each) for i, each in enumerate(content)}
        made = pd.DataFrame(arrays, index=rows, copy=True)
        made.columns = names
        return made

    def index(self, column: object, name: object, frequency: object) -> Any:
        pd = _import("pandas")
        data = _column(pd, column)
        made = pd.Index(data, dtype=data.dtype, copy=True, name=_name(name))
        if frequency is not None:
            if type(made) not in (pd.DatetimeIndex, pd.TimedeltaIndex):
                raise _Bad("an index of no times has a frequency")
            made.freq = _frequency(frequency)
        return made

    def range(self, start: int, stop: int, step: int, name: object) -> Any:
        pd = _import("pandas")
        for number in (start, stop, step):
            if not -(1 << 62) < _number(number, "a bound of it") < 1 << 62:
                raise _Bad("a bound of it is out of range")
        return pd.RangeIndex(start, stop, step, name=_name(name))

    def multiindex(self, levels: object, codes: object, names: object) -> Any:
        pd = _import("pandas")
        return pd.MultiIndex(
            levels=[_short(pd, x) for x in _expect(levels, list, "levels")],
            codes=[_plain(x, 1) for x in _expect(codes, list, "codes")],
            names=[_name(each) for each in _expect(names, list, "names")],
            copy=True,
        )

    def values(self, column: object) -> Any:
        pd = _import("pandas")
        return pd.array(_column(pd, column), copy=True)

    def timestamp(self, number: object, unit: object, zone: object) -> Any:
        pd, np = _import("pandas"), _import("numpy")
        if unit not in ("s", "ms", "us", "ns"):
            raise _Bad("not a unit of time")
        moment = pd.Timestamp(np.datetime64(_number(number, "it"), unit))
        if zone is None:
            return moment
        return moment.tz_localize("UTC").tz_convert(_zone(zone))

    def timedelta(self, number: object, unit: object) -> Any:
        pd, np = _import("pandas"), _import("numpy")
        if unit not in ("s", "ms", "us", "ns"):
            raise _Bad("not a unit of time")
        return pd.Timedelta(np.timedelta64(_number(number, "it"), unit))

    def period(self, ordinal: object, frequency: object) -> Any:
        return _import("pandas").Period(
            ordinal=_number(ordinal, "it"), freq=_frequency(frequency)
        )

    def interval(self, left: object, right: object, closed: object) -> Any:
        if type(closed) is not str or closed not in _CLOSED:
            raise _Bad("not the closed side of an interval")
        return _import("pandas").Interval(left, right, closed)

    # --- others ---------------------------------------------------------

    def repr(self, type_name: object, text: object) -> Repr:
        return Repr(
            _expect(type_name, str, "its type")[:_TEXT],
            _expect(text, str, "its text")[:_TEXT],
        )


def _dtype(np: Any, spec: object, depth: int = _NESTING) -> Any:
    """Return a dtype of numbers, texts and times, and records of those."""
    if type(spec) is str:
        if _SIMPLE.fullmatch(spec) is None:
            raise _Bad(f"arrays of dtype {spec[:40]!a} may not cross")
        return np.dtype(spec)
    if type(spec) is not tuple or depth == 0:
        raise _Bad("not a dtype")
    if len(spec) == 2:
        base, shape = spec
        sides = _expect(shape, tuple, "its shape")
        if not 0 < len(sides) <= _DIMENSIONS or any(
            not 0 < _number(side, "a side") < 1 << 31 for side in sides
        ):
            raise _Bad("not the shape of a field")
        return np.dtype((_dtype(np, base, depth - 1), sides))
    if len(spec) != 4 or any(type(x) is not tuple for x in spec[:3]):
        raise _Bad("not a dtype")
    names, formats, offsets, itemsize = spec
    if not 0 < len(names) == len(formats) == len(offsets) <= _FIELDS:
        raise _Bad("not the fields of a record")
    if any(type(name) is not str for name in names):
        raise _Bad("a field's name is no text")
    dtypes = [_dtype(np, each, depth - 1) for each in formats]
    _number(itemsize, "the size of a record")
    for offset, dtype in zip(offsets, dtypes, strict=True):
        end = _number(offset, "a field's place") + dtype.itemsize
        if not 0 <= offset < end <= itemsize < 1 << 31:
            raise _Bad("a field lies outside its record")
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
            raise _Bad("a bool that is neither true nor false")
    elif dtype.kind == "U":
        unsigned = f"{dtype.str[0]}u4"
        flat = np.ascontiguousarray(array).reshape(-1).view(unsigned)
        if flat.max() > 0x10FFFF:
            raise _Bad("a text of what are no characters")


def _plain(array: Any, dimensions: int) -> Any:
    np = _import("numpy")
    if type(array) is not np.ndarray or array.ndim != dimensions:
        raise _Bad(f"not an array of {dimensions} dimensions")
    return array


def _objects(items: object) -> Any:
    np = _import("numpy")
    values = _expect(items, list, "what it holds")
    made = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        made[i] = value
    return made


def _column(pd: Any, column: object) -> Any:
    """Return the array that a column's description stands for."""
    if type(column) is not tuple or not column:
        raise _Bad("not a column")
    tag, *fields = column
    known = _COLUMNS.get(tag) if type(tag) is str else None
    if known is None or len(fields) != known[0]:
        raise _Bad("not a column")
    return known[1](pd, *fields)


def _plain_column(_pd: Any, array: object) -> Any:
    plain = _plain(array, 1)
    if plain.dtype.kind in "SUV":
        raise _Bad("pandas has no such columns")
    return plain


def _object_column(_pd: Any, items: object) -> Any:
    return _objects(items)


def _masked_column(pd: Any, name: object, data: object, mask: object) -> Any:
    expected = _MASKED.get(name) if type(name) is str else None
    values, missing = _plain(data, 1), _plain(mask, 1)
    if (
        expected is None
        or values.dtype != expected
        or missing.dtype != bool
        or len(values) != len(missing)
    ):
        raise _Bad("not a nullable column")
    if values.dtype.kind == "b":
        kind = pd.arrays.BooleanArray
    elif values.dtype.kind == "f":
        kind = pd.arrays.FloatingArray
    else:
        kind = pd.arrays.IntegerArray
    return kind(values.copy(), missing.copy())


def _string_column(pd: Any, storage: object, na: object, items: object) -> Any:
    values = _objects(items)
    if any(type(each) is not str and each is not None for each in values):
        raise _Bad("a text column holds something else")
    if storage not in ("python", "pyarrow") or na not in ("NA", "nan"):
        raise _Bad("not a text column")
    if storage == "pyarrow":
        try:
            import pyarrow  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            storage = "python"
    if na == "nan":
        dtype = pd.StringDtype(storage, na_value=float("nan"))
    else:
        dtype = pd.StringDtype(storage)
    return pd.array(values, dtype=dtype)


def _category_column(
    pd: Any, categories: object, codes: object, ordered: object
) -> Any:
    return pd.Categorical.from_codes(
        _plain(codes, 1),
        categories=_short(pd, categories),
        ordered=_expect(ordered, bool, "ordered"),
    )


def _zoned_column(pd: Any, moments: object, zone: object) -> Any:
    array = _plain(moments, 1)
    if array.dtype.kind != "M":
        raise _Bad("not a column of moments")
    index = pd.DatetimeIndex(array, tz="UTC", copy=True)
    return index.tz_convert(_zone(zone)).array


def _period_column(pd: Any, ordinals: object, frequency: object) -> Any:
    array = _plain(ordinals, 1)
    if array.dtype != "i8":
        raise _Bad("not a column of periods")
    dtype = pd.PeriodDtype(_frequency(frequency))
    return pd.arrays.PeriodArray(array.copy(), dtype=dtype)


def _interval_column(
    pd: Any, left: object, right: object, closed: object
) -> Any:
    if type(closed) is not str or closed not in _CLOSED:
        raise _Bad("not the closed side of intervals")
    return pd.arrays.IntervalArray.from_arrays(
        _column(pd, left), _column(pd, right), closed=closed, copy=True
    )


def _index(pd: Any, index: object) -> Any:
    """Return an index, which only this module can have made."""
    if not isinstance(index, pd.Index):
        raise _Bad("not an index")
    return index


def _short(pd: Any, index: object) -> Any:
    """Return an index that pandas will look at; a range has no size yet."""
    made = _index(pd, index)
    if type(made) is pd.RangeIndex and len(made) > _RANGE:
        raise _Bad("a range of it is too long")
    return made


def _name(name: object) -> object:
    try:
        hash(name)
    except TypeError:
        raise _Bad("a name that cannot be hashed") from None
    return name


def _frequency(frequency: object) -> str:
    if type(frequency) is not str or not _FREQUENCY.fullmatch(frequency):
        raise _Bad("not a frequency")
    return frequency


def _zone(zone: object) -> Any:
    """Return a time zone; pandas itself would open any file for a name."""
    if type(zone) is not tuple or len(zone) != 2:
        raise _Bad("not a time zone")
    kind, name = zone
    if type(name) is not str or _ZONE.fullmatch(name) is None:
        if kind == "fixed" and type(name) is str:
            return _fixed_zone(name)
        raise _Bad("not the name of a time zone")
    if kind == "zoneinfo":
        import zoneinfo

        return zoneinfo.ZoneInfo(name)
    if kind == "pandas" and not name.startswith(("dateutil", "tzlocal")):
        return name
    raise _Bad("not a time zone")


def _fixed_zone(text: str) -> Any:
    import datetime

    parts = _FIXED_ZONE.fullmatch(text)
    if parts is None:
        raise _Bad("not a time zone")
    sign = -1 if parts[1] == "-" else 1
    minutes = sign * (int(parts[2]) * 60 + int(parts[3]))
    return datetime.timezone(datetime.timedelta(minutes=minutes))


_COLUMNS: dict[str, tuple[int, Callable[..., Any]]] = {
    "plain": (1, _plain_column),
    "object": (1, _object_column),
    "masked": (3, _masked_column),
    "string": (3, _string_column),
    "category": (3, _category_column),
    "zoned": (2, _zoned_column),
    "period": (2, _period_column),
    "interval": (3, _interval_column),
}

# kind: how many fields, and what makes it
_KINDS: dict[str, tuple[int, Callable[..., Any]]] = {
    "array": (4, _Builder.array),
    "scalar": (2, _Builder.scalar),
    "text": (
        1,
        lambda _, text: _import("numpy").str_(_expect(text, str, "it")),
    ),
    "bytes": (
        1,
        lambda _, x: _import("numpy").bytes_(_expect(x, bytes, "it")),
    ),
    "series": (3, _Builder.series),
    "frame": (3, _Builder.frame),
    "index": (3, _Builder.index),
    "range": (4, _Builder.range),
    "multiindex": (3, _Builder.multiindex),
    "values": (1, _Builder.values),
    "timestamp": (3, _Builder.timestamp),
    "timedelta": (2, _Builder.timedelta),
    "period": (2, _Builder.period),
    "interval": (3, _Builder.interval),
    "nat": (0, lambda _: _import("pandas").NaT),
    "na": (0, lambda _: _import("pandas").NA),
    "repr": (2, _Builder.repr),
}
