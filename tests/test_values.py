"""Arrays, and numpy's and pandas' values: what crosses, whole and in kind,
and what a hostile guest cannot make of it."""

import builtins
import collections
import contextlib
import datetime
import gc
import marshal
import pickle
import pickletools
import sys
import time
import zoneinfo
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pandas import testing as same

import csandbox
import support
from csandbox import _csandbox, accounts, bootstrap, shipping
from csandbox.errors import GuestError, LimitError, ResultError
from csandbox.values import _KINDS
from csandbox.values_pandas import KINDS as PANDAS_KINDS

PACKAGE = Path(csandbox.__file__).parent
LARGE = 64 * 1024
KINDS = {**_KINDS, **PANDAS_KINDS}
PANDAS = {"preload": ("numpy", "pandas"), "timeout": 60}


def load_guest():
    """Return the names of _guest.py, as a zygote has them."""
    names = {"__name__": "guest", "__builtins__": {**vars(builtins)}}
    for name in (bootstrap.FIRST_FILE, *bootstrap.GUEST_FILES):
        source = (PACKAGE / name).read_text()
        exec(compile(source, "<csandbox>", "exec"), names)
    values = (PACKAGE / bootstrap.VALUES_FILE).read_text()
    names["VALUES"] = marshal.dumps(compile(values, "<csandbox>", "exec"))
    return names


GUEST = load_guest()


def written(value, on_unsupported="error"):
    """Return the pickle and the store that a guest sends for a value."""
    outgoing = GUEST["Outgoing"]()
    GUEST["_Pickler"](outgoing, on_unsupported == "repr").dump(value)
    store = bytearray(outgoing.end)
    for start, data in outgoing.parts:
        store[start : start + len(data)] = data
    return b"".join(outgoing.pickle), bytes(store)


def crossed(value):
    """Return a value as the host gets it."""
    data, store = written(value)
    return _csandbox.decode(data, region=store)


def rebuilt(kind, fields, region=None):
    """Decode what a guest would write by hand."""

    data = b"\x80\x05ccsandbox\nrebuild\n" + plain((kind, fields)) + b"R."
    return _csandbox.decode(data, region=region)


def plain(value):
    """Return opcodes that make a value, and nothing else."""
    return pickletools.optimize(pickle.dumps(value, 3))[2:-1]


def refused(kind, *fields, region=None, words=""):
    with pytest.raises(ValueError) as caught:
        rebuilt(kind, fields, region)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith("byte "), caught.value
    assert words in str(caught.value), caught.value


# --- arrays ------------------------------------------------------------------

DTYPES = [
    "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8",
    "c8", "c16", ">i4", ">f8", "S1", "S7", "U1", "U5", ">U3", "M8[ns]",
    "M8[s]", "M8[Y]", "m8[us]", "m8[D]", ">M8[ms]",
]  # fmt: skip

RECORDS = [
    [("a", "i4"), ("b", "f8")],
    [("a", "?"), ("text", "U3"), ("when", "M8[s]")],
    [("deep", [("x", "i2"), ("y", [("z", "S2")])])],
    [("square", "f4", (2, 3)), ("flags", "?", (4,))],
    {"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [3, 8],
     "itemsize": 24},
]  # fmt: skip


def filled(dtype, shape):
    count = int(np.prod(shape))
    made = np.zeros(count, dtype)
    numbers = np.arange(count) % 100
    if made.dtype.names is None:
        made[:] = numbers.astype(dtype) if made.dtype.kind != "M" else numbers
    return made.reshape(shape)


def check_array(value):
    for _ in range(2):
        got = crossed(value)
        assert type(got) is np.ndarray
        assert got.dtype == value.dtype
        assert got.shape == value.shape
        if value.dtype.names is None:
            assert got.tobytes() == value.tobytes()
        else:
            assert (got == value).all()
        assert not got.flags.writeable
        value = value.T


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(), (0,), (5,), (2, 0, 3), (3, 4), (2, 3, 4)]
)
def test_array_crosses(dtype, shape):
    check_array(filled(dtype, shape))


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_array_crosses_in_the_store(dtype):
    value = filled(dtype, (300, 300))
    _, store = written(value)
    assert (len(store) >= value.nbytes) is (value.nbytes >= LARGE)
    check_array(value)


@pytest.mark.parametrize("dtype", RECORDS, ids=str)
def test_record_array_crosses(dtype):
    check_array(np.zeros((3, 2), dtype))
    check_array(np.zeros(20_000, dtype))


def test_orders_and_strides_cross():
    value = np.arange(60, dtype="i4").reshape(3, 4, 5)
    for each in (
        np.asfortranarray(value), value[::2], value[:, ::-1], value[..., 1],
        value.transpose(1, 0, 2), np.broadcast_to(np.arange(3), (4, 3)),
    ):  # fmt: skip
        check_array(each)
    fortran = crossed(np.asfortranarray(value))
    assert fortran.flags.f_contiguous and not fortran.flags.c_contiguous


SCALARS = [
    np.bool_(True), np.int8(-5), np.uint64(2**64 - 1), np.int64(7),
    np.float16(1.5), np.float32(0.1), np.float64(1e300), np.complex64(1 + 2j),
    np.complex128(1j), np.str_("ab\0"), np.str_(""), np.str_("é\ud800"),
    np.bytes_(b"a\0"), np.bytes_(b""), np.datetime64("2024-02-29"),
    np.datetime64("NaT", "s"), np.datetime64(5, "ns"), np.timedelta64(3, "h"),
]  # fmt: skip


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_scalar_crosses_and_is_a_key(value):
    got = crossed([value, {value: 1}])
    assert type(got[0]) is type(value)
    assert got[0].dtype == value.dtype
    assert repr(got[0]) == repr(value)
    assert type(next(iter(got[1]))) is type(value)


def test_sharing_survives():
    value = np.arange(3)
    got = crossed([value, value, {"again": value}])
    assert got[0] is got[1] is got[2]["again"]


@given(
    npst.arrays(
        st.one_of(
            npst.boolean_dtypes(),
            npst.integer_dtypes(),
            npst.unsigned_integer_dtypes(),
            npst.floating_dtypes(sizes=(16, 32, 64)),
            npst.complex_number_dtypes(sizes=(64, 128)),
            npst.byte_string_dtypes(min_len=1),
            npst.unicode_string_dtypes(min_len=1),
            npst.datetime64_dtypes(max_period="Y", min_period="ns"),
        ),
        npst.array_shapes(min_dims=0, max_dims=4, min_side=0),
    )
)
@settings(max_examples=300, deadline=None)
def test_any_array_crosses(value):
    got = crossed(value)
    assert (got.dtype, got.shape) == (value.dtype, value.shape)
    assert got.tobytes() == value.tobytes()
    known = pickle.loads(pickle.dumps(value))
    assert got.astype(known.dtype).tobytes() == known.tobytes()


def test_arrays_come_out_of_a_sandbox():
    source = """
import numpy as np
{"small": np.arange(3), "large": np.arange(100_000.0).reshape(100, 1000),
 "many": [np.full(10_000, n) for n in range(20)], "none": np.zeros((0, 3)),
 "text": "x" * 100_000, "bytes": b"y" * 100_000, "own": bytearray(200_000)}
"""
    got = csandbox.run(source, timeout=60)
    gc.collect()
    assert (got["small"] == [0, 1, 2]).all()
    assert got["large"][99, 999] == 99_999
    assert got["large"].sum() == 99_999 * 100_000 / 2
    assert [int(each[-1]) for each in got["many"]] == list(range(20))
    assert got["none"].shape == (0, 3)
    assert got["text"] == "x" * 100_000
    assert got["bytes"] == b"y" * 100_000
    got["own"][0] = 1
    assert got["own"] == b"\1" + bytes(199_999)
    with pytest.raises(ValueError, match="read-only"):
        got["large"][0, 0] = 1


def test_tens_of_megabytes_cross_both_ways():
    value = np.random.default_rng(5).random(4_000_000)
    for _ in range(2):
        got = csandbox.run(
            "x * 2", inputs={"x": value}, timeout=60, memory="1G"
        )
        assert (got == value * 2).all()


# --- pandas ------------------------------------------------------------------


def frames():
    days = pd.date_range("2024-01-01", periods=4, freq="D")
    yield "numbers", pd.DataFrame(np.arange(12.0).reshape(4, 3))
    yield (
        "mixed",
        pd.DataFrame(
            {
                "i": [1, 2, 3, 4],
                "f": [0.5, None, 2, 3],
                "s": ["a", "é", None, ""],
                "b": [True, False, True, True],
                "o": [1, "x", None, [1, {"k": 2}]],
                "d": days,
                "z": days.tz_localize("Europe/Berlin"),
                "u": days.tz_localize("UTC"),
                "fixed": days.tz_localize(
                    datetime.timezone(
                        datetime.timedelta(hours=-5, minutes=-30)
                    )
                ),
                "t": pd.to_timedelta([1, 2, None, 4], unit="h"),
                "c": pd.Categorical(["x", "y", None, "x"]),
                "p": pd.period_range("2024-01", periods=4, freq="M"),
                "v": pd.interval_range(0, 4),
            },
            index=days,
        ),
    )
    yield (
        "nullable",
        pd.DataFrame(
            {
                "i": pd.array([1, None, 3], "Int64"),
                "u": pd.array([1, None, 3], "UInt8"),
                "f": pd.array([1.5, None, 3], "Float32"),
                "b": pd.array([True, None, False], "boolean"),
                "s": pd.array(["a", None, "b"], "string"),
            }
        ),
    )
    yield "empty", pd.DataFrame()
    yield "no rows", pd.DataFrame({"a": pd.Series([], dtype="i4"), "b": []})
    yield "no columns", pd.DataFrame(index=[3, 5])
    yield "double", pd.DataFrame([[1, "a"], [2, "b"]], columns=["x", "x"])
    yield (
        "levels",
        pd.DataFrame(
            {("a", 1): [1, 2], ("b", 2): ["x", "y"]},
            index=pd.MultiIndex.from_tuples(
                [("p", 1.5), ("q", None)], names=["one", None]
            ),
        ),
    )
    yield "wide", pd.DataFrame({f"c{n}": [n, n + 1] for n in range(50)})
    yield (
        "long",
        pd.DataFrame({"x": np.arange(50_000), "y": np.arange(50_000) / 7}),
    )


FRAMES = dict(frames())


@pytest.mark.parametrize("name", FRAMES)
def test_frame_crosses(name):
    value = FRAMES[name]
    got = crossed(value)
    same.assert_frame_equal(
        got, value, check_index_type="exact", check_column_type="exact"
    )
    assert type(got) is pd.DataFrame
    if len(got) and len(got.columns):
        got.iloc[0, 0] = got.iloc[-1, 0]  # it is the caller's own


@pytest.mark.parametrize("name", FRAMES)
def test_columns_and_indexes_cross(name):
    value = FRAMES[name]
    for i in range(min(value.shape[1], 20)):
        column = value.iloc[:, i].rename(("n", 1))
        same.assert_series_equal(crossed(column), column)
        if column.dtype != object:
            index = pd.Index(column, name="n")
            same.assert_index_equal(crossed(index), index, exact=True)
    for index in (value.index, value.columns):
        got = crossed(index)
        same.assert_index_equal(got, index, exact=True)
        assert getattr(got, "freq", None) == getattr(index, "freq", None)


PANDAS_SCALARS = [
    pd.Timestamp("2024-01-01 12:34:56.789012345"),
    pd.Timestamp("2024-06-01", tz="Europe/Berlin"),
    pd.Timestamp("2024-10-27 00:30", tz="UTC").tz_convert("Europe/Berlin"),
    pd.Timestamp("2024-10-27 01:30", tz="UTC").tz_convert("Europe/Berlin"),
    pd.Timestamp("2024-06-01", tz="UTC"),
    pd.Timestamp("1700-01-01").as_unit("s"),
    pd.Timedelta("1D 00:00:00.000000005"),
    pd.Timedelta(5, "s").as_unit("ms"),
    pd.NaT,
    pd.NA,
    pd.Period("2024-03", "M"),
    pd.Interval(1, 2.5, closed="both"),
]


@pytest.mark.parametrize("value", PANDAS_SCALARS, ids=repr)
def test_scalar_of_pandas_crosses_and_is_a_key(value):
    got = crossed([value, {value: 1}])
    assert type(got[0]) is type(value)
    assert repr(got[0]) == repr(value)
    assert getattr(got[0], "unit", None) == getattr(value, "unit", None)
    if value is pd.NaT or value is pd.NA:
        assert got[0] is value
    assert list(got[1].values()) == [1]


@pytest.mark.parametrize(
    "value",
    [
        pd.array([1, None], "Int64"),
        pd.array(["a", None], "string"),
        pd.Categorical(["a", "b"], ordered=True),
        pd.array(pd.date_range("2024", periods=2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_array_of_pandas_crosses(value):
    same.assert_extension_array_equal(crossed(value), value)


def test_pandas_comes_out_of_a_sandbox():
    source = """
import pandas as pd
frame = pd.DataFrame({"a": range(30_000), "s": ["x", None] * 15_000})
{"frame": frame, "mean": frame["a"].mean(), "group": frame.groupby("s").sum(),
 "when": pd.Timestamp("2024-01-01", tz="UTC")}
"""
    got = csandbox.run(source, **PANDAS)
    assert got["frame"].shape == (30_000, 2)
    assert got["frame"]["a"].sum() == 29_999 * 15_000
    assert got["group"].loc["x", "a"] == sum(range(0, 30_000, 2))
    assert got["mean"] == 14_999.5
    assert got["when"].tz is not None


def test_frames_go_in_and_come_back():
    for value in FRAMES.values():
        got = csandbox.run("f", inputs={"f": value}, **PANDAS)
        same.assert_frame_equal(got, value)


# --- what a hostile guest writes ---------------------------------------------


def test_bools_must_be_bools():
    # numpy sizes x[mask] by the sum of the mask's bytes.
    words = "neither true nor false"
    refused("array", "|b1", (2,), "C", b"\1\2", words=words)
    refused("scalar", "|b1", b"\xff", words=words)
    record = (("a", "b"), ("<i4", "|b1"), (0, 4), 5)
    refused("array", record, (2,), "C", b"\0\0\0\0\1\0\0\0\0\3", words=words)
    sub = (("a",), (("|b1", (3,)),), (0,), 3)
    refused("array", sub, (1,), "C", b"\0\1\2", words=words)
    place = (0, LARGE)
    refused("array", "|b1", (LARGE,), "C", place, region=b"\2" * LARGE)


def test_texts_must_be_texts():
    words = "no characters"
    refused("array", "<U1", (1,), "C", b"\0\0\x11\0", words=words)
    refused("array", ">U1", (1,), "C", b"\0\x11\0\0", words=words)
    refused("scalar", "<U1", b"\xff" * 4, words=words)
    record = (("a", "b"), ("|S1", "<U2"), (0, 1), 9)
    refused("array", record, (1,), "C", b"x" + b"\xff" * 8, words=words)


BAD_ARRAYS = [
    ("|O", (1,), "C", bytes(8)), ("O", (1,), "C", bytes(8)),
    ("|V8", (1,), "C", bytes(8)), ("f8", (1,), "C", bytes(8)),
    ("<f8,<f8", (1,), "C", bytes(16)), ("<f16", (1,), "C", bytes(16)),
    ("|S0", (1,), "C", b""), ("<U0", (1,), "C", b""), ("", (1,), "C", b""),
    ("<M8", (1,), "C", bytes(8)), ("<m8", (1,), "C", bytes(8)),
    ("<M8[25s]", (1,), "C", bytes(8)), ("<M8[x]", (1,), "C", bytes(8)),
    ("|S999999999999", (1,), "C", b""), (5, (1,), "C", b""),
    ("<f8", (2,), "C", bytes(8)), ("<f8", (1,), "C", bytes(16)),
    ("<f8", (-1,), "C", bytes(8)), ("<f8", (-1, -1), "C", bytes(8)),
    ("<f8", (True,), "C", bytes(8)), ("<f8", (1.0,), "C", bytes(8)),
    ("<f8", [1], "C", bytes(8)), ("<f8", 1, "C", bytes(8)),
    ("<f8", (2**61, 2**3), "C", bytes(0)), ("<f8", (2**64,), "C", b""),
    ("<f8", (0, 2**61, 2**61), "C", b""), ("<f8", (1,) * 33, "C", bytes(8)),
    ("<f8", (1,), "K", bytes(8)), ("<f8", (1,), None, bytes(8)),
    ("<f8", (1,), "C", "x" * 8), ("<f8", (1,), "C", bytearray(8)),
    ("<f8", (1,), "C", None), ("<f8", (1,), "C", (0, 8)),
    ("<f8", (1,), "C", (0, 8, 1)), ("<f8", (1,), "C", (-8, 8)),
    ((), (1,), "C", b""), (((), (), (), 0), (1,), "C", b""),
    ((("a",), ("<f8",), (1,), 8), (1,), "C", bytes(8)),
    ((("a",), ("<f8",), (-1,), 8), (1,), "C", bytes(8)),
    ((("a", "a"), ("|i1", "|i1"), (0, 1), 2), (1,), "C", bytes(2)),
    (((1,), ("|i1",), (0,), 1), (1,), "C", bytes(1)),
    ((("a",), ("|O",), (0,), 8), (1,), "C", bytes(8)),
    ((("a",), ("<f8",), (0,), 2**40), (1,), "C", bytes(8)),
    (("<f8", (-1,)), (1,), "C", bytes(8)), (("<f8", ()), (1,), "C", bytes(8)),
    (("<f8", (2**31,)), (1,), "C", bytes(8)),
]  # fmt: skip


@pytest.mark.parametrize("fields", BAD_ARRAYS, ids=repr)
def test_bad_array_is_refused(fields):
    with pytest.raises(ValueError) as caught:
        rebuilt("array", fields)
    # By us, before numpy sees it, but for names and what overflows.
    by_numpy = fields[0] == (("a", "a"), ("|i1", "|i1"), (0, 1), 2) or (
        fields[1] == (0, 2**61, 2**61)
    )
    assert by_numpy or "not the fields of a valid" not in str(caught.value)


def test_places_are_within_the_store():
    region = bytes(range(200))
    got = rebuilt("array", ("|u1", (8,), "C", (8, 8)), region)
    assert got.tolist() == list(range(8, 16))
    for place in (
        (193, 8), (0, 201), (-1, 8), (8, -8), (2**64, 8), (2**63 - 1, 8),
        (0.0, 8), (True, 8), (200, 8), ("0", 8),
    ):  # fmt: skip
        refused("array", "|u1", (8,), "C", place, region=region)


def nested_dtype(depth):
    made = "<f8"
    for _ in range(depth):
        made = (("a",), (made,), (0,), 8)
    return made


def test_dtypes_nest_a_few_levels():
    assert rebuilt("array", (nested_dtype(7), (1,), "C", bytes(8))).ndim == 1
    refused("array", nested_dtype(9), (1,), "C", bytes(8))
    refused("array", nested_dtype(300), (1,), "C", bytes(8))


BAD_THINGS = [
    ("", ()), ("no such", ()), ("array", ()), ("__init__", ()),
    ("nat", (1,)), ("text", (5,)), ("text", (b"x",)), ("bytes", ("x",)),
    ("scalar", ("<f8", "x" * 8)), ("scalar", (nested_dtype(1), bytes(8))),
    ("series", (None, None, None)), ("series", ((), None, None)),
    ("series", (("plain", 5), None, None)), ("series", ("plain", 5, None)),
    ("series", (("object", (1,)), None, None)),
    ("frame", ([], None, None)), ("frame", (5, None, None)),
    ("index", (("object", [1]), [], None)),
    ("index", (("object", [1]), None, "D")),
    ("index", (("object", [1]), None, 5)),
    ("range", (0, 1, 0, None)), ("range", (0.5, 1, 1, None)),
    ("range", (0, 2**70, 1, None)), ("range", (0, 1, 1, [])),
    ("multiindex", ([], [], [])), ("multiindex", ([1], [2], [3])),
    ("values", (("string", "file", "NA", []),)),
    ("values", (("string", "python", "NA", [1]),)),
    ("values", (("string", "python", "x", ["a"]),)),
    ("values", (("masked", "object", None, None),)),
    ("values", (("masked", "Int64", None, None),)),
    ("values", (("category", None, None, True),)),
    ("values", (("zoned", None, None),)), ("values", (("period", 1, "D"),)),
    ("values", (("interval", ("object", []), ("object", [1]), "left"),)),
    ("values", (("interval", ("object", []), ("object", []), "x"),)),
    ("timestamp", (0, "D", None)), ("timestamp", (0, ["ns"], None)),
    ("timestamp", ("0", "ns", None)), ("timestamp", (2**70, "ns", None)),
    ("timestamp", (0, "ns", "UTC")), ("timestamp", (0, "ns", ("x", "UTC"))),
    ("timestamp", (0, "ns", ("fixed", "+99:99"))),
    ("timestamp", (0, "ns", ("fixed", "UTC"))),
    ("timestamp", (0, "ns", ("zoneinfo", "No/Such"))),
    ("timedelta", (0, "x")), ("timedelta", (2**70, "ns")),
    ("period", (0, "no such")), ("period", (0, "x" * 100)),
    ("period", (2**70, "D")), ("period", (0, 5)),
    ("interval", (2, 1, "left")), ("interval", ("a", 1, "left")),
    ("interval", (1, 2, "x")), ("interval", (1, 2, [])),
    ("repr", (1, "x")), ("repr", ("x", 1)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields"), BAD_THINGS, ids=repr)
def test_bad_thing_is_refused(kind, fields):
    refused(kind, *fields)


@pytest.mark.parametrize(
    "name",
    [
        "dateutil//etc/passwd", "../../../etc/passwd", "/etc/passwd", "",
        "Europe/../../etc", "dateutil/:/etc/passwd", "tzlocal()",
        "a" * 200, "UTC\0", "Europe/Berlin/", "tzfile('/etc/passwd')",
    ],
)  # fmt: skip
def test_time_zones_open_no_file_of_the_guests_choice(name, monkeypatch):
    opened = []
    sys.addaudithook(
        lambda event, args: event == "open" and opened.append(str(args[0]))
    )
    for kind in ("zoneinfo", "pandas", "fixed"):
        refused("timestamp", 0, "ns", (kind, name))
    with pytest.raises(ValueError):
        _csandbox.decode(
            b"\x80\x04czoneinfo\nZoneInfo\n\x8c"
            + bytes([len(name)])
            + name.encode()
            + b"\x85R."
        )
    assert not [each for each in opened if "passwd" in each]


def test_rebuild_takes_a_kind_and_fields():
    name = b"\x80\x04ccsandbox\nrebuild\n"
    for arguments in (
        b")R", b"N\x85R", b"\x8c\1x\x85R", b"\x8c\1xN\x86R", b"N)\x86R",
        b"\x8c\1x]\x86R", b"\x8c\1x))\x87R",
    ):  # fmt: skip
        with pytest.raises(ValueError):
            _csandbox.decode(name + arguments + b".")
    with pytest.raises(ValueError):
        _csandbox.decode(name + b".")
    with pytest.raises(ValueError):
        _csandbox.decode(b"\x80\x04ccsandbox.values\nrebuild\n.")


def test_arrays_are_too_dear_to_be_a_bomb():
    # Each array is five bytes here: the memo has its fields.
    one = plain(("array", ("<f8", (), "C", bytes(8))))
    data = (
        b"\x80\x04ccsandbox\nrebuild\nq\0" + one + b"q\1"
        b"](" + b"h\0h\1R" * 400_000 + b"e."
    )
    with pytest.raises(ValueError, match="too much memory"):
        _csandbox.decode(data)


def test_objects_of_a_frame_are_no_way_round_the_limit_of_depth():
    value = "end"
    for _ in range(10):
        value = pd.Series([[[value]]], dtype=object)
    data, store = written(value)
    assert _csandbox.decode(data, region=store, depth=100) is not None
    with pytest.raises(ValueError, match="deep"):
        _csandbox.decode(data, region=store, depth=30)


def test_a_cycle_cannot_go_through_a_frame():
    value = []
    value.append(pd.Series([value, 1], dtype=object))
    data, store = written(value)
    with pytest.raises(ValueError, match="part of a cycle"):
        _csandbox.decode(data, region=store)
    # Plain arrays cannot be part of one.
    value = []
    value += [value, np.arange(3), np.float64(2)]
    got = crossed(value)
    assert got[0] is got
    assert got[1].tolist() == [0, 1, 2]


def test_numbers_of_equal_hash_cost_no_more_than_ints_do():
    numbers = [np.complex128(complex(-1000003 * n, n)) for n in range(4000)]
    assert {hash(each) for each in numbers} == {0}
    few, _ = written(dict.fromkeys(numbers[:100]))
    assert len(_csandbox.decode(few)) == 100
    many, _ = written(dict.fromkeys(numbers))
    started = time.perf_counter()
    with pytest.raises(ValueError, match="too long"):
        _csandbox.decode(many)
    assert time.perf_counter() - started < 2


def test_what_is_not_installed_here_is_told(monkeypatch):
    array, _ = written(np.arange(3))
    frame, _ = written(pd.Series([1]))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match="pandas, which cannot be imported"):
        _csandbox.decode(frame)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ValueError, match="numpy, which cannot be imported"):
        _csandbox.decode(array)


def test_numpy_is_imported_only_for_its_own():
    import hosts

    loaded = hosts.run(
        "import csandbox, hosts, sys\n"
        'csandbox.run(\'[1, 2.5, {"x": b"y" * 100_000}]\', timeout=60)\n'
        "before = 'numpy' in sys.modules\n"
        "csandbox.run('import numpy; numpy.arange(3)', timeout=60)\n"
        "hosts.show([before, 'numpy' in sys.modules,"
        " 'pandas' in sys.modules])"
    )
    assert loaded == [False, True, False]


@given(st.data())
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_fields_make_a_thing_or_a_value_error(data):
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
        st.binary(max_size=40),
        st.sampled_from(["<f8", "|b1", "<U1", "C", "ns", "plain", "object",
                         "string", "python", "NA", "UTC", "zoneinfo", "D"]),
    )  # fmt: skip
    anything = st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
        ),
        max_leaves=12,
    )
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    count = KINDS[kind][0]
    fields = data.draw(st.tuples(*[anything] * count))
    try:
        rebuilt(kind, fields, bytes(100))
    except ValueError as error:
        assert type(error) is ValueError


# --- the store ---------------------------------------------------------------

STORE = f"""
import fcntl, mmap, struct, threading
STORE, RESULT = {_csandbox.CELL_STORE}, {_csandbox.CELL_RESULT}
INLINE = 2**64 - 1
def send(kind, length, at, payload=b''):
    os.write(RESULT, struct.pack('=IIQQ', {_csandbox.FRAME_MAGIC}, kind,
                                 length, at) + payload)
VALUE, RESERVE = {_csandbox.FRAME_VALUE}, {_csandbox.FRAME_RESERVE}
"""
M = 1 << 20


def stored(source, **options):
    return support.run_guest(STORE + source, **options)


def test_a_stored_value_is_read():
    # So that what follows is refused for what it says, not for its form.
    source = "os.pwrite(STORE, b'\\x80\\4K\\7.', 100); send(VALUE, 5, 100)"
    assert stored(source).unwrap() == 7


@pytest.mark.parametrize(
    ("length", "at"),
    [
        (5, 64 * M), (5, 64 * M - 4), (64 * M, 1), (5, 2**64 - 2), (5, 2**63),
        (0, 64 * M + 1), (64 * M, 2**64 - 64 * M),
    ],
)  # fmt: skip
def test_a_place_outside_the_store_is_refused(length, at):
    error = stored(f"send(VALUE, {length}, {at})").error
    assert type(error) is ResultError


def test_a_length_beyond_the_limit_is_refused():
    for kind in ("VALUE", "RESERVE"):
        for at in (0, "INLINE"):
            error = stored(f"send({kind}, {64 * M + 1}, {at})").error
            assert type(error) is LimitError
            assert error.limit == "result"


def test_the_store_has_one_size():
    source = """
def attempt(function, *args):
    try:
        function(*args)
    except (OSError, PermissionError) as error:
        return errno.errorcode[error.errno]
size = os.fstat(STORE).st_size
[size, attempt(os.ftruncate, STORE, 2 * size),
 attempt(os.ftruncate, STORE, 10), attempt(os.pwrite, STORE, b'x', size),
 attempt(os.posix_fallocate, STORE, size, 10)]
"""
    for without in ((), {support.SECCOMP}):
        got = support.value_of(STORE + source, without=without)
        assert got == [64 * M, *["EPERM"] * 4]


def test_reserving_is_for_once_and_after_the_job():
    assert stored("send(RESERVE, 5, 0); os.read(4, 1)").unwrap() == b"\1"
    twice = f"send(RESERVE, {8 * M}, 0); send(RESERVE, {8 * M}, 0); input()"
    assert type(stored(twice).error) is ResultError
    # The host gives up pieces that nobody wants, as the guest is at its end.
    unread = f"send(RESERVE, {60 * M}, 0); send(VALUE, 5, 0)"
    assert type(stored(unread).error) is ResultError


def test_reserving_is_bounded_by_the_deadline():
    source = f"send(RESERVE, {60 * M}, 0)\nwhile True: pass"
    result = stored(source, timeout=0.3)
    assert type(result.error).__name__ == "TimeLimitError"
    assert result.usage.wall < 5


# run() does not wait for the end of a cell whose store it can seal.
@pytest.mark.parametrize(
    "value_of",
    [lambda source: stored(source).unwrap(),
     lambda source: csandbox.run("import os" + STORE + source)],
    ids=["execute", "run"],
)  # fmt: skip
def test_a_result_cannot_change_after_it_came(value_of):
    source = """
import numpy
page = mmap.mmap(STORE, 1 << 20)
def scribble():
    while True:
        page[1000:2000] = os.urandom(1000)
threading.Thread(target=scribble, daemon=True).start()
data = b'\\x80\\4\\x42' + struct.pack('<I', 1000)
os.pwrite(STORE, b'\\x80\\4ccsandbox\\nrebuild\\n\\x8c\\5array(\\x8c\\3|u1'
          b'M\\xe8\\3\\x85\\x8c\\1CM\\xe8\\3M\\xe8\\3\\x86t\\x86R.', 4096)
send(VALUE, 52, 4096)
while True: pass
"""
    length = len(
        b"\x80\x04ccsandbox\nrebuild\n\x8c\5array(\x8c\3|u1"
        b"M\xe8\3\x85\x8c\1CM\xe8\3M\xe8\3\x86t\x86R."
    )
    source = source.replace("VALUE, 52", f"VALUE, {length}")
    got = value_of(source)
    before = got.tobytes()
    assert len(before) == 1000
    for _ in range(100):
        assert got.tobytes() == before


def test_a_guest_that_seals_the_store_hurts_only_itself():
    # F_ADD_SEALS: denied by the filter, and of no use without it.
    source = """
os.pwrite(STORE, b'\\x80\\4K\\7.', 0)
fcntl.fcntl(STORE, 1033, 1 | 2 | 4 | 8)
send(VALUE, 5, 0)
"""
    assert type(stored(source).error) is GuestError
    assert stored(source, without={support.SECCOMP}).unwrap() == 7
    partly = source.replace("1 | 2 | 4 | 8", "1")
    got = stored(partly, without={support.SECCOMP})
    assert got.value == 7 or type(got.error) is ResultError


def test_runs_do_not_see_each_others_store():
    secret = b"secret" * 1000
    stored("os.pwrite(STORE, secret, 0); None", inputs={"secret": secret})
    for _ in range(3):
        assert stored("os.pread(STORE, 6000, 0)").unwrap() == bytes(6000)


def test_holes_of_the_store_are_zeroes():
    value = stored(
        "os.pwrite(STORE, b'\\x80\\4\\x8e' + struct.pack('<Q', 1000)"
        " + bytes(1000) + b'.', 0)\n"
        "fcntl.fcntl(STORE, 3)\n"
        "send(VALUE, 1012, 0)"
    ).unwrap()
    assert value == bytes(1000)


# --- inputs ------------------------------------------------------------------


def test_large_inputs_are_read_only_and_whole():
    value = np.arange(200_000.0)
    source = """
import numpy
outcome = [float(x.sum()), x.flags.writeable, x.base is not None]
try:
    x.flags.writeable = True
except ValueError:
    outcome.append("no")
outcome
"""
    got = csandbox.run(source, inputs={"x": value}, timeout=60)
    assert got == [value.sum(), False, True, "no"]
    assert (value == np.arange(200_000.0)).all()


def test_small_inputs_may_be_changed():
    source = "x[0] = 5; x"
    got = csandbox.run(source, inputs={"x": np.zeros(3)}, timeout=60)
    assert got.tolist() == [5, 0, 0]


def test_inputs_cannot_be_written_even_by_native_code():
    # What a guest writes to is a copy of its own; the descriptor is gone
    # before its first line.
    source = """
page = x.ctypes.data & ~4095
outcome = [answer('mprotect', page, 4096, 3), answer('fcntl', 6, 1, 0)]
ctypes.memset(x.ctypes.data, 255, 100)
[*outcome, float(x[100])]
"""
    value = np.arange(200_000.0)
    for without in ((), {support.SECCOMP}):
        got = support.value_of(source, {"x": value}, without=without)
        assert got == [0, "EBADF", 100.0]
    assert (value == np.arange(200_000.0)).all()


@pytest.mark.parametrize("size", [LARGE - 100, LARGE, 10 * M])
def test_bytes_go_in_and_come_out(size):
    value = {"b": bytes(size), "a": bytearray(size), "t": "é" * size}
    got = csandbox.run("v", inputs={"v": value}, timeout=60, memory="2G")
    assert got == value
    assert [type(each) for each in got.values()] == [bytes, bytearray, str]


def test_a_call_gets_large_arguments():
    def total(x, *, y):
        return float(x.sum()), y.shape, type(y).__name__

    got = csandbox.run(
        total,
        args=(np.ones(100_000),),
        kwargs={"y": pd.DataFrame(np.ones((20_000, 4)))},
        **PANDAS,
    )
    assert got == (100_000.0, (20_000, 4), "DataFrame")


def test_inputs_larger_than_the_memory_limit_go_in():
    value = np.zeros(200_000_000, "u1")
    # OpenBLAS alone, as it is imported, takes 32 MiB for each processor.
    got = csandbox.run(
        "int(x[-1])", inputs={"x": value}, memory="160M", timeout=60
    )
    assert got == 0


# --- what does not cross, and what else does ---------------------------------


def test_reprs_stand_for_what_does_not_cross():
    source = """
import pathlib, threading
class Bad:
    def __repr__(self): raise SystemExit
{"path": pathlib.Path("/x"), 1: [threading.Lock(), 5], "bad": Bad(),
 "long": type("Long", (), {"__repr__": lambda self: "x" * 10**6})()}
"""
    got = csandbox.execute(source, on_unsupported="repr").value
    assert got["path"] == csandbox.Repr(
        "pathlib.PosixPath", "PosixPath('/x')"
    ) or got["path"].type_name.endswith("PosixPath")
    assert got[1][1] == 5
    assert got[1][0].type_name == "_thread.lock"
    assert got["bad"].type_name == "__main__.Bad"
    assert "failed" in got["bad"].text
    assert len(got["long"].text) == 1000
    for value in (got["path"], got[1][0]):
        assert type(value) is csandbox.Repr
        assert hash(value) == hash(value)
        assert "csandbox.Repr" in repr(value)
    assert csandbox.run("object", on_unsupported="repr").type_name
    with pytest.raises(csandbox.PolicyError, match='"error" or "repr"'):
        csandbox.run("1", on_unsupported="ignore")


def test_a_repr_is_inert():
    value = csandbox.Repr("a\x1b[31m", "b\x1b]0;x\x07")
    assert "\x1b" not in repr(value)


@pytest.mark.parametrize("key", ["Europe/Berlin", "UTC", "America/New_York"])
def test_moments_in_named_zones_cross(key):
    zone = zoneinfo.ZoneInfo(key)
    value = [
        datetime.datetime(2024, 7, 1, 12, tzinfo=zone),
        datetime.time(1, tzinfo=zone),
        zone,
        {datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zone): 1},
    ]
    got = crossed(value)
    assert got == value
    assert got[0].tzinfo is got[2] is zone


UNSUPPORTED = [
    np.array([object()]), np.array([1], dtype="g"), np.zeros(2, "V3"),
    np.ma.array([1, 2], mask=[0, 1]), np.array([1], "M8[25s]"),
    np.zeros(1, [("a", "O")]), np.dtype("f8"), pd.offsets.Day(),
    pd.arrays.SparseArray([0, 1]),
]  # fmt: skip


@pytest.mark.parametrize("value", UNSUPPORTED, ids=lambda v: type(v).__name__)
def test_what_cannot_cross_is_named(value):
    with pytest.raises(GUEST["_Unsupported"]) as caught:
        written([value])
    assert type(value).__name__ in str(caught.value)
    got, _ = written([value], "repr")
    assert type(_csandbox.decode(got)[0]) is csandbox.Repr


# --- what a value may hold ---------------------------------------------------


def test_what_pandas_copies_counts_as_memory():
    # The same megabyte of the store, copied again and again.
    region = bytes(M)
    array = rebuilt_opcodes("array", ("<f8", (M // 8,), "C", (0, M)))
    index = rebuilt_opcodes("range", (0, M // 8, 1, None))
    series = (
        b"ccsandbox\nrebuild\n\x8c\x06series((\x8c\x05plain"
        + array + b"t" + index + b"Nt\x86R"
    )  # fmt: skip
    made = _csandbox.decode(
        b"\x80\x04" + series + b".", region=region, memory=8 * M
    )
    assert len(made) == M // 8
    data = b"\x80\x04](" + 30 * series + b"e."
    with pytest.raises(ValueError, match="too much memory"):
        _csandbox.decode(data, region=region, memory=50 * M)


def rebuilt_opcodes(kind, fields):
    return b"ccsandbox\nrebuild\n" + plain((kind, fields)) + b"R"


def test_long_ranges_are_no_categories_or_levels():
    index = rebuilt_opcodes("range", (0, 1 << 40, 1, None))
    codes = rebuilt_opcodes("array", ("|i1", (1,), "C", b"\0"))
    for data in (
        b"\x8c\x06values(\x8c\x08category" + index + codes + b"\x88t\x85\x86",
        b"\x8c\nmultiindex](" + index + b"e](" + codes + b"e](Ne\x87\x86",
    ):
        with pytest.raises(ValueError, match="too long"):
            _csandbox.decode(b"\x80\x04ccsandbox\nrebuild\n" + data + b"R.")


def test_a_host_with_a_limit_on_files_gets_small_results():
    import hosts

    found = hosts.run(
        "import csandbox, hosts, resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "large = csandbox.execute('bytes(2_000_000)', timeout=60).error\n"
        "hosts.show([csandbox.run('len(bytes(5))', timeout=60),\n"
        "            len(csandbox.run('bytes(900_000)', timeout=60)),\n"
        "            'RLIMIT_FSIZE' in str(large)])"
    )
    assert found == [5, 900_000, True]


def test_any_size_of_result_may_be_allowed():
    for size in ("1T", "1024T"):
        got = csandbox.run("bytes(200_000)", result=size, timeout=60)
        assert got == bytes(200_000)


# --- what a few bytes may stand for ------------------------------------------


class Call:
    """Stands for a rebuild inside fields, in the pickles below."""

    def __init__(self, kind, *fields):
        self.fields = kind, fields

    def __reduce__(self):
        return GUEST["_rebuild"], self.fields


def forged(value):
    """Return the pickle of a value with Calls, shared as in the value."""
    module = type(sys)("csandbox")
    module.rebuild = GUEST["_rebuild"]
    real, sys.modules["csandbox"] = sys.modules["csandbox"], module
    try:
        return pickle.dumps(value, 5)
    finally:
        sys.modules["csandbox"] = real


def shared(depth, width, innermost):
    """Return tuples of one and the same tuple, again and again."""
    for _ in range(depth):
        innermost = (innermost,) * width
    return innermost


def array_of(dtype, data, *shape):
    return Call("array", dtype, shape, "C", data)


EMPTY = array_of("<i8", b"", 0)
ONE = Call("range", 0, 1, 1, None)
BOMBS = {
    "columns that are tuples of tuples": Call(
        "series", ("object", shared(5, 1000, 1)), ONE, None
    ),
    "lists of lists": Call("values", ("object", [[[[1] * 500] * 500] * 500])),
    "names of tuples of tuples": Call("range", 0, 1, 1, shared(60, 2, 1)),
    "names of levels": Call(
        "multiindex", [ONE], [array_of("|i1", b"", 0)], [shared(60, 2, 1)]
    ),
    "ends of intervals": {Call("interval", shared(60, 2, 1), 2, "left"): 1},
    "a frame of one column": Call(
        "frame",
        [("plain", EMPTY)] * 300_000,
        Call("range", 0, 0, 1, None),
        Call("range", 0, 300_000, 1, None),
    ),
    "an index of one level": Call(
        "multiindex",
        [ONE] * 100_000,
        [array_of("|i1", b"", 0)] * 100_000,
        [None] * 100_000,
    ),
    "columns without rows": Call(
        "frame",
        array_of("<i8", b"", 0, 1 << 30),
        Call("range", 0, 0, 1, None),
        Call("range", 0, 1 << 30, 1, None),
    ),
    "months": Call(
        "index", ("plain", array_of("<M8[s]", (0, M), M // 8)), None, "MS"
    ),
    "the same bools": [
        array_of("|b1", (0, n), n) for n in range(M, M - 3000, -1)
    ],
}


def records_of_records(depth, width):
    spec = "|b1"
    for level in range(depth):
        names = tuple(f"{level}.{n}" for n in range(width))
        spec = (names, (spec,) * width, tuple(range(width)), 1 << 20)
    return spec


BOMBS["records of records"] = array_of(records_of_records(7, 900), b"", 0)
BOMBS["fields in one place"] = array_of(
    (tuple(map(str, range(900))), ("|b1",) * 900, (0,) * 900, 1), bytes(M), M
)


@pytest.mark.parametrize("name", BOMBS)
def test_a_few_bytes_take_no_long_time(name):
    data = forged(BOMBS[name])
    started = time.process_time()
    with contextlib.suppress(ValueError):
        _csandbox.decode(data, region=bytes(M), memory=512 * M)
    assert time.process_time() - started < 5


def collisions(count):
    """Return int64 that pandas' hash table puts in one place."""
    high = np.arange(1, count + 1, dtype="u8")
    low = np.zeros_like(high)
    for bit in range(32):
        shift = np.uint64(bit)
        wrong = (high ^ low ^ (low << np.uint64(11))) >> shift
        low ^= (wrong & np.uint64(1)) << shift
    return ((high << np.uint64(33)) | low).view("i8")


def test_categories_and_levels_are_not_hashed():
    keys = collisions(100_000)
    codes = np.zeros(1, "i1")
    index = pd.Index(keys)
    started = time.process_time()
    for value in (
        Call("values", ("category", index, codes, False)),
        Call("multiindex", [index], [codes], [None]),
        Call("series", ("plain", keys), index, None),
    ):
        data, store = written_with_calls(value)
        assert len(_csandbox.decode(data, region=store)) in (1, 100_000)
    assert time.process_time() - started < 5


def written_with_calls(value):
    """Return what written() does, for a value with Calls in it."""
    outgoing = GUEST["Outgoing"]()
    pickler = GUEST["_Pickler"](outgoing, False)
    kinds = GUEST["_plain_types"]()
    pickler.plain = {**kinds, Call: lambda call: call.__reduce__()}
    pickler.rebuilt = GUEST["_rebuilt_types"](outgoing)
    module = type(sys)("csandbox")
    module.rebuild = GUEST["_rebuild"]
    real, sys.modules["csandbox"] = sys.modules["csandbox"], module
    try:
        pickle.Pickler.dump(pickler, value)
    finally:
        sys.modules["csandbox"] = real
    store = bytearray(outgoing.end)
    for start, part in outgoing.parts:
        store[start : start + len(part)] = part
    return b"".join(outgoing.pickle), bytes(store)


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([1, 1]),
        pd.Index([1.0, float("nan")]),
        pd.Index(["a", "a"]),
        pd.Index([None, "a"], dtype=object),
        pd.Index(list(map(str, range(5))) + [3], dtype=object).repeat(2),
        pd.DatetimeIndex(["2024", "NaT"]),
    ],
    ids=lambda index: str(list(index)),
)
def test_categories_are_unique_and_not_missing(index):
    data, store = written_with_calls(
        Call("values", ("category", index, np.zeros(1, "i1"), False))
    )
    with pytest.raises(ValueError, match="missing or not unique"):
        _csandbox.decode(data, region=store)


@pytest.mark.parametrize("code", [-2, 2, 127])
def test_codes_are_in_range(code):
    codes = np.array([0, code], "i1")
    index = pd.Index(["a", "b"])
    for value in (
        Call("values", ("category", index, codes, False)),
        Call("multiindex", [index], [codes], [None]),
    ):
        data, store = written_with_calls(value)
        with pytest.raises(ValueError, match="out of range"):
            _csandbox.decode(data, region=store)


def test_frequencies_are_few_and_cause_no_warning(recwarn):
    names = [
        f"{count}{name}"
        for count in ("", 1, 7, 99_999)
        for name in ("B", "A", "M", "H", "T", "L", "Y", "BH", "C", "d", "w")
    ]
    times = array_of("<M8[s]", bytes(16), 2)
    for name in names:
        for value in (
            Call("values", ("period", array_of("<i8", bytes(8), 1), name)),
            Call("index", ("plain", times), None, name),
            Call("period", 5, name),
        ):
            with contextlib.suppress(ValueError):
                _csandbox.decode(forged(value))
    assert not recwarn.list
    refused("period", 5, "99999ns")


def test_the_guests_side_knows_the_same_numbers():
    for ours, theirs in (
        ("RESULT_FD", "CELL_RESULT"), ("JOB_FD", "CELL_JOB"),
        ("STORE_FD", "CELL_STORE"), ("INPUTS_FD", "CELL_INPUTS"),
        ("FRAME_MAGIC", "FRAME_MAGIC"), ("FRAME_VALUE", "FRAME_VALUE"),
        ("FRAME_ERROR", "FRAME_ERROR"), ("INLINE", "FRAME_INLINE"),
        ("FRAME_UNSUPPORTED", "FRAME_UNSUPPORTED"),
        ("FRAME_RESERVE", "FRAME_RESERVE"),
    ):  # fmt: skip
        assert GUEST[ours] == getattr(_csandbox, theirs), ours
    assert GUEST["LARGE"] == shipping.LARGE
    assert GUEST["NAME_LIMIT"] <= accounts.NAME_LIMIT


# --- what ordinary results hold ----------------------------------------------


def test_many_small_values_cross():
    array = np.arange(100_000) % 50_000
    for value in (
        list(array),
        collections.Counter(array),
        set(array.astype("f8")),
        dict.fromkeys(zip(array[:20_000], array, strict=False)),
        {str(n): pd.Timestamp(n, unit="s") for n in range(50_000)},
        dict.fromkeys(pd.date_range("2000", periods=50_000)),
    ):
        assert crossed(value) == value
    assert len(crossed([array[:3] for _ in range(10_000)])) == 10_000


def test_cells_that_are_shared_are_no_cycle():
    tags = ["x", "y"]
    got = crossed(pd.DataFrame({"t": [tags, tags]}))
    assert got["t"][0] == tags
    assert got["t"][0] is got["t"][1]
    loop = []
    loop.append(loop)
    for value in ([loop, pd.Series([tags])], [pd.Series([tags]), loop]):
        assert len(crossed(value)) == 2


@pytest.mark.parametrize(
    "cells",
    [["x", None], [pd.Timestamp(0), pd.NaT], [pd.Timedelta(0), None], [1, 2]],
    ids=str,
)
def test_object_columns_stay_what_they_are(cells):
    value = pd.DataFrame({"a": pd.Series(cells, dtype=object)})
    got = crossed(value)
    assert got["a"].dtype == object
    assert [*map(type, got["a"])] == [*map(type, value["a"])]


def test_times_beyond_nanoseconds_cross():
    for value in (
        pd.Timestamp("3000-01-01").as_unit("s"),
        pd.Timestamp(datetime.datetime(9999, 1, 1)).as_unit("us"),
        pd.Timedelta(days=10**6).as_unit("s"),
    ):
        assert crossed(value) == value


@pytest.mark.parametrize(
    "offset",
    [
        pd.DateOffset(months=2),
        pd.offsets.Easter(),
        pd.offsets.BDay(offset=pd.Timedelta("1h")),
        pd.offsets.CustomBusinessDay(holidays=["2024-01-02"]),
        pd.offsets.BusinessHour(start="10:00", end="12:00"),
    ],
    ids=repr,
)
def test_a_frequency_without_a_simple_name_is_not_kept(offset):
    index = pd.date_range("2024-01-01", periods=3, freq=offset)
    got = crossed(pd.DataFrame({"a": range(len(index))}, index=index))
    assert got.index.freq is None
    assert list(got.index) == list(index)


def test_business_days_of_periods_are_named_and_warn_nobody(recwarn):
    source = """
import pandas as pd, warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    made = pd.period_range("2024-01-01", periods=2, freq="B")
made
"""
    result = csandbox.execute(source, **PANDAS)
    assert type(result.error) is ResultError
    assert "PeriodIndex" in str(result.error)
    assert result.stderr == ""
    assert not recwarn.list


def test_plain_classes_are_named_or_shown():
    source = "{'type': int, 'when': datetime.date(2024, 1, 1), 'n': [float]}"
    error = csandbox.execute("import datetime\n" + source).error
    assert error.path == 'result["type"]'
    got = csandbox.run("import datetime\n" + source, on_unsupported="repr")
    assert type(got["type"]) is type(got["n"][0]) is csandbox.Repr
    assert got["when"] == datetime.date(2024, 1, 1)


def test_arrays_of_pandas_keep_their_kind():
    value = pd.arrays.NumpyExtensionArray(np.arange(3))
    got = crossed(value)
    assert type(got) is type(value)
    assert list(got) == [0, 1, 2]


def test_frames_among_the_inputs_may_be_changed_whatever_their_size():
    def change(frame, *, series):
        frame.loc[0, "a"] = 5.0
        series[0] = 7
        return frame.iloc[0, 0], series[0]

    for rows in (10, 50_000):
        frame = pd.DataFrame({"a": np.zeros(rows), "b": np.zeros(rows)})
        series = pd.Series(range(rows))
        got = csandbox.run(change, (frame,), {"series": series}, **PANDAS)
        assert got == (5.0, 7)
        source = "f.iloc[0, 0] = 3.0; f.iloc[0, 0]"
        assert csandbox.run(source, inputs={"f": frame}, **PANDAS) == 3.0
        assert frame.iloc[0, 0] == 0.0


def test_a_fork_of_the_host_keeps_no_inputs():
    import hosts

    kept = hosts.run("""
import csandbox, hosts, os, threading, time
csandbox.run("1", timeout=60)
done = threading.Event()
def work():
    data = bytes(200_000_000)
    for _ in range(3):
        csandbox.run("len(b)", inputs={"b": data}, timeout=60, memory="2G")
    done.set()
threading.Thread(target=work).start()
kept = 0
while not done.is_set():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        names = [os.readlink(f"/proc/self/fd/{n}")
                 for n in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{n}")
                 or os.path.islink(f"/proc/self/fd/{n}")]
        os.write(writer, b"y" if "store" in str(names) else b"n")
        os._exit(0)
    kept += os.read(reader, 1) == b"y"
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    time.sleep(0.01)
hosts.show(kept)
""")
    assert kept == 0


def test_open_files_do_not_go_in(tmp_path):
    path = tmp_path / "secrets.env"
    path.write_text("key=1")
    with open(path) as file, pytest.raises(TypeError, match="open it inside"):
        csandbox.run(lambda: file.read())
    assert csandbox.run(lambda: print("x", file=sys.stdout)) is None
