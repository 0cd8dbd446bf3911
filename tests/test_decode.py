"""The strict decoder: what it reads as pickle does, and what it refuses."""

import collections
import datetime
import decimal
import fractions
import gc
import math
import pickle
import pickletools
import signal
import struct
import sys
import threading
import time
import tracemalloc
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csandbox._csandbox import decode

PROTOCOLS = (2, 3, 4, 5)
HASH_MODULUS = sys.hash_info.modulus


def refused(data, *words, **limits):
    with pytest.raises(ValueError) as caught:
        decode(data, **limits)
    message = str(caught.value)
    assert type(caught.value) is ValueError
    assert message.startswith("byte "), message
    for word in words:
        assert word in message
    return message


def shape(value):
    """Something that is equal for values alike in type, order and bits."""
    kind = type(value)
    if kind is float:
        return "float", struct.pack(">d", value)
    if kind is complex:
        return "complex", shape(value.real), shape(value.imag)
    if kind in (list, tuple):
        return kind, [shape(item) for item in value]
    if kind is collections.deque:
        return kind, value.maxlen, [shape(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted((shape(item) for item in value), key=repr)
    if isinstance(value, dict):
        items = [(shape(k), shape(v)) for k, v in value.items()]
        return kind, getattr(value, "default_factory", None), items
    if kind is datetime.datetime:
        return kind, repr(value), shape(value.tzinfo)
    return kind, repr(value)


def crosses(value):
    for protocol in PROTOCOLS:
        data = pickle.dumps(value, protocol)
        expected = shape(pickle.loads(data))
        assert shape(decode(data)) == expected
        assert shape(decode(pickletools.optimize(data))) == expected
        slow = pickle._dumps(value, protocol)
        assert shape(decode(slow)) == expected


# What crosses

UTC = datetime.UTC
EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30), "IST")

SAMPLES = [
    None, True, False, ..., 0, 1, -1, 255, 256, 65535, 65536, 2**31, -(2**31),
    2**63, -(2**2000), 0.0, -0.0, 1.5, math.inf, math.nan, 1j,
    complex(math.nan, -0.0), "", "a", "abc", "é", "ab\xff", "日本", "😀",
    "\ud800", "x" * 300, "é" * 70000, b"", b"a", b"x" * 300, b"y" * 70000,
    bytearray(), bytearray(b"abc"), [], [1, [2, []]], list(range(2500)), (),
    (1,), (1, 2), (1, 2, 3), (1, 2, 3, (4,)), {},
    {"a": 1, 2: 3, (1, "b"): [4], None: None, 1.5: 0},
    dict.fromkeys(range(2500)),
    set(), {1, 2.5, "x"}, set(range(2500)), frozenset(),
    frozenset({1, frozenset({2}), (3,)}), range(5), range(10, 0, -3),
    range(0, 2**80, 2**70), slice(None), slice(1, 2, 3), slice("a", 1.5, None),
    datetime.date(2024, 2, 29), datetime.date.min, datetime.date.max,
    datetime.datetime(2024, 2, 29, 23, 59, 58, 999999, fold=1),
    datetime.datetime.min, datetime.datetime.max.replace(tzinfo=UTC),
    datetime.datetime(2024, 1, 1, tzinfo=EAST), datetime.time(), UTC, EAST,
    datetime.time(1, 2, 3, 4, fold=1, tzinfo=EAST),
    datetime.timezone(datetime.timedelta(hours=-23, minutes=-59)),
    datetime.timedelta(-1, 2, 3), datetime.timedelta.max,
    datetime.timedelta.min, decimal.Decimal("1.50"), decimal.Decimal("-0"),
    decimal.Decimal("1E+999999"), decimal.Decimal("-Infinity"),
    decimal.Decimal("NaN123"), decimal.Decimal("sNaN"),
    decimal.Decimal("1E+999999999999999999"), decimal.Decimal("9" * 60000),
    fractions.Fraction(1, 3), fractions.Fraction(-(2**200), 3),
    uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid1(),
    collections.OrderedDict(), collections.OrderedDict([("b", 1), ((1,), 2)]),
    collections.deque(), collections.deque([1, [2]]),
    collections.deque("abc", 5), collections.deque(maxlen=0),
    collections.Counter(), collections.Counter("hello"),
    collections.Counter({1: 5, (2,): -1}), collections.defaultdict(),
    collections.defaultdict(None, {1: 2}),
]  # fmt: skip


@pytest.mark.parametrize("value", SAMPLES, ids=lambda v: repr(v)[:40])
def test_value_crosses_as_pickle_reads_it(value):
    crosses(value)
    crosses([value, {"k": value}, (value,)])


@pytest.mark.parametrize(
    "factory", [list, dict, set, int, float, str, tuple, None]
)
def test_defaultdict_keeps_its_factory(factory):
    value = collections.defaultdict(factory, a=1)
    crosses(value)
    assert decode(pickle.dumps(value)).default_factory is factory


def test_shared_default_factory_crosses():
    crosses([collections.defaultdict(int), collections.defaultdict(int)])


def test_uuid_from_text_crosses():
    number = uuid.uuid4()
    for text in (number.hex, str(number), str(number).upper()):
        data = (
            b"\x80\x04cuuid\nUUID\nX" + struct.pack("<I", len(text))
            + text.encode() + b"\x85R."
        )  # fmt: skip
        value = decode(data)
        assert type(value) is uuid.UUID
        assert value == number


def test_uuid_written_by_pickle_is_shared_and_usable_as_key():
    number = uuid.uuid4()
    first, second, keyed = decode(pickle.dumps([number, number, {number: 1}]))
    assert first is second
    assert keyed[first] == 1


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.just(...),
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.text(st.characters(categories=["Cs", "Lu", "So"])),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(EAST)),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.builds(
        range,
        st.integers(),
        st.integers(),
        st.integers().filter(lambda step: step != 0),
    ),
)
hashables = scalars.filter(
    lambda v: not (isinstance(v, decimal.Decimal) and v.is_snan())
)
keys = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.frozensets(inner, max_size=4),
    ),
    max_leaves=6,
)


def containers(inner):
    pairs = st.dictionaries(keys, inner, max_size=5)
    return st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=6).map(tuple),
        pairs,
        st.sets(keys, max_size=5),
        st.frozensets(keys, max_size=5),
        st.binary().map(bytearray),
        st.builds(slice, hashables, hashables, hashables),
        pairs.map(collections.OrderedDict),
        st.builds(
            collections.deque,
            st.lists(inner, max_size=6),
            st.none() | st.integers(0, 8),
        ),
        st.dictionaries(keys, st.integers(), max_size=5).map(
            collections.Counter
        ),
        st.builds(
            collections.defaultdict, st.sampled_from([None, list, int]), pairs
        ),
    )


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.recursive(scalars, containers, max_leaves=25))
def test_any_value_crosses_as_pickle_reads_it(value):
    crosses(value)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(PROTOCOLS))
def test_random_bytes_are_a_value_or_refused(data, protocol):
    try:
        decode(bytes([0x80, protocol]) + data)
    except ValueError:
        pass


def test_accepts_any_bytes_like():
    data = pickle.dumps([1])
    for make in (bytes, bytearray, memoryview):
        assert decode(make(data)) == [1]
    with pytest.raises(TypeError):
        decode("text")
    with pytest.raises(BufferError):
        decode(memoryview(data)[::-1])


# Identity


def test_shared_references_stay_shared():
    inner = [1]
    for protocol in PROTOCOLS:
        one, two, both = decode(
            pickle.dumps([inner, inner, (inner,)], protocol)
        )
        assert one is two is both[0]


def test_cycles_survive():
    items = []
    items.append(items)
    table = {}
    table["self"] = [table]
    through = ([],)
    through[0].append(through)
    long = ([], 1, 2, 3)
    long[0].append(long)
    queue = collections.deque()
    queue.append(queue)
    ordered = collections.OrderedDict()
    ordered[1] = ordered
    default = collections.defaultdict(list)
    default[1] = default
    for protocol in PROTOCOLS:

        def carry(value, protocol=protocol):
            return decode(pickle.dumps(value, protocol))

        value = carry(items)
        assert value[0] is value
        value = carry(table)
        assert value["self"][0] is value
        value = carry(through)
        assert type(value) is tuple and value[0][0] is value
        value = carry(long)
        assert type(value) is tuple and value[0][0] is value
        value = carry(queue)
        assert type(value) is collections.deque and value[0] is value
        for cyclic in (ordered, default):
            value = carry(cyclic)
            assert type(value) is type(cyclic) and value[1] is value


def test_many_parent_pointers_are_not_nesting():
    root = {"children": []}
    root["children"] = [{"parent": root, "n": i} for i in range(5000)]
    index = {"by_number": {c["n"]: c for c in root["children"]}, "root": root}
    value = decode(pickle.dumps(index))
    assert value["by_number"][7]["parent"] is value["root"]


def test_containers_are_tracked_by_the_collector():
    value = decode(pickle.dumps([[], {"a": []}, ([],), {1}]))
    assert gc.is_tracked(value)
    assert all(gc.is_tracked(item) for item in value)


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_is_left_as_it_was(enabled):
    was = gc.isenabled()
    big = pickle.dumps(
        [[i] for i in range(50000)] + [fractions.Fraction(1, 2)]
    )
    try:
        (gc.enable if enabled else gc.disable)()
        decode(big)
        assert gc.isenabled() is enabled
        for data in (big[:-1], big[:1000], b"", uuid_pickle("not a number")):
            with pytest.raises(ValueError):
                decode(data)
            assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def uuid_pickle(state):
    return b"\x80\x04cuuid\nUUID\n)\x81" + body({"int": state}) + b"b."


def body(value, protocol=4):
    """A pickle's opcodes without PROTO, FRAME, STOP and memo."""
    data = pickletools.optimize(pickle.dumps(value, protocol))
    return data[11:-1] if data[2:3] == b"\x95" else data[2:-1]


# Opcodes, one by one

P = b"\x80\x04"

ACCEPTED = {
    "MARK": (b"(1N.", None),
    "STOP": (b"N.", None),
    "POP": (b"NK\x010.", None),
    "POP_MARK": (b"N(K\x011.", None),
    "BININT": (b"J\xfe\xff\xff\xff.", -2),
    "BININT1": (b"K\xff.", 255),
    "BININT2": (b"M\xff\xff.", 65535),
    "NONE": (b"N.", None),
    "REDUCE": (b"c__builtin__\nset\n]K\x01a\x85R.", {1}),
    "BINUNICODE": (b"X\x01\0\0\0a.", "a"),
    "APPEND": (b"]Na.", [None]),
    "BUILD": (b"cuuid\nUUID\n)\x81}X\3\0\0\0intK\1sb.", uuid.UUID(int=1)),
    "GLOBAL": (b"cbuiltins\nEllipsis\n.", ...),
    "EMPTY_DICT": (b"}.", {}),
    "APPENDS": (b"](NNe.", [None, None]),
    "BINGET": (b"]q\x00(h\x001.", []),
    "LONG_BINGET": (b"Nq\x000j\0\0\0\0.", None),
    "EMPTY_LIST": (b"].", []),
    "BINPUT": (b"Nq\x00.", None),
    "LONG_BINPUT": (b"Nr\0\0\0\0.", None),
    "SETITEM": (b"}NNs.", {None: None}),
    "TUPLE": (b"(NNt.", (None, None)),
    "EMPTY_TUPLE": (b").", ()),
    "SETITEMS": (b"}(NNu.", {None: None}),
    "BINFLOAT": (b"G?\xf8\0\0\0\0\0\0.", 1.5),
    "PROTO": (b"N.", None),
    "NEWOBJ": (b"cuuid\nUUID\n)\x81}X\3\0\0\0intK\1sb.", uuid.UUID(int=1)),
    "TUPLE1": (b"N\x85.", (None,)),
    "TUPLE2": (b"NN\x86.", (None, None)),
    "TUPLE3": (b"NNN\x87.", (None, None, None)),
    "NEWTRUE": (b"\x88.", True),
    "NEWFALSE": (b"\x89.", False),
    "LONG1": (b"\x8a\x01\xff.", -1),
    "LONG4": (b"\x8b\x01\0\0\0\xff.", -1),
    "SHORT_BINUNICODE": (b"\x8c\x01a.", "a"),
    "BINUNICODE8": (b"\x8d\x01\0\0\0\0\0\0\0a.", "a"),
    "BINBYTES8": (b"\x8e\x01\0\0\0\0\0\0\0a.", b"a"),
    "EMPTY_SET": (b"\x8f.", set()),
    "ADDITEMS": (b"\x8f(N\x90.", {None}),
    "FROZENSET": (b"(N\x91.", frozenset({None})),
    "STACK_GLOBAL": (b"\x8c\x08builtins\x8c\x08Ellipsis\x93.", ...),
    "MEMOIZE": (b"N\x94.", None),
    "FRAME": (b"\x95\x02\0\0\0\0\0\0\0N.", None),
    "BYTEARRAY8": (b"\x96\x01\0\0\0\0\0\0\0a.", bytearray(b"a")),
    "BINBYTES": (b"B\x01\0\0\0a.", b"a"),
    "SHORT_BINBYTES": (b"C\x01a.", b"a"),
}

REFUSED = {
    "INT": b"I1\n.",
    "LONG": b"L1L\n.",
    "STRING": b"S'a'\n.",
    "BINSTRING": b"T\x01\0\0\0a.",
    "SHORT_BINSTRING": b"U\x01a.",
    "NEXT_BUFFER": b"\x97.",
    "READONLY_BUFFER": b"N\x98.",
    "UNICODE": b"Va\n.",
    "FLOAT": b"F1.5\n.",
    "LIST": b"(l.",
    "DICT": b"(d.",
    "DUP": b"]2\x86.",
    "GET": b"Nq\x00g0\n.",
    "PUT": b"Np0\n.",
    "EXT1": b"\x82\x01.",
    "EXT2": b"\x83\x01\0.",
    "EXT4": b"\x84\x01\0\0\0.",
    "INST": b"(iposix\nsystem\n.",
    "OBJ": b"(cbuiltins\nlist\no.",
    "NEWOBJ_EX": b"cbuiltins\nlist\n)}\x92.",
    "PERSID": b"P1\n.",
    "BINPERSID": b"NQ.",
}


@pytest.mark.parametrize(
    "opcode", pickletools.opcodes, ids=lambda opcode: opcode.name
)
def test_every_opcode_is_accepted_or_refused_by_name(opcode):
    code = opcode.code.encode("latin1")
    if opcode.name in ACCEPTED:
        data, expected = ACCEPTED[opcode.name]
        assert code in P + data
        value = decode(P + data)
        assert type(value) is type(expected) and value == expected
    else:
        data = REFUSED[opcode.name]
        message = refused(P + data, f"opcode {opcode.name}:", "may not cross")
        offset = int(message.split()[1].rstrip(":"))
        assert (P + data)[offset : offset + 1] == code


@pytest.mark.parametrize(
    "byte",
    sorted(
        set(range(256)) - {ord(opcode.code) for opcode in pickletools.opcodes}
    ),
)
def test_other_bytes_are_no_opcodes(byte):
    refused(P + bytes([byte]) + b".", "byte 2:", f"0x{byte:02x}")


@pytest.mark.parametrize(
    "opcode", pickletools.opcodes, ids=lambda opcode: opcode.name
)
def test_opcode_without_stack_or_argument_is_harmless(opcode):
    code = opcode.code.encode("latin1")
    for prefix in (b"", b"(", b"N", b"]", b"(N", b"cbuiltins\nset\n", b"})"):
        for tail in (b"", b".", b"\xff" * 9 + b".", b"\0" * 9 + b"."):
            try:
                decode(P + prefix + code + tail)
            except ValueError:
                pass


# Techniques of malicious pickles


class Evil:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/csandbox-pwned",)


class EvilState:
    def __setstate__(self, state):
        raise SystemExit


MALICIOUS = {
    "reduce": (pickle.dumps(Evil()), "system"),
    "reduce 2": (pickle.dumps(Evil(), 2), "system"),
    "reduce inside": (pickle.dumps({"a": [Evil()]}), "system"),
    "eval": (P + b"cbuiltins\neval\nX\1\0\0\x001\x85R.", "builtins.eval"),
    "getattr": (P + b"cbuiltins\ngetattr\n.", "builtins.getattr"),
    "dotted": (
        P + b"\x8c\x08builtins\x8c\x0cset.__init__\x93.", "set.__init__"
    ),
    "subclasses": (
        P + b"\x8c\x08builtins\x8c\x15object.__subclasses__\x93.",
        "object.__subclasses__",
    ),
    "copyreg": (
        P + b"ccopyreg\n_reconstructor\n(cbuiltins\nobject\n.",
        "copyreg._reconstructor",
    ),
    "extension registry": (
        P + b"ccopyreg\nadd_extension\n.",
        "copyreg.add_extension",
    ),
    "import": (P + b"c__main__\n__import__\n.", "__main__.__import__"),
    "inst": (P + b"(X\2\0\0\0idiposix\nsystem\n.", "INST"),
    "obj": (P + b"(cbuiltins\nset\no.", "OBJ"),
    "newobj of another": (P + b"cbuiltins\nset\n)\x81.", "NEWOBJ"),
    "newobj with arguments": (P + b"cuuid\nUUID\nN\x85\x81.", "NEWOBJ"),
    "newobj_ex": (P + b"cuuid\nUUID\n)}\x92.", "NEWOBJ_EX"),
    "build on list": (P + b"]}b.", "BUILD"),
    "build on set": (P + b"\x8f}X\1\0\0\0aNsb.", "BUILD"),
    "build on type": (P + b"cbuiltins\nset\n}b.", "BUILD"),
    "build twice": (
        P + b"cuuid\nUUID\n)\x81}X\3\0\0\0intK\1sb}b.",
        "BUILD",
    ),
    "setstate": (pickle.dumps(EvilState()), "EvilState"),
    "ext": (P + b"\x82\xf0.", "EXT1"),
    "persistent id": (P + b"X\1\0\0\0aQ.", "BINPERSID"),
    "type as value": (P + b"cbuiltins\nset\n.", "STOP"),
    "type in list": (P + b"]cbuiltins\nlist\na.", "APPEND"),
    "type as key": (P + b"}cbuiltins\nint\nNs.", "SETITEM"),
    "type in tuple": (P + b"(cbuiltins\nint\nNt.", "TUPLE"),
    "type in set": (P + b"\x8f(cbuiltins\nint\n\x90.", "ADDITEMS"),
    "factory as value": (P + b"cbuiltins\nint\n\x85.", "STOP"),
    "factory in list": (P + b"]cbuiltins\nint\n\x85a.", "APPEND"),
    "factory called as else": (
        P + b"cbuiltins\nset\ncbuiltins\nint\n\x85R.",
        "REDUCE",
    ),
    "other factory": (
        P + b"ccollections\ndefaultdict\ncuuid\nUUID\n\x85R.",
        "TUPLE1",
    ),
    "value as factory": (
        P + b"ccollections\ndefaultdict\nK\1\x85R.",
        "REDUCE",
    ),
    "call what is no name": (P + b"N)R.", "REDUCE"),
    "call what is only a factory": (P + b"cbuiltins\nlist\n)R.", "list"),
    "arguments no tuple": (P + b"cbuiltins\nset\n]R.", "REDUCE"),
    "unfinished uuid": (P + b"cuuid\nUUID\n)\x81.", "STOP"),
    "unfinished uuid in list": (P + b"]cuuid\nUUID\n)\x81a.", "APPEND"),
    "unfinished uuid from memo": (
        P + b"cuuid\nUUID\n)\x81\x94h\0.",
        "BINGET",
    ),
    "name of bytes": (P + b"C\2osC\6system\x93.", "STACK_GLOBAL"),
    "name of surrogates": (
        P + b"\x8c\3\xed\xa0\x80\x8c\1a\x93.",
        "STACK_GLOBAL",
    ),
    "memo bomb": (P + b"Nr\xff\xff\xff\xff.", "LONG_BINPUT"),
    "memo gap": (P + b"Nq\x01.", "BINPUT"),
    "memo slot reused": (P + b"Nq\x00q\x00.", "BINPUT"),
    "memo miss": (P + b"j\xff\xff\xff\x7f.", "LONG_BINGET"),
    "LONG4 too long": (P + b"\x8b\xff\xff\xff\x7f\x01.", "LONG4"),
    "LONG4 negative": (P + b"\x8b\xff\xff\xff\xff\x01.", "LONG4"),
    "BINUNICODE8 huge": (P + b"\x8d" + b"\xff" * 8 + b"a.", "BINUNICODE8"),
    "BINBYTES8 huge": (P + b"\x8e" + b"\xff" * 8 + b"a.", "BINBYTES8"),
    "BYTEARRAY8 huge": (P + b"\x96" + b"\xff" * 8 + b"a.", "BYTEARRAY8"),
    "FRAME too long": (P + b"\x95\xff\0\0\0\0\0\0\0N.", "FRAME"),
    "FRAME huge": (P + b"\x95" + b"\xff" * 8 + b"N.", "FRAME"),
    "FRAME cut": (P + b"\x95\x01\0\0\0\0\0\0\0K\x01.", "BININT1"),
    "FRAME in FRAME": (
        P + b"\x95\x0b\0\0\0\0\0\0\0\x95\1\0\0\0\0\0\0\0N.",
        "FRAME",
    ),
    "no PROTO": (b"N.", "PROTO"),
    "empty": (b"", "PROTO"),
    "protocol 0": (b"\x80\x00N.", "PROTO"),
    "protocol 1": (b"\x80\x01N.", "PROTO"),
    "protocol 6": (b"\x80\x06N.", "PROTO"),
    "duplicate PROTO": (P + P + b"N.", "PROTO"),
    "missing STOP": (P + b"N", "STOP"),
    "nothing at STOP": (P + b".", "STOP"),
    "two values at STOP": (P + b"NN.", "STOP"),
    "MARK at STOP": (P + b"N(.", "STOP"),
    "trailing bytes": (P + b"N.N", "STOP"),
    "second pickle": (P + b"N." + P + b"N.", "STOP"),
    "pop under MARK": (P + b"N(0.", "POP"),
    "fill under MARK": (P + b"](Na.", "APPEND"),
    "no MARK": (P + b"]Ne.", "APPENDS"),
    "odd items": (P + b"}(Nu.", "SETITEMS"),
    "append to dict": (P + b"}Na.", "APPEND"),
    "items in list": (P + b"]NNs.", "SETITEM"),
    "add to list": (P + b"](N\x90.", "ADDITEMS"),
    "add to frozenset": (P + b"(\x91(N\x90.", "ADDITEMS"),
    "append to tuple": (P + b")Na.", "APPEND"),
    "change through memo": (P + b"]q\x00]h\x00Na\x86.", "APPEND"),
    "change a key's inside": (P + b"]q\x00\x850h\x00Na.", "APPEND"),
    "list as key": (P + b"}]Ns.", "not hashable"),
    "tuple of list as key": (P + b"}]\x85Ns.", "not hashable"),
    "dict in set": (P + b"\x8f(}\x90.", "not hashable"),
    "set in frozenset": (P + b"(\x8f\x91.", "not hashable"),
    "itself as key": (P + b"}q\x00(h\x00Nu.", "not hashable"),
    "slice as key": (P + b"}" + body(slice(1)) + b"Ns.", "not hashable"),
    "sNaN as key": (
        P + b"}" + body(decimal.Decimal("sNaN")) + b"Ns.",
        "not hashable",
    ),
    "set of list": (P + b"cbuiltins\nset\n]]a\x85R.", "REDUCE"),
    "set of itself": (P + b"cbuiltins\nset\n]q\0(h\0e\x85R.", "REDUCE"),
    "set of tuple": (P + b"cbuiltins\nset\n)\x85R.", "REDUCE"),
    "Counter of list": (P + b"ccollections\nCounter\n]\x85R.", "REDUCE"),
    "not UTF-8": (P + b"\x8c\x01\xff.", "SHORT_BINUNICODE"),
    "bytes not latin1": (
        P + b"c_codecs\nencode\n" + body(("\u0100", "latin1")) + b"R.",
        "latin1",
    ),
    "other codec": (
        P + b"c_codecs\nencode\n" + body(("a", "zip")) + b"R.",
        "latin1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_pickle_is_refused(name):
    data, word = MALICIOUS[name]
    refused(data, word)


def test_refused_name_is_shown_inert_and_short():
    for module, name in (
        ("os\x1b[31m\u202e", "a b"),
        ("m" * 5000, "n" * 5000),
    ):
        data = (
            P
            + b"X" + struct.pack("<I", len(module.encode())) + module.encode()
            + b"X" + struct.pack("<I", len(name.encode())) + name.encode()
            + b"\x93."
        )  # fmt: skip
        message = refused(data, "STACK_GLOBAL")
        assert message.isascii() and message.isprintable()
        assert len(message) < 300


def test_refusal_names_offset_and_opcode():
    message = refused(P + b"NN0cposix\nsystem\n.")
    assert message == "byte 5: opcode GLOBAL: posix.system may not cross"


@pytest.mark.parametrize(
    "call, arguments",
    [
        ("datetime date", (b"\x07\xe4\x0d\x01",)),
        ("datetime date", (b"\x07\xe4\x02\x1e",)),
        ("datetime date", (b"\x00\x00\x01\x01",)),
        ("datetime date", (b"\xff\xff\x01\x01",)),
        ("datetime date", (b"\x07\xe4\x01",)),
        ("datetime date", ("text",)),
        ("datetime date", (2024, 1, 1)),
        ("datetime datetime", (b"\x07\xe4\x01\x01\x18\0\0\0\0\0",)),
        ("datetime datetime", (b"\x07\xe4\x01\x01\0\x3c\0\0\0\0",)),
        ("datetime datetime", (b"\x07\xe4\x01\x01\0\0\0\xff\xff\xff",)),
        ("datetime datetime", (b"\x07\xe4\x01\x01\0\0\0\0\0\0", 1)),
        ("datetime datetime", (b"\x07\xe4\x01\x01\0\0\0\0\0\0", None)),
        ("datetime time", (b"\x18\0\0\0\0\0",)),
        ("datetime time", (b"\0\0\x3c\0\0\0",)),
        ("datetime time", (b"\0\0\0\0\0\0", "UTC")),
        ("datetime timedelta", (10**9, 0, 0)),
        ("datetime timedelta", (-(10**9), 0, 0)),
        ("datetime timedelta", (0, 86400, 0)),
        ("datetime timedelta", (0, -1, 0)),
        ("datetime timedelta", (0, 0, 10**6)),
        ("datetime timedelta", (2**100, 0, 0)),
        ("datetime timedelta", (1.5, 0, 0)),
        ("datetime timedelta", (True, 0, 0)),
        ("datetime timezone", (datetime.timedelta(hours=24),)),
        ("datetime timezone", (datetime.timedelta(days=-1),)),
        ("datetime timezone", (1,)),
        ("datetime timezone", (datetime.timedelta(0), 1)),
        ("decimal Decimal", ("1e9999999999999999999",)),
        ("decimal Decimal", ("1e-9999999999999999999",)),
        ("decimal Decimal", ("9e999999999999999999",) * 2),
        ("decimal Decimal", ("99e999999999999999999",)),
        ("decimal Decimal", ("1_0",)),
        ("decimal Decimal", (" 1",)),
        ("decimal Decimal", ("",)),
        ("decimal Decimal", (".",)),
        ("decimal Decimal", ("١",)),
        ("decimal Decimal", ("NaN" + "9" * 70000,)),
        ("decimal Decimal", ("9" * 70000,)),
        ("decimal Decimal", (1,)),
        ("fractions Fraction", (1, 0)),
        ("fractions Fraction", (1.5, 1)),
        ("fractions Fraction", ("1/3",)),
        ("fractions Fraction", (1, True)),
        ("fractions Fraction", (2**20000, 3)),
        ("fractions Fraction", (3, 2**20000)),
        ("uuid UUID", ("0" * 31,)),
        ("uuid UUID", ("g" * 32,)),
        ("uuid UUID", ("{" + "0" * 32 + "}",)),
        ("uuid UUID", ("0" * 36,)),
        ("uuid UUID", (1,)),
        ("builtins range", (0, 1, 0)),
        ("builtins range", (0, 1.5, 1)),
        ("builtins range", (0, 1)),
        ("builtins slice", ([], 1, 1)),
        ("builtins slice", ((), 1, 1)),
        ("builtins slice", (slice(1), 1, 1)),
        ("builtins slice", (bytearray(), 1, 1)),
        ("builtins complex", (1, 2)),
        ("builtins complex", ("1", 2.0)),
        ("builtins bytearray", (5,)),
        ("builtins bytearray", ("text",)),
        ("builtins bytes", (5,)),
        ("collections deque", ((1,),)),
        ("collections deque", ((), -1)),
        ("collections deque", ((), 2**70)),
        ("collections deque", ((), "5")),
        ("collections OrderedDict", ([],)),
        ("collections Counter", ("abc",)),
        ("collections Counter", (1, 2)),
    ],
)
def test_bad_constructor_arguments_are_refused(call, arguments):
    module, name = call.split()
    data = P + f"c{module}\n{name}\n".encode() + body(arguments) + b"R."
    refused(data, "REDUCE")


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"int": "1"},
        {"int": True},
        {"int": -1},
        {"int": 2**128},
        {"int": 1, "x": 2},
        {"int": 1, "is_safe": 7},
        {"int": 1, "is_safe": "safe"},
        {"is_safe": 0},
        {1: 1},
        [],
        None,
    ],
    ids=repr,
)
def test_bad_state_of_uuid_is_refused(state):
    refused(P + b"cuuid\nUUID\n)\x81" + body(state) + b"b.", "BUILD")


def test_decimal_is_refused_alike_whatever_the_context_traps():
    data = (
        P + b"cdecimal\nDecimal\n" + body(("99e999999999999999999",)) + b"R."
    )
    with decimal.localcontext() as context:
        context.traps[decimal.InvalidOperation] = False
        refused(data, "REDUCE")
        context.traps[decimal.InvalidOperation] = True
        refused(data, "REDUCE")


# Budgets


def test_items_are_bounded():
    data = pickle.dumps([None] * 1000)
    assert len(decode(data, items=1100)) == 1000
    refused(data, "too many items", items=900)
    refused(P + b"(" * 1000 + b".", "too many items", items=900)
    copies = b"cbuiltins\nset\n" + body(list(range(500))) + b"\x85R."
    refused(P + copies, "too many items", items=900)


def test_memory_is_bounded():
    refused(pickle.dumps("x" * 10000), "memory", memory=9000)
    refused(pickle.dumps(b"x" * 10000), "memory", memory=9000)
    refused(pickle.dumps(bytearray(10000), 5), "memory", memory=9000)
    refused(pickle.dumps("\U0001f600" * 3000), "memory", memory=11000)
    refused(
        pickle.dumps([{}] * 3 + [{} for _ in range(1000)]),
        "memory",
        memory=50000,
    )
    refused(P + b"\x94" * 10, "MEMOIZE")
    refused(P + b"N" + b"\x94" * 100000 + b".", "memory", memory=100000)
    refused(P + b"(" * 100000 + b".", "memory", memory=100000)


@pytest.mark.parametrize(
    "unit",
    [b"]", b"}", b"\x8f", b")\x94", b"(", b"h\0\x85", b"h\0h\0\x86",
     b"ccollections\ndeque\n)R", b"h\x00h\x01\x85R"],
    ids=repr,
)  # fmt: skip
def test_small_pickle_cannot_make_much(unit):
    start = P + b"cbuiltins\nset\n\x94](" + b"K\x01" * 400 + b"e\x94"
    data = (start + unit * 1000)[:1500] + b"."
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def nested(make, depth):
    value = make(None)
    for _ in range(depth - 1):
        value = make(value)
    return value


NESTING = {
    "list": (b"]", b"a"),
    "tuple": (b"", b"\x85"),
    "dict": (b"}N", b"s"),
    "deque": (b"ccollections\ndeque\n)R", b"a"),
    "defaultdict": (b"ccollections\ndefaultdict\n)RN", b"s"),
    "ordered": (b"ccollections\nOrderedDict\n)RN", b"s"),
    "counter": (b"ccollections\nCounter\n}N", b"s\x85R"),
}


@pytest.mark.parametrize("kind", NESTING)
def test_nesting_is_bounded(kind):
    before, after = NESTING[kind]

    def make(depth):
        return P + before * depth + b"N" + after * depth + b"."

    decode(make(1000))
    refused(make(1001), "nested too deep")
    refused(make(11), "nested too deep", depth=10)
    decode(make(10), depth=10)
    decode(make(10000), depth=10000)
    refused(make(200000), "nested too deep", depth=10000)


def test_depth_cannot_be_asked_for_without_bound():
    for limits in (
        {"depth": 10001},
        {"depth": -1},
        {"items": -1},
        {"memory": -1},
    ):
        with pytest.raises(ValueError):
            decode(P + b"N.", **limits)


def test_nesting_from_the_outside_in_is_refused():
    data = (
        P
        + b"]q\x00"
        + b"".join(
            b"]"
            b"q"
            + bytes([i])
            + b"h"
            + bytes([i - 1])
            + b"h"
            + bytes([i])
            + b"a0"
            for i in range(1, 200)
        )
    )
    refused(data + b".", "may not be changed")


def deep_by_cycles(count, open_list, depth=None):
    """A chain of so many links, each hung into a list that was fetched from
    the memo while it was still empty."""
    out = [P, b"N\x940"]
    memo = 1
    last = 0

    def get(index):
        return b"j" + struct.pack("<I", index)

    for _ in range(count):
        # An open list p, and q = [p] made while p is empty, kept in the memo;
        # p is then filled with the last q and dropped.
        out += [
            open_list, b"\x94", b"]\x94", get(memo), b"a", b"0",
            get(last), b"a", b"0",
        ]  # fmt: skip
        last = memo + 1
        memo += 2
    out += [get(last), b"."]
    return b"".join(out)


def test_nesting_cannot_hide_behind_cycles():
    decode(deep_by_cycles(400, b"]"))
    refused(deep_by_cycles(600, b"]"), "nested too deep")
    refused(deep_by_cycles(300000, b"]"), "nested too deep")


def test_deep_deques_behind_cycles_are_refused():
    deque = b"ccollections\ndeque\n)R"
    refused(deep_by_cycles(2000, deque), "nested too deep")
    refused(deep_by_cycles(100000, deque), "deques")


def test_ints_are_bounded():
    decode(pickle.dumps(2 ** (8 * 32768 - 2)))
    refused(pickle.dumps(2 ** (8 * 32768)), "LONG4")


def test_key_nesting_is_bounded():
    decode(P + b"}" + b")" + b"\x85" * 90 + b"Ns.")
    refused(P + b"}" + b")" + b"\x85" * 500 + b"Ns.", "nested too deep")


# Time


def quickly(data, *words):
    """Refused, and not after minutes: the bound is for the slowest machine,
    what an unbounded decoder would need is far above it."""
    start = time.process_time()
    refused(data, *words)
    assert time.process_time() - start < 3


def colliding(kind, count):
    numbers = [1 + i * HASH_MODULUS for i in range(count)]
    if kind == "int":
        return numbers
    if kind == "complex":
        imag = sys.hash_info.imag
        return [complex(-imag * i, i) for i in range(count)]
    if kind == "tuple":
        return [((number,), "x") for number in numbers]
    if kind == "decimal":
        return [decimal.Decimal(number) for number in numbers]
    if kind == "fraction":
        return [fractions.Fraction(number, 3) for number in numbers]
    if kind == "frozenset":
        return [frozenset([number]) for number in numbers]
    if kind == "range":
        return [range(number) for number in numbers]
    assert kind == "uuid"
    return [uuid.UUID(int=number) for number in numbers]


COLLIDING = [
    "int",
    "complex",
    "tuple",
    "decimal",
    "fraction",
    "frozenset",
    "range",
    "uuid",
]
HOLDERS = {
    "dict": (b"}(", True, b"u."),
    "set": (b"\x8f(", False, b"\x90."),
    "frozenset": (b"(", False, b"\x91."),
    "old set": (b"cbuiltins\nset\n](", False, b"e\x85R."),
    "Counter": (b"ccollections\nCounter\n}(", True, b"u\x85R."),
    "OrderedDict": (b"ccollections\nOrderedDict\n)R(", True, b"u."),
    "defaultdict": (b"ccollections\ndefaultdict\n)R(", True, b"u."),
}


@pytest.fixture(scope="module")
def collision_bodies():
    return {
        kind: [body(k) for k in colliding(kind, 20000)] for kind in COLLIDING
    }


@pytest.mark.parametrize("kind", COLLIDING)
@pytest.mark.parametrize("holder", HOLDERS)
def test_colliding_keys_are_refused_in_time(kind, holder, collision_bodies):
    before, valued, after = HOLDERS[holder]
    tail = b"N" if valued else b""
    one_by_one = b"".join(item + tail for item in collision_bodies[kind])
    quickly(P + before + one_by_one + after, "too long to hash")


def test_hundred_thousand_colliding_ints_are_refused_in_time():
    keys = b"".join(
        b"\x8a\x0b" + (1 + i * HASH_MODULUS).to_bytes(11, "little") + b"N"
        for i in range(100000)
    )
    quickly(P + b"}(" + keys + b"u.", "too long to hash")


def test_colliding_keys_given_one_by_one_are_refused():
    keys = [body(key) for key in colliding("int", 20000)]
    quickly(P + b"}" + b"".join(key + b"Ns" for key in keys) + b".")
    quickly(
        P + b"\x8f" + b"".join(b"(" + key + b"\x90" for key in keys) + b"."
    )


def test_colliding_keys_behind_text_keys_are_refused():
    text = b"".join(body(str(i)) + b"N" for i in range(1000))
    keys = b"".join(body(key) + b"N" for key in colliding("int", 20000))
    quickly(P + b"}(" + text + keys + b"u.", "too long to hash")


def test_colliding_keys_in_many_small_dicts_are_refused_or_quick():
    keys = b"".join(body(key) + b"N" for key in colliding("int", 300))
    data = P + b"(" + (b"}(" + keys + b"u") * 300 + b"t."
    quickly(data, "too long to hash")


def lead_in(number, slots):
    """Where CPython looks for so small an int while its own high bits still
    steer the search; from the last place on, all go the same way."""
    place, perturb = number & (slots - 1), number
    path = [place]
    while perturb:
        perturb >>= 5
        place = (place * 5 + 1 + perturb) & (slots - 1)
        path.append(place)
    return path


def engineered(slots, length, width, walkers):
    """Ints of different hash for a table of so many slots.  The first fill a
    run of slots which follow each other when probing, and the ways into it;
    the others, all different, must walk along it."""
    place, run = 0, []
    for _ in range(length):
        run.append(place)
        place = (place * 5 + 1) & (slots - 1)
    head = set(run[: length // 2])
    walk, occupied = [], list(run)
    number = slots
    while len(walk) < walkers:
        path = lead_in(number, slots)
        if path[-1] in head:
            walk.append(number)
            occupied += path
        number += 1
    fill = dict.fromkeys(
        (place + i) & (slots - 1) for place in occupied for i in range(width)
    )
    return list(fill) + walk


def packed(numbers, tail):
    return b"".join(b"J" + struct.pack("<i", n) + tail for n in numbers)


@pytest.mark.parametrize("holder", ["dict", "defaultdict", "OrderedDict"])
def test_dict_keys_of_distinct_hash_on_one_probe_path_are_refused(holder):
    # A dict of 50,000 to 87,000 keys has 2**17 slots.
    numbers = engineered(1 << 17, 50000, 1, 1000)
    assert len(set(map(hash, numbers))) == len(numbers)
    before, _, after = HOLDERS[holder]
    quickly(P + before + packed(numbers, b"N") + after, "too long to hash")


@pytest.mark.parametrize("holder", ["set", "frozenset", "old set"])
def test_set_members_of_distinct_hash_on_one_probe_path_are_refused(holder):
    # A set of 20,000 to 78,000 members has 2**17 slots.
    numbers = engineered(1 << 17, 2000, 10, 400)
    assert len(set(map(hash, numbers))) == len(numbers)
    before, _, after = HOLDERS[holder]
    quickly(P + before + packed(numbers, b"") + after, "too long to hash")


def test_ordinary_keys_are_not_refused():
    for value in (
        dict.fromkeys(range(200000)),
        {i << 20: None for i in range(50000)},
        {i << 40: None for i in range(50000)},
        {-i: None for i in range(50000)},
        {i * 0.25: None for i in range(50000)},
        {2**i: None for i in range(500)},
        {(i, j, "x"): None for i in range(200) for j in range(200)},
        {i * 10**9 for i in range(50000)},
        {decimal.Decimal(i) / 100 for i in range(20000)},
        {datetime.date.fromordinal(i + 1) for i in range(20000)},
        {datetime.datetime.fromtimestamp(i, UTC) for i in range(20000)},
        {uuid.UUID(int=i * 2**90 + 7 * i) for i in range(5000)},
        frozenset(frozenset((i, i + 1)) for i in range(20000)),
        {fractions.Fraction(i, 7) for i in range(300)},
        collections.Counter(i % 5000 for i in range(20000)),
        collections.OrderedDict.fromkeys(range(20000)),
    ):
        for protocol in (2, 5):
            assert decode(pickle.dumps(value, protocol)) == value


def doubling(levels, join=b"\x86"):
    """A tuple of the same tuple twice, of the same tuple twice..."""
    out = [b"K\x01\x94"]
    for level in range(levels):
        out.append(
            b"0h" + bytes([level]) + b"h" + bytes([level]) + join + b"\x94"
        )
    return b"".join(out)


def test_doubling_tuples_cross_but_are_no_keys():
    value = decode(P + doubling(200) + b".")
    for _ in range(200):
        value = value[1]
    assert value == 1
    for before, after in (
        (b"}", b"Ns."),
        (b"\x8f(", b"\x90."),
        (b"(", b"\x91."),
    ):
        quickly(P + before + doubling(90) + after)
    keyed = b"ccollections\nCounter\n}" + doubling(60) + b"Ns\x85R."
    quickly(P + keyed, "too long to hash")
    old = b"cbuiltins\nset\n]" + doubling(60) + b"a\x85R."
    quickly(P + old)


def test_equal_doubling_tuples_are_not_compared_for_ever():
    twice = doubling(22) + b"N" + doubling(22).replace(b"h", b"h") + b"N"
    try:
        decode(P + b"}(" + twice + b"u.")
    except ValueError as error:
        assert "too long" in str(error) or "memo" in str(error)


def test_frozensets_of_frozensets_are_hashed_in_time():
    out = [b"K\x01\x94"]
    for level in range(60):
        out.append(b"0(h" + bytes([level]) + b"K\x02h" + bytes([level])
                   + b"\x85\x91\x94")  # fmt: skip
    began = time.process_time()
    try:
        decode(P + b"".join(out) + b".")
    except ValueError:
        pass
    assert time.process_time() - began < 3


def test_fractions_of_long_ints_are_bounded_in_time():
    one = (
        b"cfractions\nFraction\n\x94"
        + body(3**10000)
        + b"\x94"
        + body(7**5000)
        + b"\x94"
    )
    data = P + one + b"(" + b"h\0h\1h\2\x86R" * 20000 + b"t."
    quickly(data)


def test_ranges_of_long_ints_are_bounded_in_time():
    one = (
        b"cbuiltins\nrange\n\x94"
        + body(3**160000)
        + b"\x94"
        + body(7**40000)
        + b"\x94"
    )
    data = P + one + b"(" + b"h\0K\0h\1h\2\x87R" * 20000 + b"t."
    quickly(data)


def test_copies_of_a_set_are_bounded_in_time():
    keys = b"".join(body(key) for key in colliding("int", 200))
    start = b"cbuiltins\nset\n\x94](" + keys + b"e\x94"
    quickly(P + start + b"(" + b"h\0h\1\x85R" * 20000 + b"t.")


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(list(range(3_000_000))),
        P + b"}(" + b"".join(
            b"J" + struct.pack("<i", i) + b"N" for i in range(1_000_000)
        ) + b"u.",
    ],
    ids=["many opcodes", "one opcode"],
)  # fmt: skip
def test_other_threads_run_during_a_long_decode(data):
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        # A loaded machine may not wake the other thread in time.
        for _ in range(20):
            began = time.perf_counter()
            decode(data)
            ended = time.perf_counter()
            if any(began < tick < ended for tick in ticks):
                break
        else:
            raise AssertionError("no other thread ran")
    finally:
        stop.set()
        thread.join()


def test_signal_handlers_run_during_a_long_decode():
    class Stopped(Exception):
        pass

    def stop(signum, frame):
        raise Stopped

    data = P + b"](" + b"]" * 3_000_000 + b"e."
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(Stopped):
            decode(data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert gc.isenabled()


# Damage and leaks

RICH = [
    {"a": [1, 2.5, None, True], "b": ("x", b"y", bytearray(b"z"))},
    {1, 2}, frozenset({3}), "é😀", 2**100, -1, 70000, 1j, range(3),
    slice(1, 2),
    datetime.datetime(2024, 1, 2, 3, 4, 5, 6, EAST), datetime.date(2024, 1, 2),
    datetime.time(1, 2), decimal.Decimal("1.5"), fractions.Fraction(1, 3),
    uuid.UUID(int=5), collections.OrderedDict(a=1), collections.deque([1], 3),
    collections.Counter("aab"), collections.defaultdict(list, {1: []}),
]  # fmt: skip
RICH.append(RICH)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncation_anywhere_is_refused(protocol):
    data = pickle.dumps(RICH, protocol)
    decode(data)
    for size in range(len(data)):
        refused(data[:size])


@pytest.mark.parametrize("protocol", (2, 5))
def test_mutation_of_any_byte_is_a_value_or_refused(protocol):
    data = bytearray(pickle.dumps(RICH, protocol))
    for place, right in enumerate(data):
        for wrong in range(256):
            data[place] = wrong
            try:
                decode(data, memory=1 << 20)
            except ValueError as error:
                assert type(error) is ValueError
        data[place] = right


def leak_inputs():
    yield from (pickle.dumps(value, 2) for value in SAMPLES)
    yield from (pickle.dumps(value, 5) for value in SAMPLES)
    yield from (data for data, _ in MALICIOUS.values())
    yield from (P + data for data, _ in ACCEPTED.values())
    yield from (P + data for data in REFUSED.values())
    rich = pickle.dumps(RICH, 5)
    yield from (rich[:size] for size in range(0, len(rich), 3))
    yield (
        P
        + b"}("
        + b"".join(body(k) + b"N" for k in colliding("int", 3000))
        + b"u."
    )
    yield P + b"N" + b"\x94" * 1000
    yield deep_by_cycles(600, b"]")


def attempt(data):
    try:
        decode(data)
    except ValueError:
        pass


def test_nothing_leaks_on_success_or_refusal():
    inputs = list(leak_inputs())
    sentinel = sys.intern("csandbox-sentinel-key")
    for data in inputs:
        attempt(data)
        attempt(data)
    gc.collect()
    before = sys.getallocatedblocks(), sys.getrefcount(sentinel)
    tracemalloc.start()
    try:
        traced = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            for data in inputs:
                attempt(data)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - traced
    finally:
        tracemalloc.stop()
    blocks = sys.getallocatedblocks() - before[0]
    assert sys.getrefcount(sentinel) == before[1]
    assert grown < 20000, grown
    assert blocks < 500, blocks


@pytest.mark.parametrize("limit", ["items", "memory", "depth"])
def test_nothing_leaks_when_any_budget_ends(limit):
    data = pickle.dumps(RICH, 5)
    top = {"items": 400, "memory": 20000, "depth": 6}[limit]
    steps = range(0, top, max(1, top // 300))

    def sweep():
        for bound in steps:
            try:
                decode(data, **{limit: bound})
            except ValueError:
                pass

    sweep()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(5):
        sweep()
    gc.collect()
    assert sys.getallocatedblocks() - before < 200
