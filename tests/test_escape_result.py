"""What a guest sends cannot make the host run, raise, believe, hold or wait
for what the guest wants."""

import asyncio
import pickle
import signal
import struct
import subprocess
import sys

import pytest

import csandbox
import support
from csandbox import _csandbox
from csandbox.errors import (
    GuestCrash,
    GuestError,
    GuestExit,
    LimitError,
    ResultError,
    SandboxError,
)

# send(kind, payload) writes a frame of common/frames.h straight to the host.
SEND = f"""
INLINE = 2**64 - 1
def send(kind, payload, length=None, magic={_csandbox.FRAME_MAGIC}, at=INLINE):
    length = len(payload) if length is None else length
    put(struct.pack('=IIQQ', magic, kind, length, at) + payload)
def put(data):
    while data:
        data = data[os.write({_csandbox.CELL_RESULT}, data):]
VALUE, ERROR = {_csandbox.FRAME_VALUE}, {_csandbox.FRAME_ERROR}
UNSUPPORTED, JOB = {_csandbox.FRAME_UNSUPPORTED}, {_csandbox.FRAME_JOB}
"""


def send(source, inputs=None, **options):
    """Return the Result of a guest that writes to the result pipe itself."""
    return support.run_guest(SEND + source, inputs, **options)


def send_pickle(payload, **options):
    """Return the Result of a guest that sends these bytes as its value."""
    return send("send(VALUE, payload)", {"payload": payload}, **options)


def test_a_frame_written_by_hand_is_read():
    # So that what follows is refused for what it says, not for its form.
    assert send_pickle(pickle.dumps([1, "two"])).unwrap() == [1, "two"]


def proto(payload):
    """Return it with the opcode that the decoder wants first."""
    return payload if payload[:1] == b"\x80" else b"\x80\x04" + payload


# --- pickles that act --------------------------------------------------------


class Reduce:
    """Pickles as a call."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def _os_system(path, protocol):
    import os

    return pickle.dumps(Reduce(os.system, (f"touch {path}",)), protocol)


def _mkdir(path, _):
    import os

    return pickle.dumps([Reduce(os.mkdir, (str(path),))], 4)


def _evaluate(path, _):
    return pickle.dumps(Reduce(eval, (f"open({str(path)!r}, 'w')",)), 5)


def _execute(path, _):
    source = f"import os; os.mkdir({str(path)!r})"
    return b"cbuiltins\nexec\n(V" + source.encode() + b"\ntR."


def _instance(path, _):
    # INST, the oldest way to call.
    return b"(Vtouch " + str(path).encode() + b"\nios\nsystem\n."


def _object(path, _):
    return b"(cos\nmkdir\nV" + str(path).encode() + b"\no."


def _new_object(path, _):
    call = b"csubprocess\nPopen\n(]Vmkdir\naV"
    return call + str(path).encode() + b"\natR\x81."


def _deep_name(path, _):
    # STACK_GLOBAL with dots in the name.
    text = str(path).encode()
    return (
        b"\x80\x04\x8c\x08builtins\x8c\x0d__import__\x93"
        b"\x8c\x02os\x85R0\x8c\x0acollections\x8c\x17_sys.modules"
        b"\x93(V" + text + b"\ntR."
    )


def _build(path, _):
    # BUILD with state that would replace a method.
    return (
        b"ccollections\nOrderedDict\n)R}(V__class__\ncos\nsystem\nub(V"
        + str(path).encode()
        + b"\ntR."
    )


ACTING = {
    "os.system by protocol 0": lambda path: _os_system(path, 0),
    "os.system by protocol 2": lambda path: _os_system(path, 2),
    "os.system by protocol 5": lambda path: _os_system(path, 5),
    "os.mkdir inside a list": lambda path: _mkdir(path, 0),
    "eval": lambda path: _evaluate(path, 0),
    "exec": lambda path: _execute(path, 0),
    "INST": lambda path: _instance(path, 0),
    "OBJ": lambda path: _object(path, 0),
    "Popen": lambda path: _new_object(path, 0),
    "a name with dots": lambda path: _deep_name(path, 0),
    "BUILD": lambda path: _build(path, 0),
}
# Malformed on purpose: nothing to show with pickle.loads.
INERT = ("Popen", "a name with dots", "BUILD")


@pytest.mark.parametrize("name", ACTING)
def test_a_pickle_that_acts_does_nothing(name, tmp_path):
    path = tmp_path / "made"
    payload = proto(ACTING[name](path))
    result = send_pickle(payload)
    assert type(result.error) is ResultError
    assert result.value is None
    assert not path.exists()
    if name not in INERT:
        # What pickle.loads would have done.
        pickle.loads(payload)
        assert path.exists()


REFUSED = {
    "a persistent id": b"Pid\n.",
    "a binary persistent id": b"K\x01Q.",
    "a code of the extension registry": b"\x82\x01.",
    "an out-of-band buffer": b"\x97.",
    "a module": b"\x80\x04\x8c\x02os\x8c\x04path\x93.",
    "getattr": b"cbuiltins\ngetattr\n(K\x01Vreal\ntR.",
    "a class of the host": b"ccsandbox\nPolicy\n)R.",
    "an error of the host": b"ccsandbox.errors\nCancelled\n)R.",
    "object": b"cbuiltins\nobject\n)R.",
    "an exception": b"cbuiltins\nKeyboardInterrupt\n)R.",
    "a type itself": b"cbuiltins\nset\n.",
    "int as a call": b"cbuiltins\nint\n(V1\ntR.",
    "bytearray of a size": b"cbuiltins\nbytearray\n(L1000000000000L\ntR.",
    "a defaultdict of os.system": (
        b"ccollections\ndefaultdict\n(cos\nsystem\ntR."
    ),
    "a subclass by NEWOBJ": b"cbuiltins\nint\n(K\x01t\x81.",
    "a copyreg reconstruction": (
        b"ccopy_reg\n_reconstructor\n(cbuiltins\nint\ncbuiltins\nint\nK\x01tR."
    ),
    "nothing": b"",
    "no stop": b"K\x01",
    "a stop alone": b".",
    "a byte too many": b"K\x01.K\x02.",
    "an empty stack": b"0.",
    "a mark on top": b"(.",
    "a memo that is not there": b"h\x05.",
    "a list for a key": b"}]K\x01s.",
    "a string for a list": b"U\x01aK\x01a.",
    "protocol 99": b"\x80\x63K\x01.",
    "junk": bytes(range(256)),
    "text": b"hello",
    "a repr": b"{'a': 1}",
}


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED)
def test_a_forged_pickle_is_refused(payload):
    error = send_pickle(proto(payload)).error
    assert type(error) is ResultError
    assert "begins with PROTO" not in str(error)


def test_every_truncation_is_refused():
    value = {"a": [1, 2.5, "x" * 300, b"y" * 300, {3, 4}, (5, None, True)]}
    whole = pickle.dumps(value, 5)
    for length in range(0, len(whole) - 1, 11):
        error = send_pickle(whole[:length]).error
        assert type(error) is ResultError, length


# --- pickles that are too much -----------------------------------------------


def test_a_result_that_announces_too_much_is_refused_unread():
    for length in (1 << 62, 2**64 - 1, (64 << 20) + 1, 1 << 32):
        result = send(
            f"send(VALUE, b'N.', {length}); os.read(os.pipe()[0], 1)"
        )
        assert type(result.error) is LimitError
        assert result.error.limit == "result"


def test_a_result_that_is_too_big_is_refused():
    result = support.run_guest("bytes(70 << 20)")
    assert result.error.limit == "result"
    result = support.run_guest("bytes(70 << 10)", result="64K")
    assert result.error.limit == "result"
    assert len(csandbox.run("bytes(200_000)")) == 200_000


GREEDY = {
    "a string's length": b"X\xff\xff\xff\x7fabc.",
    "a long string's length": b"\x8d" + struct.pack("<Q", 1 << 60) + b"x.",
    "bytes' length": b"\x8e" + struct.pack("<Q", 2**64 - 1) + b"x.",
    "a bytearray's length": b"\x96" + struct.pack("<Q", 1 << 62) + b"x.",
    "a number's length": b"\x8b\xff\xff\xff\x7f\x01.",
    "a number's negative length": b"\x8b\xff\xff\xff\xff\x01.",
    "a frame's length": b"\x95" + struct.pack("<Q", 1 << 61) + b"K\x01.",
    "a place in the memo": b"K\x01r\xff\xff\xff\xff.",
    "a place in the memo, as text": b"K\x01p99999999999999999999\n.",
    "a range as a list": (
        b"cbuiltins\nlist\n(cbuiltins\nrange\n(L0L\nL99999999999L\ntRtR."
    ),
    "a repetition": b"cbuiltins\nbytes\n(L99999999999L\ntR.",
    "a deque's length": (
        b"ccollections\ndeque\n(cbuiltins\nrange\n(L0L\nL99999999999L\ntRtR."
    ),
    "a Counter of a range": (
        b"ccollections\nCounter\n(cbuiltins\nrange\n(L0L\nL99999999999L\ntRtR."
    ),
    "a power of ten": b"cdecimal\nDecimal\n(V1E+999999999\ntR\x85R.",
    "a fraction of huge numbers": (
        b"cfractions\nFraction\n(V1e999999999\ntR."
    ),
}


@pytest.mark.parametrize("payload", GREEDY.values(), ids=GREEDY)
def test_a_pickle_cannot_claim_memory_it_did_not_send(payload):
    # In a host of its own, whose memory can be told.
    program = f"""
import resource, sys
from csandbox import _csandbox
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    value = _csandbox.decode({proto(payload)!r}, memory=1 << 31)
    sys.exit(type(value).__name__)
except (ValueError, MemoryError):
    pass
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert after - before < 16 << 10, after - before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_deep_value_is_refused():
    for opening, closing in ((b"]", b"a"), (b"}N", b"s"), (b"(", b"t")):
        depth = 300_000
        payload = proto(opening * depth + b"N" + closing * depth + b".")
        error = send_pickle(payload).error
        assert type(error) is ResultError
    result = support.run_guest(
        "value = []\nfor _ in range(200_000): value = [value]\nvalue"
    )
    assert type(result.error) is ResultError


def test_a_value_that_is_shared_is_not_copied():
    # "Billion laughs": 2**60 references, 60 lists.
    source = "value = []\nfor _ in range(60): value = [value, value]\nvalue"
    value = support.value_of(source)
    assert value[0] is value[1]


def test_a_dictionary_of_colliding_keys_does_not_stall_the_host():
    # Every number has the same hash: a dict of them takes quadratic time.
    step = (1 << 61) - 1
    keys = b"".join(
        b"\x8a" + bytes([len(data)]) + data + b"N"
        for data in (
            (n * step + 1).to_bytes(12, "little") for n in range(200_000)
        )
    )
    program = """
import signal, sys
from csandbox import _csandbox
signal.alarm(60)
with open(0, 'rb') as file:
    payload = file.read()
try:
    _csandbox.decode(payload, memory=1 << 31)
except ValueError as error:
    print('refused')
"""
    completed = subprocess.run(
        [sys.executable, "-c", program],
        input=b"\x80\x04}(" + keys + b"u.",
        capture_output=True,
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == b"refused\n"


# --- frames that are forged --------------------------------------------------

MALFORMED = {
    "another magic": "send(VALUE, b'N.', magic=1)",
    "kind 0": "send(0, b'N.')",
    "kind job": "send(JOB, b'N.')",
    "kind 99": "send(99, b'N.')",
    "kind -1": "send(2**32 - 1, b'N.')",
    "half a header": "put(b'CSBF\\2\\0\\0\\0'); os._exit(0)",
    "a header alone": "send(VALUE, b'', 100); os._exit(0)",
    "half a payload": "send(VALUE, b'K\\1', 100); os._exit(0)",
    "a report that says ready": "put(struct.pack('=IIiI240x', "
    "0x52425343, 1, 0, 0))",
    "a report of a failure": "put(struct.pack('=IIiI240x', "
    "0x52425343, 5, 1, 0))",
    "noise": "put(os.urandom(100_000))",
    "zeros": "put(bytes(100_000))",
}


@pytest.mark.parametrize("source", MALFORMED.values(), ids=MALFORMED)
def test_a_forged_frame_is_refused(source):
    result = send(source)
    assert type(result.error) is ResultError
    assert result.value is None


def test_only_the_first_frame_counts():
    source = """
send(VALUE, b'\\x80\\4K\\1.')
for _ in range(100):
    send(VALUE, b'\\x80\\4K\\2.')
    send(ERROR, b'\\x80\\4K\\3.')
os.read(os.pipe()[0], 1)
"""
    assert send(source).unwrap() == 1
    in_one = """
header = struct.pack('=IIQQ', 0x46425343, VALUE, 5, INLINE)
one, two = (header + b'\\x80\\4K%c.' % n for n in (1, 2))
put(one + two)
"""
    assert send(in_one).unwrap() == 1


def test_a_frame_in_single_bytes_is_read_until_the_deadline():
    source = """
import time
data = struct.pack('=IIQQ', 0x46425343, VALUE, 5, INLINE) + b'\\x80\\4K\\7.'
for each in data:
    put(bytes([each]))
    time.sleep(0.005)
"""
    assert send(source).unwrap() == 7
    dribble = """
import time
while True:
    put(struct.pack('=IIQQ', 0x46425343, VALUE, 1 << 20, INLINE)[:15])
    time.sleep(60)
"""
    assert send(dribble, timeout=0.4).error.limit == "timeout"


def test_closing_or_replacing_the_result_pipe_does_not_hurt():
    for source in (
        "os.close(3)",
        "os.dup2(1, 3)",
        "os.dup2(os.open('/dev/null', os.O_RDWR), 3)",
        "os.set_blocking(3, False); send(VALUE, b'N.' + bytes(1 << 20))",
        "os.closerange(0, 64)",
    ):
        result = send(source, timeout=5)
        error = result.error
        assert error is None or isinstance(error, SandboxError)
    assert support.value_of("1") == 1


ACCOUNTS = {
    "no dict": b"\x80\x04K\x01.",
    "a list": pickle.dumps(["type", "message", "traceback"]),
    "an empty dict": pickle.dumps({}),
    "numbers for text": pickle.dumps(
        {"type": 1, "message": 2, "traceback": 3}
    ),
    "no traceback": pickle.dumps({"type": "E", "message": "m"}),
    "bytes for text": pickle.dumps(
        {"type": b"E", "message": b"m", "traceback": b"t"}
    ),
    "a call": b"\x80\x04cos\ngetpid\n)R.",
}


@pytest.mark.parametrize("payload", ACCOUNTS.values(), ids=ACCOUNTS)
@pytest.mark.parametrize("kind", ["ERROR", "UNSUPPORTED"])
def test_a_forged_account_of_an_end_is_refused(kind, payload):
    result = send(f"send({kind}, payload)", {"payload": payload})
    assert type(result.error) is ResultError


def test_text_of_the_guest_is_inert_when_shown():
    account = {
        "type": "Evil\x1b]0;title\x07",
        "message": "\x1b[2J\u202e",
        "traceback": "Traceback\n\x1b[31m\x9b\r\x08line\n",
    }
    payload = pickle.dumps(account)
    for kind in ("ERROR", "UNSUPPORTED"):
        result = send(f"send({kind}, payload)", {"payload": payload})
        for text in (str(result.error), repr(result)):
            assert not set(text) & set("\x1b\x07\x9b\x08\r\u202e")


def test_forged_text_is_no_longer_than_honest_text():
    # Where the guest's own code would cut it, the host must.
    account = dict.fromkeys(("type", "message", "traceback"), "\x1b" * 100)
    source = """
import pickle
long = {name: text * (1 << 16) for name, text in account.items()}
send(kind, pickle.dumps(long))
"""
    for kind in (_csandbox.FRAME_ERROR, _csandbox.FRAME_UNSUPPORTED):
        inputs = {"account": account, "kind": kind}
        error = send(source, inputs).error
        assert type(error) in (GuestError, ResultError)
        assert len(str(error)) < 4 << 20


# --- exceptions of the guest -------------------------------------------------

NAMED = """
class {name}({base}):
    pass
raise {name}('chosen by the guest')
"""


@pytest.mark.parametrize(
    "name",
    [
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "CancelledError",
        "StopIteration",
        "MemoryError",
        "Exit",
    ],
)
def test_P15_an_exception_of_the_guest_is_never_raised_in_the_host(name):
    for base in ("BaseException", "Exception"):
        source = NAMED.format(name=name, base=base)
        error = csandbox.execute(source).error
        assert type(error) is GuestError
        assert error.type_name.endswith(name)
        assert error.message == "chosen by the guest"
        with pytest.raises(GuestError):
            csandbox.run(source)


def test_P15_the_real_ones_are_not_raised_either():
    for source, kind in (
        ("raise KeyboardInterrupt", GuestError),
        ("raise GeneratorExit", GuestError),
        ("import asyncio; raise asyncio.CancelledError", GuestError),
        ("raise SystemExit", GuestExit),
        ("raise SystemExit(3)", GuestExit),
        ("class S(SystemExit): pass\nraise S(4)", GuestExit),
        ("import signal; signal.raise_signal(2)", GuestError),
        ("raise StopIteration", GuestError),
    ):
        result = csandbox.execute(source)
        assert type(result.error) is kind, source
        with pytest.raises(kind):
            csandbox.run(source)
        assert not isinstance(
            result.error,
            (
                SystemExit,
                KeyboardInterrupt,
                GeneratorExit,
                asyncio.CancelledError,
            ),
        )


def test_P15_a_forged_type_name_is_text():
    for name in ("SystemExit", "KeyboardInterrupt", "csandbox.Cancelled"):
        account = {"type": name, "message": "m", "traceback": ""}
        payload = pickle.dumps(account)
        result = send("send(ERROR, payload)", {"payload": payload})
        assert type(result.error) is GuestError
        assert type(result.error.type_name) is str


HOSTILE_OBJECTS = {
    "an exception whose str() fails": """
class E(Exception):
    def __str__(self): raise SystemExit(9)
raise E
""",
    "an exception whose str() is endless": """
class E(Exception):
    def __str__(self): return 'x' * (1 << 26)
raise E
""",
    "a name that is no string": """
class Name(str):
    def __getitem__(self, key): return 0
class E(Exception): pass
E.__qualname__ = Name('E')
raise E
""",
    "a chain that is endless": """
try:
    raise ValueError(0)
except ValueError as error:
    for n in range(5000):
        try:
            raise ValueError(n) from error
        except ValueError as other:
            error = other
    raise error
""",
    "notes that fail": """
e = ValueError('x')
e.__notes__ = [object(), lambda: 1]
raise e
""",
    "a group": "raise ExceptionGroup('g', [ValueError(n) for n in range(9)])",
    "a value whose reduce exits": """
class R:
    def __reduce__(self): raise SystemExit(5)
R()
""",
    "a dict whose keys lie": """
class K(str):
    def __hash__(self): return 1
    def __eq__(self, other): return True
{K('a'): 1}
""",
    "a subclass of int": "class I(int): pass\nI(3)",
    "a metaclass that lies": """
class M(type):
    __module__ = property(lambda self: 1 / 0)
class C(metaclass=M): pass
C()
""",
    "a thread that never ends": """
import threading
threading.Thread(target=threading.Event().wait).start()
""",
}


@pytest.mark.parametrize(
    "source", HOSTILE_OBJECTS.values(), ids=HOSTILE_OBJECTS
)
def test_hostile_objects_of_the_guest_stay_there(source):
    result = csandbox.execute(source, timeout=2)
    assert type(result.value) in (type(None), dict, int)
    assert result.error is None or type(result.error) in (
        GuestError,
        GuestExit,
        ResultError,
        csandbox.TimeLimitError,
        GuestCrash,
    )
    assert len(str(result.error)) < 1 << 20


def test_S03_no_subclass_arrives():
    source = """
class S(str): pass
class I(int): pass
class D(dict): pass
[1, 'a', {'b': 2}]
"""
    value = csandbox.run(source)
    assert [type(each) for each in value] == [int, str, dict]
    for expression in ("S('x')", "I(1)", "D()"):
        error = csandbox.execute(f"{source}\n{expression}").error
        assert type(error) is ResultError


def test_a_guest_that_stops_reading_does_not_hold_the_host():
    source = "os.kill(2, 19)"
    data = bytes(1 << 20)
    result = support.run_guest(source, stdin=data, timeout=0.4)
    assert result.error.limit == "timeout"
    result = support.run_guest("os.close(0)", stdin=data)
    assert result.ok
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
