"""How a guest's arrays and pandas objects are written down for the host.

Runs inside, beside _guest.py, once something of numpy's or pandas' is to
cross.  Each function here takes an object and returns the kind and the
fields from which csandbox.values rebuilds it in the host, or None if it
cannot cross.  Nothing here is trusted by the host.
"""

import sys

# Set by _guest.py: takes a memoryview, and returns where in the store it will
# lie; and from how many bytes on it does.
place = LARGE = None

_PLAIN_KINDS = "biufcSUmM"
_INDEXES = (
    "Index",
    "DatetimeIndex",
    "TimedeltaIndex",
    "PeriodIndex",
    "CategoricalIndex",
    "IntervalIndex",
    "Int64Index",  # pandas 1, as the next two
    "UInt64Index",
    "Float64Index",
)


def kinds():
    """Return {type: function} of what the imported packages have."""
    made = {}
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "ndarray"):
        made[numpy.ndarray] = array
        for scalar_type in set(numpy.sctypeDict.values()):
            made[scalar_type] = scalar
        made[numpy.str_] = text
        made[numpy.bytes_] = text
        for each in (numpy.object_, numpy.void):
            made.pop(each, None)
    pandas = sys.modules.get("pandas")
    if pandas is not None and hasattr(pandas, "DataFrame"):
        made.update(_pandas_kinds(pandas))
    return made


def _pandas_kinds(pandas):
    made = {
        pandas.DataFrame: frame,
        pandas.Series: series,
        pandas.MultiIndex: multiindex,
        pandas.RangeIndex: range_index,
        pandas.Timestamp: timestamp,
        pandas.Timedelta: timedelta,
        pandas.Period: period,
        pandas.Interval: interval,
        pandas.Categorical: values,
        type(pandas.NaT): lambda _: ("nat", ()),
        type(pandas.NA): lambda _: ("na", ()),
    }
    for name in _INDEXES:
        kind = vars(pandas).get(name)
        if kind is not None:
            made[kind] = index
    for name in _WRITERS:
        kind = vars(pandas.arrays).get(name)
        if kind is not None:
            made[kind] = values
    return made


# --- numpy -------------------------------------------------------------------


def array(obj):
    dtype = _dtype(obj.dtype)
    if dtype is None or obj.ndim > 32:
        return None
    flags = obj.flags
    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
    if not (flags.c_contiguous or flags.f_contiguous):
        obj = obj.copy("C")
    flat = obj.reshape(-1, order="A") if order == "C" else obj.T.reshape(-1)
    return "array", (dtype, obj.shape, order, _content(flat))


def _content(flat):
    """Return the bytes of a flat array, as a Place if they are many."""
    data = memoryview(flat.view("u1")) if flat.size else memoryview(b"")
    return place(data) if data.nbytes >= LARGE else bytes(data)


def _dtype(dtype, depth=8):
    """Return how csandbox.values writes a dtype; None if it may not cross."""
    if depth == 0 or dtype.metadata or dtype.itemsize == 0:
        return None
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        formats = tuple(_dtype(each[0], depth - 1) for each in fields)
        if None in formats:
            return None
        offsets = tuple(each[1] for each in fields)
        return dtype.names, formats, offsets, dtype.itemsize
    if dtype.subdtype is not None:
        base = _dtype(dtype.base, depth - 1)
        return None if base is None else (base, dtype.shape)
    if dtype.kind not in _PLAIN_KINDS or dtype.char in "gG":
        return None
    # A time without a unit, or in multiples of one, such as M8[25s].
    if dtype.kind in "mM" and not dtype.str.partition("[")[2][:1].isalpha():
        return None
    return dtype.str


def scalar(obj):
    numpy = sys.modules["numpy"]
    dtype = _dtype(obj.dtype)
    return dtype and ("scalar", (dtype, numpy.asarray(obj).tobytes()))


def text(obj):
    if isinstance(obj, str):
        return "text", (str.__str__(obj),)
    return "bytes", (bytes(memoryview(obj)),)


# --- pandas ------------------------------------------------------------------


def series(obj):
    column = _column(obj.array)
    return column and ("series", (column, obj.index, obj.name))


def frame(obj):
    numpy = sys.modules["numpy"]
    dtypes = set(obj.dtypes)
    if len(dtypes) == 1 and obj.shape[0]:
        dtype = dtypes.pop()
        if isinstance(dtype, numpy.dtype) and dtype.kind in "biufcmM":
            return "frame", (obj.to_numpy(), obj.index, obj.columns)
    columns = [_column(obj.iloc[:, i].array) for i in range(obj.shape[1])]
    if None in columns:
        return None
    return "frame", (columns, obj.index, obj.columns)


def index(obj):
    column = _column(obj.array)
    frequency = getattr(obj, "freqstr", None)
    if type(obj).__name__ == "PeriodIndex":
        frequency = None  # its dtype has it
    return column and ("index", (column, obj.name, frequency))


def range_index(obj):
    return "range", (obj.start, obj.stop, obj.step, obj.name)


def multiindex(obj):
    # Not the frozen kind of array that pandas 1 has here.
    plain = sys.modules["numpy"].asarray
    codes = [plain(each) for each in obj.codes]
    return "multiindex", (list(obj.levels), codes, list(obj.names))


def values(obj):
    column = _column(obj)
    return column and ("values", (column,))


def timestamp(obj):
    zone = None
    if obj.tz is not None:
        zone = _zone(obj.tz)
        if zone is None:
            return None
    return "timestamp", (*_ticks(obj), zone)


def timedelta(obj):
    return "timedelta", _ticks(obj)


def _ticks(obj):
    if not hasattr(obj, "unit"):  # before pandas 2
        return int(obj.value), "ns"
    return int(
        obj._value
    ), obj.unit  # value is of nanoseconds, and may overflow


def period(obj):
    if _is_business_day(obj.freqstr):
        return None
    return "period", (obj.ordinal, obj.freqstr)


def _is_business_day(frequency):
    """Whether it is one of periods that pandas warns of."""
    return frequency.lstrip("-0123456789") == "B"


def interval(obj):
    return "interval", (obj.left, obj.right, obj.closed)


def _column(obj):
    """Return the description of an array of pandas', None if it has none."""
    writer = _WRITERS.get(type(obj).__name__)
    return writer and writer(obj)


def _plain_column(obj):
    numpy = sys.modules["numpy"]
    data = obj if type(obj) is numpy.ndarray else obj.to_numpy()
    if data.dtype.kind == "O":
        return "object", list(data)
    return ("plain", data) if _dtype(data.dtype) else None


def _masked_column(obj):
    return "masked", obj.dtype.name, obj._data, obj._mask


def _string_column(obj):
    dtype = obj.dtype
    missing = sys.modules["pandas"].NA
    na = "NA" if getattr(dtype, "na_value", missing) is missing else "nan"
    items = [each if type(each) is str else None for each in obj]
    return "string", dtype.storage.partition("_")[0], na, items


def _category_column(obj):
    return "category", obj.categories, obj.codes.copy(), bool(obj.ordered)


def _datetime_column(obj):
    zone = None if obj.tz is None else _zone(obj.tz)
    if obj.tz is not None and zone is None:
        return None
    moments = obj._ndarray
    return ("plain", moments) if zone is None else ("zoned", moments, zone)


def _period_column(obj):
    if _is_business_day(obj.freqstr):
        return None
    return "period", obj.asi8.copy(), obj.freqstr


def _interval_column(obj):
    left, right = _column(obj.left.array), _column(obj.right.array)
    if left is None or right is None:
        return None
    return "interval", left, right, obj.closed


def _zone(zone):
    """Return the kind and name of a time zone, None if it has none."""
    kind = type(zone).__module__.partition(".")[0]
    if kind == "zoneinfo" and zone.key:
        return "zoneinfo", zone.key
    if kind == "pytz" and getattr(zone, "zone", None):
        return "pandas", zone.zone
    if kind == "datetime":
        minutes, rest = divmod(zone.utcoffset(None).total_seconds(), 60)
        if not rest:
            hours, minutes = divmod(abs(int(minutes)), 60)
            sign = "-" if zone.utcoffset(None).days < 0 else "+"
            return "fixed", f"{sign}{hours:02}:{minutes:02}"
    return None


_WRITERS = {
    "ndarray": _plain_column,
    "NumpyExtensionArray": _plain_column,
    "PandasArray": _plain_column,
    "IntegerArray": _masked_column,
    "FloatingArray": _masked_column,
    "BooleanArray": _masked_column,
    "StringArray": _string_column,
    "StringArrayNumpySemantics": _string_column,
    "ArrowStringArray": _string_column,
    "ArrowStringArrayNumpySemantics": _string_column,
    "Categorical": _category_column,
    "DatetimeArray": _datetime_column,
    "TimedeltaArray": lambda obj: ("plain", obj._ndarray),
    "PeriodArray": _period_column,
    "IntervalArray": _interval_column,
}
