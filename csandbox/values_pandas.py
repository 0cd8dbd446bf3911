"""The kinds of values.py that are pandas': rebuilt from arrays and texts.

Columns are described by tuples: what they are, then what they hold.  What
pandas would check by hashing is checked here by sorting, or left unchecked
where it can do no harm: guests choose numbers that collide in its tables.
"""

from __future__ import annotations

import re
from contextlib import suppress

from csandbox.values import Bad, Builder, expect, installed, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# In bytes, but for the time that it takes rather: 1 KB is some 3 us.
_EACH = 32 * 1024  # frame
_ROWS = 12 * 1024  # series or index
_SCALAR = 4 * 1024
_COLUMN = 16 * 1024  # one of its own kind, or a level
_LABEL = 64  # one of many that are alike
_COPIES = 3  # of what it holds, while it is made
_RANGE = 1 << 24  # items of a range that is made an array
_SEARCHED = 500  # categories of any kind
_DATED = 10_000  # of a frequency that is no fixed time

_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")
_FIXED_ZONE = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
_FREQUENCY = re.compile(r"-?(?:[1-9][0-9]{0,2})?([A-Za-z]+(?:-[A-Z]{3})?)")
_UNITS = frozenset({"s", "ms", "us", "ns"})
_CLOSED = frozenset({"left", "right", "both", "neither"})
_MASKED = {
    "boolean": "b1",
    **{f"Int{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"Float{bits}": f"f{bits // 8}" for bits in (32, 64)},
}


def _series(
    builder: Builder, column: object, index: object, name: object
) -> Any:
    pd = installed("pandas")
    builder.charge(_ROWS)
    data = _column(builder, pd, column)
    rows = _index(pd, index)
    builder.charge(_COPIES * _nbytes(rows))
    made = pd.Series(data, index=rows, dtype=data.dtype, copy=True)
    made.name = _name(name)
    return made


def _frame(
    builder: Builder, content: object, index: object, columns: object
) -> Any:
    pd = installed("pandas")
    rows, names = _index(pd, index), _index(pd, columns)
    builder.charge(_EACH + _COPIES * (_nbytes(rows) + _nbytes(names)))
    if type(content) is not list:
        array = _plain(content, 2)
        builder.charge(_COPIES * array.nbytes + _LABEL * array.shape[1])
        return pd.DataFrame(array, index=rows, columns=names, copy=True)
    if len(content) != len(names):
        raise Bad(f"{len(content)} columns have {len(names)} names")
    builder.charge(_COLUMN * len(content))
    arrays = {i: _column(builder, pd, each) for i, each in enumerate(content)}
    for i, array in arrays.items():
        if array.dtype == object:  # or a frame would infer another
            arrays[i] = pd.Series(array, index=rows, dtype=object)
    made = pd.DataFrame(arrays, index=rows, copy=True)
    made.columns = names
    return made


def _any_index(
    builder: Builder, column: object, name: object, frequency: object
) -> Any:
    pd = installed("pandas")
    builder.charge(_ROWS)
    data = _column(builder, pd, column)
    made = pd.Index(data, dtype=data.dtype, copy=True, name=_name(name))
    if frequency is not None:
        _set_frequency(pd, made, frequency)
    return made


def _set_frequency(pd: Any, index: Any, frequency: object) -> None:
    if type(index) not in (pd.DatetimeIndex, pd.TimedeltaIndex):
        raise Bad("an index of no times has a frequency")
    known = _frequency(pd, frequency, "offsets")
    if known is None:
        return
    offset = pd.tseries.frequencies.to_offset(known)
    # pandas makes the index anew to compare it: of months, say, an object
    # for each.
    fixed = isinstance(offset, pd.offsets.Tick | pd.offsets.Day)
    if fixed or len(index) <= _DATED:
        with suppress(ValueError):  # one that does not fit is not kept
            index.freq = offset


def _range(
    builder: Builder, start: int, stop: int, step: int, name: object
) -> Any:
    pd = installed("pandas")
    builder.charge(_ROWS)
    for bound in (start, stop, step):
        if not -(1 << 62) < number(bound, "a bound of it") < 1 << 62:
            raise Bad("a bound of it is out of range")
    return pd.RangeIndex(start, stop, step, name=_name(name))


def _multiindex(
    builder: Builder, levels: object, codes: object, names: object
) -> Any:
    pd = installed("pandas")
    parts = [expect(each, list, "a part") for each in (levels, codes, names)]
    if not 0 < len(parts[0]) == len(parts[1]) == len(parts[2]):
        raise Bad("levels, codes and names differ in number")
    builder.charge(_EACH + _COLUMN * len(parts[0]))
    indexes = [_short(pd, each) for each in parts[0]]
    arrays = [_plain(each, 1) for each in parts[1]]
    for level, array in zip(indexes, arrays, strict=True):
        builder.charge(_COPIES * (_nbytes(level) + array.nbytes))
        _check_codes(array, len(level))
    if len({len(array) for array in arrays}) != 1:
        raise Bad("its codes differ in length")
    return pd.MultiIndex(
        levels=indexes,
        codes=arrays,
        names=[_name(each) for each in parts[2]],
        copy=True,
        verify_integrity=False,  # done, but for what it would hash
    )


def _values(builder: Builder, column: object) -> Any:
    pd = installed("pandas")
    builder.charge(_ROWS)
    data = _column(builder, pd, column)
    if type(data).__module__ == "numpy" and data.dtype.kind not in "mM":
        name = "NumpyExtensionArray"  # before pandas 2.1: PandasArray
        kind = getattr(pd.arrays, name, None) or pd.arrays.PandasArray
        return kind(data.copy())
    return pd.array(data, copy=True)


def _timestamp(
    builder: Builder, ticks: object, unit: object, zone: object
) -> Any:
    pd, np = installed("pandas"), installed("numpy")
    builder.charge(_SCALAR)
    moment = pd.Timestamp(np.datetime64(number(ticks, "it"), _unit(unit)))
    if zone is None:
        return moment
    return moment.tz_localize("UTC").tz_convert(_zone(zone))


def _timedelta(builder: Builder, ticks: object, unit: object) -> Any:
    pd, np = installed("pandas"), installed("numpy")
    builder.charge(_SCALAR)
    return pd.Timedelta(np.timedelta64(number(ticks, "it"), _unit(unit)))


def _unit(unit: object) -> str:
    if type(unit) is not str or unit not in _UNITS:
        raise Bad("not a unit of time")
    return unit


def _period(builder: Builder, ordinal: object, frequency: object) -> Any:
    pd = installed("pandas")
    builder.charge(_SCALAR)
    known = _frequency(pd, frequency, "periods")
    if known is None:
        raise Bad("not a frequency of periods that may cross")
    return pd.Period(ordinal=number(ordinal, "it"), freq=known)


def _interval(
    builder: Builder, left: object, right: object, closed: object
) -> Any:
    builder.charge(_SCALAR)
    if type(closed) is not str or closed not in _CLOSED:
        raise Bad("not the closed side of an interval")
    for end in (left, right):
        if not _is_label(end) or isinstance(end, str | bytes):
            raise Bad("not an end of an interval")
    return installed("pandas").Interval(left, right, closed)


def _nat(_builder: Builder) -> Any:
    return installed("pandas").NaT


def _na(_builder: Builder) -> Any:
    return installed("pandas").NA


# --- columns -----------------------------------------------------------------


def _column(builder: Builder, pd: Any, column: object, depth: int = 1) -> Any:
    """Return the array that a column's description stands for."""
    if type(column) is not tuple or not 1 < len(column) <= 4:
        raise Bad("not a column")
    tag, *fields = column
    known = _COLUMNS.get(tag) if type(tag) is str else None
    if known is None or len(fields) != known[0]:
        raise Bad("not a column")
    for each in fields:
        size = 16 * len(each) if type(each) is list else _nbytes(each)
        builder.charge(_COPIES * size)
    if tag == "interval":
        if not depth:
            raise Bad("an interval of intervals")
        fields[:2] = [_column(builder, pd, x, depth - 1) for x in fields[:2]]
    return known[1](pd, *fields)


def _nbytes(thing: Any) -> int:
    return int(getattr(thing, "nbytes", 0))


def _plain(array: Any, dimensions: int) -> Any:
    np = installed("numpy")
    if type(array) is not np.ndarray or array.ndim != dimensions:
        raise Bad(f"not an array of {dimensions} dimensions")
    if array.dtype.kind in "SUV":
        raise Bad("pandas has no such columns")
    return array


def _objects(items: object) -> Any:
    np = installed("numpy")
    values = expect(items, list, "what it holds")
    made = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        made[i] = value
    return made


def _plain_column(_pd: Any, array: object) -> Any:
    return _plain(array, 1)


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
        raise Bad("not a nullable column")
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
        raise Bad("a text column holds something else")
    if storage not in ("python", "pyarrow") or na not in ("NA", "nan"):
        raise Bad("not a text column")
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
    index, array = _short(pd, categories), _plain(codes, 1)
    _check_categories(pd, index)
    _check_codes(array, len(index))
    # The public way would hash them.
    dtype = pd.CategoricalDtype._from_fastpath(
        index, expect(ordered, bool, "ordered")
    )
    return pd.Categorical.from_codes(array, dtype=dtype)


def _check_codes(codes: Any, count: int) -> None:
    if codes.dtype.kind != "i":
        raise Bad("codes are no ints")
    if len(codes) and not -1 <= codes.min() <= codes.max() < count:
        raise Bad("codes out of range")


def _check_categories(pd: Any, index: Any) -> None:
    """Refuse categories that are missing or not unique."""
    np = installed("numpy")
    if type(index) is pd.RangeIndex:
        return
    if index.dtype.kind in "biufcmM" and isinstance(index.dtype, np.dtype):
        ordered = np.sort(np.asarray(index))
        unique = not (ordered[1:] == ordered[:-1]).any()
        missing = (
            bool(np.isnan(ordered).any())
            if index.dtype.kind in "fcmM"
            else False
        )
    else:
        values = list(index)
        if not all(type(each) is str for each in values) and (
            len(values) > _SEARCHED or not all(map(_is_label, values))
        ):
            raise Bad("too many categories of objects")
        unique = len(set(values)) == len(values)
        missing = bool(pd.isna(index).any())
    if missing or not unique:
        raise Bad("categories are missing or not unique")


def _zoned_column(pd: Any, moments: object, zone: object) -> Any:
    array = _plain(moments, 1)
    if array.dtype.kind != "M":
        raise Bad("not a column of moments")
    index = pd.DatetimeIndex(array, tz="UTC", copy=True)
    return index.tz_convert(_zone(zone)).array


def _period_column(pd: Any, ordinals: object, frequency: object) -> Any:
    array = _plain(ordinals, 1)
    if array.dtype != "i8":
        raise Bad("not a column of periods")
    known = _frequency(pd, frequency, "periods")
    if known is None:
        raise Bad("not a frequency of periods that may cross")
    dtype = pd.PeriodDtype(known)
    return pd.arrays.PeriodArray(array.copy(), dtype=dtype)


def _interval_column(
    pd: Any, left: object, right: object, closed: object
) -> Any:
    if type(closed) is not str or closed not in _CLOSED:
        raise Bad("not the closed side of intervals")
    return pd.arrays.IntervalArray.from_arrays(
        left, right, closed=closed, copy=True
    )


def _index(pd: Any, index: object) -> Any:
    """Return an index, which only this module can have made."""
    if not isinstance(index, pd.Index):
        raise Bad("not an index")
    return index


def _short(pd: Any, index: object) -> Any:
    """Return an index that pandas will look at; a range has no size yet."""
    made = _index(pd, index)
    if type(made) is pd.RangeIndex and len(made) > _RANGE:
        raise Bad("a range of it is too long")
    return made


def _name(name: object) -> object:
    """Return a name: a label, or a tuple of some, as those of levels are."""
    if type(name) is tuple and len(name) <= 100:
        if all(map(_is_label, name)):
            return name
    elif _is_label(name):
        return name
    raise Bad("not a name")


def _is_label(thing: object) -> bool:
    """Whether it is quickly hashed and compared: a scalar."""
    kind = type(thing)
    return kind in _LABELS or (
        kind.__module__.startswith(("numpy", "pandas", "datetime", "decimal"))
        and kind.__hash__ is not None
        and not hasattr(kind, "__len__")
    )


_LABELS = frozenset({type(None), bool, int, float, complex, str, bytes})


def _frequency(pd: Any, frequency: object, names: str) -> str | None:
    """Return a known frequency; None if it is none.

    `names` are "periods" or "offsets".  pandas keeps every dtype of periods
    that was ever asked for, so that there must not be too many; and it warns
    of names that another version of it had.
    """
    if type(frequency) is not str:
        raise Bad("not a frequency")
    parts = _FREQUENCY.fullmatch(frequency) if len(frequency) <= 20 else None
    if parts is None:
        return None
    old = tuple(map(int, pd.__version__.split(".")[:2])) < (2, 2)
    known = _FREQUENCIES["old" if old else "new", names]
    return frequency if parts[1] in known else None


def _words(text: str) -> set[str]:
    return set(text.split())


def _ending(heads: str, ends: str) -> set[str]:
    return {f"{head}-{end}" for head in heads.split() for end in ends.split()}


_DAYS = "MON TUE WED THU FRI SAT SUN"
_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"
_FREQUENCIES = {
    ("new", "periods"): _words("M D h min s ms us ns")
    | _ending("W", _DAYS)
    | _ending("Q Y", _MONTHS),
    ("new", "offsets"): _words("ME MS BME BMS B D h min s ms us ns")
    | _ending("W", _DAYS)
    | _ending("QE QS BQE BQS YE YS BYE BYS", _MONTHS),
    ("old", "periods"): _words("M D H T S L U N")
    | _ending("W", _DAYS)
    | _ending("Q A", _MONTHS),
    ("old", "offsets"): _words("M MS BM BMS B D H T S L U N")
    | _ending("W", _DAYS)
    | _ending("Q QS BQ BQS A AS BA BAS", _MONTHS),
}


def _zone(zone: object) -> Any:
    """Return a time zone; pandas itself would open any file for a name."""
    if type(zone) is not tuple or len(zone) != 2:
        raise Bad("not a time zone")
    kind, name = zone
    if type(name) is not str or _ZONE.fullmatch(name) is None:
        if kind == "fixed" and type(name) is str:
            return _fixed_zone(name)
        raise Bad("not the name of a time zone")
    if kind == "zoneinfo":
        import zoneinfo

        return zoneinfo.ZoneInfo(name)
    if kind == "pandas" and not name.startswith(("dateutil", "tzlocal")):
        return name
    raise Bad("not a time zone")


def _fixed_zone(text: str) -> Any:
    import datetime

    parts = _FIXED_ZONE.fullmatch(text)
    if parts is None:
        raise Bad("not a time zone")
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
KINDS: dict[str, tuple[int, Callable[..., Any]]] = {
    "series": (3, _series),
    "frame": (3, _frame),
    "index": (3, _any_index),
    "range": (4, _range),
    "multiindex": (3, _multiindex),
    "values": (1, _values),
    "timestamp": (3, _timestamp),
    "timedelta": (2, _timedelta),
    "period": (2, _period),
    "interval": (3, _interval),
    "nat": (0, _nat),
    "na": (0, _na),
}
